"""a2: the layers between the scores: dense, ReLU, dropout, batch norm, layer norm. The page:
pages/a2_layers/README.md."""

from __future__ import annotations

from dataclasses import replace

from npsoftmax.grading.exercises.base import Assignment, Case, Draw, one_sample, pair
from npsoftmax.grading.oracles import layers as oracle

ASSIGNMENT = Assignment(
    "a2",
    "a2_layers",
    "layers.py",
    "the layers of a network",
    "Dense layer, ReLU, dropout, batch norm and layer norm: forward, and the backward below it.",
    "from typing import Any\n\nimport numpy as np\n\nfrom npsoftmax.backend import Array\n",
)

FUNCTIONAL = "npsoftmax.functional."


# ---------------------------------------------------------------- cases
def linear(draw: Draw) -> Case:
    """Rows, weights and a bias."""
    s = draw.sizes("NDM")
    args = {"x": draw.normal(s["N"], s["D"]), "w": draw.normal(s["D"], s["M"]), "b": draw.normal(s["M"])}
    return Case(s, args, ("x", "w", "b"))


def without_bias(draw: Draw) -> Case:
    """The same without a bias."""
    case = linear(draw)
    case.args["b"] = None
    return Case(case.sizes, case.args, case.wrt, note="b=None")


def signed(draw: Draw) -> Case:
    """Numbers of both signs, none near 0."""
    s = draw.sizes("NHC")
    return Case(s, {"x": draw.apart(s["N"], s["H"], s["C"])}, ("x",))


def masked(draw: Draw) -> Case:
    """Numbers and a mask of those to keep."""
    s = draw.sizes("NC", 4, 8)
    mask = draw.rng.random((s["N"], s["C"])) < 0.6
    mask[0, :2] = True, False
    return Case(s, {"x": draw.normal(s["N"], s["C"]), "mask": mask, "keep": 0.6}, ("x",), {"keep": 0.6}, "keep=0.6")


def channels(draw: Draw) -> Case:
    """Rows of features with a scale and a shift, and a large eps, so that forgetting it shows."""
    s = draw.sizes("NC", 3)
    args = {
        "x": draw.normal(s["N"], s["C"], scale=2.0) + 1,
        "gamma": draw.positive(s["C"]),
        "beta": draw.normal(s["C"]),
        "eps": 0.1,
    }
    return Case(s, args, ("x", "gamma", "beta"), {"eps": 0.1}, "eps=0.1")


def images(draw: Draw) -> Case:
    """The same with two axes between samples and channels."""
    s = draw.sizes("NHWC", 2, 5)
    args = channels(draw).args | {"x": draw.normal(*s.values()) + 1}
    args |= {"gamma": draw.positive(s["C"]), "beta": draw.normal(s["C"])}
    return Case(s, args, ("x", "gamma", "beta"), {"eps": 0.1}, "x (N, H, W, C), eps=0.1")


def far_from_zero(draw: Draw) -> Case:
    """Numbers near 10,000 that differ by hundredths: the mean of squares minus the square of the mean loses them."""
    case = channels(draw)
    x = 1e4 + 0.05 * draw.normal(*case.args["x"].shape)
    return replace(case, args=case.args | {"x": x, "eps": 1e-5}, wrt=(), numbers={}, note="x near 10000, eps=1e-05")


# ---------------------------------------------------------------- the table
EXERCISES = (
    *pair(
        "a2", "dense", f"{FUNCTIONAL}dense", 1,
        (linear, without_bias, one_sample(linear)), oracle.dense,
        "(x, w, b is not None): x (N, D), w (D, M), and True or False",
        ("One matrix product, plus the bias, which broadcasts over the rows. b may be None.",),
        ("Look at the shapes: dx (N, D) can only be dy (N, M) times wᵀ (M, D).",
         "dw (D, M) is xᵀ (D, N) times dy (N, M): the product sums over the batch.",
         "b was added to each of the N rows, so its gradient is the sum over them; None where there is no bias."),
        grads=("dx", "dw", "db"),
    ),
    *pair(
        "a2", "relu", f"{FUNCTIONAL}activation", 2, (signed, one_sample(signed)), oracle.relu, "y, like x",
        ("np.maximum(x, 0) keeps the positive numbers.",),
        ("Where x was positive, y is positive too: there dy passes, elsewhere it becomes 0.",),
        grads=("dx",), points=(1, 1),
    ),
    *pair(
        "a2", "dropout", f"{FUNCTIONAL}dropout", 3, (masked, one_sample(masked)), oracle.dropout,
        "(mask, keep): mask like x, keep a number",
        ("Multiply by the mask, and divide by keep, so that the mean stays the same.",),
        ("The same linear map: mask and 1/keep are constants.",),
        grads=("dx",), points=(1, 1),
    ),
    *pair(
        "a2", "batch_norm", f"{FUNCTIONAL}norm", 4,
        (channels, images, far_from_zero, one_sample(images)), oracle.batch_norm,
        "(x, gamma, mean, scale): x as it came in, gamma, mean and scale (C,), scale = 1 / sqrt(var + eps)",
        ("x.reshape(-1, C) makes rows of everything; mean and var are those of the columns, axis=0.",
         "scale is 1 / sqrt(var + eps); var is divided by M, the number of rows."),
        ("First dbeta = Σ dy and dgamma = Σ dy · x̂, sums over all rows.",
         "x moves y in three ways: itself, through the mean, and through the variance.",
         "dx = gamma · scale · (dy - mean(dy) - x̂ · mean(dy · x̂)), means over the rows."),
        outputs=("y", "mean", "var"), grads=("dx", "dgamma", "dbeta"), points=(2, 3),
    ),
    *pair(
        "a2", "layer_norm", f"{FUNCTIONAL}norm", 5,
        (channels, images, far_from_zero, one_sample(channels)), oracle.layer_norm,
        "(normal, scale, gamma, beta is not None): normal = x̂ like x, scale (…, 1) = 1 / sqrt(var + eps) of each row, "
        "gamma (D,), and True or False",
        ("Batch norm with the axes exchanged: mean and variance of each row, axis=-1, keepdims=True.",),
        ("g = dy · gamma is the gradient of x̂; then batch norm's formula with means over axis=-1.",
         "dgamma and dbeta are sums over all axes but the last."),
        grads=("dx", "dgamma", "dbeta"), points=(2, 3),
    ),
)  # fmt: skip
