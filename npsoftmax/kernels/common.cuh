// What all kernels share. REAL (float or double) and BLOCK (threads of a block, a power of two) come from the compiler's
// command line. Every kernel is extern "C", takes contiguous arrays, `int` and `real`, and uses no atomics: each output
// is summed by one thread, or by the threads of one block in a fixed order.
typedef REAL real;

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
