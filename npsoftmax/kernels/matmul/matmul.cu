// Floats rounded to bfloat16 (7 bits after the point), to the nearest, ties to even; NaN stays NaN.
KERNEL round_bf16(const float* x, unsigned short* y, int items) {
    ITEM(i, items);
    const float value = x[i];
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    y[i] = (unsigned short)(value != value ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
