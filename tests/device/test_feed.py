"""Every kernel is fed as well as its memory allows: no bank conflicts, no sector of 32 bytes more than the bytes fill.

That is counted while the .cu files run on the CPU (tests/cuda_feed.cpp). Where a kernel does not come to the minimum,
STATED says how far it is off and why. Arrays are positive, and no image has a frame, so that all lanes do the same.
"""

from __future__ import annotations

import cuda_feed
import cuda_on_cpu
import numpy as np
import pytest
from cuda_feed import SHARED, Access
from everyday import slow

from npsoftmax import cuda, kernels
from npsoftmax.autocast import rounded, widened
from npsoftmax.backend import get_backend
from npsoftmax.data.device import DeviceImages
from npsoftmax.data.normalize import Normalization
from npsoftmax.heads import tree as trees
from npsoftmax.heads.base import ClassInfo
from npsoftmax.kernels import norm, softmax
from npsoftmax.kernels import tree as tree_kernels
from npsoftmax.kernels.elementwise import device as elementwise
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.update import device as update
from npsoftmax.random import Rng

pytestmark = pytest.mark.skipif(
    not (cuda_on_cpu.COMPILER or "").endswith("g++"), reason="there is no g++, which announces loads and stores"
)


# ---------------------------------------------------------------- what counts
PROBES = (
    (cuda.PACKAGE / "kernels" / "common.cuh").read_text(encoding="utf-8")
    + """
template <class T>
__device__ inline void walk(const T* x, T* y, T* room, int stride) {
    const int me = (int)threadIdx.x;
    room[me * stride] = x[me * stride];
    __syncthreads();
    y[me] = room[me * stride];
}
KERNEL numbers(const real* x, real* y, int stride) {
    __shared__ real room[2048];
    walk(x, y, room, stride);
    __syncthreads();
}
KERNEL pieces(const unsigned* x, unsigned* y, int stride) {
    alignas(16) __shared__ unsigned room[2048];
    walk((const uint4*)x, (uint4*)y, (uint4*)room, stride);
    __syncthreads();
}
"""
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "stride", "cycles", "sectors"),
    [
        (4, 1, (1, 1), (4, 4)),
        (4, 0, (1, 1), (1, 1)),  # one word for all
        (4, 2, (2, 1), (8, 4)),
        (4, 3, (1, 1), (12, 4)),
        (4, 8, (8, 1), (32, 4)),
        (4, 32, (32, 1), (32, 4)),  # a column of rows of 32 words
        (4, 33, (1, 1), (32, 4)),  # and of padded ones
        (8, 1, (2, 2), (8, 8)),  # a half warp at a time
        (8, 2, (4, 2), (16, 8)),
        (8, 16, (32, 2), (32, 8)),
        (16, 1, (4, 4), (16, 16)),  # a quarter
        (16, 2, (8, 4), (32, 16)),
        (16, 5, (4, 4), (32, 16)),  # rows of 64 bytes, padded to 80
        (16, 8, (32, 4), (32, 16)),  # rows of 128 bytes: all eight on the same banks
    ],
)
def test_what_is_known_of_a_warp(size, stride, cycles, sectors):
    """Lane i accesses number i · stride, in the device's memory and in shared memory; a warp."""
    dtype, name = {4: (np.float32, "numbers"), 8: (np.float64, "numbers"), 16: (np.uint32, "pieces")}[size]
    x, y = (np.zeros(2048 * 8 // size * 4, dtype) for _ in "xy")
    with cuda_feed.counting() as found:
        options = cuda.options("d" if size == 8 else "f")
        cuda_on_cpu.run(PROBES, options, name, (1,), (32,), (x, y, np.int32(stride)))
    counted = {(a.array, a.store): a for a in found}
    assert {a.size for a in found} == {size}
    for store in (False, True):
        assert (counted[SHARED, store].cycles, counted[SHARED, store].fewest_cycles) == cycles
    assert (counted["x", False].sectors, counted["x", False].fewest_sectors) == sectors
    assert counted["y", True].sectors == counted["y", True].fewest_sectors == size


# ---------------------------------------------------------------- what runs
class Maker:
    """Arrays of the stand-in; no two are the same one."""

    def __init__(self, backend):
        self.backend, self.rng = backend, np.random.default_rng(0)

    def __call__(self, *shape):
        return self.backend.asarray(0.1 + self.rng.random(shape, np.float32))

    def narrow(self, *shape):
        return rounded(self(*shape))

    def whole(self, numbers):
        return self.backend.asarray(np.asarray(numbers, np.int64))


def convolution(precision, f=64, kind="__call__"):
    def run(make):
        get_backend("cupy", precision=precision)
        of = getattr(make, kind)
        x, w, b, dy = of(1, 18, 10, 32), make(3, 3, 32, f), make(f), of(1, 16, 8, f)
        kernels.conv2d_tiled(x, w, b, (1, 1), (0, 0))
        kernels.conv2d_tiled_dw(x, dy, (3, 3), (1, 1), (0, 0))

    return run


def element_by_element(kind):
    def run(make):
        of = getattr(make, kind)
        elementwise.relu(of(64, 64))
        elementwise.add(of(64, 64), of(64, 64))
        elementwise.relu_backward(of(64, 64), of(64, 64))
        elementwise.gelu(of(64, 64))
        elementwise.gelu_backward(of(64, 64), of(64, 64))
        elementwise.silu(of(64, 64))
        elementwise.silu_backward(of(64, 64), of(64, 64))

    return run


def between_the_types(make):
    x, w = rounded(make(64, 64)), make(64, 64)
    widened(x)
    matmul(x, w, make(64))
    elementwise.add_bias(make(64, 64), make(64), True)


def norms(kind):
    def run(make):
        of, vectors = getattr(make, kind), [make(64) for _ in range(5)]
        norm.column_sum(of(128, 64))
        norm.column_moments(of(128, 64))
        for after in ("relu", "silu"):
            norm.normalise(of(128, 64), *vectors[:3], after)
            norm.normalise_sums(of(128, 64), of(128, 64), *vectors[:3], after)
            norm.normalise_dx(of(128, 64), of(128, 64), *vectors, after)
        _, mean, scale = norm.layer_norm(of(64, 256), make(256), make(256), 1e-5)
        norm.layer_norm_backward(of(64, 256), of(64, 256), make(256), mean, scale)

    return run


def rows_of_a_softmax(make):
    softmax.exp_rows(make(4, 1024), 1.0)
    softmax.sparse_rows(make(4, 1024), 2)
    softmax.scaled_less_onehot(make(4, 1024), make.whole([1, 2, 3, 4]), make(4), make(4), make(4))


def updates(make):
    update.sgd(make(4096), make(4096), make(4096), (0.1, 0.9), 1e-4, True)
    update.adam(make(4096), make(4096), make(4096), make(4096), (0.9, 0.1, 0.1, 1e-8, 1.0), 0.99, 0.0, False)
    update.clip(make(4096), 0.5)
    update.scale(make(4096), make.backend.asarray(np.array(0.3)))
    update.square_sum(make(4096))


def steps_of_a_graph(make):
    gpu, xp = cuda.compiled_for(make.backend.xp, "graph", "f"), make.backend.xp
    counts, now = xp.zeros((4, 3), dtype=xp.uint64), xp.empty(3, dtype=xp.uint64)
    rates, rates_now = xp.zeros((4, 2), dtype=xp.float64), xp.empty(2, dtype=xp.float64)
    gpu.each("next_step", 1, counts, rates, xp.zeros(1, dtype=xp.uint64), now, rates_now, 3, 2)
    gpu.each("pick", 256, make.whole(range(512)), now, xp.empty(256, dtype=xp.int64))
    slots, right = xp.zeros((8, 2), dtype=xp.float64), xp.zeros((), dtype=xp.float64)
    gpu.each("keep", 1, make(1), right, slots, xp.zeros(1, dtype=xp.uint64), 8)


def windows(kind):
    def run(make):
        of = getattr(make, kind)
        kernels.im2col(of(2, 10, 10, 32), (3, 3), (1, 1), (0, 0))
        kernels.col2im(make(2 * 9, 9 * 32), (2, 9, 9, 32), (3, 3), (3, 3), (0, 0))
        y, _ = kernels.max_pool(of(2, 8, 8, 32), (2, 2), (2, 2), (0, 0), relu=True)
        by_turns = make.backend.asarray(np.arange(y.size).astype(np.uint8).reshape(y.shape) % 4)
        kernels.max_pool_backward(y, by_turns, (2, 8, 8, 32), (2, 2), (2, 2), (0, 0))

    return run


def walks(make):
    classes, n, d = 64, 64, 128
    children = trees.build("balanced", ClassInfo(classes))
    up, levels = make.whole(trees.uplinks(children)), trees.levels(children)
    labels = make.whole(np.arange(n))
    nodes, signs = tree_kernels.climb(up, labels, len(levels), np.float32)
    h, w = make(n, d), make(classes - 1, d)
    tree_kernels.chosen_scores(h, w, make(classes - 1), nodes)
    tree_kernels.path_losses(make(n, 6), signs)
    tree_kernels.path_slopes(make(n, 6), signs)
    tree_kernels.chosen_dh(make(n, 6), w, nodes)
    tree_kernels.chosen_dw(make(n, 6), h, nodes)
    tree_kernels.tree_log_prob(make(n, classes - 1), make.whole(children), levels)
    tree_kernels.sum_rows(make.whole(np.arange(64) % 16), make(64, d))
    tree_kernels.subtract_rows(w, make.whole(np.arange(16)), make(16, d), 0.3)
    tree_kernels.write_rows(w, make.whole(np.arange(16)), make(16, d))


def noise(make):
    samples = np.arange(16)
    Rng(0).at(1, samples).bits((16, 128), make.backend.xp)


def images(make):
    x = np.arange(4 * 32 * 32 * 3).astype(np.uint8).reshape(4, 32, 32, 3)
    samples = make.whole(np.arange(4))
    scale = Normalization("test", (0.5,) * 3, (0.2,) * 3)
    DeviceImages(x, scale, "none", make.backend).batch(samples, Rng(0))
    unmoved = make.backend.asarray(np.full((4, 5), 0.5, np.float32))  # neither mirrored nor shifted
    colours = make.backend.asarray(np.zeros((4, 3), np.int32))
    there = make.backend.asarray(x), samples, unmoved, colours
    cuda.compiled_for(make.backend.xp, "images", "f").blocks("mean_colours", (4,), *there, 5, 4, 32, 32, 3)


ELEMENT_BY_ELEMENT = "relu relu_backward add gelu gelu_backward silu silu_backward"
NORMS = """column_sum column_moments add_parts finish_moments normalise normalise_sums normalise_dx
    layer_norm layer_norm_dx layer_norm_sums"""
WINDOWS = "im2col col2im max_pool max_pool_backward"
# name -> what runs, and the kernels that it calls.
CASES = {
    "convolution, full": (convolution("fp32"), "outputs_full weights_full add_parts"),
    "convolution, tf32": (convolution("tf32"), "outputs weights add_parts round_tf32"),
    "convolution, bf16": (convolution("bf16"), "outputs weights add_parts round_bf16"),
    "convolution, tf32, 128 filters": (convolution("tf32", 128), "outputs weights add_parts round_tf32"),
    "convolution, bf16, 128 filters": (convolution("bf16", 128), "outputs weights add_parts round_bf16"),
    "convolution, bfloat16": (convolution("bf16", kind="narrow"), "outputs weights add_parts round_bf16"),
    "element by element": (element_by_element("__call__"), ELEMENT_BY_ELEMENT),
    "element by element, bfloat16": (element_by_element("narrow"), f"{ELEMENT_BY_ELEMENT} round_bf16"),
    "between the types": (between_the_types, "round_bf16 widen_bf16 rows add_bias"),
    "norms": (norms("__call__"), NORMS),
    "norms, bfloat16": (norms("narrow"), f"{NORMS} round_bf16"),
    "softmax": (rows_of_a_softmax, "exp_rows scaled_less_onehot sparse_rows"),
    "updates": (updates, "sgd adam clip scale square_sum add_sums"),
    "windows": (windows("__call__"), WINDOWS),
    "windows, bfloat16": (windows("narrow"), f"{WINDOWS} round_bf16"),
    "walks through a tree": (
        walks,
        """climb chosen_scores path_losses path_slopes chosen_dh chosen_dw tree_log_prob chain sum_chains subtract_rows
        write_rows""",
    ),
    "noise": (noise, "philox"),
    "steps of a graph": (steps_of_a_graph, "next_step pick keep"),
    "images": (images, "make_batch mean_colours"),
}

# ---------------------------------------------------------------- what does not come to the minimum
A_PATH_A_THREAD = "a thread a sample, whose path lies in one row: some kilobytes in all, four warps for 128 samples"
BREADTH_FIRST = "both children of a node by turns; rows of an odd number of nodes begin at any multiple of 4 bytes"
WINNERS_ONLY = "a pixel that did not win reads nothing: still fewer sectors than all of dy"
BYTES = "255 of 256 threads read a byte each: most warps begin within a sector; a mean colour is 12 bytes"
TURNED = "four numbers of a piece go into four rows: of 32 lanes two meet on a bank, once for 64 products of theirs"
# case -> (kernel, array, whether stored to) -> how many times the minimum its worst access takes, and why.
STATED = {
    "convolution, full": {("outputs_full", SHARED, True): (2.0, TURNED)},
    "windows": {("max_pool_backward", "dy", False): (4.0, WINNERS_ONLY)},
    "windows, bfloat16": {("max_pool_backward", "dy", False): (2.0, WINNERS_ONLY)},
    "images": {("mean_colours", "x", False): (1.91, BYTES), ("mean_colours", "colours", True): (1.25, BYTES)},
    "walks through a tree": {
        ("climb", "nodes", True): (4.0, A_PATH_A_THREAD),
        ("climb", "signs", True): (6.0, A_PATH_A_THREAD),
        ("climb", "up", False): (1.26, A_PATH_A_THREAD),
        ("path_losses", "signs", False): (6.0, A_PATH_A_THREAD),
        ("path_losses", "z", False): (6.0, A_PATH_A_THREAD),
        ("tree_log_prob", "children", False): (2.18, BREADTH_FIRST),
        ("tree_log_prob", "reach", False): (1.31, BREADTH_FIRST),
        ("tree_log_prob", "reach", True): (1.92, BREADTH_FIRST),
        ("tree_log_prob", "z", False): (1.31, BREADTH_FIRST),
        ("tree_log_prob", "log_p", True): (2.0, BREADTH_FIRST),
    },
}


def fed(case, make) -> list[Access]:
    with cuda_feed.counting() as found:
        CASES[case][0](make)
    return found


def worst(found: list[Access]) -> dict[tuple[str, str, bool], float]:
    """(kernel, array, whether stored to) -> how many times the minimum its worst access takes, if above 1."""
    result: dict[tuple[str, str, bool], float] = {}
    for access in found:
        key = access.kernel, access.array, access.store
        result[key] = max(result.get(key, 1), access.times_the_minimum)
    return {key: times for key, times in result.items() if times > 1}


SOURCE = cuda.source


@pytest.fixture
def make(strict):
    return Maker(strict)


def test_every_kernel_is_in_a_case():
    called = {name for _, names in CASES.values() for name in names.split()}
    assert called == {name for file in cuda.files() for name in cuda_on_cpu.parameters(cuda.source(file))}


SLOW = (
    "convolution, full",
    "convolution, bfloat16",
    "convolution, tf32, 128 filters",
    "convolution, bf16, 128 filters",
    "walks through a tree",
    "noise",
    "images",
)


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES])
def test_a_kernel_is_fed_at_the_minimum(case, make):
    found = fed(case, make)
    assert {access.kernel for access in found} == {*CASES[case][1].split()}
    stated = {key: times for key, (times, _) in STATED.get(case, {}).items()}
    above = [access for access in found if access.times_the_minimum > 1]
    assert worst(found) == pytest.approx(stated, rel=0.02), cuda_feed.table(above)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_tensor_cores_are_fed_in_16_bytes_and_four_products_a_load(precision, make):
    """A warp has 64x64: 4 and 4 loads of its factors for 4x8 products, in each step. Only of floats that lie the other
    way round, in dw, ldmatrix can take none: 8 loads of two numbers and 16 of one, which take the same cycles.
    """
    found = [access for access in fed(f"convolution, {precision}", make) if access.kernel in ("outputs", "weights")]
    copied = {(a.array, a.size) for a in found if a.array in ("x", "w", "dy", "b", "y", "parts")}
    assert copied == {("parts", 8), *((array, 16) for array in ("x", "w", "dy", "b", "y"))}
    slices = {"outputs": 9, "weights": 3 * 4} if precision == "tf32" else {"outputs": 5, "weights": 3 * 2}
    for kernel, count in slices.items():
        factors = [
            a for a in found if (a.kernel, a.array, a.store) == (kernel, SHARED, False) and "corners" not in a.line
        ]
        factors = [a for a in factors if "tap" not in a.line]
        warps, steps = 2, 4  # of a tile of 128x64, and of a slice
        by_words = (kernel, precision) == ("weights", "tf32")
        assert sum(a.accesses for a in factors) == count * warps * steps * (8 + 16 if by_words else 4 + 4)
        assert sum(a.cycles for a in factors) == count * warps * steps * 32


# ---------------------------------------------------------------- planted faults
BLOCK_SUM = """    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (me < half) room[me] += room[me + half];
        __syncthreads();
    }
    const double sum"""
# what is wrong: (file, right, wrong, case, which access must be found)
PLANTED = {
    "pieces that are not exchanged": (
        "conv_tensor",
        "(piece ^ (row % 4 * 2 + row / 4 % 2))",
        "piece",
        "convolution, tf32",
        ("outputs", SHARED, False),
    ),
    "pieces that are exchanged by half the row": (
        "conv_tensor",
        "(piece ^ (row % 4 * 2 + row / 4 % 2))",
        "(piece ^ row / 2 % 8)",
        "convolution, bf16",
        ("weights", SHARED, False),
    ),
    "pieces that are exchanged by the row as it is": (  # good for ldmatrix, and two words of a bank for floats
        "conv_tensor",
        "(piece ^ (row % 4 * 2 + row / 4 % 2))",
        "(piece ^ row % 8)",
        "convolution, tf32",
        ("weights", SHARED, False),
    ),
    "results stored number by number": (
        "conv_tensor",
        "*(FourFloats*)to = x;",
        "for (int i = 0; i < 4; i++) to[i] = x.of[i];",
        "convolution, tf32",
        ("outputs", "y", True),
    ),
    "rows without what keeps them on different banks": (
        "conv",
        "ROWS + 4",
        "ROWS",
        "convolution, full",
        ("outputs_full", SHARED, True),
    ),
    "a sum that skips ever more places of shared memory": (
        "norm",
        BLOCK_SUM,
        BLOCK_SUM.replace("half = BLOCK / 2; half > 0; half /= 2", "step = 1; step < BLOCK; step *= 2").replace(
            "if (me < half) room[me] += room[me + half]",
            "if (2 * step * me < BLOCK) room[2 * step * me] += room[2 * step * me + step]",
        ),
        "norms",
        ("layer_norm", SHARED, False),
    ),
    "neighbours read down a column": (
        "norm",
        "WIDTH + threadIdx.x % WIDTH);\n    p.lane = (int)(threadIdx.x / WIDTH)",
        "WIDTH + threadIdx.x / LANES);\n    p.lane = (int)(threadIdx.x % LANES)",
        "norms",
        ("normalise_sums", "dy", False),
    ),
    "rows that begin within a sector": (
        "elementwise",
        "    ITEM(i, items);\n    const real value = b",
        "    ITEM(item, items);\n    const int i = (item + 1) % items;\n    const real value = b",
        "between the types",
        ("add_bias", "y", True),
    ),
    "stores by columns": (
        "norm",
        "write_pack(values, y, i, items)",
        "for (int k = i; k < i + PACK; k++) y[k % c * (items / c) + k / c] = values.value[k - i]",
        "norms",
        ("normalise", "y", True),
    ),
    "eight numbers read one by one for 16 bytes": (
        "elementwise",
        "(size_t)x % 16 == 0",
        "(size_t)x % 16 == 1",
        "element by element, bfloat16",
        ("relu", "x", False),
    ),
    "four stores of 4 bytes for one of 16": (
        "philox",
        "elements % 4 == 0",
        "elements < 0",
        "noise",
        ("philox", "words", True),
    ),
    "a picture read down its columns": (
        "images",
        "change, i / w, i % w, first",
        "change, i % h, i / h, first",
        "images",
        ("mean_colours", "x", False),
    ),
}


@pytest.mark.parametrize("fault", slow(PLANTED))
def test_a_planted_fault_is_found(fault, make, monkeypatch):
    file, right, wrong, case, key = PLANTED[fault]
    code = cuda.source(file)
    assert right in code
    monkeypatch.setattr(cuda, "source", lambda name: code.replace(right, wrong) if name == file else SOURCE(name))
    cuda.compiled_for.cache_clear()
    try:
        assert worst(fed(case, make)).get(key, 1) > 1.1 * STATED.get(case, {}).get(key, (1, ""))[0]
    finally:
        cuda.compiled_for.cache_clear()
