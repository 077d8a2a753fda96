// From images in bytes to a batch for the network in one pass: picked, mirrored, shifted, cut out and normalised, with
// the decisions of data/augment.py and its numbers u in (0, 1), `draws` of them an image: mirror | down, across | square
// down, across.

struct Change {
    bool mirror;
    int down, across;  // how far the window is shifted
};

__device__ inline Change change_of(const float* u, int n, int draws, int border) {
    Change c;
    c.mirror = draws > 0 && u[n * draws] < 0.5f;
    const float places = (float)(2 * border + 1);
    c.down = draws > 1 ? (int)(u[n * draws + 1] * places) - border : 0;
    c.across = draws > 1 ? (int)(u[n * draws + 2] * places) - border : 0;
    return c;
}

// A value of the image after mirror and shift; what moves in is black.
__device__ inline int value_at(const unsigned char* image, Change change, int row, int column, int channel, int h, int w,
                               int c) {
    const int down = row + change.down;
    int across = column + change.across;
    if (down < 0 || down >= h || across < 0 || across >= w) return 0;
    if (change.mirror) across = w - 1 - across;
    return image[((long long)down * w + across) * c + channel];
}

// The mean colour of each image after mirror and shift, in whole grey levels. A block an image: neighbours read
// neighbouring bytes, each thread those of one channel.
KERNEL mean_colours(const unsigned char* x, const long long* samples, const float* u, int* colours, int draws, int border,
                    int h, int w, int c) {
    __shared__ long long room[BLOCK];
    const int n = (int)blockIdx.x, me = (int)threadIdx.x;
    const Change change = change_of(u, n, draws, border);
    const unsigned char* image = x + samples[n] * h * w * c;
    for (int first = 0; first < c; first += BLOCK) {
        const int channels = c - first < BLOCK ? c - first : BLOCK, pixels = BLOCK / channels, channel = me % channels;
        long long sum = 0;
        for (int i = me / channels; i < h * w && me < pixels * channels; i += pixels)
            sum += value_at(image, change, i / w, i % w, first + channel, h, w, c);
        room[me] = sum;
        __syncthreads();
        if (me < channels) {
            for (int i = 1; i < pixels; i++) sum += room[me + i * channels];
            colours[n * c + first + me] = (int)rint((double)sum / w / h);
        }
        __syncthreads();
    }
}

KERNEL make_batch(const unsigned char* x, const long long* samples, const float* u, const int* colours,
                  const float* scale, const float* shift, float* y, int draws, int border, int side, int h, int w, int c,
                  int items) {
    ITEM(i, items);
    const int channel = i % c, column = i / c % w, row = i / c / w % h, n = i / c / w / h;
    const unsigned char* image = x + samples[n] * h * w * c;
    int value = value_at(image, change_of(u, n, draws, border), row, column, channel, h, w, c);
    if (side) {
        const int top = (int)((double)u[n * draws + 3] * h) - side / 2, left = (int)((double)u[n * draws + 4] * w) - side / 2;
        if (row >= top && row < top + side && column >= left && column < left + side) value = colours[n * c + channel];
    }
    // Rounded twice, as on the host: a compiler may not make one instruction of the two.
    y[i] = __fsub_rn(__fmul_rn((float)value, scale[channel]), shift[channel]);
}
