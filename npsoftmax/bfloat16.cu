// Between float and bfloat16, its upper half.
KERNEL round_bf16(const float* x, unsigned short* y, int items) {
    ITEM(i, items);
    y[i] = upper_half(x[i]);
}

KERNEL widen_bf16(const unsigned short* x, float* y, int items) {
    ITEM(i, items);
    y[i] = from_upper_half(x[i]);
}
