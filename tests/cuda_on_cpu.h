// Enough of CUDA to run kernels on the CPU, one block after the other. A kernel without barriers is a loop over its
// threads; with barriers each thread of a block is a coroutine that stops at a barrier until all have come to it. Threads
// run in rising or in falling order: a kernel that forgets a barrier gives different answers. Shared memory holds NaN when
// a block begins.
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <ucontext.h>

#define __global__
#define __device__ static
#define __forceinline__ inline
#define __restrict__
#define __shared__ static __attribute__((section("shared_memory")))

struct Three {
    unsigned x, y, z;
};
static Three threadIdx, blockIdx, blockDim, gridDim;
using std::erfc;
using std::exp;
using std::log1p;
using std::rint;
using std::sqrt;

extern "C" {
extern char __start_shared_memory[] __attribute__((weak)), __stop_shared_memory[] __attribute__((weak));
}

// ---------------------------------------------------------------- coroutines
// A thread is begun once and then serves one block after the other. Switching is by jumps, which are a hundred times as
// fast as swapcontext; contexts only give each thread its stack.
static const unsigned MOST_THREADS = 256;
static const size_t STACK = 65536;
static ucontext_t beginnings[MOST_THREADS], nowhere;
static jmp_buf scheduler, threads[MOST_THREADS];
static char stacks[MOST_THREADS][STACK];
static bool begun[MOST_THREADS], ended[MOST_THREADS], at_barrier[MOST_THREADS];
static unsigned running;
static void (*body)();

static void stop_here() {
    if (!_setjmp(threads[running])) _longjmp(scheduler, 1);
}

static void __syncthreads() {
    at_barrier[running] = true;
    stop_here();
}

static void serve() {
    for (;;) {
        body();
        ended[running] = true;
        stop_here();
    }
}

static void go_on_with(unsigned t) {
    running = t;
    threadIdx.x = t;
    at_barrier[t] = false;
    if (_setjmp(scheduler)) return;
    if (begun[running]) _longjmp(threads[running], 1);
    begun[running] = true;
    getcontext(&beginnings[running]);
    beginnings[running].uc_stack.ss_sp = stacks[running];
    beginnings[running].uc_stack.ss_size = STACK;
    makecontext(&beginnings[running], serve, 0);
    swapcontext(&nowhere, &beginnings[running]);
}

// 0, or 1 where some threads of a block waited at a barrier that others had passed by.
static int run_block_with_barriers(bool falling) {
    const unsigned count = blockDim.x;
    for (unsigned t = 0; t < count; t++) ended[t] = false;
    for (unsigned left = count; left > 0;) {
        unsigned waiting = 0;
        for (unsigned i = 0; i < count; i++) {
            const unsigned t = falling ? count - 1 - i : i;
            if (ended[t]) continue;
            go_on_with(t);
            waiting += at_barrier[t] && !ended[t];
            left -= ended[t];
        }
        if (waiting > 0 && waiting < count) {
            for (unsigned t = 0; t < count; t++) begun[t] = begun[t] && ended[t];
            return 1;
        }
    }
    return 0;
}

static int launch(void (*kernel)(), const unsigned* grid, unsigned block, bool barriers, bool falling) {
    body = kernel;
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block, 1, 1};
    threadIdx = {0, 0, 0};
    for (unsigned y = 0; y < grid[1]; y++) {
        for (unsigned x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            if (__start_shared_memory) memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
            if (barriers) {
                if (run_block_with_barriers(falling)) return 1;
                continue;
            }
            for (unsigned i = 0; i < block; i++) {
                threadIdx.x = falling ? block - 1 - i : i;
                kernel();
            }
        }
    }
    return 0;
}
