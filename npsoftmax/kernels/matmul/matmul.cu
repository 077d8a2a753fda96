// A product with its bias (or none) as an activation in bfloat16: rounded once, at the end.
KERNEL add_bias_and_round(const float* full, const float* bias, unsigned short* y, int c, int items) {
    ITEM(i, items);
    y[i] = upper_half(bias ? full[i] + bias[i % c] : full[i]);
}

// Floats rounded to tf32 (10 bits after the point), to the nearest, ties away from 0; NaN stays NaN.
KERNEL round_tf32(const float* x, float* y, int items) {
    ITEM(i, items);
    const float value = x[i];
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x1000u) & ~0x1FFFu;
    if (value != value) y[i] = value;
    else memcpy(y + i, &bits, sizeof bits);
}
