// How well a warp's accesses to memory are fed: compiled beside a .cu file of which the compiler announces every load and
// store (-fsanitize=thread, whose callbacks are here), so that the file itself is what a device gets. A round is what the
// threads of a block do between two barriers; what the lanes of a warp do at one place of the program for the nth time in a
// round is one access of the warp. (So give a kernel inputs for which no lane leaves out an access that others do, or let
// it announce that by a null pointer.)
//   Shared memory has 32 banks of 4 bytes. Each phase of an access (all lanes; of 8-byte numbers a half warp at a time, of
// 16-byte ones a quarter) takes as many cycles as some bank has different words to give; one word for many lanes is given
// once. The memory of the device comes in sectors of 32 bytes, and the fewest are those that the wanted bytes would fill.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

extern "C" {
unsigned running_thread();             // cuda_on_cpu.h
int place_of(const void* at);          // there too: the number of an array, -1 for shared memory, -2 for what is private
void count_access(const void* at, unsigned size, int store, const void* site);
void end_of_round();
}

namespace {
struct Access {
    const void* site;
    const char* at;
    unsigned size;
    int place, store;
};

struct Total {
    long long accesses, lanes, cycles, fewest_cycles, sectors, fewest_sectors;
};

typedef std::tuple<const void*, int, int, unsigned> Kind;  // site, place, store, size
const unsigned MOST_WARPS = 32, LANES = 32;
std::vector<Access> done[MOST_WARPS * LANES];
std::map<Kind, Total> totals;

// How many different pieces of `unit` bytes the accesses touch.
long long pieces(const std::vector<Access>& some, size_t unit) {
    std::vector<size_t> touched;
    for (const Access& a : some)
        for (size_t piece = (size_t)a.at / unit; piece <= ((size_t)a.at + a.size - 1) / unit; piece++)
            touched.push_back(piece);
    std::sort(touched.begin(), touched.end());
    return std::unique(touched.begin(), touched.end()) - touched.begin();
}

// The cycles of one phase.
long long cycles_of(const std::vector<Access>& phase) {
    std::vector<size_t> words;
    for (const Access& a : phase)
        for (size_t word = (size_t)a.at / 4; word <= ((size_t)a.at + a.size - 1) / 4; word++) words.push_back(word);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    long long of_bank[32] = {}, most = 0;
    for (const size_t word : words) most = std::max(most, ++of_bank[word % 32]);
    return most;
}

void add(const std::vector<Access>& lanes, const std::vector<unsigned>& numbers) {
    const Access& first = lanes.front();
    Total& total = totals[Kind(first.site, first.place, first.store, first.size)];
    total.accesses++;
    total.lanes += (long long)lanes.size();
    if (first.place >= 0) {
        total.sectors += pieces(lanes, 32);
        total.fewest_sectors += (pieces(lanes, 1) + 31) / 32;
        return;
    }
    const unsigned in_phase = first.size > 8 ? 8 : first.size > 4 ? 16 : 32;
    for (unsigned begin = 0; begin < LANES; begin += in_phase) {
        std::vector<Access> phase;
        for (size_t i = 0; i < lanes.size(); i++)
            if (numbers[i] >= begin && numbers[i] < begin + in_phase) phase.push_back(lanes[i]);
        total.cycles += cycles_of(phase);
        total.fewest_cycles += !phase.empty();
    }
}
}  // namespace

void count_access(const void* at, unsigned size, int store, const void* site) {
    const int place = at ? place_of(at) : -1;
    if (place > -2) done[running_thread()].push_back({site, (const char*)at, size, place, store});
}

void end_of_round() {
    for (unsigned warp = 0; warp < MOST_WARPS; warp++) {
        std::map<std::pair<Kind, int>, std::pair<std::vector<Access>, std::vector<unsigned>>> together;
        for (unsigned lane = 0; lane < LANES; lane++) {
            std::map<std::pair<const void*, int>, int> times;
            std::vector<Access>& mine = done[warp * LANES + lane];
            for (const Access& access : mine) {
                const int time = times[{access.site, access.store}]++;
                if (!access.at) continue;
                const Kind kind(access.site, access.place, access.store, access.size);
                auto& group = together[{kind, time}];
                group.first.push_back(access);
                group.second.push_back(lane);
            }
            mine.clear();
        }
        for (const auto& group : together) add(group.second.first, group.second.second);
    }
}

// Rows of ten numbers: site, place, store, size, then the total. How many there are; what was counted is forgotten when
// they are taken.
extern "C" int take_totals(long long* rows, int most) {
    int count = 0;
    for (const auto& entry : totals) {
        const Total& t = entry.second;
        if (count == most) break;
        const long long row[10] = {(long long)std::get<0>(entry.first), std::get<1>(entry.first),
                                   std::get<2>(entry.first), std::get<3>(entry.first),
                                   t.accesses, t.lanes, t.cycles, t.fewest_cycles, t.sectors, t.fewest_sectors};
        std::copy(row, row + 10, rows + 10 * count++);
    }
    const int all = (int)totals.size();
    totals.clear();
    for (auto& thread : done) thread.clear();
    return all;
}

// ---------------------------------------------------------------- what the compiler calls
#define SITE __builtin_return_address(0)
#define CALLBACKS(size)                                                                   \
    extern "C" void __tsan_read##size(void* at) { count_access(at, size, 0, SITE); }      \
    extern "C" void __tsan_write##size(void* at) { count_access(at, size, 1, SITE); }     \
    extern "C" void __tsan_unaligned_read##size(void* at) { count_access(at, size, 0, SITE); } \
    extern "C" void __tsan_unaligned_write##size(void* at) { count_access(at, size, 1, SITE); }
CALLBACKS(1)
CALLBACKS(2)
CALLBACKS(4)
CALLBACKS(8)
CALLBACKS(16)
extern "C" void __tsan_read_range(void* at, size_t size) { count_access(at, (unsigned)size, 0, SITE); }
extern "C" void __tsan_write_range(void* at, size_t size) { count_access(at, (unsigned)size, 1, SITE); }
extern "C" void __tsan_init() {}
