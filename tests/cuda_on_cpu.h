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

// ---------------------------------------------------------------- what conv.cu says that only a device has
// A copy that goes on beside the program arrives when it is waited for and no earlier: until then there is NaN.
struct Copy {
    void* to;
    const void* from;
    bool there;
};
static const unsigned MOST_STAGES = 4, MOST_COPIES = 8;
static Copy copies[MOST_THREADS][MOST_STAGES][MOST_COPIES];
static unsigned copies_in[MOST_THREADS][MOST_STAGES], stages_begun[MOST_THREADS], stages_there[MOST_THREADS];

static void no_copies() {
    memset(copies_in, 0, sizeof copies_in);
    memset(stages_begun, 0, sizeof stages_begun);
    memset(stages_there, 0, sizeof stages_there);
}

// A device stops at 16 bytes outside of all arrays, or that do not begin at a multiple of 16, even if nobody uses them.
static const char* arrays[32][2];
static unsigned arrays_known;
static bool strayed;

extern "C" void know_array(const char* from, const char* to) {
    if (!from) arrays_known = 0, strayed = false;
    else if (arrays_known < 32) arrays[arrays_known][0] = from, arrays[arrays_known++][1] = to;
}

extern "C" int has_strayed() { return strayed; }

static bool may_be_fetched(const void* from) {
    const char* first = (const char*)from;
    if ((size_t)from % 16) return false;
    for (unsigned i = 0; i < arrays_known; i++)
        if (first >= arrays[i][0] && first + 16 <= arrays[i][1]) return true;
    return false;
}

static void fetch(void* to, const void* from, bool there) {
    if ((size_t)to % 16 || (there && !may_be_fetched(from))) strayed = true;
    if (strayed) there = false;
    const unsigned stage = stages_begun[threadIdx.x] % MOST_STAGES;
    copies[threadIdx.x][stage][copies_in[threadIdx.x][stage]++] = {to, from, there};
}

static void end_of_stage() { stages_begun[threadIdx.x]++; }

static void wait_for_stages_but(unsigned last) {
    const unsigned me = threadIdx.x;
    for (; stages_there[me] + last < stages_begun[me]; stages_there[me]++) {
        const unsigned stage = stages_there[me] % MOST_STAGES;
        for (unsigned i = 0; i < copies_in[me][stage]; i++) {
            const Copy copy = copies[me][stage][i];
            if (copy.there) memcpy(copy.to, copy.from, 16);
            else memset(copy.to, 0, 16);
        }
        copies_in[me][stage] = 0;
    }
}

// The conv.cu of the tests has three stages.
static void wait_for_stage() { wait_for_stages_but(1); }

static float as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// To the nearest number with 10 bits after the point, of two as near the one away from 0.
static unsigned tf32(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? (bits + 0x1000u) & ~0x1FFFu : bits;
}

// Products of a warp, lane by lane as the PTX manual shares out the numbers ("Matrix Fragments for mma.m16n8k8" with
// .tf32, and "mma.m16n8k16" with .bf16): register r of the lane with group g = lane / 4 and t = lane % 4 is
//     a: row g + 8 (r % 2), k = t + 4 (r / 2);   b: k = t + 4 r, column g;   d: row g + 8 (r / 2), column 2 t + r % 2
// where with bfloat16 each of these k is a word of two, k = 2 t and 2 t + 1.
static unsigned all_a[MOST_THREADS][4], all_b[MOST_THREADS][2];

static void products_of_a_warp(float* d, const unsigned* a, const unsigned* b, bool two_in_a_word) {
    const unsigned me = threadIdx.x, warp = me / 32 * 32, g = me % 32 / 4, t = me % 4;
    memcpy(all_a[me], a, sizeof all_a[me]);
    memcpy(all_b[me], b, sizeof all_b[me]);
    __syncthreads();
    for (unsigned r = 0; r < 4; r++) {
        const unsigned row = g + 8 * (r / 2), column = 2 * t + r % 2;
        double sum = d[r];
        for (unsigned k = 0; k < 8; k++) {
            const unsigned left = all_a[warp + row % 8 * 4 + k % 4][row / 8 + 2 * (k / 4)];
            const unsigned right = all_b[warp + column * 4 + k % 4][k / 4];
            if (two_in_a_word) {
                sum += (double)as_float(left << 16) * as_float(right << 16);
                sum += (double)as_float(left & 0xFFFF0000u) * as_float(right & 0xFFFF0000u);
            } else {  // what is after the tenth bit is not looked at
                sum += (double)as_float(left & ~0x1FFFu) * as_float(right & ~0x1FFFu);
            }
        }
        d[r] = (float)sum;
    }
    __syncthreads();
}

static void mma_tf32(float* d, const unsigned* a, const unsigned* b) { products_of_a_warp(d, a, b, false); }
static void mma_bf16(float* d, const unsigned* a, const unsigned* b) { products_of_a_warp(d, a, b, true); }

// ---------------------------------------------------------------- launching
static int launch(void (*kernel)(), const unsigned* grid, unsigned block, bool barriers, bool falling) {
    body = kernel;
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block, 1, 1};
    threadIdx = {0, 0, 0};
    for (unsigned y = 0; y < grid[1]; y++) {
        for (unsigned x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            if (__start_shared_memory) memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
            no_copies();
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
