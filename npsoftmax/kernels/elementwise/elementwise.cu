// Element by element; what each does is in reference.py.

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

KERNEL silu(const real* x, real* y, int items) {
    ITEM(i, items);
    y[i] = x[i] * sigmoid(x[i]);
}

KERNEL silu_backward(const real* dy, const real* x, real* dx, int items) {
    ITEM(i, items);
    dx[i] = dy[i] * silu_slope(x[i]);
}
