// Convolution by tensor cores: the product of conv.cu, fed so fast that they hardly wait. For devices of compute
// capability 8.0 and later; docs/gpu.md climbs from the plain product to this one.
//
//               outputs:               COLUMNS filters       weights:               COLUMNS filters
//                                     +---------------+                            +---------------+
//                                     | w, transposed | DEPTH                      |      dy       | DEPTH positions
//                                     +---------------+                            +---------------+
//   ROWS positions n, i, j   +-----+  +-------+-------+    ROWS columns   +-----+  +-------+-------+
//                            |  x  |  | 64x64 | 64x64 |    u, v, c        |  x  |  | 64x64 | 64x64 |
//                            |     |  +-------+-------+                   |     |  +-------+-------+
//                            |     |  | of y  | a warp|                   |     |  | of dw | a warp|
//                            +-----+  +-------+-------+                   +-----+  +-------+-------+
//                    DEPTH columns u, v, c at a time                 DEPTH positions at a time, those of one part
//
// A slice is DEPTH of both factors, LINE bytes of each row; STAGES slices lie in shared memory, and while one is
// multiplied the others arrive. Products are made in steps of 32 bytes, 8 numbers of 32 bits or 16 of 16 bits. Factors
// are rounded already: to 10 bits after the point (floats, "tf32") or to 7 (bfloat16, the upper half of a float). Sums
// are float. How tensor cores share out numbers to lanes stands in the PTX manual; g is lane / 4 and t is lane % 4.
//
// The compiler's command line says how many bits a number of the factors has, how many one of y, how wide a tile is,
// and how many slices there are.
#ifndef FACTORS
#define FACTORS 32
#define RESULT 32
#define COLUMNS 128  // or 64, and as many threads as columns: a warp for each 64x64
#define STAGES 2
#endif
#define ROWS 128
#define LINE 128

#if FACTORS == 32
typedef float number;
#else
typedef unsigned short number;
#endif
#if RESULT == 32
typedef float result;
#else
typedef unsigned short result;
#endif

enum {
    SIZE = sizeof(number),
    PIECE = 16 / SIZE,                // numbers that are copied at once
    DEPTH = LINE / SIZE,              // of a slice
    STEP = 32 / SIZE,                 // of an instruction of the tensor cores
    STEPS = LINE / 32,                // of a slice
    STAGE = (ROWS + COLUMNS) * LINE,  // bytes: the left factor, then the right one
    A_ROW = ROWS * SIZE,              // bytes of a position in a slice of the factors of dw
    B_ROW = COLUMNS * SIZE
};

// ---------------------------------------------------------------- what only a device has
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define DYNAMIC_SHARED(room) extern __shared__ __align__(128) unsigned char room[]

// Within shared memory, addresses are numbers of 32 bits.
__device__ inline unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// 16 bytes into shared memory, or zeros; the program goes on.
__device__ inline void fetch(unsigned to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// The same, kept in the first-level cache for those who want it too.
__device__ inline void fetch_and_keep(unsigned to, const void* from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// What was fetched since the last call is one stage.
__device__ inline void end_of_stage() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all stages but the last LEFT have arrived.
template <int LEFT>
__device__ inline void wait_for_stages() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

// Four squares of 8 rows of 16 bytes; lane 8 q + r says where row r of square q is, and gets word t of row g of each.
__device__ inline void ldmatrix(unsigned* to, unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

// The same of squares of 16-bit numbers, transposed: a lane gets number g of rows 2 t and 2 t + 1 of each.
__device__ inline void ldmatrix_trans(unsigned* to, unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

// One word of shared memory, and two.
__device__ inline void read_word(unsigned* to, unsigned from) {
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(to[0]) : "r"(from) : "memory");
}
__device__ inline void read_words(unsigned* to, unsigned from) {
    asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(from) : "memory");
}

// d += a b for 16x8x8 numbers of tf32.
__device__ inline void mma_tf32(float* d, const unsigned* a, const unsigned* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for 16x8x16, two bfloat16 in a word.
__device__ inline void mma_bf16(float* d, const unsigned* a, const unsigned* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#elif defined(__CUDA_ARCH__)
// Older devices are never asked for these products.
#define DYNAMIC_SHARED(room) extern __shared__ __align__(128) unsigned char room[]
__device__ inline unsigned shared_address(const void* p) { return 0; }
__device__ inline void fetch(unsigned to, const void* from, bool there) { __trap(); }
__device__ inline void fetch_and_keep(unsigned to, const void* from, bool there) { __trap(); }
__device__ inline void end_of_stage() {}
template <int LEFT>
__device__ inline void wait_for_stages() {}
__device__ inline void ldmatrix(unsigned* to, unsigned row) { __trap(); }
__device__ inline void ldmatrix_trans(unsigned* to, unsigned row) { __trap(); }
__device__ inline void read_word(unsigned* to, unsigned from) { __trap(); }
__device__ inline void read_words(unsigned* to, unsigned from) { __trap(); }
__device__ inline void mma_tf32(float* d, const unsigned* a, const unsigned* b) { __trap(); }
__device__ inline void mma_bf16(float* d, const unsigned* a, const unsigned* b) { __trap(); }
#endif

// ---------------------------------------------------------------- where a pixel is
struct Shape {
    int h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, f, positions, columns;
};

// A tap is a place of the kernel, a corner the first pixel that an output sees, perhaps in the padding. The pixel that
// a corner's tap falls on is at the sum of both offsets, and is there if the corner sees all that the tap asks for: bit
// u for row u of the kernel, bit 16 + v for its column v. So a fetch costs an addition and a comparison.
struct alignas(8) Place {
    int offset;
    unsigned sees;
};
#define NEVER 0x80000000u  // no corner sees it

__device__ inline Place tap_at(const Shape& s, int tap) {
    const int down = tap / s.kw, across = tap % s.kw;
    return {(down * s.w + across) * s.c, 1u << down | 1u << (16 + across)};
}

// Bits of those of `taps` taps that fall on one of `size` pixels, the first at place `first`.
__device__ inline unsigned within(int first, int taps, int size) {
    const int from = first < 0 ? -first : 0, to = taps < size - first ? taps : size - first;
    return from < to ? (1u << to) - (1u << from) : 0;
}

__device__ inline Place corner_at(const Shape& s, int image, int i, int j) {
    const int top = i * s.sh - s.ph, left = j * s.sw - s.pw;
    return {((image * s.h + top) * s.w + left) * s.c, within(top, s.kh, s.h) | within(left, s.kw, s.w) << 16};
}

__device__ inline bool falls_on_a_pixel(Place tap, Place corner) { return (tap.sees & corner.sees) == tap.sees; }

// ---------------------------------------------------------------- where a number is in shared memory
// Piece (16 bytes) of a row. Memory has 32 banks of 4 bytes, and what a warp wants of one bank at once has to queue. So
// within each eight pieces of a row, which are all banks, pieces are exchanged by the number of the row: then eight
// pieces of a row lie on different banks, and so do one piece of eight rows, and two neighbours of four rows.
__device__ inline unsigned place(int row, int piece, int bytes_of_a_row) {
    return (unsigned)(row * bytes_of_a_row + (piece ^ (row % 4 * 2 + row / 4 % 2)) * 16);
}

// With a number of threads that the compiler knows, it sees which bits of an address are fixed.
__device__ inline int thread() { return (int)threadIdx.x % COLUMNS; }
__device__ inline int lane() { return (int)threadIdx.x % 32; }

// Of the 64x64 of this warp in its tile.
__device__ inline int first_row() { return (int)threadIdx.x / 32 % 2 * 64; }
__device__ inline int first_column() { return (int)threadIdx.x / 64 * 64; }

// Tensor cores take 64 columns as eight times eight: here is number n of eight k. Which are eight is ours to choose,
// and chosen so that the results of a lane (n = 2 t and 2 t + 1) for k to k + 3 stand side by side, as 16 bytes of a
// row, and those of four lanes as 64.
__device__ inline int spread(int k, int n) { return k / 4 * 32 + n % 2 * 16 + n / 2 * 4 + k % 4; }

// What a warp multiplies in a step, 64 rows by 64 columns: left[i] is 16 rows, right[j] twice 8 columns.
struct Fragments {
    unsigned left[4][4], right[4][4];
};

// Of rows 16 i + g and 16 i + 8 + g, columns 8 j + 2 t and one more, as tensor cores count them.
struct Sums {
    float of[4][8][4];
};

// ---------------------------------------------------------------- the slices of y
// Position row and column k of x, filter row and column k of w; LINE bytes a row.
struct Outputs {
    Shape s;
    const number *x, *w;  // w (F, KH, KW, C)
    const Place *corners, *taps;
    int filter;                // the first of the tile
    int column, tap, channel;  // of the piece that this thread fetches next
};

__device__ inline void load(Outputs& job, unsigned a, unsigned b) {
    enum { AT_ONCE = COLUMNS / 8 };  // rows, by eight threads each
    const int row = thread() / 8;
    const unsigned to = place(row, thread() % 8, LINE);
    const bool there = job.column < job.s.columns;
    const Place tap = job.taps[there ? job.tap : 0];
    Place corners[ROWS / AT_ONCE];
    for (int i = 0; i < ROWS / AT_ONCE; i++) corners[i] = job.corners[row + i * AT_ONCE];
#pragma unroll
    for (int i = 0; i < ROWS / AT_ONCE; i++)
        fetch_and_keep(a + to + i * AT_ONCE * LINE, job.x + (corners[i].offset + tap.offset + job.channel),
                       there && falls_on_a_pixel(tap, corners[i]));
    const int filter = job.filter + spread(row / 8, row % 8);
#pragma unroll
    for (int i = 0; i < COLUMNS / AT_ONCE; i++) {
        const int eight = i * AT_ONCE / 8, of = filter + eight / 8 * 64 + spread(eight % 8, 0);
        fetch(b + to + i * AT_ONCE * LINE, job.w + (of * job.s.columns + job.column), there && of < job.s.f);
    }
    if (job.s.c % DEPTH == 0) {  // DEPTH channels of all taps, then the next: most of their pixels were just here
        job.tap++;
        job.column += job.s.c;
        if (job.column >= job.s.columns) job.tap = 0, job.column = job.channel += DEPTH;
    } else {
        job.column += DEPTH;
        for (job.channel += DEPTH; job.channel >= job.s.c; job.channel -= job.s.c) job.tap++;
    }
}

__device__ inline void take(const Outputs&, unsigned a, unsigned b, int step, Fragments& f) {
    const unsigned left = a + place(first_row() + lane() % 16, 2 * step + lane() / 16, LINE);
    const unsigned right = b + place(first_column() + lane() / 16 * 8 + lane() % 8, 2 * step + lane() / 8 % 2, LINE);
    for (int i = 0; i < 4; i++) ldmatrix(f.left[i], left + 16 * i * LINE);
    for (int j = 0; j < 4; j++) ldmatrix(f.right[j], right + 16 * j * LINE);
}

// ---------------------------------------------------------------- the slices of dw
// Position k is a row: of all columns of the tile of x, of all its filters of dy.
struct Weights {
    Shape s;
    const number *x, *dy;
    Place* corners;  // twice DEPTH, of the positions of the next slice and of the one after it
    Place tap;       // and channel, of the piece that this thread fetches of each position
    int filter;                 // the first of the tile
    int position, turn;         // of the slice to fetch next: its first position, and which corners are its own
    int image, i, j;            // of the next corner that this thread computes
    int images, rows, columns;  // that make DEPTH positions
};

// The corners of a slice; positions go on by DEPTH, a number with the digits (image, i, j) in base (OH, OW).
__device__ inline void write_corners(Weights& job, int position, int turn) {
    const int me = (int)threadIdx.x;
    if (me >= DEPTH) return;
    Place corner = {0, 0};
    if (position + me < job.s.positions) corner = corner_at(job.s, job.image, job.i, job.j);
    job.corners[turn * DEPTH + me] = corner;
    job.image += job.images;
    job.i += job.rows;
    job.j += job.columns;
    if (job.j >= job.s.ow) job.j -= job.s.ow, job.i++;  // at most one to carry
    if (job.i >= job.s.oh) job.i -= job.s.oh, job.image++;
}

__device__ inline void load(Weights& job, unsigned a, unsigned b) {
    enum { A_PIECES = ROWS / PIECE, A_AT_ONCE = COLUMNS / A_PIECES, B_PIECES = COLUMNS / PIECE, B_AT_ONCE = PIECE };
    Place corners[DEPTH / A_AT_ONCE];
    for (int i = 0; i < DEPTH / A_AT_ONCE; i++)
        corners[i] = job.corners[job.turn * DEPTH + i * A_AT_ONCE + thread() / A_PIECES];
#pragma unroll
    for (int i = 0; i < DEPTH / A_AT_ONCE; i++)
        fetch(a + place(i * A_AT_ONCE + thread() / A_PIECES, thread() % A_PIECES, A_ROW),
              job.x + (corners[i].offset + job.tap.offset), falls_on_a_pixel(job.tap, corners[i]));
    const int filter = job.filter + thread() % B_PIECES * PIECE;
#pragma unroll
    for (int i = 0; i < DEPTH; i += B_AT_ONCE) {
        const int k = i + thread() / B_PIECES;
        fetch(b + place(k, thread() % B_PIECES, B_ROW), job.dy + ((job.position + k) * job.s.f + filter),
              job.position + k < job.s.positions && filter < job.s.f);
    }
    job.position += DEPTH;
    job.turn = 1 - job.turn;
    write_corners(job, job.position, job.turn);
}

// Positions are rows here, and tensor cores want columns. Of 16 bits, ldmatrix transposes them. Of 32 bits it cannot: a
// lane reads each number where it is, of the left factor two side by side, which serve as rows g and g + 8.
__device__ inline void take(const Weights&, unsigned a, unsigned b, int step, Fragments& f) {
    a += (unsigned)(first_row() * SIZE + STEP * step * A_ROW);
    b += (unsigned)(first_column() * SIZE + STEP * step * B_ROW);
#if FACTORS == 16
    const int k = lane() % 8, q = lane() / 8;
    for (int i = 0; i < 4; i++) ldmatrix_trans(f.left[i], a + place(q / 2 * 8 + k, 2 * i + q % 2, A_ROW));
    for (int j = 0; j < 4; j++) ldmatrix_trans(f.right[j], b + place(q % 2 * 8 + k, 2 * j + q / 2, B_ROW));
#else
    const int g = lane() / 4, t = lane() % 4;
    const unsigned in_left = (unsigned)g % 2 * 8, in_right = (unsigned)g % 4 * 4;  // bytes, of a piece
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 4; i++)
            read_words(f.left[i] + 2 * k, a + i / 2 * 128 + place(4 * k + t, i % 2 * 4 + g / 2, A_ROW) + in_left);
        for (int j = 0; j < 8; j++)
            read_word(f.right[j / 2] + j % 2 * 2 + k,
                      b + j / 4 * 128 + place(4 * k + t, j % 4 * 2 + g / 4, B_ROW) + in_right);
    }
#endif
}

// ---------------------------------------------------------------- a tile
__device__ inline void multiply(const Fragments& f, Sums& sums) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 8; j++)
#if FACTORS == 32
            mma_tf32(sums.of[i][j], f.left[i], f.right[j / 2] + j % 2 * 2);
#else
            mma_bf16(sums.of[i][j], f.left[i], f.right[j / 2] + j % 2 * 2);
#endif
}

// So many slices of both factors, multiplied and added up in their order. The job's tables for the first are written.
template <class Job>
__device__ inline void multiply_slices(Job& job, int slices, unsigned room, Sums& sums) {
    for (unsigned i = 0; i < STAGES - 1; i++) {
        __syncthreads();  // all can read the tables
        if ((int)i < slices) load(job, room + i * STAGE, room + i * STAGE + ROWS * LINE);
        end_of_stage();
    }
    unsigned here = 0, free = STAGES - 1;
    for (int slice = 0; slice < slices; slice++) {
        wait_for_stages<STAGES - 2>();
        __syncthreads();  // all have this slice, and the one before is no longer needed
        if (slice + STAGES - 1 < slices) load(job, room + free * STAGE, room + free * STAGE + ROWS * LINE);
        end_of_stage();
        const unsigned stage = room + here * STAGE;
        Fragments f[2];
        take(job, stage, stage + ROWS * LINE, 0, f[0]);
#pragma unroll
        for (int step = 0; step < STEPS; step++) {  // the next step's numbers arrive beside this one's products
            if (step + 1 < STEPS) take(job, stage, stage + ROWS * LINE, step + 1, f[(step + 1) % 2]);
            multiply(f[step % 2], sums);
        }
        here = here + 1 < STAGES ? here + 1 : 0;
        free = free + 1 < STAGES ? free + 1 : 0;
    }
}

// ---------------------------------------------------------------- results
struct alignas(16) FourFloats {
    float of[4];
};

struct alignas(8) TwoFloats {
    float of[2];
};

struct alignas(8) FourShorts {
    unsigned short of[4];
};

__device__ inline void write(float* to, const FourFloats& x) { *(FourFloats*)to = x; }
__device__ inline void write(unsigned short* to, const FourFloats& x) {
    const FourShorts four = {{upper_half(x.of[0]), upper_half(x.of[1]), upper_half(x.of[2]), upper_half(x.of[3])}};
    *(FourShorts*)to = four;
}

// The four that stand side by side from column spread(4 k, 2 t + n) on, of row `row` of eight times eight.
__device__ inline FourFloats four_of(const Sums& sums, int row, int k, int n) {
    FourFloats four;
    for (int i = 0; i < 4; i++) four.of[i] = sums.of[row / 2][4 * k + i][row % 2 * 2 + n];
    return four;
}

// y = im2col(x) @ wT.T + b, or max(y, 0). A block a tile, those of one row side by side: they want the same pixels.
// room: STAGES * STAGE bytes, then ROWS places and one for each tap.
KERNEL outputs(const number* x, const number* w, const float* b, result* y, int relu, int h, int width, int c, int oh,
               int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    DYNAMIC_SHARED(room);
    const Shape s = {h, width, c, oh, ow, kh, kw, sh, sw, ph, pw, f, positions, kh * kw * c};
    Place* const corners = (Place*)(room + STAGES * STAGE);
    Place* const taps = corners + ROWS;
    const int me = (int)threadIdx.x, across = (f + COLUMNS - 1) / COLUMNS, column = me % 8 * PIECE;
    const int first = (int)blockIdx.x / across * ROWS, filter = (int)blockIdx.x % across * COLUMNS;
    for (int row = me; row < ROWS; row += COLUMNS) {
        const int position = first + row, line = position / ow;
        corners[row] = corner_at(s, line / oh, line % oh, position % ow);
        if (position >= positions) corners[row] = {0, 0};
    }
    for (int tap = me; tap < kh * kw; tap += COLUMNS) taps[tap] = tap_at(s, tap);
    Outputs job = {s, x, w, corners, taps, filter, column, column / c, column % c};
    Sums sums = {};
    multiply_slices(job, (s.columns + DEPTH - 1) / DEPTH, shared_address(room), sums);
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int row = 0; row < 8; row++)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int position = first + first_row() + 8 * row + g;
            const int of = filter + first_column() + spread(k / 2 * 4, 2 * t + k % 2);
            if (position >= positions || of >= f) continue;
            FourFloats four = four_of(sums, row, k / 2, k % 2);
            if (b) {
                const FourFloats more = *(const FourFloats*)(b + of);
                for (int i = 0; i < 4; i++) four.of[i] += more.of[i];
            }
            if (relu)
                for (int i = 0; i < 4; i++) four.of[i] = four.of[i] < 0 ? 0 : four.of[i];
            write(y + (position * f + of), four);
        }
}

// Of dw = im2col(x).T @ dy what the slices of one part come to. Tiles along the first axis of the grid (those of one
// row side by side), parts along the second. room: STAGES * STAGE bytes, then 2 DEPTH places.
KERNEL weights(const number* x, const number* dy, float* parts, int slices, int h, int width, int c, int oh, int ow,
               int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    DYNAMIC_SHARED(room);
    const Shape s = {h, width, c, oh, ow, kh, kw, sh, sw, ph, pw, f, positions, kh * kw * c};
    const int me = (int)threadIdx.x, across = (f + COLUMNS - 1) / COLUMNS, part = (int)blockIdx.y;
    const int row = (int)blockIdx.x / across * ROWS, filter = (int)blockIdx.x % across * COLUMNS;
    const int first = part * slices * DEPTH, line = (first + me) / ow, column = row + me % (ROWS / PIECE) * PIECE;
    Place tap = tap_at(s, column / c);
    tap.offset += column % c;
    if (column >= s.columns) tap.sees = NEVER;
    Weights job = {s, x, dy, (Place*)(room + STAGES * STAGE), tap, filter, first, 0,
                   line / oh, line % oh, (first + me) % ow, DEPTH / ow / oh, DEPTH / ow % oh, DEPTH % ow};
    write_corners(job, first, 0);
    const int all = (positions + DEPTH - 1) / DEPTH, rest = all - part * slices;
    Sums sums = {};
    multiply_slices(job, slices < rest ? slices : rest, shared_address(room), sums);
    float* const dw = parts + (long long)part * s.columns * f;
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int k = 0; k < 8; k++) {
        const int to = row + first_row() + (FACTORS == 32 ? k / 2 * 16 + g * 2 + k % 2 : k * 8 + g);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const int from = filter + first_column() + 8 * j + 2 * t;
            const TwoFloats two = {{sums.of[k / 2][j][k % 2 * 2], sums.of[k / 2][j][k % 2 * 2 + 1]}};
            if (to < s.columns && from < f) *(TwoFloats*)(dw + (to * f + from)) = two;
        }
    }
}
