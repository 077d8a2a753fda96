// Element by element; what each does is in reference.py.

KERNEL relu(const stored* x, stored* y, int items) {
    FIRST_OF_PACK(i, items);
    Pack values = pack_at(x, i, items);
    for (int k = 0; k < PACK; k++)
        if (wide(values.value[k]) < 0) values.value[k] = narrow(0);
    write_pack(values, y, i, items);
}

KERNEL relu_backward(const stored* dy, const stored* y, stored* dx, int items) {
    FIRST_OF_PACK(i, items);
    Pack gradients = pack_at(dy, i, items);
    const Pack values = pack_at(y, i, items);
    for (int k = 0; k < PACK; k++)
        if (!(wide(values.value[k]) > 0)) gradients.value[k] = narrow(0);
    write_pack(gradients, dx, i, items);
}

KERNEL add(const stored* a, const stored* b, stored* y, int items) {
    FIRST_OF_PACK(i, items);
    Pack sums = pack_at(a, i, items);
    const Pack others = pack_at(b, i, items);
    for (int k = 0; k < PACK; k++) sums.value[k] = narrow(wide(sums.value[k]) + wide(others.value[k]));
    write_pack(sums, y, i, items);
}

KERNEL add_bias(real* y, const real* b, int c, int relu, int items) {
    ITEM(i, items);
    const real value = b ? y[i] + b[i % c] : y[i];
    y[i] = relu && value < 0 ? (real)0 : value;
}

__device__ inline real normal_cdf(real x) { return (real)0.5 * erfc(x * (real)-0.70710678118654752440); }

KERNEL gelu(const stored* x, stored* y, int items) {
    FIRST_OF_PACK(i, items);
    Pack values = pack_at(x, i, items);
    for (int k = 0; k < PACK; k++) {
        const real value = wide(values.value[k]);
        values.value[k] = narrow(value * normal_cdf(value));
    }
    write_pack(values, y, i, items);
}

KERNEL gelu_backward(const stored* dy, const stored* x, stored* dx, int items) {
    FIRST_OF_PACK(i, items);
    Pack gradients = pack_at(dy, i, items);
    const Pack values = pack_at(x, i, items);
    for (int k = 0; k < PACK; k++) {
        const real value = wide(values.value[k]);
        const real density = (real)0.39894228040143267794 * exp((real)-0.5 * value * value);
        gradients.value[k] = narrow(wide(gradients.value[k]) * (normal_cdf(value) + value * density));
    }
    write_pack(gradients, dx, i, items);
}

KERNEL silu(const stored* x, stored* y, int items) {
    FIRST_OF_PACK(i, items);
    Pack values = pack_at(x, i, items);
    for (int k = 0; k < PACK; k++) {
        const real value = wide(values.value[k]);
        values.value[k] = narrow(value * sigmoid(value));
    }
    write_pack(values, y, i, items);
}

KERNEL silu_backward(const stored* dy, const stored* x, stored* dx, int items) {
    FIRST_OF_PACK(i, items);
    Pack gradients = pack_at(dy, i, items);
    const Pack values = pack_at(x, i, items);
    for (int k = 0; k < PACK; k++)
        gradients.value[k] = narrow(wide(gradients.value[k]) * silu_slope(wide(values.value[k])));
    write_pack(gradients, dx, i, items);
}
