// Rows of a softmax and its gradient, and what is done element by element; see fused_reference.py, attention_reference.py.

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

KERNEL scaled_less_onehot(const real* e, const long long* t, const real* factor, const real* height, real* dz, real low,
                          int c, int items) {
    ITEM(i, items);
    const int n = i / c;
    dz[i] = e[i] * factor[n] - low - (t[n] == i % c ? height[n] : (real)0);
}

// ---------------------------------------------------------------- element by element
KERNEL relu_backward(const real* dy, const real* y, real* dx, int items) {
    ITEM(i, items);
    dx[i] = y[i] > 0 ? dy[i] : (real)0;
}

KERNEL add_bias(real* y, const real* b, int c, int relu, int items) {
    ITEM(i, items);
    const real value = b ? y[i] + b[i % c] : y[i];
    y[i] = relu && value < 0 ? (real)0 : value;
}

__device__ inline real normal_cdf(real x) { return (real)0.5 * erfc(x * (real)-0.70710678118654752440); }

KERNEL gelu(const real* x, real* y, int items) {
    ITEM(i, items);
    y[i] = x[i] * normal_cdf(x[i]);
}

KERNEL gelu_backward(const real* dy, const real* x, real* dx, int items) {
    ITEM(i, items);
    const real density = (real)0.39894228040143267794 * exp((real)-0.5 * x[i] * x[i]);
    dx[i] = dy[i] * (normal_cdf(x[i]) + x[i] * density);
}
