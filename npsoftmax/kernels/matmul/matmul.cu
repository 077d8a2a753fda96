// Floats rounded to bfloat16 (7 bits after the point), to the nearest, ties to even; NaN stays NaN.
KERNEL round_bf16(const float* x, unsigned short* y, int items) {
    ITEM(i, items);
    const float value = x[i];
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    y[i] = (unsigned short)(value != value ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
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
