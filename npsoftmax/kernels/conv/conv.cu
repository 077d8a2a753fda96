// Convolution as one matrix product whose left factor, the columns of reference.im2col, is never written down: a block
// looks the pixels up while it multiplies ("implicit GEMM", Chetlur et al. 2014, arXiv 1410.0759).
//
//                       COLUMNS filters f                              COLUMNS filters f
//                      +---------------+                              +---------------+
//                      | w, transposed | DEPTH                        |      dy       | DEPTH positions
//                      +---------------+                              +---------------+
//   ROWS      +-----+  +---------------+           ROWS      +-----+  +---------------+
//   positions |  x  |  |   tile of y   |           columns   |  x  |  |  tile of dw   |
//   n, i, j   +-----+  +---------------+           u, v, c   +-----+  +---------------+
//              DEPTH columns u, v, c                          DEPTH positions n, i, j
//              of it at a time                                of it at a time, those of one part
//
// A block makes one tile, each of its threads 4x8 numbers of it. This is the product in full, of floats or doubles, for
// every device, and the first rung of the ladder in docs/gpu.md; conv_tensor.cu has the same by tensor cores.

#define ROWS 128
#define COLUMNS 64
#define DEPTH (64 / (int)sizeof(real))  // 64 bytes of a row of a slice
#define PIECE (16 / (int)sizeof(real))  // numbers that are copied at once

struct alignas(16) Piece {
    real of[PIECE];
};

// ---------------------------------------------------------------- which pixel a column entry is
struct Shape {
    int h, w, c, oh, ow, kw, sh, sw, ph, pw, f, positions, columns;
};

// 16 bytes of the columns of x, along the channels; zeros in the padding and beyond.
__device__ inline Piece pixels(const real* x, const Shape& s, int position, int column) {
    const int line = position / s.ow, tap = column / s.c;
    const int i = line % s.oh * s.sh - s.ph + tap / s.kw, j = position % s.ow * s.sw - s.pw + tap % s.kw;
    const bool there = position < s.positions && column < s.columns && i >= 0 && i < s.h && j >= 0 && j < s.w;
    return there ? *(const Piece*)(x + ((line / s.oh * s.h + i) * s.w + j) * s.c + column % s.c) : Piece{};
}

__device__ inline Piece numbers(const real* from, bool there) { return there ? *(const Piece*)from : Piece{}; }

// ---------------------------------------------------------------- a tile
// The factors of a slice: number k of each row and of each column of the tile.
struct Slice {
    real rows[DEPTH][ROWS + 4], columns[DEPTH][COLUMNS + 4];
};

// Of four rows, and of eight columns that are pieces: those of eight threads are side by side.
struct Sums {
    real of[4][8];
};

__device__ inline int first_row() { return (int)threadIdx.x / 8 * 4; }
__device__ inline int column_of(int j) { return (j / PIECE * 8 + (int)threadIdx.x % 8) * PIECE + j % PIECE; }

__device__ inline void multiply(const Slice& slice, Sums& sums) {
    for (int k = 0; k < DEPTH; k++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 8; j++)
                sums.of[i][j] += slice.rows[k][first_row() + i] * slice.columns[k][column_of(j)];
}

// y = im2col(x) @ wT.T + b, or max(y, 0). A block a tile, those of one row side by side.
KERNEL outputs_full(const real* x, const real* w, const real* b, real* y, int relu, int h, int width, int c, int oh,
                    int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    alignas(16) __shared__ Slice slice;
    const Shape s = {h, width, c, oh, ow, kw, sh, sw, ph, pw, f, positions, kh * kw * c};
    const int across = (f + COLUMNS - 1) / COLUMNS;
    const int position = (int)blockIdx.x / across * ROWS, filter = (int)blockIdx.x % across * COLUMNS;
    const int row = (int)threadIdx.x / 4, place = (int)threadIdx.x % 4 * PIECE;
    Sums sums = {};
    for (int first = 0; first < s.columns; first += DEPTH) {
        const int column = first + place;
        const Piece left = pixels(x, s, position + row, column), below = pixels(x, s, position + row + 64, column);
        const Piece right = numbers(w + ((filter + row) * s.columns + column), filter + row < f && column < s.columns);
        __syncthreads();  // nobody needs the slice before any longer
        for (int i = 0; i < PIECE; i++) {
            slice.rows[place + i][row] = left.of[i];
            slice.rows[place + i][row + 64] = below.of[i];
            slice.columns[place + i][row] = right.of[i];
        }
        __syncthreads();  // all have this one
        multiply(slice, sums);
    }
    for (int j = 0; j < 8; j += PIECE) {
        const int of = filter + column_of(j);
        const Piece bias = numbers(b + of, b && of < f);
        for (int i = 0; i < 4; i++) {
            const int to = position + first_row() + i;
            Piece value;
            for (int n = 0; n < PIECE; n++) {
                value.of[n] = sums.of[i][j + n] + bias.of[n];
                if (relu && value.of[n] < 0) value.of[n] = 0;
            }
            if (to < positions && of < f) *(Piece*)(y + (to * f + of)) = value;
        }
    }
}

// Of dw = im2col(x).T @ dy what the slices of one part come to. Tiles along the first axis of the grid (those of one
// row side by side), parts along the second.
KERNEL weights_full(const real* x, const real* dy, real* parts, int slices, int h, int width, int c, int oh, int ow,
                    int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    alignas(16) __shared__ Slice slice;
    const Shape s = {h, width, c, oh, ow, kw, sh, sw, ph, pw, f, positions, kh * kw * c};
    const int across = (f + COLUMNS - 1) / COLUMNS, part = (int)blockIdx.y;
    const int column = (int)blockIdx.x / across * ROWS, filter = (int)blockIdx.x % across * COLUMNS;
    const int first = part * slices * DEPTH, end = first + slices * DEPTH, last = end < positions ? end : positions;
    Sums sums = {};
    for (int position = first; position < last; position += DEPTH) {
        __syncthreads();
        for (int n = (int)threadIdx.x; n < DEPTH * ROWS / PIECE; n += BLOCK) {
            const int k = n / (ROWS / PIECE), place = n % (ROWS / PIECE) * PIECE;
            *(Piece*)(slice.rows[k] + place) = pixels(x, s, position + k, column + place);
        }
        for (int n = (int)threadIdx.x; n < DEPTH * COLUMNS / PIECE; n += BLOCK) {
            const int k = n / (COLUMNS / PIECE), of = filter + n % (COLUMNS / PIECE) * PIECE;
            const bool there = position + k < positions && of < f;
            *(Piece*)(slice.columns[k] + of - filter) = numbers(dy + ((position + k) * f + of), there);
        }
        __syncthreads();
        multiply(slice, sums);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 8; j += PIECE) {
            const int to = column + first_row() + i, of = filter + column_of(j);
            Piece value;
            for (int n = 0; n < PIECE; n++) value.of[n] = sums.of[i][j + n];
            if (to < s.columns && of < f) *(Piece*)(parts + (((long long)part * s.columns + to) * f + of)) = value;
        }
}

KERNEL add_parts(const real* parts, real* dw, int count, int items) {
    ITEM(i, items);
    double sum = 0;
    for (int part = 0; part < count; part++) sum += parts[(long long)part * items + i];
    dw[i] = (real)sum;
}
