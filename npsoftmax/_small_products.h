/* The products of _small_products.pxd for one type of number. Included once for each, with NUMBER, VECTOR (the name that
   its vector type gets), LANES (numbers in a vector) and NAME(x) (a name of its own) defined. */

#include <stddef.h>
#include <string.h>

#ifndef NPSOFTMAX_ROWS
#define NPSOFTMAX_ROWS 4
#endif

typedef NUMBER VECTOR __attribute__((vector_size(LANES * sizeof(NUMBER)), aligned(sizeof(NUMBER)), may_alias));

/* `rows` rows of a with one panel of b, two vectors wide. rows is a constant wherever this is inlined, so that all sums
   stay in registers. */
static inline __attribute__((always_inline)) void NAME(rows)(const int rows, const NUMBER *a, ptrdiff_t ra,
    ptrdiff_t ca, const NUMBER *panel, ptrdiff_t k, NUMBER *c, ptrdiff_t ldc, ptrdiff_t columns, int more)
{
    VECTOR sums[NPSOFTMAX_ROWS][2];
    for (int r = 0; r < rows; r++)
        sums[r][0] = sums[r][1] = (VECTOR){0};
    for (ptrdiff_t l = 0; l < k; l++) {
        const VECTOR left = *(const VECTOR *)(panel + 2 * LANES * l);
        const VECTOR right = *(const VECTOR *)(panel + 2 * LANES * l + LANES);
        for (int r = 0; r < rows; r++) {
            const NUMBER x = a[r * ra + l * ca];
            sums[r][0] += x * left;
            sums[r][1] += x * right;
        }
    }
    for (int r = 0; r < rows; r++) {
        NUMBER row[2 * LANES];
        memcpy(row, sums[r], sizeof(row));
        if (more)
            for (ptrdiff_t j = 0; j < columns; j++)
                c[r * ldc + j] += row[j];
        else
            memcpy(c + r * ldc, row, columns * sizeof(NUMBER));
    }
}

static void NAME(product)(const NUMBER *a, ptrdiff_t ra, ptrdiff_t ca, const NUMBER *panels, ptrdiff_t m, ptrdiff_t n,
    ptrdiff_t k, NUMBER *c, ptrdiff_t ldc, int more)
{
    const ptrdiff_t width = 2 * LANES;
    for (ptrdiff_t j = 0; j < n; j += width, panels += width * k) {
        const ptrdiff_t columns = n - j < width ? n - j : width;
        ptrdiff_t i = 0;
        for (; i + NPSOFTMAX_ROWS <= m; i += NPSOFTMAX_ROWS)
            if (columns == width) /* a copy of known length is two stores */
                NAME(rows)(NPSOFTMAX_ROWS, a + i * ra, ra, ca, panels, k, c + i * ldc + j, ldc, 2 * LANES, more);
            else
                NAME(rows)(NPSOFTMAX_ROWS, a + i * ra, ra, ca, panels, k, c + i * ldc + j, ldc, columns, more);
        for (; i < m; i++)
            NAME(rows)(1, a + i * ra, ra, ca, panels, k, c + i * ldc + j, ldc, columns, more);
    }
}

#undef NUMBER
#undef VECTOR
#undef LANES
#undef NAME
