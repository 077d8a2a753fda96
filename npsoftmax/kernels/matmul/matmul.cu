// Every row the bias, to which a product is then added.
KERNEL rows(const real* bias, stored* y, int c, int items) {
    FIRST_OF_PACK(i, items);
    const Reals of_channels = reals_at(bias, i % c, c);
    Pack p;
    for (int k = 0; k < PACK; k++) p.value[k] = narrow(of_channels.value[k]);
    write_pack(p, y, i, items);
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
