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

// `lower`: whether low is taken off at all.
KERNEL scaled_less_onehot(const real* e, const long long* t, const real* factor, const real* height, const real* low,
                          real* dz, int lower, int c, int items) {
    ITEM(i, items);
    const int n = i / c;
    dz[i] = e[i] * factor[n] - (lower ? low[n] : (real)0) - (t[n] == i % c ? height[n] : (real)0);
}
