// Chosen rows of a weight matrix and walks through a binary tree; what each does is in reference.py. In `rows`, -1 is
// an empty place.

// A block a sample and place: its threads share out the features.
KERNEL chosen_scores(const real* h, const real* w, const real* b, const long long* rows, real* z, int places, int d) {
    __shared__ double room[BLOCK];
    const int at = (int)blockIdx.x;
    const long long row = rows[at];
    if (row < 0) {  // the same for all threads of the block
        if (threadIdx.x == 0) z[at] = 0;
        return;
    }
    const real* features = h + (long long)(at / places) * d;
    double sum = 0;
    for (int k = (int)threadIdx.x; k < d; k += BLOCK) sum += (double)w[row * d + k] * features[k];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) z[at] = (real)(b ? sum + b[row] : sum);
}

KERNEL chosen_dh(const real* dz, const real* w, const long long* rows, real* dh, int places, int d, int items) {
    ITEM(i, items);
    const int n = i / d, k = i % d;
    double sum = 0;
    for (int l = 0; l < places; l++) {
        const long long row = rows[n * places + l];
        if (row >= 0) sum += (double)dz[n * places + l] * w[row * d + k];
    }
    dh[i] = (real)sum;
}

// One thread a place: where the same row is next (-1: nowhere), and the row itself at its first place, -1 at others.
KERNEL chain(const long long* rows, long long* first, int* next, int items) {
    ITEM(i, items);
    const long long row = rows[i];
    bool before = row < 0;
    int after = -1;
    for (int j = 0; j < items; j++)  // all threads look at the same place
        if (rows[j] == row) {
            if (j < i) before = true;
            else if (j > i && after < 0) after = j;
        }
    first[i] = before ? -1 : row;
    next[i] = after;
}

// One thread a place and feature: the sum over all places of the row that has its first one here, else 0.
KERNEL sum_chains(const long long* first, const int* next, const real* values, real* sums, int width, int items) {
    ITEM(i, items);
    double sum = 0;
    if (first[i / width] >= 0)
        for (int j = i / width; j >= 0; j = next[j]) sum += values[j * width + i % width];
    sums[i] = (real)sum;
}

KERNEL chosen_dw(const real* dz, const real* h, const long long* first, const int* next, real* dw, real* db, int places,
                 int d, int items) {
    ITEM(i, items);
    const int place = i / d, k = i % d;
    double sum = 0, bias = 0;
    if (first[place] >= 0)
        for (int j = place; j >= 0; j = next[j]) {
            const double value = dz[j];
            sum += value * h[j / places * d + k];
            bias += value;
        }
    dw[i] = (real)sum;
    if (k == 0) db[place] = (real)bias;
}

// factor_there: where the factor lies, or null, and it is `factor`.
KERNEL subtract_rows(real* p, const long long* rows, const real* values, const double* factor_there, real factor,
                     int width, int items) {
    ITEM(i, items);
    const long long row = rows[i / width];
    if (row >= 0) p[row * width + i % width] -= (factor_there ? (real)*factor_there : factor) * values[i];
}

KERNEL write_rows(real* p, const long long* rows, const real* values, int width, int items) {
    ITEM(i, items);
    const long long row = rows[i / width];
    if (row >= 0) p[row * width + i % width] = values[i];
}

// One thread a sample: from its leaf to the root. up[place] = 2 · parent + side, -1 at the root.
KERNEL climb(const long long* up, const long long* labels, long long* nodes, real* signs, int first_leaf, int levels,
             int items) {
    ITEM(i, items);
    long long place = labels[i] + first_leaf;
    for (int l = 0; l < levels; l++) {
        const long long link = place < 0 ? -1 : up[place];
        nodes[i * levels + l] = link < 0 ? -1 : link / 2;
        signs[i * levels + l] = link < 0 ? (real)0 : (real)(2 * (link % 2) - 1);
        place = link < 0 ? -1 : link / 2;
    }
}

__device__ inline real softplus(real x) { return (x > 0 ? x : (real)0) + log1p(exp(x > 0 ? -x : x)); }

// A block a sample, a level at a time: what the children get is their parent's, which the level before has written.
// Nodes are numbered breadth first, so a level is a run of numbers: from `first` to `last`.
KERNEL tree_log_prob(const real* z, const long long* children, const long long* ends, real* reach, real* log_p,
                     int levels, int inner) {
    const long long sample = blockIdx.x;
    real* mine = reach + sample * inner;
    if (threadIdx.x == 0) mine[0] = 0;
    __syncthreads();
    int first = 0;
    for (int level = 0; level < levels; level++) {
        const int last = (int)ends[level];
        for (int node = first + (int)threadIdx.x; node < last; node += BLOCK) {
            const real score = z[sample * inner + node];
            for (int side = 0; side < 2; side++) {
                const real value = mine[node] - softplus(side ? -score : score);
                const long long child = children[2 * node + side];
                if (child < inner)
                    mine[child] = value;
                else
                    log_p[sample * (inner + 1) + child - inner] = value;
            }
        }
        first = last;
        __syncthreads();
    }
}

// ---------------------------------------------------------------- the loss of a path
KERNEL path_losses(const real* z, const real* signs, real* losses, int levels, int items) {
    ITEM(i, items);
    double sum = 0;
    for (int l = i * levels; l < (i + 1) * levels; l++)
        if (signs[l] != 0) sum += softplus(-signs[l] * z[l]);
    losses[i] = (real)sum;
}

KERNEL path_slopes(const real* z, const real* signs, real* dz, int items) {
    ITEM(i, items);
    const real flipped = -signs[i] * z[i], tail = exp(flipped > 0 ? -flipped : flipped);
    dz[i] = -signs[i] * (flipped >= 0 ? (real)1 : tail) / (1 + tail);
}
