// What happens to gradients and parameters after backward, each in one pass; the rules are in training/optimizers/.
//
// `rates` are doubles on the device, where the step reads its own numbers, or none: then they are arguments.

KERNEL sgd(real* p, const real* g, real* b, const double* rates, real lr, real momentum, real decay, int nesterov,
           int items) {
    ITEM(i, items);
    if (rates) {
        lr = (real)rates[0];
        momentum = (real)rates[1];
    }
    const real gradient = g[i] + decay * p[i];
    real move = gradient;
    if (b) {
        b[i] = momentum * b[i] + gradient;
        move = nesterov ? momentum * b[i] + gradient : b[i];
    }
    p[i] -= lr * move;
}

KERNEL adam(real* p, const real* g, real* m, real* v, const double* rates, real beta1, real rest1, real rate, real eps,
            real shrink, real beta2, real rest2, real decay, int shrinks, int items) {
    ITEM(i, items);
    if (rates) {
        beta1 = (real)rates[0];
        rest1 = (real)rates[1];
        rate = (real)rates[2];
        eps = (real)rates[3];
        shrink = (real)rates[4];
    }
    const real value = shrinks ? p[i] * shrink : p[i], gradient = g[i] + decay * value;
    m[i] = beta1 * m[i] + rest1 * gradient;
    v[i] = beta2 * v[i] + rest2 * gradient * gradient;
    p[i] = value - rate * m[i] / (sqrt(v[i]) + eps);
}

// By a factor that is still on the device.
KERNEL scale(const real* g, const double* factor, real* out, int items) {
    ITEM(i, items);
    out[i] = (real)(g[i] * factor[0]);
}

KERNEL clip(const real* g, real limit, real* out, int items) {
    ITEM(i, items);
    out[i] = g[i] > limit ? limit : g[i] < -limit ? -limit : g[i];  // NaN stays
}

// In double precision: each block the sum of its share, then one block the sum of these.
KERNEL square_sum(const real* g, double* sums, int n) {
    __shared__ double room[BLOCK];
    double sum = 0;
    for (int i = (int)(blockIdx.x * BLOCK + threadIdx.x); i < n; i += (int)(gridDim.x * BLOCK))
        sum += (double)g[i] * g[i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

KERNEL add_sums(const double* sums, double* total, int n) {
    __shared__ double room[BLOCK];
    double sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += BLOCK) sum += sums[i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) total[0] = sum;
}
