/* The products of _small_products.pxd for one type of number. Included once for each, with NUMBER, VECTOR (the name that
   its vector type gets), LANES (numbers in a vector) and NAME(x) (a name of its own) defined. */

#include <stddef.h>
#include <string.h>

/* Rows of a that a panel is held against at a time. The sums of 6 rows and 2 vectors, the vectors themselves and one
   number of a take 15 registers of the 16 that AVX2 has. AVX-512 has 32, and 8 rows are a tenth faster there. */
#ifndef NPSOFTMAX_ROWS
#ifdef __AVX512F__
#define NPSOFTMAX_ROWS 8
#else
#define NPSOFTMAX_ROWS 6
#endif
#endif

typedef NUMBER VECTOR __attribute__((vector_size(LANES * sizeof(NUMBER)), aligned(sizeof(NUMBER)), may_alias));

/* c = `rows` rows of a with the first `vectors` vectors of each row of a panel, plus `added` (unless it is NULL), whose
   rows are ldadded apart: c itself, or a bias with 0. Rows and vectors are constants wherever this is inlined, so that
   all sums stay in registers. */
static inline __attribute__((always_inline)) void NAME(tile)(const int rows, const int vectors, const NUMBER *a,
    ptrdiff_t ra, ptrdiff_t ca, const NUMBER *panel, ptrdiff_t k, const NUMBER *added, ptrdiff_t ldadded, NUMBER *c,
    ptrdiff_t ldc, ptrdiff_t columns)
{
    VECTOR sums[NPSOFTMAX_ROWS][2], b[2];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(c + r * ldc + v * LANES, 1); /* c is needed at the end: it may come meanwhile */
            sums[r][v] = (VECTOR){0};
        }
    for (ptrdiff_t l = 0; l < k; l++) {
#ifdef NPSOFTMAX_AHEAD /* a comes from memory: its next rows are asked for, a line of each at a time */
        if (ca == 1 && l % LANES == 0)
            for (int r = 0; r < rows; r++)
                __builtin_prefetch(a + (r + rows) * ra + l);
#endif
        for (int v = 0; v < vectors; v++)
            b[v] = *(const VECTOR *)(panel + (2 * l + v) * LANES);
        for (int r = 0; r < rows; r++) {
            const NUMBER x = a[r * ra + l * ca];
            for (int v = 0; v < vectors; v++)
                sums[r][v] += x * b[v];
        }
    }
    for (int r = 0; r < rows; r++) {
        NUMBER row[2 * LANES] = {0};
        memcpy(row, sums[r], vectors * sizeof(VECTOR));
        if (added)
            for (ptrdiff_t j = 0; j < columns; j++)
                c[r * ldc + j] = row[j] + added[r * ldadded + j];
        else
            memcpy(c + r * ldc, row, columns * sizeof(NUMBER));
    }
}

/* All rows of a with one panel. */
static inline __attribute__((always_inline)) void NAME(panel)(const int vectors, const NUMBER *a, ptrdiff_t ra,
    ptrdiff_t ca, const NUMBER *panel, ptrdiff_t m, ptrdiff_t k, const NUMBER *added, ptrdiff_t ldadded, NUMBER *c,
    ptrdiff_t ldc, ptrdiff_t columns)
{
    for (; m >= NPSOFTMAX_ROWS; m -= NPSOFTMAX_ROWS, a += NPSOFTMAX_ROWS * ra, c += NPSOFTMAX_ROWS * ldc) {
        NAME(tile)(NPSOFTMAX_ROWS, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns);
        added = added ? added + NPSOFTMAX_ROWS * ldadded : NULL;
    }
    switch (m) {
#if NPSOFTMAX_ROWS > 6
    case 7: NAME(tile)(7, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
    case 6: NAME(tile)(6, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
#endif
    case 5: NAME(tile)(5, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
    case 4: NAME(tile)(4, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
    case 3: NAME(tile)(3, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
    case 2: NAME(tile)(2, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
    case 1: NAME(tile)(1, vectors, a, ra, ca, panel, k, added, ldadded, c, ldc, columns); break;
    }
}

static void NAME(product)(const NUMBER *a, ptrdiff_t ra, ptrdiff_t ca, const NUMBER *panels, ptrdiff_t m, ptrdiff_t n,
    ptrdiff_t k, const NUMBER *added, ptrdiff_t ldadded, NUMBER *c, ptrdiff_t ldc)
{
    const ptrdiff_t width = 2 * LANES;
    for (; n >= width; n -= width, panels += width * k, c += width) {
        NAME(panel)(2, a, ra, ca, panels, m, k, added, ldadded, c, ldc, 2 * LANES); /* two stores, as long as is known */
        added = added ? added + width : NULL;
    }
    if (n > LANES)
        NAME(panel)(2, a, ra, ca, panels, m, k, added, ldadded, c, ldc, n);
    else if (n > 0)
        NAME(panel)(1, a, ra, ca, panels, m, k, added, ldadded, c, ldc, n);
}

#undef NUMBER
#undef VECTOR
#undef LANES
#undef NAME
