// Columns of images and max pooling; what each does is in reference.py. Both ways back are gathers: each pixel looks up
// the windows that it was in, tap by tap, in the order in which the reference adds them.

// One thread a column entry: neighbours read and write neighbouring channels.
KERNEL im2col(const stored* x, stored* cols, int h, int w, int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph,
              int pw, int items) {
    ITEM(i, items);
    const int channel = i % c;
    int rest = i / c;
    const int v = rest % kw;
    rest /= kw;
    const int u = rest % kh;
    rest /= kh;
    const int across = rest % ow * sw + v - pw;
    rest /= ow;
    const int down = rest % oh * sh + u - ph, n = rest / oh;
    const bool inside = down >= 0 && down < h && across >= 0 && across < w;
    cols[i] = inside ? x[((n * h + down) * w + across) * c + channel] : narrow(0);
}

// One thread a pixel and channel. The output row that saw pixel row `down` through tap u is (down + ph - u) / sh, where
// that is a whole number and there is such a row.
KERNEL col2im(const real* cols, stored* dx, int h, int w, int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph,
              int pw, int items) {
    ITEM(i, items);
    const int channel = i % c, across = i / c % w, down = i / c / w % h, n = i / c / w / h;
    real sum = 0;
    for (int u = 0; u < kh; u++) {
        const int top = down + ph - u;
        if (top < 0 || top % sh || top / sh >= oh) continue;
        for (int v = 0; v < kw; v++) {
            const int left = across + pw - v;
            if (left < 0 || left % sw || left / sw >= ow) continue;
            const int place = (n * oh + top / sh) * ow + left / sw;
            sum += cols[((place * kh + u) * kw + v) * c + channel];
        }
    }
    dx[i] = narrow(sum);
}

// One thread an output; padding counts as -infinity, NaN wins, of equal values the first. With `relu`, what is not
// above 0 has no winner: tap kh * kw.
KERNEL max_pool(const stored* x, stored* y, unsigned char* index, int h, int w, int c, int oh, int ow, int kh, int kw,
                int sh, int sw, int ph, int pw, int relu, int items) {
    ITEM(i, items);
    const int channel = i % c, column = i / c % ow, row = i / c / ow % oh, n = i / c / ow / oh;
    real top = 0;
    int winner = -1;
    for (int u = 0; u < kh; u++) {
        for (int v = 0; v < kw; v++) {
            const int down = row * sh + u - ph, across = column * sw + v - pw;
            const bool inside = down >= 0 && down < h && across >= 0 && across < w;
            const real value = inside ? wide(x[((n * h + down) * w + across) * c + channel]) : NOTHING;
            if (winner < 0 || value > top || value != value) {
                top = value;
                winner = u * kw + v;
            }
        }
    }
    if (relu && !(top > 0)) {
        winner = kh * kw;
        top = top != top ? top : (real)0;
    }
    y[i] = narrow(top);
    index[i] = (unsigned char)winner;
}

KERNEL max_pool_backward(const stored* dy, const unsigned char* index, stored* dx, int h, int w, int c, int oh, int ow,
                         int kh, int kw, int sh, int sw, int ph, int pw, int items) {
    ITEM(i, items);
    const int channel = i % c, across = i / c % w, down = i / c / w % h, n = i / c / w / h;
    real sum = 0;
    for (int u = 0; u < kh; u++) {
        const int top = down + ph - u;
        if (top < 0 || top % sh || top / sh >= oh) continue;
        for (int v = 0; v < kw; v++) {
            const int left = across + pw - v;
            if (left < 0 || left % sw || left / sw >= ow) continue;
            const int place = ((n * oh + top / sh) * ow + left / sw) * c + channel;
            if (index[place] == u * kw + v) sum += wide(dy[place]);
        }
    }
    dx[i] = narrow(sum);
}
