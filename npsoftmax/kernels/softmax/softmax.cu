// Rows of a softmax and its gradient; what each does is in reference.py.

// A block a row: e = exp((z - max z) / temperature), and of each row max z, the sum of e and that of its exponents.
KERNEL exp_rows(const real* z, real* e, real* top, real* total, real* exponents, real temperature, int c) {
    __shared__ double room[BLOCK];
    __shared__ real largest[BLOCK];
    const long long start = (long long)blockIdx.x * c;
    real mine = NOTHING;
    for (int k = (int)threadIdx.x; k < c; k += BLOCK) {
        const real value = z[start + k];
        if (value > mine || value != value) mine = value;
    }
    const real highest = block_max(mine, largest);
    double sum = 0, sum_of_exponents = 0;
    for (int k = (int)threadIdx.x; k < c; k += BLOCK) {
        const real s = (z[start + k] - highest) / temperature, value = exp(s);
        e[start + k] = value;
        sum += value;
        sum_of_exponents += s;
    }
    sum = block_sum(sum, room);
    sum_of_exponents = block_sum(sum_of_exponents, room);
    if (threadIdx.x == 0) {
        top[blockIdx.x] = highest;
        total[blockIdx.x] = (real)sum;
        exponents[blockIdx.x] = (real)sum_of_exponents;
    }
}

// A block a row: p = max(s - theta, 0)^power with s = (z - max z) / power, and theta such that p sums to 1; power is 1 or
// 2. Nothing is sorted: (sum of p)^(1 / power) is convex in theta and at least 1 at theta = -1, so Newton's steps from
// there never pass the root, and end where a double rises no more.
KERNEL sparse_rows(const real* z, real* p, int power, int c) {
    __shared__ double room[BLOCK];
    __shared__ real largest[BLOCK];
    const long long start = (long long)blockIdx.x * c;
    real mine = NOTHING;
    for (int k = (int)threadIdx.x; k < c; k += BLOCK) {
        const real value = z[start + k];
        if (value > mine || value != value) mine = value;
    }
    const real highest = block_max(mine, largest);
    double theta = -1, before;
    do {
        double sum = 0, slope = 0;
        for (int k = (int)threadIdx.x; k < c; k += BLOCK) {
            const double g = (z[start + k] - highest) / (real)power - theta;
            if (g > 0) {
                sum += power == 2 ? g * g : g;
                slope += power == 2 ? g : 1;
            }
        }
        sum = block_sum(sum, room);
        slope = block_sum(slope, room);
        const double root = power == 2 ? sqrt(sum) : sum;
        before = theta;
        theta += (root - 1) * (power == 2 ? root : 1) / slope;
    } while (theta > before);
    for (int k = (int)threadIdx.x; k < c; k += BLOCK) {
        const double g = (z[start + k] - highest) / (real)power - theta;
        p[start + k] = (real)(g <= 0 ? 0 : power == 2 ? g * g : g);  // NaN stays NaN
    }
}

// `lower`: whether low is taken off at all.
KERNEL scaled_less_onehot(const real* e, const long long* t, const real* factor, const real* height, const real* low,
                          real* dz, int lower, int c, int items) {
    ITEM(i, items);
    const int n = i / c;
    dz[i] = e[i] * factor[n] - (lower ? low[n] : (real)0) - (t[n] == i % c ? height[n] : (real)0);
}
