"""a3: convolution by its definition, by columns, and in Cython; max-pooling. The page: pages/a3_conv/README.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from npsoftmax.grading.exercises.base import Assignment, Case, Draw, Exercise, one_sample, pair
from npsoftmax.grading.oracles import conv as oracle

ASSIGNMENT = Assignment(
    "a3",
    "a3_conv",
    "conv.py",
    "convolution and pooling",
    "Convolution by its definition and as one matrix product, and max-pooling with windows that overlap.",
    "import math\nfrom typing import Any\n\nimport numpy as np\n\nfrom npsoftmax.backend import Array\n"
    "from npsoftmax.functional.conv import Grads\nfrom npsoftmax.kernels.windows.reference import Pair, output_size\n",
    {
        "im2col_cython.py": (
            "im2col in Cython's pure-Python mode: it runs in Python as it is, and `npsoftmax grade` compiles it.",
            "import cython\n",
        )
    },
    given="Pair is two ints, height first. Grads is the three results of a backward, (dx, dw, db).\n\n"
    "    output_size(size, k, stride, pad) -> int\n\n"
    "is the number of output positions along ONE axis: OH = output_size(H, KH, SH, PH), and\n"
    "OW = output_size(W, KW, SW, PW).",
)

CONV, REFERENCE = "npsoftmax.functional.conv", "npsoftmax.kernels.windows.reference"


# ---------------------------------------------------------------- cases
def image_sizes(draw: Draw) -> dict[str, int]:
    """Small images: N, H, W, C and F, all different."""
    n, c = draw.rng.permutation([2, 3]).tolist()
    h, w = draw.rng.permutation([4, 5]).tolist()
    return {"N": n, "H": h, "W": w, "C": c, "F": 6}


def convolved(draw: Draw, k: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]) -> Case:
    """Images, a kernel and a bias."""
    s = image_sizes(draw)
    args = {
        "x": draw.normal(s["N"], s["H"], s["W"], s["C"]),
        "w": draw.normal(*k, s["C"], s["F"]),
        "b": draw.normal(s["F"]),
        "stride": stride,
        "pad": pad,
    }
    return Case(s, args, ("x", "w", "b"), note=f"kernel {k[0]}x{k[1]}, stride {stride}, pad {pad}")


def plain(draw: Draw) -> Case:
    """Every pixel position, no padding."""
    return convolved(draw, (3, 2), (1, 1), (0, 0))


def strided(draw: Draw) -> Case:
    """Steps of two rows, padding, and no bias."""
    case = convolved(draw, (3, 2), (2, 1), (1, 2))
    case.args["b"] = None
    return Case(case.sizes, case.args, case.wrt, note=f"{case.note}, b=None")


def leftover(draw: Draw) -> Case:
    """Steps of three, after which rows and columns are left over: sizes are rounded down."""
    return convolved(draw, (2, 3), (3, 3), (1, 0))


def without(case: Case, *names: str) -> dict[str, Any]:
    """The arguments of a case but these."""
    return {name: value for name, value in case.args.items() if name not in names}


def padded(draw: Draw) -> Case:
    """Images, padding that differs in height and width, and its value."""
    s = {name: size for name, size in image_sizes(draw).items() if name != "F"}
    return Case(s, {"x": draw.normal(*s.values()), "pad": (1, 2), "value": -1.5}, note="pad (1, 2), value -1.5")


def unpadded(draw: Draw) -> Case:
    """No padding at all."""
    case = padded(draw)
    case.args.update(pad=(0, 0), value=0.0)
    return Case(case.sizes, case.args, note="pad (0, 0)")


def windowed(k: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]) -> Callable[[Draw], Case]:
    """A kind of case: images and windows of size k."""

    def make(draw: Draw) -> Case:
        case = convolved(draw, k, stride, pad)
        sizes = {name: size for name, size in case.sizes.items() if name != "F"}
        note = f"window {k[0]}x{k[1]}, stride {stride}, pad {pad}"
        return Case(sizes, {"x": case.args["x"], "k": k, "stride": stride, "pad": pad}, note=note)

    return make


def columns(windows: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
    """A kind of case: a column matrix, and the images that it came from."""

    def make(draw: Draw) -> Case:
        case = windows(draw)
        shape, k = case.args["x"].shape, case.args["k"]
        oh, ow = oracle.output_shape(shape, *(case.args[name] for name in ("k", "stride", "pad")))
        cols = draw.normal(shape[0] * oh * ow, k[0] * k[1] * shape[3])
        return replace(case, args={"cols": cols, "shape": shape, **without(case, "x")})

    return make


def pooled(windows: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
    """A kind of case: dy, and the winners of the windows."""

    def make(draw: Draw) -> Case:
        case = windows(draw)
        y, index = oracle.max_pool(**case.args)
        args = {"dy": draw.upstream(y.shape), "index": index.astype(np.uint8), "shape": case.args["x"].shape}
        return replace(case, args={**args, **without(case, "x")})

    return make


def tied(draw: Draw) -> Case:
    """Images of -2, -1 and 0: many ties, and padding that must not win with its zeros."""
    case = windowed((2, 3), (1, 2), (1, 1))(draw)
    case.args["x"] = draw.rng.integers(-3, 0, case.args["x"].shape).astype(float)
    return Case(case.sizes, case.args, note=f"{case.note}, many ties, all below 0")


def far_below(draw: Draw) -> Case:
    """Numbers below any that one would pad with; no window holds a single pixel."""
    case = windowed((3, 3), (1, 2), (1, 1))(draw)
    case.args["x"] = -1e30 * draw.positive(*case.args["x"].shape)
    return replace(case, note=f"{case.note}, numbers near -1e30")


def large(draw: Draw) -> Case:
    """Images on which a loop in Python takes a noticeable time."""
    args = {"x": draw.normal(1, 12, 12, 8), "k": (3, 3), "stride": (1, 1), "pad": (1, 1)}
    return Case({"N": 1, "H": 12, "W": 12, "C": 8}, args)


def fill_columns(function: Callable[..., Any], inputs: dict[str, Any]) -> np.ndarray:
    """Call the exercise in Cython: it writes into an array that it is given."""
    x, k, stride, pad = np.ascontiguousarray(inputs["x"]), inputs["k"], inputs["stride"], inputs["pad"]
    oh, ow = oracle.output_shape(x.shape, k, stride, pad)
    cols = np.full((x.shape[0] * oh * ow, k[0] * k[1] * x.shape[3]), np.nan)
    function(x, cols, *k, *stride, *pad, oh, ow)
    return cols


# ---------------------------------------------------------------- the table
CONV_CACHE = "(x, w, b is not None, stride, pad): x (N, H, W, C), w (KH, KW, C, F), True or False, and the two pairs"
GRADS = ("dx", "dw", "db")
OVERLAP, HALVES, GAPS = (
    windowed(*numbers) for numbers in (((3, 2), (2, 1), (1, 0)), ((2, 2), (2, 2), (0, 0)), ((1, 2), (2, 3), (0, 1)))
)
WINDOWS = (OVERLAP, HALVES, GAPS, one_sample(OVERLAP))

EXERCISES = (
    Exercise(
        "a3", "pad_images", REFERENCE, ("padded",), (padded, unpadded, one_sample(padded)), 1,
        ("np.pad takes one pair (before, after) for each of the four axes; samples and channels get (0, 0).",),
        oracle=oracle.pad_images,
    ),
    *pair(
        "a3", "conv2d_naive", CONV, 2, (plain, strided, leftover, one_sample(plain)), oracle.conv2d, CONV_CACHE,
        ("Loop over the output positions (i, j) only: window = padded[:, i·SH : i·SH + KH, j·SW : j·SW + KW].",
         "np.tensordot(window, w, axes=3) multiplies and sums over KH, KW and C for all samples at once."),
        ("The same loops. Each window gave y[:, i, j]; so dw += windowᵀ · dy[:, i, j], summed over the samples.",
         "Each pixel of the window gets dy[:, i, j] times the weight it met, ADDED to what other windows sent it.",
         "Collect in a padded array, and crop it at the end."),
        grads=GRADS, points=(2, 3), uses=(("pad_images",), ("pad_images",)),
    ),
    Exercise(
        "a3", "im2col", REFERENCE, ("cols",), WINDOWS, 3,
        ("For one tap (u, v), what all windows see is one slice: padded[:, u : u + SH·OH : SH, v : v + SW·OW : SW].",
         "np.stack the KH·KW slices along a new axis 3, then reshape to (N·OH·OW, KH·KW·C)."),
        2, oracle=oracle.im2col, uses=("pad_images",),
    ),
    Exercise(
        "a3", "col2im", REFERENCE, ("x",), tuple(columns(windows) for windows in WINDOWS), 4,
        ("im2col in reverse: the same slices, but of a padded array of zeros, and += instead of a copy.",
         "A pixel that lies in several windows gets the SUM of what they send it. Crop the padding at the end."),
        2, oracle=oracle.col2im,
    ),
    *pair(
        "a3", "conv2d_im2col", CONV, 5, (plain, strided, leftover, one_sample(plain)), oracle.conv2d, CONV_CACHE,
        ("cols @ w.reshape(-1, F) + b is every output at once; reshape it to (N, OH, OW, F).",),
        ("With dy as rows (N·OH·OW, F) these are the gradients of a dense layer.",
         "dw = colsᵀ @ rows in the shape of w; db = sum of the rows; dcols = rows @ wᵀ, and col2im sends it to pixels.",
         "The columns are not in the cache: compute them again."),
        grads=GRADS, points=(2, 3), uses=(("im2col",), ("im2col", "col2im")),
    ),
    Exercise(
        "a3", "max_pool", REFERENCE, ("y", "index"), (OVERLAP, HALVES, tied, far_below, one_sample(tied)), 6,
        ("Pad with -∞, so that the padding never wins; go through the taps and keep the largest so far and its number.",
         "index is u·KW + v; with > and not >= the first of several equal ones stays."),
        2, oracle=oracle.max_pool, uses=("pad_images",),
        remark="relu belongs to a fused pair of the library: here it is False, and you may ignore it.",
    ),
    Exercise(
        "a3", "max_pool_backward", REFERENCE, ("dx",), tuple(pooled(windows) for windows in WINDOWS), 6,
        ("For each tap: where index is this tap, dy goes to the pixel that the tap saw. Slices as in col2im.",
         "Windows overlap, so a pixel may win several: +=, and crop the padding."),
        3, oracle=oracle.max_pool_backward,
    ),
    Exercise(
        "a3", "im2col_cython", "npsoftmax.grading.im2col_cython", ("cols",),
        WINDOWS, 7,
        ("Six loops: n, i, j for the row; u, v, c for the column. Declare each counter: n: cython.Py_ssize_t.",
         "h = i·sh + u - ph and w = j·sw + v - pw; outside 0 <= h < H, 0 <= w < W the value is 0."),
        4, oracle=oracle.im2col_cython, run=fill_columns, file="im2col_cython.py", timed=large,
    ),
)  # fmt: skip
