// What all kernels share. REAL (float or double) and BLOCK (threads of a block, a power of two) come from the compiler's
// command line. Every kernel is extern "C", takes contiguous arrays, `int` and `real`, and uses no atomics: each output
// is summed by one thread, or by the threads of one block in a fixed order.
typedef REAL real;

// An activation is computed with as `real`, and kept as `stored`: with BF16 as bfloat16, the upper half of a float, made
// of it to the nearest, of two as near the even one; NaN stays NaN. Else the two are one.
__device__ inline unsigned short upper_half(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return (unsigned short)(x != x ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

__device__ inline float from_upper_half(unsigned short half) {
    const unsigned bits = (unsigned)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#ifdef BF16
typedef unsigned short stored;
__device__ inline real wide(stored x) { return from_upper_half(x); }
__device__ inline stored narrow(real x) { return upper_half(x); }
#else
typedef real stored;
__device__ inline real wide(stored x) { return x; }
__device__ inline stored narrow(real x) { return x; }
#endif

// Neighbours that a thread reads and writes in one piece of 16 bytes, where they begin at a multiple of 16.
#define PACK ((int)(16 / sizeof(stored)))

struct alignas(16) Pack {
    stored value[PACK];
};

__device__ inline bool in_one_piece(const stored* x, int first, int items) {
    return first + PACK <= items && (size_t)x % 16 == 0;
}

__device__ inline Pack pack_at(const stored* x, int first, int items) {
    if (in_one_piece(x, first, items)) return *(const Pack*)(x + first);
    Pack p;
    for (int k = 0; k < PACK; k++) p.value[k] = first + k < items ? x[first + k] : narrow(0);
    return p;
}

__device__ inline void write_pack(const Pack& p, stored* x, int first, int items) {
    if (in_one_piece(x, first, items)) *(Pack*)(x + first) = p;
    else
        for (int k = 0; k < PACK && first + k < items; k++) x[first + k] = p.value[k];
}

// Numbers of the channels of a pack whose first is `channel`, one of c that follow each other again and again.
struct alignas(16) Reals {
    real value[PACK];
};

__device__ inline Reals reals_at(const real* of, int channel, int c) {
    if (c % PACK == 0 && (size_t)of % 16 == 0) return *(const Reals*)(of + channel);
    Reals r;
    for (int k = 0; k < PACK; k++, channel = channel + 1 < c ? channel + 1 : 0) r.value[k] = of[channel];
    return r;
}

// The first item of this thread's pack, in a kernel that is run with one thread a pack.
#define FIRST_OF_PACK(i, items)                                           \
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x) * PACK;    \
    if (i >= items) return

// Below every number. NVRTC has no INFINITY.
#define NOTHING (-1 / (real)0)

#define KERNEL extern "C" __global__ void

// The number of this thread among all; a kernel that is run with one thread an item ends here for those beyond.
#define ITEM(i, items)                                             \
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);    \
    if (i >= items) return

// The sum over all threads of a block, for every one of them. `room` is shared, BLOCK long.
__device__ inline double block_sum(double value, double* room) {
    const int me = (int)threadIdx.x;
    room[me] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (me < half) room[me] += room[me + half];
        __syncthreads();
    }
    const double sum = room[0];
    __syncthreads();  // no thread may write into `room` again before all have read it
    return sum;
}

// The largest value over all threads of a block; NaN where one is.
__device__ inline real block_max(real value, real* room) {
    const int me = (int)threadIdx.x;
    room[me] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (me < half) {
            const real other = room[me + half];
            if (other > room[me] || other != other) room[me] = other;
        }
        __syncthreads();
    }
    const real top = room[0];
    __syncthreads();
    return top;
}

__device__ inline real sigmoid(real x) { return 1 / (1 + exp(-x)); }

// The derivative of x * sigmoid(x).
__device__ inline real silu_slope(real x) {
    const real s = sigmoid(x);
    return s * (1 + x * (1 - s));
}
