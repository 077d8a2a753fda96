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
// A block makes one tile. Its 8 warps have 32x32 of it each, as 2x4 pieces of 16x8, the size that tensor cores multiply.
// While a slice (DEPTH of both factors) is multiplied, the next two are on their way into shared memory. Rows of a
// factor are 64 bytes of a slice whatever the numbers: 8 doubles, 16 floats or 32 bfloat16.
//
// The products are in full (`Full`: float or double), or of tensor cores: `Tf32` (floats rounded to 10 bits after the
// point) or `Bf16` (7 bits), sums in float. These differ in `multiply` alone. What only a device has (copies that go on
// beside the program, products of a warp) are the six functions below; tests/cuda_on_cpu.h has the same for the CPU.

#define ROWS 128
#define COLUMNS 64
#define STAGES 3
#define SLICE 15360  // bytes of both factors in a stage, with what keeps their rows on different banks

// ---------------------------------------------------------------- what only a device has
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
// 16 bytes into shared memory, or zeros; the program goes on.
__device__ inline void fetch(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

// What was fetched since the last call is one stage.
__device__ inline void end_of_stage() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all stages but the last STAGES - 2 have arrived.
__device__ inline void wait_for_stage() { asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory"); }

__device__ inline unsigned tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// d += a b for 16x8x8 numbers, shared out to the lanes of a warp as the PTX manual says.
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
// Older devices copy in the program's own time, and are never asked for these products.
__device__ inline void fetch(void* to, const void* from, bool there) {
    *(uint4*)to = there ? *(const uint4*)from : make_uint4(0, 0, 0, 0);
}
__device__ inline void end_of_stage() {}
__device__ inline void wait_for_stage() {}
__device__ inline unsigned tf32(float x) { return 0; }
__device__ inline void mma_tf32(float* d, const unsigned* a, const unsigned* b) { __trap(); }
__device__ inline void mma_bf16(float* d, const unsigned* a, const unsigned* b) { __trap(); }
#endif

struct Full {
    typedef real number, sum;
};
struct Tf32 {
    typedef float number, sum;
};
struct Bf16 {
    typedef unsigned short number;
    typedef float sum;
};

// ---------------------------------------------------------------- which pixel a column entry is
struct Shape {
    int h, w, c, oh, ow, kw, sh, sw, ph, pw, f, positions, columns;
};

struct Corner {
    int image, top, left;
};

struct Tap {
    int down, across, channel;
};

// The first pixel, perhaps in the padding, that the output at a position sees.
__device__ inline Corner corner_of(const Shape& s, int position) {
    const int rest = position / s.ow;
    return {rest / s.oh, rest % s.oh * s.sh - s.ph, position % s.ow * s.sw - s.pw};
}

__device__ inline Tap tap_of(const Shape& s, int column) {
    const int rest = column / s.c;
    return {rest / s.kw, rest % s.kw, column % s.c};
}

// 16 bytes of x along the channels, zeros in the padding and where `there` is false.
template <class T>
__device__ inline void fetch_pixel(T* to, const T* x, const Shape& s, Corner corner, Tap tap, bool there) {
    const int row = corner.top + tap.down, column = corner.left + tap.across;
    there = there && row >= 0 && row < s.h && column >= 0 && column < s.w;
    fetch(to, there ? x + ((corner.image * s.h + row) * s.w + column) * s.c + tap.channel : x, there);
}

// ---------------------------------------------------------------- slices: element (row, k) is at [row * ROW + k * DEEP]
// y: position row and column k of x, filter row and column k of w (F, KH, KW, C).
template <class Kind>
struct Outputs {
    typedef typename Kind::number T;
    enum { PIECE = 16 / sizeof(T), DEPTH = 64 / sizeof(T), A_ROW = 80 / sizeof(T), A_DEEP = 1, B_ROW = A_ROW, B_DEEP = 1 };
    Shape s;
    const T *x, *w;
    int position, filter;
    Corner corners[2];  // of the two positions whose pixels this thread fetches
};

template <class Kind, class T>
__device__ inline void load(const Outputs<Kind>& job, int slice, T* a, T* b) {
    typedef Outputs<Kind> J;
    const int row = (int)threadIdx.x / 4, place = (int)threadIdx.x % 4 * J::PIECE, column = slice * J::DEPTH + place;
    const bool there = column < job.s.columns;
    const Tap tap = tap_of(job.s, column);
    for (int i = 0; i < 2; i++)
        fetch_pixel(a + (row + 64 * i) * J::A_ROW + place, job.x, job.s, job.corners[i], tap,
                    there && job.position + row + 64 * i < job.s.positions);
    const int filter = job.filter + row;
    const bool used = there && filter < job.s.f;
    fetch(b + row * J::B_ROW + place, used ? job.w + filter * job.s.columns + column : job.w, used);
}

// dw: column row and position k of x, filter row and position k of dy.
template <class Kind>
struct Weights {
    typedef typename Kind::number T;
    enum { PIECE = 16 / sizeof(T), DEPTH = 64 / sizeof(T), A_ROW = 1, A_DEEP = ROWS + 8, B_ROW = 1, B_DEEP = COLUMNS + 8 };
    Shape s;
    const T *x, *dy;
    int column, filter;
};

template <class Kind, class T>
__device__ inline void load(const Weights<Kind>& job, int slice, T* a, T* b) {
    typedef Weights<Kind> J;
    const int me = (int)threadIdx.x, across = ROWS / J::PIECE, place = me % across * J::PIECE;
    const Tap tap = tap_of(job.s, job.column + place);
    for (int k = me / across; k < J::DEPTH; k += BLOCK / across) {
        const int position = slice * J::DEPTH + k;
        fetch_pixel(a + k * J::A_DEEP + place, job.x, job.s, corner_of(job.s, position), tap,
                    position < job.s.positions && job.column + place < job.s.columns);
    }
    const int filters = COLUMNS / J::PIECE, k = me / filters, position = slice * J::DEPTH + k;
    const int piece = me % filters * J::PIECE, filter = job.filter + piece;
    const bool used = position < job.s.positions && filter < job.s.f;
    fetch(b + k * J::B_DEEP + piece, used ? job.dy + position * job.s.f + filter : job.dy, used);
}

// ---------------------------------------------------------------- products of a slice
// A thread has 32 numbers of the 32x32 of its warp, of[i][j][q] in piece (i, j): of row lane / 4, or 8 more for a q of
// 2 and 3, and of column lane % 4 * 2, or 1 more for an odd q. That is how tensor cores give their results.
template <class S>
struct Sums {
    S of[2][4][4];
};

__device__ inline int first_row() { return (int)threadIdx.x / 32 % 4 * 32 + (int)threadIdx.x % 32 / 4; }
__device__ inline int first_column() { return (int)threadIdx.x / 128 * 32; }

// Where in its tile number n of them is.
__device__ inline int row_of(int n) { return first_row() + n / 16 * 16 + n / 2 % 2 * 8; }
__device__ inline int column_of(int n) { return first_column() + n / 4 % 4 * 8 + (int)threadIdx.x % 4 * 2 + n % 2; }

template <class J>
__device__ inline void multiply(Full, const real* a, const real* b, Sums<real>& sums) {
    const int row = first_row(), column = first_column() + (int)threadIdx.x % 4 * 2;
    for (int k = 0; k < J::DEPTH; k++) {
        real left[4], right[8];
        for (int i = 0; i < 4; i++) left[i] = a[(row + 8 * i) * J::A_ROW + k * J::A_DEEP];
        for (int j = 0; j < 8; j++) right[j] = b[(column + j / 2 * 8 + j % 2) * J::B_ROW + k * J::B_DEEP];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 8; j++) sums.of[i / 2][j / 2][i % 2 * 2 + j % 2] += left[i] * right[j];
    }
}

// Word number k of a row of a slice, as tensor cores take it.
template <int ROW, int DEEP>
__device__ inline unsigned word(const float* slice, int row, int k) {
    return tf32(slice[row * ROW + k * DEEP]);
}

template <int ROW, int DEEP>
__device__ inline unsigned word(const unsigned short* slice, int row, int k) {
    const unsigned short* first = slice + row * ROW + 2 * k * DEEP;
    return DEEP == 1 ? *(const unsigned*)first : (unsigned)first[0] | (unsigned)first[DEEP] << 16;
}

__device__ inline void mma(Tf32, float* d, const unsigned* a, const unsigned* b) { mma_tf32(d, a, b); }
__device__ inline void mma(Bf16, float* d, const unsigned* a, const unsigned* b) { mma_bf16(d, a, b); }

template <class J, class Kind, class T>
__device__ inline void multiply(Kind kind, const T* a, const T* b, Sums<float>& sums) {
    const int row = first_row(), column = first_column() + (int)threadIdx.x % 32 / 4;
    for (int k = (int)threadIdx.x % 4; k < 16; k += 8) {
        unsigned left[2][4], right[4][2];
        for (int i = 0; i < 2; i++)
            for (int q = 0; q < 4; q++)
                left[i][q] = word<J::A_ROW, J::A_DEEP>(a, row + 16 * i + q % 2 * 8, k + q / 2 * 4);
        for (int j = 0; j < 4; j++)
            for (int q = 0; q < 2; q++) right[j][q] = word<J::B_ROW, J::B_DEEP>(b, column + 8 * j, k + 4 * q);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 4; j++) mma(kind, sums.of[i][j], left[i], right[j]);
    }
}

// ---------------------------------------------------------------- a tile
// Slices `first` to `last` of both factors, multiplied and added up in this order.
template <class Kind, class J>
__device__ inline void multiply_slices(Kind kind, const J& job, int first, int last, void* room,
                                       Sums<typename Kind::sum>& sums) {
    typedef typename Kind::number T;
    const int size = SLICE / sizeof(T), a_size = J::A_ROW > 1 ? ROWS * J::A_ROW : J::DEPTH * J::A_DEEP;
    T* const stages = (T*)room;
    for (int i = 0; i < STAGES - 1; i++) {
        T* const stage = stages + i * size;
        if (first + i < last) load(job, first + i, stage, stage + a_size);
        end_of_stage();
    }
    for (int slice = first; slice < last; slice++) {
        wait_for_stage();
        __syncthreads();  // all have this slice, and the one before is no longer needed
        const int next = slice + STAGES - 1;
        T* const free = stages + (next - first) % STAGES * size;
        if (next < last) load(job, next, free, free + a_size);
        end_of_stage();
        T* const stage = stages + (slice - first) % STAGES * size;
        multiply<J>(kind, stage, stage + a_size, sums);
    }
}

// y = im2col(x) @ wT.T + b, or max(y, 0). A block a tile: positions along the first axis of the grid, filters second.
template <class Kind, class T, class S>
__device__ inline void make_outputs(Kind kind, const T* x, const T* w, const S* b, S* y, Shape s, int relu, void* room) {
    Outputs<Kind> job = {s, x, w, (int)blockIdx.x * ROWS, (int)blockIdx.y * COLUMNS, {}};
    for (int i = 0; i < 2; i++) job.corners[i] = corner_of(s, job.position + (int)threadIdx.x / 4 + 64 * i);
    Sums<S> sums = {};
    multiply_slices(kind, job, 0, (s.columns + job.DEPTH - 1) / job.DEPTH, room, sums);
#pragma unroll
    for (int n = 0; n < 32; n++) {
        const int position = job.position + row_of(n), f = job.filter + column_of(n);
        if (position < s.positions && f < s.f) {
            const S sum = sums.of[n / 16][n / 4 % 4][n % 4], value = b ? sum + b[f] : sum;
            y[(long long)position * s.f + f] = relu && value < 0 ? (S)0 : value;
        }
    }
}

// Of dw = im2col(x).T @ dy what the slices of one part come to. Tiles along the first axis of the grid (those of one row
// side by side), parts along the second.
template <class Kind, class T, class S>
__device__ inline void make_weights(Kind kind, const T* x, const T* dy, S* parts, Shape s, int slices, void* room) {
    const int across = (s.f + COLUMNS - 1) / COLUMNS, tile = (int)blockIdx.x, part = (int)blockIdx.y;
    const Weights<Kind> job = {s, x, dy, tile / across * ROWS, tile % across * COLUMNS};
    const int all = (s.positions + job.DEPTH - 1) / job.DEPTH, first = part * slices;
    Sums<S> sums = {};
    multiply_slices(kind, job, first, first + slices < all ? first + slices : all, room, sums);
#pragma unroll
    for (int n = 0; n < 32; n++) {
        const int column = job.column + row_of(n), f = job.filter + column_of(n);
        if (column < s.columns && f < s.f)
            parts[((long long)part * s.columns + column) * s.f + f] = sums.of[n / 16][n / 4 % 4][n % 4];
    }
}

// ---------------------------------------------------------------- kernels
#define SHAPE const Shape s = {h, width, c, oh, ow, kw, sh, sw, ph, pw, f, positions, kh * kw * c}
#define ROOM alignas(16) __shared__ float room[STAGES * SLICE / sizeof(float)]

KERNEL outputs_full(const real* x, const real* w, const real* b, real* y, int relu, int h,
                    int width, int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    ROOM;
    SHAPE;
    make_outputs(Full(), x, w, b, y, s, relu, room);
}

KERNEL outputs_tf32(const float* x, const float* w, const float* b, float* y, int relu, int h,
                    int width, int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    ROOM;
    SHAPE;
    make_outputs(Tf32(), x, w, b, y, s, relu, room);
}

KERNEL outputs_bf16(const unsigned short* x, const unsigned short* w, const float* b, float* y, int relu, int h,
                    int width, int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    ROOM;
    SHAPE;
    make_outputs(Bf16(), x, w, b, y, s, relu, room);
}

KERNEL weights_full(const real* x, const real* dy, real* parts, int slices, int h, int width,
                    int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    ROOM;
    SHAPE;
    make_weights(Full(), x, dy, parts, s, slices, room);
}

KERNEL weights_tf32(const float* x, const float* dy, float* parts, int slices, int h, int width,
                    int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    ROOM;
    SHAPE;
    make_weights(Tf32(), x, dy, parts, s, slices, room);
}

KERNEL weights_bf16(const unsigned short* x, const unsigned short* dy, float* parts, int slices, int h, int width,
                    int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw, int f, int positions) {
    ROOM;
    SHAPE;
    make_weights(Bf16(), x, dy, parts, s, slices, room);
}

KERNEL add_parts(const real* parts, real* dw, int count, int items) {
    ITEM(i, items);
    double sum = 0;
    for (int part = 0; part < count; part++) sum += parts[(long long)part * items + i];
    dw[i] = (real)sum;
}
