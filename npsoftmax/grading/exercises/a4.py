"""a4: attention: a masked softmax, the scaled dot product around it, several heads. The page:
pages/a4_attention/README.md."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npsoftmax.grading.exercises.base import Assignment, Case, Draw, Exercise, one_sample, pair
from npsoftmax.grading.oracles import attention as oracle

ASSIGNMENT = Assignment(
    "a4",
    "a4_attention",
    "attention.py",
    "attention",
    "Scaled dot-product attention with its masked softmax, and multi-head attention.",
    "import math\nfrom typing import Any\n\nimport numpy as np\n\nfrom npsoftmax.backend import Array\n",
)

ATTENTION = "npsoftmax.functional.softmax_attention"


# ---------------------------------------------------------------- cases
def queries(draw: Draw) -> Case:
    """As many queries as keys, and fewer."""
    s = draw.sizes("TS", 3, 6)
    return Case(s, {"t": s["T"], "s": s["S"], "like": draw.normal(1)})


def allowed(draw: Draw, *shape: int) -> np.ndarray:
    """A random mask with at least one True in every row."""
    mask = draw.rng.random(shape) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    return mask


def scores(draw: Draw) -> Case:
    """Scores and a mask."""
    s = draw.sizes("NTS", 2, 6)
    shape = tuple(s.values())
    return Case(s, {"z": draw.normal(*shape), "mask": allowed(draw, *shape)}, ("z",))


def nothing_allowed(draw: Draw) -> Case:
    """A row in which nothing is allowed, and scores that overflow."""
    case = scores(draw)
    case.args["mask"][0, 0] = False
    case.args["z"][1:] += 5000
    return Case(case.sizes, case.args, note="a row with nothing allowed, scores of 5000")


def forbidden_largest(draw: Draw) -> Case:
    """The largest score of every row is forbidden: it must not be the maximum that is subtracted."""
    case = scores(draw)
    z, mask = case.args["z"], case.args["mask"]
    np.put_along_axis(mask, z.argmax(-1)[..., None], False, axis=-1)
    np.put_along_axis(mask, z.argmin(-1)[..., None], True, axis=-1)
    z[~mask] += 5000
    return replace(case, wrt=(), note="the largest scores are forbidden")


def attended(draw: Draw) -> Case:
    """Queries, keys, values, and who may look where."""
    s = draw.sizes("NTSDE", 2, 6)
    args = {
        "q": draw.normal(s["N"], s["T"], s["D"]),
        "k": draw.normal(s["N"], s["S"], s["D"]),
        "v": draw.normal(s["N"], s["S"], s["E"]),
        "mask": allowed(draw, s["N"], s["T"], s["S"]),
    }
    return Case(s, args, ("q", "k", "v"), {"√D": s["D"] ** 0.5})


def attended_large(draw: Draw) -> Case:
    """Scores whose exponentials overflow, the largest of each query forbidden."""
    case = attended(draw)
    case.args["q"] *= 1000
    z = case.args["q"] @ case.args["k"].swapaxes(-1, -2)
    np.put_along_axis(case.args["mask"], z.argmax(-1)[..., None], False, axis=-1)
    np.put_along_axis(case.args["mask"], z.argmin(-1)[..., None], True, axis=-1)
    return replace(case, wrt=(), note="scores of some hundreds, the largest are forbidden")


def in_heads(draw: Draw) -> Case:
    """The same with an axis of heads."""
    s = {"N": 2, "heads": 3, "T": 4, "S": 5, "D": 2, "E": 3}
    args = {
        "q": draw.normal(2, 3, 4, 2),
        "k": draw.normal(2, 3, 5, 2),
        "v": draw.normal(2, 3, 5, 3),
        "mask": allowed(draw, 2, 3, 4, 5),
    }
    return Case(s, args, ("q", "k", "v"), {"√D": 2**0.5})


def tokens(draw: Draw) -> Case:
    """Tokens of six features, to be cut into heads."""
    s = {"N": 2, "T": int(draw.rng.choice([4, 5])), "D": 6, "heads": int(draw.rng.choice([2, 3]))}
    return Case(s, {"x": draw.normal(s["N"], s["T"], s["D"]), "heads": s["heads"]})


def cut(draw: Draw) -> Case:
    """Heads, to be put side by side."""
    s = draw.sizes("NTE", 2, 6)
    return Case(s | {"heads": 3}, {"y": draw.normal(s["N"], 3, s["T"], s["E"])})


def self_attention(draw: Draw) -> Case:
    """Tokens, weights, and a causal mask."""
    case = tokens(draw)
    s, d = case.sizes, 6
    mask = np.broadcast_to(np.tri(s["T"], dtype=bool), (s["N"], s["heads"], s["T"], s["T"])).copy()
    args = {
        "x": case.args["x"],
        "w_qkv": draw.normal(d, 3 * d),
        "w_out": draw.normal(d, d),
        "heads": s["heads"],
        "mask": mask,
    }
    return Case(s, args, ("x", "w_qkv", "w_out"), note="causal mask")


def self_attention_large(draw: Draw) -> Case:
    """The same with scores whose exponentials overflow."""
    case = self_attention(draw)
    case.args["w_qkv"][:, :12] *= 30
    return replace(case, wrt=(), note=f"{case.note}, scores of some hundreds")


# ---------------------------------------------------------------- the table
EXERCISES = (
    Exercise(
        "a4", "causal_mask", "npsoftmax.functional.attention", ("mask",), (queries,), 1,
        ("np.arange(t)[:, None] >= np.arange(s) compares every query with every key. `like` may stay unused.",),
        oracle=oracle.causal_mask,
    ),
    *pair(
        "a4", "masked_softmax", ATTENTION, 1,
        (scores, nothing_allowed, forbidden_largest, one_sample(scores)), oracle.masked_softmax, "p (…, S)",
        ("np.where(mask, z, -np.inf) keeps the allowed scores; e^-∞ is 0.",
         "The maximum of a row with nothing allowed is -∞, and -∞ - (-∞) is NaN: use 0 there, and 1 for its sum."),
        ("Softmax's own backward: where p is 0, so is dz.",),
        outputs=("p",), points=(2, 1),
    ),
    *pair(
        "a4", "scaled_dot_product_attention", ATTENTION, 2,
        (attended, in_heads, attended_large, one_sample(attended)), oracle.scaled_dot_product_attention,
        "(q, k, v, p): the first three as they came in, p (…, T, S), the weights",
        ("z = q @ kᵀ / √D, the last two axes swapped: k.swapaxes(-1, -2). Then p = masked_softmax(z), y = p @ v.",),
        ("dv = pᵀ @ dy and dp = dy @ vᵀ; then back through the softmax; then dq = dz @ k and dk = dzᵀ @ q.",
         "Do not forget 1/√D: z was divided by it."),
        grads=("dq", "dk", "dv"), points=(2, 3),
        uses=(("masked_softmax_forward",), ("masked_softmax_backward",)),
    ),
    Exercise(
        "a4", "split_heads", ATTENTION, ("heads",), (tokens, one_sample(tokens)), 3,
        ("reshape D into (heads, D / heads), then bring the head axis before the tokens: transpose(0, 2, 1, 3).",),
        oracle=oracle.split_heads,
    ),
    Exercise(
        "a4", "merge_heads", ATTENTION, ("x",), (cut, one_sample(cut)), 3,
        ("transpose(0, 2, 1, 3) first, then reshape: in the other order tokens are mixed with heads.",),
        oracle=oracle.merge_heads,
    ),
    *pair(
        "a4", "multi_head_attention", ATTENTION, 4,
        (self_attention, self_attention_large, one_sample(self_attention)), oracle.multi_head_attention,
        "(x, w_qkv, w_out, heads, merged, attention_cache): merged (N, T, D), the heads side by side before w_out; "
        "attention_cache, what scaled_dot_product_attention_forward returned beside its y; the others as they came in",
        ("x @ w_qkv has q in its first D columns, k in the next D, v in the last; split_heads of each.",
         "Then attention, merge_heads, and @ w_out. attention_cache is what the attention's forward returned."),
        ("The steps in reverse: @ w_outᵀ, split_heads, attention's backward, merge_heads, side by side, @ w_qkvᵀ.",
         "A weight's gradient sums over samples and tokens: reshape(-1, D) makes both one axis."),
        grads=("dx", "dw_qkv", "dw_out"), points=(3, 4),
        uses=(
            ("split_heads", "merge_heads", "scaled_dot_product_attention_forward"),
            ("split_heads", "merge_heads", "scaled_dot_product_attention_backward"),
        ),
    ),
)  # fmt: skip
