/* The loops of _planar.pyx, in float32, with all sums in registers. */

#include <stddef.h>
#include <string.h>

/* How many sums fit the registers, of which there are 16, or 32 with AVX-512: OUTPUTS by two vectors of pixels, and in
   the weight gradient GRADIENTS, which are outputs too, by TAPS neighbours. */
#ifdef __AVX512F__
#define NPSOFTMAX_OUTPUTS 12
#define NPSOFTMAX_GRADIENTS 8
#else
#define NPSOFTMAX_OUTPUTS 6
#define NPSOFTMAX_GRADIENTS 4
#endif
#define NPSOFTMAX_TAPS 3

/* Vector a or b, lane by lane: in `low` those of b fill the places `s` further on, in `high` those of a `s` before. */
#define NPSOFTMAX_LOW(l, s) ((l) & (s) ? LANES + ((l) ^ (s)) : (l))
#define NPSOFTMAX_HIGH(l, s) ((l) & (s) ? LANES + (l) : (l) ^ (s))
#define NPSOFTMAX_LANE(l, s) (l)
#define NPSOFTMAX_2(of, l, s) of(l, s), of((l) + 1, s)
#define NPSOFTMAX_4(of, l, s) NPSOFTMAX_2(of, l, s), NPSOFTMAX_2(of, (l) + 2, s)
#define NPSOFTMAX_8(of, l, s) NPSOFTMAX_4(of, l, s), NPSOFTMAX_4(of, (l) + 4, s)
#define NPSOFTMAX_16(of, l, s) NPSOFTMAX_8(of, l, s), NPSOFTMAX_8(of, (l) + 8, s)

typedef float vector __attribute__((vector_size(NPSOFTMAX_VECTOR_BYTES), aligned(sizeof(float)), may_alias));
typedef int places __attribute__((vector_size(NPSOFTMAX_VECTOR_BYTES)));

#if LANES == 16
#define EVERY(of, s) NPSOFTMAX_16(of, 0, s)
#elif LANES == 8
#define EVERY(of, s) NPSOFTMAX_8(of, 0, s)
#else
#define EVERY(of, s) NPSOFTMAX_4(of, 0, s)
#endif
#ifdef __clang__
#define SHUFFLE(a, b, of, s) __builtin_shufflevector(a, b, EVERY(of, s))
#else
#define SHUFFLE(a, b, of, s) __builtin_shuffle(a, b, (places){EVERY(of, s)})
#endif
/* One of the rounds in which the square blocks of side s change places, for all blocks of side 2s on the diagonal. */
#define ROUND(s)                                                                                                       \
    for (int i = 0; i < LANES; i++)                                                                                    \
        if (!(i & s)) {                                                                                                \
            const vector low = SHUFFLE(t[i], t[i + s], NPSOFTMAX_LOW, s);                                              \
            t[i + s] = SHUFFLE(t[i], t[i + s], NPSOFTMAX_HIGH, s);                                                     \
            t[i] = low;                                                                                                \
        }

/* t[i][l] and t[l][i] change places. */
static inline __attribute__((always_inline)) void npsoftmax_transpose(vector t[LANES])
{
#if LANES > 8
    ROUND(8)
#endif
#if LANES > 4
    ROUND(4)
#endif
    ROUND(2)
    ROUND(1)
}
#undef ROUND
#undef SHUFFLE

/* 0, 1, 2, … */
static inline __attribute__((always_inline)) places npsoftmax_lanes(void)
{
    return (places){EVERY(NPSOFTMAX_LANE, 0)};
}
#undef EVERY

/* LANES pixels x (LANES, c), of which `channels` numbers each, into as many planes: 0 behind the first `pixels`, and
   with y also where that is not above 0. LANES numbers of each pixel are read. */
static void npsoftmax_to_planes(const float *x, const float *y, ptrdiff_t c, int channels, int pixels, float *planes,
    ptrdiff_t plane)
{
    const places counts = npsoftmax_lanes() < pixels;
    vector t[LANES];
#pragma GCC unroll 16
    for (int p = 0; p < LANES; p++)
        t[p] = *(const vector *)(x + p * c);
    if (y)
#pragma GCC unroll 16
        for (int p = 0; p < LANES; p++) {
            const vector s = *(const vector *)(y + p * c);
            t[p] = (vector)((places)t[p] & (s > 0));
        }
    npsoftmax_transpose(t);
    for (int i = 0; i < channels; i++)
        *(vector *)(planes + i * plane) = pixels < LANES ? (vector)((places)t[i] & counts) : t[i];
}

/* Two vectors of pixels, those at x[0] and x[1] in the planes of an image, by `outputs` outputs: with
   s = bias + Σ w (KH·KW·C, f) · numbers, max(s, least) goes to y[0] and y[1] (pixels[0] and pixels[1], f);
   least is 0 or -∞. `outputs` is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void npsoftmax_pixels(const int outputs, const float *const x[2],
    const float *w, const float *bias, ptrdiff_t row, ptrdiff_t plane, ptrdiff_t c, ptrdiff_t kh, ptrdiff_t kw,
    float least, float *const y[2], const int pixels[2], ptrdiff_t f)
{
    vector sums[NPSOFTMAX_OUTPUTS][2];
    for (int o = 0; o < outputs; o++)
        sums[o][0] = sums[o][1] = (vector){0} + bias[o];
    for (ptrdiff_t k = 0; k < kh; k++)
        for (ptrdiff_t l = 0; l < kw; l++) {
            const float *first = x[0] + k * row + l, *second = x[1] + k * row + l;
            for (ptrdiff_t i = 0; i < c; i++, w += f, first += plane, second += plane) {
                const vector u = *(const vector *)first, v = *(const vector *)second;
                for (int o = 0; o < outputs; o++) {
                    sums[o][0] += w[o] * u;
                    sums[o][1] += w[o] * v;
                }
            }
        }
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++)
#pragma GCC unroll 3
        for (int first = 0; first < outputs; first += LANES) {
            const int some = outputs - first < LANES ? outputs - first : LANES;
            vector t[LANES];
#pragma GCC unroll 16
            for (int o = 0; o < LANES; o++) {
                const vector s = o < some ? sums[first + o][v] : (vector){0};
                t[o] = (vector)((places)s & ~(s < least)); /* a NaN is not below and stays */
            }
            npsoftmax_transpose(t);
            if (pixels[v] == LANES)
#pragma GCC unroll 16
                for (int p = 0; p < LANES; p++)
                    memcpy(y[v] + p * f + first, &t[p], some * sizeof(float));
            else
                for (int p = 0; p < pixels[v]; p++)
                    memcpy(y[v] + p * f + first, &t[p], some * sizeof(float));
        }
}

/* The same for any count of outputs up to NPSOFTMAX_OUTPUTS. */
#define OF(n)                                                                                                          \
    case n:                                                                                                            \
        npsoftmax_pixels(n, x, w, bias, row, plane, c, kh, kw, least, y, pixels, f);                                   \
        break;
static void npsoftmax_pixels_by(int outputs, const float *const x[2], const float *w, const float *bias, ptrdiff_t row,
    ptrdiff_t plane, ptrdiff_t c, ptrdiff_t kh, ptrdiff_t kw, float least, float *const y[2], const int pixels[2],
    ptrdiff_t f)
{
    switch (outputs) {
#if NPSOFTMAX_OUTPUTS > 6
        OF(12) OF(11) OF(10) OF(9) OF(8) OF(7)
#endif
        OF(6) OF(5) OF(4) OF(3) OF(2) OF(1)
    }
}
#undef OF

/* dw (taps, outputs, LANES), `tap` numbers from one to the next, += Σ of x (images, rows, vectors, LANES), which begins
   a number further on with each tap, · dy (images, outputs, rows, vectors, LANES), both as far apart as is said. In the
   last vector of a row only `pixels` count: behind them dy is 0, but x may be infinite. Constants: taps, outputs. */
static inline __attribute__((always_inline)) void npsoftmax_products(const int taps, const int outputs, const float *x,
    ptrdiff_t image, ptrdiff_t row, const float *dy, ptrdiff_t dimage, ptrdiff_t plane, ptrdiff_t drow,
    ptrdiff_t images, ptrdiff_t rows, ptrdiff_t vectors, int pixels, float *dw, ptrdiff_t tap)
{
    const places counts = npsoftmax_lanes() < pixels;
    const ptrdiff_t part = pixels < LANES ? vectors - 1 : vectors; /* the vector of which only a part counts */
    vector sums[NPSOFTMAX_TAPS][NPSOFTMAX_GRADIENTS], u[NPSOFTMAX_TAPS];
    for (int t = 0; t < taps; t++)
        for (int o = 0; o < outputs; o++)
            sums[t][o] = (vector){0};
    for (ptrdiff_t n = 0; n < images; n++, x += image, dy += dimage)
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t v = 0; v < vectors; v++) {
                const float *number = x + r * row + v * LANES, *slope = dy + r * drow + v * LANES;
                for (int t = 0; t < taps; t++)
                    u[t] = *(const vector *)(number + t);
                if (v == part)
                    for (int t = 0; t < taps; t++)
                        u[t] = (vector)((places)u[t] & counts);
                for (int o = 0; o < outputs; o++) {
                    /* volatile: or each product would read it again, for more reads than products */
                    const vector d = *(const volatile vector *)(slope + o * plane);
                    for (int t = 0; t < taps; t++)
                        sums[t][o] += u[t] * d;
                }
            }
#pragma GCC unroll 3
    for (int t = 0; t < taps; t++)
#pragma GCC unroll 8
        for (int o = 0; o < outputs; o++)
            *(vector *)(dw + t * tap + o * LANES) += sums[t][o];
}

/* The same for any count of taps and outputs, up to NPSOFTMAX_TAPS and NPSOFTMAX_GRADIENTS. */
#define OF(t, n)                                                                                                       \
    case n:                                                                                                            \
        npsoftmax_products(t, n, x, image, row, dy, dimage, plane, drow, images, rows, vectors, pixels, dw, tap);      \
        break;
#if NPSOFTMAX_GRADIENTS > 4
#define EVERY(t) OF(t, 8) OF(t, 7) OF(t, 6) OF(t, 5) OF(t, 4) OF(t, 3) OF(t, 2) OF(t, 1)
#else
#define EVERY(t) OF(t, 4) OF(t, 3) OF(t, 2) OF(t, 1)
#endif
static void npsoftmax_products_by(int taps, int outputs, const float *x, ptrdiff_t image, ptrdiff_t row,
    const float *dy, ptrdiff_t dimage, ptrdiff_t plane, ptrdiff_t drow, ptrdiff_t images, ptrdiff_t rows,
    ptrdiff_t vectors, int pixels, float *dw, ptrdiff_t tap)
{
    if (taps == 3)
        switch (outputs) { EVERY(3) }
    else if (taps == 2)
        switch (outputs) { EVERY(2) }
    else
        switch (outputs) { EVERY(1) }
}
#undef EVERY
#undef OF

/* sums (LANES) += Σ of the vectors of a plane (rows, vectors, LANES). */
static void npsoftmax_sum(const float *plane, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t vectors, float *sums)
{
    vector s = {0};
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t v = 0; v < vectors; v++)
            s += *(const vector *)(plane + r * row + v * LANES);
    *(vector *)sums += s;
}

/* totals (count) = Σ over lanes of sums (count, LANES). */
static void npsoftmax_add_lanes(const float *sums, ptrdiff_t count, float *totals)
{
    for (ptrdiff_t first = 0; first < count; first += LANES) {
        const int some = count - first < LANES ? (int)(count - first) : LANES;
        vector t[LANES], s = {0};
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            t[i] = i < some ? *(const vector *)(sums + (first + i) * LANES) : (vector){0};
        npsoftmax_transpose(t);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            s += t[i];
        memcpy(totals + first, &s, some * sizeof(float));
    }
}
