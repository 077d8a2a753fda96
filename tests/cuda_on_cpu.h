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

// Rounded each for itself, even where the compiler may make one instruction of a product and a sum.
__attribute__((noinline)) static float __fmul_rn(float a, float b) { return a * b; }
__attribute__((noinline)) static float __fsub_rn(float a, float b) { return a - b; }

extern "C" {
extern char __start_shared_memory[] __attribute__((weak)), __stop_shared_memory[] __attribute__((weak));
}

// Shared memory that a launch asks for, so many bytes of it; what is behind them must stay as it is.
static const size_t MOST_SHARED = 232448;
alignas(128) static unsigned char dynamic_shared[MOST_SHARED + 1024];
#define DYNAMIC_SHARED(name) unsigned char* const name = dynamic_shared

// An address of it is a number of 32 bits there.
static unsigned shared_address(const void* p) { return (unsigned)((const unsigned char*)p - dynamic_shared); }

// ---------------------------------------------------------------- where an address is
static const char* arrays[32][2];
static unsigned arrays_known;
static bool strayed;

extern "C" void know_array(const char* from, const char* to) {
    if (!from) arrays_known = 0, strayed = false;
    else if (arrays_known < 32) arrays[arrays_known][0] = from, arrays[arrays_known++][1] = to;
}

// The number of an array, -1 for shared memory, -2 for what is a thread's own.
#define UNCOUNTED __attribute__((no_sanitize("thread")))
extern "C" UNCOUNTED int place_of(const void* at) {
    const char* address = (const char*)at;
    if (address >= __start_shared_memory && address < __stop_shared_memory) return -1;
    if (at >= dynamic_shared && at < dynamic_shared + sizeof dynamic_shared) return -1;
    for (unsigned i = 0; i < arrays_known; i++)
        if (address >= arrays[i][0] && address < arrays[i][1]) return (int)i;
    return -2;
}

extern "C" UNCOUNTED unsigned running_thread() { return threadIdx.x; }

// In a build that counts (cuda_feed.cpp), the compiler announces what kernels load and store; what this file does for a
// kernel in place of an instruction of the device, it announces itself, as done where it was called.
#ifdef COUNTED
extern "C" void count_access(const void* at, unsigned size, int store, const void* site);
extern "C" void end_of_round();
#define ANNOUNCED __attribute__((noinline))
#define LOADS(at, size) count_access(at, size, 0, __builtin_return_address(0))
#define STORES(at, size) count_access(at, size, 1, __builtin_return_address(0))
#else
static void end_of_round() {}
#define ANNOUNCED
#define LOADS(at, size)
#define STORES(at, size)
#endif

// Four numbers that are loaded and stored at once.
struct alignas(16) uint4 {
    unsigned x, y, z, w;
    uint4(unsigned x, unsigned y, unsigned z, unsigned w) : x(x), y(y), z(z), w(w) {}
    ANNOUNCED uint4(const uint4& other) {
        LOADS(&other, sizeof other);
        memcpy((void*)this, &other, sizeof other);
    }
    ANNOUNCED uint4& operator=(const uint4& other) {
        LOADS(&other, sizeof other);
        STORES(this, sizeof other);
        memcpy((void*)this, &other, sizeof other);
        return *this;
    }
};
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---------------------------------------------------------------- coroutines
// A thread is begun once and then serves one block after the other. Switching is by jumps, which are a hundred times as
// fast as swapcontext; contexts only give each thread its stack.
static const unsigned MOST_THREADS = 256;
static const size_t STACK = 65536;
static ucontext_t beginnings[MOST_THREADS], nowhere;
static jmp_buf scheduler, threads[MOST_THREADS];
static char stacks[MOST_THREADS][STACK];
enum Stop { NOWHERE, AT_BARRIER, AT_EXCHANGE, AT_THE_END };
static bool begun[MOST_THREADS];
static Stop stopped[MOST_THREADS];
static unsigned running;
static void (*body)();

static void stop_here(Stop where) {
    stopped[running] = where;
    if (!_setjmp(threads[running])) _longjmp(scheduler, 1);
}

static void __syncthreads() { stop_here(AT_BARRIER); }

// Lanes of a warp wait for each other; other warps go on as they like.
static void meet_the_warp() { stop_here(AT_EXCHANGE); }

static void serve() {
    for (;;) {
        body();
        stop_here(AT_THE_END);
    }
}

static void go_on_with(unsigned t) {
    running = t;
    threadIdx.x = t;
    stopped[t] = NOWHERE;
    if (_setjmp(scheduler)) return;
    if (begun[running]) _longjmp(threads[running], 1);
    begun[running] = true;
    getcontext(&beginnings[running]);
    beginnings[running].uc_stack.ss_sp = stacks[running];
    beginnings[running].uc_stack.ss_size = STACK;
    makecontext(&beginnings[running], serve, 0);
    swapcontext(&nowhere, &beginnings[running]);
}

// Runs threads `first` to `last` until none of them waits for its warp only. False where some do and others do not.
static bool run_warp(unsigned first, unsigned last, bool falling) {
    for (unsigned meeting = 1; meeting > 0;) {
        meeting = 0;
        unsigned others = 0;
        for (unsigned i = first; i < last; i++) {
            const unsigned t = falling ? first + last - 1 - i : i;
            if (stopped[t] != AT_THE_END) go_on_with(t);
            (stopped[t] == AT_EXCHANGE ? meeting : others)++;
        }
        if (meeting > 0 && others > 0) return false;
    }
    return true;
}

// 0, or 1 where some threads of a block waited at a barrier (or for their warp) that others had passed by.
static int run_block_with_barriers(bool falling) {
    const unsigned count = blockDim.x, warps = (count + 31) / 32;
    for (unsigned t = 0; t < count; t++) stopped[t] = NOWHERE;
    for (unsigned left = count; left > 0;) {
        bool together = true;
        for (unsigned i = 0; i < warps && together; i++) {
            const unsigned first = 32 * (falling ? warps - 1 - i : i);
            together = run_warp(first, first + 32 < count ? first + 32 : count, falling);
        }
        end_of_round();
        left = 0;
        unsigned waiting = 0;
        for (unsigned t = 0; t < count; t++) left += stopped[t] != AT_THE_END, waiting += stopped[t] == AT_BARRIER;
        if (!together || (waiting > 0 && waiting < count)) {
            for (unsigned t = 0; t < count; t++) begun[t] = begun[t] && stopped[t] == AT_THE_END;
            return 1;
        }
    }
    return 0;
}

// ---------------------------------------------------------------- what conv_tensor.cu says that only a device has
// A copy that goes on beside the program arrives when it is waited for and no earlier: until then there is NaN.
struct Copy {
    void* to;
    const void* from;
    bool there;
};
static const unsigned MOST_STAGES = 4, MOST_COPIES = 32;
static Copy copies[MOST_THREADS][MOST_STAGES][MOST_COPIES];
static unsigned copies_in[MOST_THREADS][MOST_STAGES], stages_begun[MOST_THREADS], stages_there[MOST_THREADS];

static void no_copies() {
    memset(copies_in, 0, sizeof copies_in);
    memset(stages_begun, 0, sizeof stages_begun);
    memset(stages_there, 0, sizeof stages_there);
}

// A device stops at 16 bytes outside of all arrays, or that do not begin at a multiple of 16, even if nobody uses them.
extern "C" int has_strayed() { return strayed; }

static bool may_be_fetched(const void* from) {
    const char* first = (const char*)from;
    if ((size_t)from % 16) return false;
    for (unsigned i = 0; i < arrays_known; i++)
        if (first >= arrays[i][0] && first + 16 <= arrays[i][1]) return true;
    return false;
}

// `bytes` of dynamic shared memory, from a multiple of them on; its beginning where there are none.
static unsigned char* shared(unsigned from, unsigned bytes) {
    if (from % bytes || from + bytes > MOST_SHARED) strayed = true, from = 0;
    return dynamic_shared + from;
}

ANNOUNCED static void fetch(unsigned to, const void* from, bool there) {
    STORES(shared(to, 16), 16);
    LOADS(there ? from : nullptr, 16);
    if (there && !may_be_fetched(from)) strayed = true;
    if (strayed) there = false;
    const unsigned stage = stages_begun[threadIdx.x] % MOST_STAGES;
    copies[threadIdx.x][stage][copies_in[threadIdx.x][stage]++] = {shared(to, 16), from, there};
}

#define fetch_and_keep fetch  // the CPU has no such cache to choose

static void end_of_stage() { stages_begun[threadIdx.x]++; }

// Until all stages but the last LEFT have arrived.
template <unsigned LEFT>
static void wait_for_stages() {
    const unsigned me = threadIdx.x;
    for (; stages_there[me] + LEFT < stages_begun[me]; stages_there[me]++) {
        const unsigned stage = stages_there[me] % MOST_STAGES;
        for (unsigned i = 0; i < copies_in[me][stage]; i++) {
            const Copy copy = copies[me][stage][i];
            if (copy.there) memcpy(copy.to, copy.from, 16);
            else memset(copy.to, 0, 16);
        }
        copies_in[me][stage] = 0;
    }
}

static float as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// What a lane gives to its warp. Two rooms by turns: until all have read one, each has written into the other at most.
struct Given {
    const unsigned char* row;
    unsigned a[4], b[2];
};
static Given given_by[2][MOST_THREADS];
static unsigned exchanges[MOST_THREADS];

// What the lanes of this thread's warp give; all wait until the last has.
static const Given* exchange(const Given& mine) {
    Given* const room = given_by[exchanges[threadIdx.x]++ % 2];
    room[threadIdx.x] = mine;
    meet_the_warp();
    return room + threadIdx.x / 32 * 32;
}

// ldmatrix.x4 (PTX manual, "Warp-level matrix load instruction: ldmatrix"): lanes 8 q to 8 q + 7 say where the rows of 16
// bytes of square q are, and word q of a lane is word t of row g; transposed, number g of the rows 2 t and 2 t + 1.
ANNOUNCED static void ldmatrix(unsigned* to, unsigned row) {
    LOADS(shared(row, 16), 16);
    const Given* const all = exchange({shared(row, 16), {}, {}});
    const unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (unsigned q = 0; q < 4; q++) memcpy(to + q, all[8 * q + g].row + 4 * t, 4);
}

ANNOUNCED static void ldmatrix_trans(unsigned* to, unsigned row) {
    LOADS(shared(row, 16), 16);
    const Given* const all = exchange({shared(row, 16), {}, {}});
    const unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (unsigned q = 0; q < 4; q++)
        for (unsigned i = 0; i < 2; i++) memcpy((char*)(to + q) + 2 * i, all[8 * q + 2 * t + i].row + 2 * g, 2);
}

ANNOUNCED static void read_word(unsigned* to, unsigned from) {
    LOADS(shared(from, 4), 4);
    memcpy(to, shared(from, 4), 4);
}

ANNOUNCED static void read_words(unsigned* to, unsigned from) {
    LOADS(shared(from, 8), 8);
    memcpy(to, shared(from, 8), 8);
}

// Products of a warp, lane by lane as the PTX manual shares out the numbers ("Matrix Fragments for mma.m16n8k8" with
// .tf32, and "mma.m16n8k16" with .bf16): register r of the lane with group g = lane / 4 and t = lane % 4 is
//     a: row g + 8 (r % 2), k = t + 4 (r / 2);   b: k = t + 4 r, column g;   d: row g + 8 (r / 2), column 2 t + r % 2
// where with bfloat16 each of these k is a word of two, k = 2 t and 2 t + 1.
static void products_of_a_warp(float* d, const unsigned* a, const unsigned* b, bool two_in_a_word) {
    const Given* const all = exchange({nullptr, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
    const unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (unsigned r = 0; r < 4; r++) {
        const unsigned row = g + 8 * (r / 2), column = 2 * t + r % 2;
        double sum = d[r];
        for (unsigned k = 0; k < 8; k++) {
            const unsigned left = all[row % 8 * 4 + k % 4].a[row / 8 + 2 * (k / 4)];
            const unsigned right = all[column * 4 + k % 4].b[k / 4];
            if (two_in_a_word) {
                sum += (double)as_float(left << 16) * as_float(right << 16);
                sum += (double)as_float(left & 0xFFFF0000u) * as_float(right & 0xFFFF0000u);
            } else {  // what is after the tenth bit is not looked at
                sum += (double)as_float(left & ~0x1FFFu) * as_float(right & ~0x1FFFu);
            }
        }
        d[r] = (float)sum;
    }
}

static void mma_tf32(float* d, const unsigned* a, const unsigned* b) { products_of_a_warp(d, a, b, false); }
static void mma_bf16(float* d, const unsigned* a, const unsigned* b) { products_of_a_warp(d, a, b, true); }

// ---------------------------------------------------------------- launching
// 0, or 1: a barrier that some do not come to, 2: more shared memory written than was asked for.
static int launch(void (*kernel)(), const unsigned* grid, unsigned block, unsigned shared, bool barriers, bool falling) {
    body = kernel;
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block, 1, 1};
    threadIdx = {0, 0, 0};
    for (unsigned y = 0; y < grid[1]; y++) {
        for (unsigned x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            if (__start_shared_memory) memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
            memset(dynamic_shared, 0xFF, shared + 1024);
            no_copies();
            if (barriers) {
                if (run_block_with_barriers(falling)) return 1;
            } else {
                for (unsigned i = 0; i < block; i++) {
                    threadIdx.x = falling ? block - 1 - i : i;
                    kernel();
                }
            }
            end_of_round();
            for (unsigned i = shared; i < shared + 1024; i++)
                if (dynamic_shared[i] != 0xFF) return 2;
        }
    }
    return 0;
}
