"""a1: the ladder to softmax, the cross entropy, and softmax's relatives. The page: pages/a1_softmax/README.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from npsoftmax.grading.exercises.base import Assignment, Case, Draw, Exercise, one_sample, pair
from npsoftmax.grading.oracles import softmax as oracle

ASSIGNMENT = Assignment(
    "a1",
    "a1_softmax",
    "softmax.py",
    "from scores to probabilities",
    "Softmax, the ladder of ideas that leads to it, and its relatives.",
    "from typing import Any\n\nimport numpy as np\n\nfrom npsoftmax.backend import Array\n"
    "from npsoftmax.errors import InputError\n",
    given='Where a docstring asks for an InputError: raise InputError("what is wrong").',
)

SOFTMAX, LOSS, GUMBEL, TAYLOR = (f"npsoftmax.functional.{name}" for name in ("softmax", "loss", "gumbel", "taylor"))
TOTAL = "(y, total): y (…, C), and total (…, 1), the sum of each row that y was divided by"
NO_MASK = "mask is for attention: in this assignment it is None, and you may ignore it."


# ---------------------------------------------------------------- cases
def rows(draw: Draw) -> Case:
    """A few rows of logits."""
    s = draw.sizes("NC", 3)
    return Case(s, {"z": draw.normal(s["N"], s["C"])}, ("z",))


def deep(draw: Draw) -> Case:
    """Logits with an axis more before the classes, as in attention."""
    s = draw.sizes("NTC", 2)
    return Case(s, {"z": draw.normal(s["N"], s["T"], s["C"])}, ("z",), note="z (N, T, C)")


def far_apart(draw: Draw, n: int, c: int) -> np.ndarray:
    """Logits (n, c) whose exponentials overflow in every other row, and underflow in the rows between."""
    z = 1000 * draw.apart(n, c)
    z[::2] += 5000
    z[1::2] -= 5000
    return z


def large(draw: Draw) -> Case:
    """Logits whose exponentials overflow."""
    s = draw.sizes("NC", 3)
    return Case(s, {"z": far_apart(draw, s["N"], s["C"])}, note="logits of ±5000")


def untied(draw: Draw) -> Case:
    """Logits with a clear maximum and minimum in every row, neither of them ever in the last column: what is taken
    from columns in place of rows shows."""
    s = draw.sizes("NC", 3)
    z = draw.apart(s["N"], s["C"])
    for row in z:
        for place in (row.argmin(), row.argmax()):
            if place == s["C"] - 1:
                inner = int(np.argsort(row)[s["C"] // 2])
                row[[place, inner]] = row[[inner, place]]
    return Case(s, {"z": z}, ("z",))


def shared(dy: np.ndarray, tied: np.ndarray) -> list[np.ndarray]:
    """dy minus its sum at the extreme of each row: the ties share it equally, or the first or the last takes it."""
    total = dy.sum(axis=-1, keepdims=True)
    ends = [np.zeros_like(dy), np.zeros_like(dy)]
    for end, places in zip(ends, (tied.argmax(-1), tied.shape[-1] - 1 - tied[..., ::-1].argmax(-1)), strict=True):
        np.put_along_axis(end, places[..., None], 1.0, axis=-1)
    return [dy - share * total for share in (tied / tied.sum(axis=-1, keepdims=True), *ends)]


def tied_maxima(draw: Draw) -> Case:
    """Two logits share the maximum of each row, where no derivative exists."""
    case = untied(draw)
    z = case.args["z"]
    z[:, -1] = z.max(axis=-1)
    tied = z == z.max(axis=-1, keepdims=True)
    return replace(case, gradients=lambda dy: [(dz,) for dz in shared(dy, tied)], note="two maxima in each row")


def tied_minima(draw: Draw) -> Case:
    """Two logits share the minimum of each row, where no derivative exists."""
    case = untied(draw)
    z = case.args["z"]
    z[:, -1] = z.min(axis=-1)
    u = z - z.min(axis=-1, keepdims=True)
    total = u.sum(axis=-1, keepdims=True)

    def gradients(dy: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        du = (dy - (u / total * dy).sum(axis=-1, keepdims=True)) / total
        return [(dz,) for dz in shared(du, u == 0)]

    return replace(case, gradients=gradients, note="two minima in each row")


def sum_of_zero(draw: Draw) -> Case:
    """A row whose numbers cancel."""
    case = summable(draw)
    case.args["z"][1] = 0.0
    case.args["z"][1, :2] = 1.5, -1.5
    return replace(case, note="a row that sums to 0")


def all_equal(draw: Draw) -> Case:
    """A row of equal numbers."""
    case = summable(draw)
    case.args["z"][1] = 0.75
    return replace(case, note="a row of equal numbers")


def summable(draw: Draw) -> Case:
    """Rows whose sum is nowhere near 0."""
    s = draw.sizes("NC", 3)
    return Case(s, {"z": draw.positive(s["N"], s["C"])}, ("z",))


def summable_deep(draw: Draw) -> Case:
    """The same with an axis more, and a negative number here and there."""
    s = draw.sizes("NTC", 2)
    z = draw.positive(s["N"], s["T"], s["C"])
    z[..., 0] *= -0.3
    return Case(s, {"z": z}, ("z",), note="z (N, T, C), some negative")


def probabilities(draw: Draw) -> Case:
    """Rows that sum to 1."""
    s = draw.sizes("NC", 3)
    p = draw.positive(s["N"], s["C"])
    return Case(s, {"p": p / p.sum(axis=-1, keepdims=True)})


def labelled(draw: Draw) -> Case:
    """Logits and labels."""
    s = draw.sizes("NC", 3)
    return Case(s, {"z": draw.normal(s["N"], s["C"]), "t": draw.labels(s["N"], s["C"])}, ("z",))


def smoothed(draw: Draw) -> Case:
    """The same with label smoothing and a temperature."""
    case = labelled(draw)
    case.args.update(label_smoothing=0.2, temperature=2.5)
    numbers = {"T": 2.5, "ε": 0.2}
    return Case(case.sizes, case.args, ("z",), numbers, note="label_smoothing=0.2, temperature=2.5")


def labelled_large(draw: Draw) -> Case:
    """Logits whose exponentials overflow, and labels."""
    case = labelled(draw)
    case.args["z"] = far_apart(draw, *case.args["z"].shape)
    case.args["t"][0] = case.args["z"][0].argmin()
    return Case(case.sizes, case.args, note="logits of ±5000")


def noisy(draw: Draw) -> Case:
    """Logits, Gumbel noise and a temperature."""
    s = draw.sizes("NC", 3)
    noise = -np.log(-np.log(0.01 + 0.98 * draw.rng.random((s["N"], s["C"]))))
    args = {"z": draw.normal(s["N"], s["C"]), "noise": noise, "tau": 0.4}
    return Case(s, args, ("z",), {"τ": 0.4}, note="τ=0.4")


def noisy_large(draw: Draw) -> Case:
    """The same with logits whose exponentials overflow."""
    case = noisy(draw)
    case.args["z"] = far_apart(draw, *case.args["z"].shape)
    return Case(case.sizes, case.args, note="logits of ±5000")


def no_temperature(tau: float) -> Callable[[Draw], Case]:
    """A kind of case: a temperature that is none."""

    def make(draw: Draw) -> Case:
        case = noisy(draw)
        case.args["tau"] = tau
        return replace(case, note=f"tau={tau:g}")

    return make


NO_TEMPERATURES = (no_temperature(-0.5), no_temperature(0.0))


def second_order(draw: Draw) -> Case:
    """Logits and the order 2."""
    s = draw.sizes("NC", 3)
    return Case(s, {"z": draw.normal(s["N"], s["C"], scale=2.0), "order": 2}, ("z",), note="order=2")


def fourth_order(draw: Draw) -> Case:
    """Logits and the order 4."""
    case = second_order(draw)
    case.args["order"] = 4
    return Case(case.sizes, case.args, ("z",), note="order=4")


def third_order(draw: Draw) -> Case:
    """An order of which the polynomial is negative somewhere."""
    case = second_order(draw)
    case.args["order"] = 3
    return replace(case, note="order=3")


# ---------------------------------------------------------------- the table
EXERCISES = (
    *pair(
        "a1", "sum_normalisation_v1", SOFTMAX, 1,
        (summable, summable_deep, one_sample(summable)), oracle.sum_normalisation_v1, TOTAL,
        ("Divide by the sum along the last axis; keepdims=True keeps the axis, so that the division broadcasts.",),
        ("The quotient rule has two terms: z_i in the numerator, and z_i in the sum.",
         "Σ_i y_i · dy_i is one number a row: multiply, sum along the last axis with keepdims=True, subtract from dy."),
        refuses=(sum_of_zero,),
    ),
    *pair(
        "a1", "sum_normalisation_v2", SOFTMAX, 1,
        (untied, tied_minima, one_sample(untied)), oracle.sum_normalisation_v2, TOTAL,
        ("u = z - min z, row by row; then it is version 1 of u. total is the sum of u.",),
        ("First du: the backward of version 1. Then back through u = z - min z.",
         "The minimum moves with the smallest logit: that logit also gets -Σ_j du_j.",
         "Where y == 0 is the minimum; share equally where several tie."),
        uses=((), ("sum_normalisation_v1_backward",)), refuses=(all_equal,),
    ),
    *pair(
        "a1", "softmax", SOFTMAX, 2, (rows, deep, large, one_sample(rows)), oracle.softmax, "p (…, C)",
        ("Subtract the row's maximum before np.exp: the result stays the same, and nothing overflows.",
         "z.max(axis=-1, keepdims=True), then divide by the sum along the same axis."),
        ("dz = Jacobian @ dy for each row, but the Jacobian need not be built.",
         "Σ_j p_j · dy_j is one number a row; subtract it from dy, then multiply by p."),
        outputs=("p",), remark=NO_MASK,
    ),
    Exercise(
        "a1", "softmax_jacobian", SOFTMAX, ("jacobian",), (probabilities, one_sample(probabilities)), 2,
        ("Entry (i, j) is p_i · (δ_ij - p_j): the diagonal of p minus the outer product of p with itself.",
         "p[..., :, None] and p[..., None, :] are the two factors of an outer product; np.eye is δ."),
        oracle=oracle.softmax_jacobian,
    ),
    *pair(
        "a1", "log_sum_exp", SOFTMAX, 3,
        (rows, deep, large, one_sample(rows)), oracle.log_sum_exp, "p (…, C), the softmax of z",
        ("log Σ e^{z_i} = m + log Σ e^{z_i - m} for any m; choose the maximum.",
         "The cache is the softmax of z: the exponentials over their sum."),
        ("The derivative of log Σ e^{z} with respect to z_i is e^{z_i} / Σ e^{z}: you know this one.",
         "dy has no class axis: dy[..., None] gives it one."),
    ),
    *pair(
        "a1", "soft_argmax", SOFTMAX, 3, (rows, deep, large, one_sample(rows)), oracle.soft_argmax,
        "(p, y): p (…, C), the softmax of z, and y (…)",
        ("The mean of the indices 0, 1, …, C - 1 with softmax as the weights: np.arange.",),
        ("Put ∂p_i/∂z_j = p_i · (δ_ij - p_j) into ∂y/∂z_j = Σ_i i · ∂p_i/∂z_j and sum over i.",
         "∂y/∂z_j = p_j · (j - y). Both dy and y need a class axis: [..., None]."),
        uses=(("softmax_forward",), ("softmax_backward",)),
    ),
    *pair(
        "a1", "log_softmax", SOFTMAX, 4, (rows, deep, large, one_sample(rows)), oracle.log_softmax, "y (…, C)",
        ("Do not take the logarithm of softmax: where p underflows it is -inf. Use z - log Σ e^z.",
         "s = z - max z; y = s - log Σ e^s."),
        ("dy_i reaches z_i directly, and all of dy reaches z_i through the log-sum-exp.",
         "dz = dy - softmax(z) · Σ_j dy_j, and softmax(z) is e^y."),
    ),
    *pair(
        "a1", "log_softmax_approximation", SOFTMAX, 4,
        (untied, tied_maxima, one_sample(untied)), oracle.log_softmax_approximation, "y (…, C)",
        ("z - max z, row by row.",),
        ("dy_i reaches z_i directly; the maximum's own logit also gets -Σ_j dy_j.",
         "The maximum is where y == 0."),
    ),
    *pair(
        "a1", "softmax_cross_entropy", LOSS, 5,
        (labelled, smoothed, labelled_large, one_sample(smoothed)), oracle.softmax_cross_entropy,
        "(p, t, label_smoothing, temperature): p (N, C), the softmax of z / T, and the others as they came in",
        ("Divide z by the temperature, take log-softmax (with the max trick), pick the targets, average over N.",
         "log_p[np.arange(len(t)), t] picks one number a row.",
         "Smoothing: the target counts 1 - ε, and the mean of log p over the classes counts ε."),
        ("Send dy = -q through log-softmax: dz = (p - q) / T, for a row. And the loss is a mean over N rows.",
         "q is (1 - ε) at the target plus ε / C everywhere; dloss multiplies everything."),
        outputs=("loss",), points=(2, 2),
    ),
    *pair(
        "a1", "gumbel_softmax", GUMBEL, 6, (noisy, noisy_large, one_sample(noisy)), oracle.gumbel_softmax,
        "(p, tau): p (…, C), tau a number",
        ("u = (z + noise) / tau, then the softmax of u.",),
        ("Back through softmax, then through u = (z + noise) / tau; the noise is a constant.",),
        uses=(("softmax_forward",), ("softmax_backward",)), outputs=("p",), remark=NO_MASK,
        refuses=NO_TEMPERATURES,
    ),
    *pair(
        "a1", "log_gumbel_softmax", GUMBEL, 6,
        (noisy, noisy_large, one_sample(noisy)), oracle.log_gumbel_softmax, "(y, tau): y (…, C), tau a number",
        ("u = (z + noise) / tau, then the log-softmax of u: never log(softmax(z) + noise).",),
        ("Back through log-softmax, then through u = (z + noise) / tau.",),
        uses=(("log_softmax_forward",), ("log_softmax_backward",)), refuses=NO_TEMPERATURES,
    ),
    Exercise(
        "a1", "taylor_polynomial", TAYLOR, ("f",), (fourth_order, second_order, one_sample(second_order)), 7,
        ("f = 1 + z + z²/2 + … + z^n/n!.",
         "Horner, from the inside out: start with 1 + z/n, then f = 1 + z/i · f for i = n - 1 down to 1."),
        oracle=oracle.taylor_polynomial,
    ),
    *pair(
        "a1", "taylor_softmax", TAYLOR, 7,
        (second_order, fourth_order, one_sample(second_order)), oracle.taylor_softmax,
        "(z, p, order): z and p (…, C), order an int",
        ("f = taylor_polynomial(z, order); divide it by its sum. No max trick: f(z - c) is no multiple of f(z).",),
        ("One derivation for all quotients: dz = p · r · (dy - Σ p · dy) with r = f' / f.",
         "The derivative of the polynomial of order n is the polynomial of order n - 1."),
        uses=(("taylor_polynomial",), ("taylor_polynomial",)), outputs=("p",), remark=NO_MASK, refuses=(third_order,),
    ),
)  # fmt: skip
