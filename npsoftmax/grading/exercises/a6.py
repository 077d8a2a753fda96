"""a6: what lets a network learn in a few epochs. The page: pages/a6_speedrun/README.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from npsoftmax.grading.exercises.base import Assignment, Case, Draw, Exercise, one_sample, pair
from npsoftmax.grading.oracles import speedrun as oracle
from npsoftmax.grading.values import as_array

ASSIGNMENT = Assignment(
    "a6",
    "a6_speedrun",
    "speedrun.py",
    "learning in a few epochs",
    "What lets a network learn in a few epochs: targets, activation, first filters, images and direction of a step.",
    "import math\nfrom typing import Any\n\nimport numpy as np\n\nfrom npsoftmax.backend import Array\n",
)

SMOOTHING, ACTIVATION, WHITENING, RESIZE, MUON = (
    f"npsoftmax.functional.{name}" for name in ("smoothing", "activation", "whitening", "resize", "newton_schulz")
)


# ---------------------------------------------------------------- cases: targets and activations
def one_hot(draw: Draw) -> Case:
    """One-hot rows."""
    s = draw.sizes("NC", 3)
    q = np.eye(s["C"])[draw.labels(s["N"], s["C"])]
    return Case(s, {"q": q, "label_smoothing": 0.2}, (), {"ε": 0.2}, "one-hot rows, label_smoothing=0.2")


def weighted(draw: Draw) -> Case:
    """Rows of several classes, which do not sum to 1."""
    s = draw.sizes("NC", 3)
    args = {"q": draw.positive(s["N"], s["C"]), "label_smoothing": 0.3}
    return Case(s, args, (), {"ε": 0.3}, "rows that do not sum to 1, label_smoothing=0.3")


def scored(draw: Draw) -> Case:
    """Logits, and targets whose rows do not sum to 1."""
    s = draw.sizes("NC", 3)
    return Case(s, {"z": draw.normal(s["N"], s["C"]), "q": draw.positive(s["N"], s["C"])}, ("z",))


def shares(draw: Draw) -> Case:
    """The same with rows that do."""
    case = scored(draw)
    case.args["q"] /= case.args["q"].sum(axis=1, keepdims=True)
    return replace(case, note="rows of q sum to 1")


def scored_large(draw: Draw) -> Case:
    """Logits whose exponentials overflow."""
    case = scored(draw)
    case.args["z"] *= 1000
    return replace(case, wrt=(), note="logits of ±1000")


def numbers(draw: Draw) -> Case:
    """Numbers of both signs."""
    s = draw.sizes("NHC")
    return Case(s, {"x": draw.normal(s["N"], s["H"], s["C"], scale=2.0)}, ("x",))


def numbers_large(draw: Draw) -> Case:
    """Numbers whose exponentials overflow."""
    case = numbers(draw)
    case.args["x"] = 1000 * draw.apart(*case.args["x"].shape)
    return replace(case, wrt=(), note="numbers of ±1000")


# ---------------------------------------------------------------- cases: images
def photographs(draw: Draw) -> dict[str, Any]:
    """Images in which neighbours and channels are alike, as in photographs: no two directions vary as much."""
    s = {"N": int(draw.rng.choice([3, 4])), "H": int(draw.rng.choice([7, 8])), "W": 6, "C": 2}
    x = draw.normal(s["N"], s["H"], s["W"], s["C"])
    x[:, 1:] += 0.7 * x[:, :-1]
    x[:, :, 1:] += 0.4 * x[:, :, :-1]
    x[..., 1] += 0.5 * x[..., 0] + 0.8
    return {"sizes": s, "x": x}


def in_patches(*k: int) -> Any:
    """A kind of case: images and patches of k pixels."""

    def make(draw: Draw) -> Case:
        drawn = photographs(draw)
        sizes = drawn["sizes"] | {"KH": k[0], "KW": k[1]}
        return Case(sizes, {"x": drawn["x"], "k": k}, note=f"k={k}")

    return make


def whitened(*k: int) -> Any:
    """The same, with eps."""
    in_these = in_patches(*k)

    def make(draw: Draw) -> Case:
        case = in_these(draw)
        eps = round(float(draw.rng.uniform(0.1, 0.5)), 2)
        return replace(case, args=case.args | {"eps": eps}, numbers={"eps": eps}, note=f"{case.note}, eps={eps}")

    return make


def settled(case: Case, outputs: dict[str, Any]) -> dict[str, Any]:
    """The filters of an answer, with these signs."""
    return with_these_signs(outputs)


def with_these_signs(outputs: dict[str, Any]) -> dict[str, Any]:
    """Both signs of a filter are there, so which comes first is free: here the one whose largest number is positive."""
    filters = as_array(outputs["filters"])
    if filters is None or filters.ndim != 4 or filters.shape[3] % 2:
        return outputs
    flat = filters.reshape(-1, filters.shape[3])
    half = filters.shape[3] // 2
    first, second = flat[:, :half], flat[:, half:]
    negative = np.take_along_axis(first, np.abs(first).argmax(axis=0)[None], axis=0) < 0
    pairs = np.where(negative, second, first), np.where(negative, first, second)
    return {"filters": np.concatenate(pairs, axis=1).reshape(filters.shape)}


def row_of_pixels(old: int, new: int) -> Any:
    """A kind of case: pixels in a row, and how many they are to be."""

    def make(draw: Draw) -> Case:
        a, b = old + int(draw.rng.integers(0, 3)), new + int(draw.rng.integers(0, 2))
        args = {"old": a, "new": b, "like": draw.normal(2)}
        return Case({"old": a, "new": b}, args, (), {"s": a / b}, f"from {a} pixels to {b}")

    return make


def smaller(draw: Draw) -> Case:
    """Images, and a size below theirs."""
    s = {"N": 2, "H": int(draw.rng.choice([7, 8])), "W": 6, "C": 3}
    height, width = 5, 4
    args = {"x": draw.normal(*s.values()), "height": height, "width": width}
    return Case(s | {"height": height, "width": width}, args, ("x",), note=f"to {height} x {width} pixels")


def higher(draw: Draw) -> Case:
    """Images that become higher and less wide."""
    s = {"N": 3, "H": 4, "W": int(draw.rng.choice([7, 8])), "C": 2}
    height, width = 6, 5
    args = {"x": draw.normal(*s.values()), "height": height, "width": width}
    return Case(s | {"height": height, "width": width}, args, ("x",), note=f"to {height} x {width} pixels")


def seen_in(epoch: int) -> Any:
    """A kind of case: images in this epoch."""

    def make(draw: Draw) -> Case:
        h = int(draw.rng.choice([2, 3]))
        s = {"N": int(draw.rng.choice([6, 7])), "H": h, "W": int(draw.rng.choice([4, 5])), "C": 5 - h}
        u = draw.rng.permutation((np.arange(s["N"]) + 0.5) / s["N"] + 0.03)  # none near 1/2
        return Case(s, {"x": draw.normal(*s.values()), "u": u, "epoch": epoch}, note=f"epoch {epoch}")

    return make


def with_a_half(epoch: int) -> Any:
    """The same, and one u is exactly 1/2, which is not below 1/2."""
    in_this = seen_in(epoch)

    def make(draw: Draw) -> Case:
        case = in_this(draw)
        case.args["u"][1] = 0.5
        return replace(case, note=f"{case.note}, u[1] = 0.5")

    return make


# ---------------------------------------------------------------- cases: matrices and filters
def matrix(draw: Draw, rows: int, columns: int) -> np.ndarray:
    """A matrix with singular values below 1, of which no two are alike."""
    left, _, right = np.linalg.svd(draw.normal(rows, columns), full_matrices=False)
    count = min(rows, columns)
    values = np.linspace(0.15, 0.9, count) + 0.05 * draw.rng.random(count)
    return (left * draw.rng.permutation(values)) @ right


def wide(draw: Draw) -> Case:
    """More columns than rows."""
    s = {"R": int(draw.rng.choice([3, 4])), "K": int(draw.rng.choice([5, 6]))}
    return Case(s, {"x": matrix(draw, s["R"], s["K"])})


def tall(draw: Draw) -> Case:
    """More rows than columns."""
    s = {"R": int(draw.rng.choice([5, 6])), "K": int(draw.rng.choice([3, 4]))}
    return Case(s, {"x": matrix(draw, s["R"], s["K"])})


def to_straighten(kind: Any, steps: int) -> Any:
    """A kind of case: a matrix so large that no floor of its norm, max(‖m‖, 1e-6) or ‖m‖ + 1e-6, shows; and steps."""

    def make(draw: Draw) -> Case:
        case = kind(draw)
        return Case(
            case.sizes, {"m": 1e6 * case.args["x"], "steps": steps}, note=f"steps={steps}, numbers of up to a million"
        )

    return make


def of_zeros(draw: Draw) -> Case:
    """No direction at all."""
    case = wide(draw)
    return Case(case.sizes, {"m": np.zeros_like(case.args["x"]), "steps": 3}, note="zeros")


def filters(outputs: int, steps: int) -> Any:
    """A kind of case: so many filters, their gradient and their buffer; so many steps or one more."""

    def make(draw: Draw) -> Case:
        s = {"KH": 1, "KW": 2, "C": int(draw.rng.choice([3, 4])), "F": outputs}
        w, g, b = (draw.normal(*s.values()) for _ in range(3))
        lr, momentum = (round(float(draw.rng.uniform(0.2, 0.8)), 2) for _ in range(2))
        told = {"lr": lr, "momentum": momentum, "steps": steps + int(draw.rng.integers(2))}
        k = 2 * s["C"]
        note = ", ".join(f"{name}={value}" for name, value in (told | {"K": k}).items())
        return Case(s, {"w": w, "g": g, "b": b, **told}, (), {"μ": momentum, "K": k}, note)

    return make


# ---------------------------------------------------------------- the table
EXERCISES = (
    Exercise(
        "a6", "smoothed_targets", SMOOTHING, ("smoothed",), (weighted, one_hot, one_sample(weighted)), 1,
        ("(1 - ε) · q is what is left; what was taken from a row, ε · Σ_c q_c, is shared out evenly: over C.",
         "q.sum(axis=1, keepdims=True), or ε times the mean of each row."),
        oracle=oracle.smoothed_targets,
    ),
    *pair(
        "a6", "soft_cross_entropy", SMOOTHING, 1,
        (scored, shares, scored_large, one_sample(scored)), oracle.soft_cross_entropy,
        "(p, q): p (N, C), the softmax of z, and q as it came in",
        ("log-softmax first, with the maximum subtracted; then times -q, summed along the classes, averaged over N.",),
        ("Each class of its own has the gradient p - onehot; the loss is their sum, with weights q.",
         "Σ_c q_c · (p - onehot(c)) = p · Σ_c q_c - q; only if the row sums to 1 it is p - q. And the mean has 1/N."),
        outputs=("loss",), points=(2, 2),
    ),
    *pair(
        "a6", "silu", ACTIVATION, 2, (numbers, numbers_large, one_sample(numbers)), oracle.silu,
        "(x, s): x as it came in, s = σ(x) like x",
        ("x / (1 + np.exp(-x)); where e^-x is infinite this is -0, as it should be; e^x / (1 + e^x) would be NaN.",),
        ("The product rule, with σ' = σ · (1 - σ).", "σ + x · σ · (1 - σ), times dy."),
        grads=("dx",), points=(1, 2),
    ),
    Exercise(
        "a6", "patch_covariance", WHITENING, ("covariance",),
        (in_patches(2, 2), in_patches(1, 3), in_patches(3, 1), one_sample(in_patches(2, 2))), 3,
        ("First all patches as the rows of a matrix (M, D): np.lib.stride_tricks.sliding_window_view, or a slice of x "
         "for each pixel of a patch, side by side.",
         "The order in a patch is (KH, KW, C): sliding_window_view has the channels before the window, so transpose.",
         "Subtract the mean of each column; then the matrix with itself, a.T @ a / M."),
        points=2, oracle=oracle.patch_covariance,
        float64="np.cov returns it whatever comes in, and so do np.zeros and np.eye without dtype=; "
                ".astype(x.dtype) at the end",
    ),
    Exercise(
        "a6", "whitening_filters", WHITENING, ("filters",),
        (whitened(2, 2), whitened(1, 3), one_sample(whitened(2, 2))), 3,
        ("np.linalg.eigh gives values that RISE, and vectors as the COLUMNS of a matrix: [::-1] and [:, ::-1].",
         "Column d over √(λ_d + eps); the same once more with a minus, side by side: (D, 2·D).",
         "The rows of that are in the order (KH, KW, C): reshape(KH, KW, C, 2·D). astype(x.dtype) at the end."),
        points=3, oracle=oracle.whitening_filters, uses=("patch_covariance",), settle=settled,
        float64="the library's patch_covariance adds up in float64 and returns it, as np.cov does; "
                ".astype(x.dtype) at the end",
    ),
    Exercise(
        "a6", "resizing_weights", RESIZE, ("w",),
        (row_of_pixels(8, 5), row_of_pixels(12, 4), row_of_pixels(4, 7)), 4,
        ("The middle of new pixel i is at s · (i + 1/2) in old pixels, that of old pixel j at j + 1/2.",
         "np.arange(new)[:, None] beside np.arange(old): all distances in one array. np.maximum(0, …) is the triangle.",
         "Divide each row by its sum, and at the end .astype(like.dtype)."),
        points=2, oracle=oracle.resizing_weights,
    ),
    *pair(
        "a6", "resize", RESIZE, 4, (smaller, higher, one_sample(smaller)), oracle.resize,
        "(down, across): the weights of the height (height, H) and of the width (width, W)",
        ("Downwards and then across: np.einsum('ij,njvc->nivc', down, x), and the same with the third axis.",),
        ("y is linear in x: each dx is the sum of all dy, with the weights that this x had in them.",
         "The same two sums with the matrices transposed: in np.einsum the letters of the result change."),
        grads=("dx",), points=(2, 2), uses=(("resizing_weights",), ()),
    ),
    Exercise(
        "a6", "alternating_flip", "npsoftmax.data.augment", ("images",),
        (seen_in(0), seen_in(3), seen_in(4), one_sample(seen_in(0)), one_sample(seen_in(1)), with_a_half(0),
         with_a_half(1)), 5,
        ("x[:, :, ::-1] is mirrored left to right: the axes are (N, H, W, C).",
         "(u < 0.5) == (epoch % 2 == 0) says which (u = 1/2 is not below); np.where needs it as (N, 1, 1, 1)."),
        points=2, oracle=oracle.alternating_flip,
    ),
    Exercise(
        "a6", "newton_schulz_step", MUON, ("y",), (wide, tall), 6,
        ("gram = x @ x.T once; gram @ gram is its square. The matrix b·G + c·G² stands to the LEFT of x.",),
        points=2, oracle=oracle.newton_schulz_step,
    ),
    Exercise(
        "a6", "orthogonalised", MUON, ("o",),
        (to_straighten(wide, 3), to_straighten(tall, 5), to_straighten(tall, 1), of_zeros), 6,
        ("‖m‖ is the root of the sum of all squares; divide once, before the steps, and by no 0.",
         "Each step takes what the step before it gave."),
        points=2, oracle=oracle.orthogonalised, uses=("newton_schulz_step",),
    ),
    Exercise(
        "a6", "muon_step", MUON, ("new_w", "new_b"), (filters(5, 2), filters(11, 4)), 6,
        ("First the new b; the direction is of g + momentum · (new b), in Nesterov's form.",
         "reshape(-1, F) makes a matrix with a column for each filter; reshape(w.shape) brings the direction back.",
         "math.sqrt(max(1, F / K)) with K = KH·KW·C, the number of rows; w -= … would change what was passed in."),
        points=3, oracle=oracle.muon_step, uses=("orthogonalised",),
    ),
)  # fmt: skip
