/* The two loops of _direct.pyx for one type of number, with all sums in registers. Included once for each, with NUMBER,
   VECTOR (the name that its vector type gets), LANES (numbers in a vector) and NAME(x) (a name of its own) defined.

   A vector of outputs is read and written whole, also where there are fewer: what stands behind belongs to the next
   pixel. Read, it goes into sums that nobody looks at; written, it is written again with the next pixel. */

#include <stddef.h>

/* Pixels whose sums, of two vectors of outputs, fit the registers: 16 of them, or 32 with AVX-512. Of one vector, twice
   as many pixels. NPSOFTMAX_RUN: the same for numbers of a run, in the weight gradient (3 · 3 are usual). */
#ifndef NPSOFTMAX_PIXELS
#ifdef __AVX512F__
#define NPSOFTMAX_PIXELS 8
#define NPSOFTMAX_RUN 8
#else
#define NPSOFTMAX_PIXELS 6
#define NPSOFTMAX_RUN 6
#endif
#endif

typedef NUMBER VECTOR __attribute__((vector_size(LANES * sizeof(NUMBER)), aligned(sizeof(NUMBER)), may_alias));

/* y (pixels, f), of which `vectors` vectors, = max(bias + Σ numbers of the windows · w (KH·run, lanes), least),
   where least is 0 or -∞. `pixels` and `vectors` are constants wherever this is inlined. */
static inline __attribute__((always_inline)) void NAME(window)(const int pixels, const int vectors, const NUMBER *x,
    const NUMBER *w, const NUMBER *bias, ptrdiff_t row, ptrdiff_t c, ptrdiff_t kh, ptrdiff_t run, ptrdiff_t lanes,
    NUMBER least, NUMBER *y, ptrdiff_t f)
{
    VECTOR sums[2 * NPSOFTMAX_PIXELS][2], u[2];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sums[p][v] = *(const VECTOR *)(bias + v * LANES);
    for (ptrdiff_t k = 0; k < kh; k++, x += row) {
        const NUMBER *every_fourth[NPSOFTMAX_PIXELS / 2]; /* a pointer for each pixel would take too many registers */
        for (int p = 0; p < pixels; p += 4)
            every_fourth[p / 4] = x + p * c;
        for (ptrdiff_t i = 0; i < run; i++, w += lanes) {
            for (int v = 0; v < vectors; v++)
                u[v] = *(const VECTOR *)(w + v * LANES);
            for (int p = 0; p < pixels; p++) {
                const NUMBER number = every_fourth[p / 4][p % 4 * c];
                for (int v = 0; v < vectors; v++)
                    sums[p][v] += number * u[v];
            }
            for (int p = 0; p < pixels; p += 4)
                every_fourth[p / 4]++;
        }
    }
    for (int p = 0; p < pixels; p++, y += f)
        for (int v = 0; v < vectors; v++) {
            const __typeof__(sums[p][v] < least) below = sums[p][v] < least; /* false for NaN, which stays */
            *(VECTOR *)(y + v * LANES) = (VECTOR)((__typeof__(below))sums[p][v] & ~below);
        }
}

/* The same for one block of outputs, of one vector or two, and up to 2 · NPSOFTMAX_PIXELS pixels of one vector. */
static void NAME(windows)(int pixels, int vectors, const NUMBER *x, const NUMBER *w, const NUMBER *bias, ptrdiff_t row,
    ptrdiff_t c, ptrdiff_t kh, ptrdiff_t run, ptrdiff_t lanes, NUMBER least, NUMBER *y, ptrdiff_t f)
{
    if (vectors == 2)
        NAME(window)(NPSOFTMAX_PIXELS, 2, x, w, bias, row, c, kh, run, lanes, least, y, f);
    else if (pixels > NPSOFTMAX_PIXELS)
        NAME(window)(2 * NPSOFTMAX_PIXELS, 1, x, w, bias, row, c, kh, run, lanes, least, y, f);
    else
        NAME(window)(NPSOFTMAX_PIXELS, 1, x, w, bias, row, c, kh, run, lanes, least, y, f);
}

/* dw (numbers, lanes), of which `vectors` vectors, += Σ over rows of pixels of x[pixel, numbers] ⊗ dy[pixel, f]. */
static inline __attribute__((always_inline)) void NAME(outer)(const int numbers, const int vectors, const NUMBER *x,
    const NUMBER *dy, ptrdiff_t row, ptrdiff_t c, ptrdiff_t f, ptrdiff_t rows, ptrdiff_t pixels, ptrdiff_t lanes,
    NUMBER *dw)
{
    VECTOR sums[2 * NPSOFTMAX_RUN][2], d[2];
    for (int i = 0; i < numbers; i++)
        for (int v = 0; v < vectors; v++)
            sums[i][v] = (VECTOR){0};
    for (ptrdiff_t r = 0; r < rows; r++) {
        const NUMBER *number = x + r * row;
        for (ptrdiff_t p = 0; p < pixels; p++, number += c, dy += f) {
            for (int v = 0; v < vectors; v++)
                d[v] = *(const VECTOR *)(dy + v * LANES);
            for (int i = 0; i < numbers; i++)
                for (int v = 0; v < vectors; v++)
                    sums[i][v] += number[i] * d[v];
        }
    }
    for (int i = 0; i < numbers; i++)
        for (int v = 0; v < vectors; v++)
            *(VECTOR *)(dw + i * lanes + v * LANES) += sums[i][v];
}

/* The same for any count of numbers, up to NPSOFTMAX_RUN with two vectors and twice that with one. */
#define OF(n, v)                                                                                                       \
    case n:                                                                                                            \
        NAME(outer)(n, v, x, dy, row, c, f, rows, pixels, lanes, dw);                                                  \
        break;
static void NAME(outers)(int numbers, int vectors, const NUMBER *x, const NUMBER *dy, ptrdiff_t row, ptrdiff_t c,
    ptrdiff_t f, ptrdiff_t rows, ptrdiff_t pixels, ptrdiff_t lanes, NUMBER *dw)
{
    if (vectors == 2)
        switch (numbers) {
#if NPSOFTMAX_RUN > 6
            OF(8, 2) OF(7, 2)
#endif
            OF(6, 2) OF(5, 2) OF(4, 2) OF(3, 2) OF(2, 2) OF(1, 2)
        }
    else
        switch (numbers) {
#if NPSOFTMAX_RUN > 6
            OF(16, 1) OF(15, 1) OF(14, 1) OF(13, 1)
#endif
            OF(12, 1) OF(11, 1) OF(10, 1) OF(9, 1) OF(8, 1) OF(7, 1)
            OF(6, 1) OF(5, 1) OF(4, 1) OF(3, 1) OF(2, 1) OF(1, 1)
        }
}
#undef OF

#undef NUMBER
#undef VECTOR
#undef LANES
#undef NAME
