"""a5: heads for many classes: trees, superclasses, clusters and samples. The page: pages/a5_heads/README.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from npsoftmax.grading.exercises.base import Assignment, Case, Draw, Exercise, one_sample, pair
from npsoftmax.grading.oracles import heads as oracle
from npsoftmax.grading.values import shaped
from npsoftmax.heads import tree

ASSIGNMENT = Assignment(
    "a5",
    "a5_heads",
    "heads.py",
    "heads for many classes",
    "Hierarchical, two-level, adaptive and sampled softmax: a loss that need not look at every class.",
    "import heapq\nfrom typing import Any\n\nimport numpy as np\n\nfrom npsoftmax.backend import Array\n"
    "from npsoftmax.functional.softmax import log_softmax_forward\n"
    "from npsoftmax.kernels.tree.reference import Levels\n",
    given="Levels is a list of pairs of ints. heapq, of Python, may help with `huffman`.\n\n"
    "    log_softmax_forward(z) -> y, cache\n\n"
    "is that of a1, along the last axis: y is what you need. A score of -inf is fine: its class has probability 0.",
)

TREE, WALKS = "npsoftmax.heads.tree", "npsoftmax.kernels.tree.reference"
PATH, TWO_LEVEL, ADAPTIVE, SAMPLED = (
    f"npsoftmax.functional.{name}" for name in ("path", "two_level", "adaptive", "sampled")
)


# ---------------------------------------------------------------- cases
def ordered(draw: Draw) -> Case:
    """Classes in some order, their number no power of two."""
    n = int(draw.rng.choice([5, 6, 7, 9, 11]))
    return Case({"C": n}, {"order": draw.rng.permutation(n)})


def two_classes(draw: Draw) -> Case:
    """The smallest tree."""
    return Case({"C": 2}, {"order": np.array([1, 0])})


def counted(draw: Draw) -> Case:
    """Classes with counts that differ a lot, and no two sums alike."""
    n = int(draw.rng.integers(6, 10))
    counts = draw.rng.permutation([round(1000 * 1.55**i) + i for i in range(n)])
    return Case({"C": n}, {"order": draw.rng.permutation(n), "counts": counts})


def nearly_even(draw: Draw) -> Case:
    """Counts that are nearly equal: joined subtrees have to wait for single classes."""
    n = int(draw.rng.integers(6, 10))
    counts = draw.rng.permutation([1000 + 2**i for i in range(n)])
    return Case({"C": n}, {"order": np.arange(n), "counts": counts}, note="nearly equal counts")


def grown(draw: Draw) -> tuple[dict[str, int], np.ndarray]:
    """Sizes N and C, and the children of a tree with C leaves."""
    n, c = draw.rng.permutation([3, 4, 6])[0], int(draw.rng.choice([5, 7]))
    return {"N": int(n), "C": c}, tree.halving(draw.rng.permutation(c))


def leaves(draw: Draw) -> Case:
    """A tree and some labels; the paths to the leaves differ in length."""
    s, children = grown(draw)
    levels = len(tree.levels(children))
    labels = np.concatenate([np.arange(s["C"]), draw.labels(s["N"], s["C"])])
    return Case(s, {"up": tree.uplinks(children), "labels": labels, "levels": levels})


def one_path(draw: Draw) -> Case:
    """Scores along the path of each sample; some paths are shorter."""
    s = draw.sizes("NL", 3, 6)
    signs = draw.rng.choice((-1.0, 1.0), (s["N"], s["L"]))
    signs[1, -1] = signs[2, -2:] = 0
    return Case(s, {"z": draw.normal(s["N"], s["L"]), "signs": signs}, ("z",), note="0 in signs: past the end")


def improbable(draw: Draw) -> Case:
    """Every turn wrong by about 300, so that a product of probabilities underflows."""
    case = one_path(draw)
    case.args["z"] -= 300 * case.args["signs"]
    return Case(case.sizes, case.args, note="every turn wrong by 300")


def hopeless(draw: Draw) -> Case:
    """Every turn wrong by about 1000, so that e^z overflows."""
    case = one_path(draw)
    case.args["z"] -= 1000 * case.args["signs"]
    return Case(case.sizes, case.args, note="every turn wrong by 1000")


def whole_tree(draw: Draw) -> Case:
    """Scores of all inner nodes."""
    s, children = grown(draw)
    args = {"z": draw.normal(s["N"], s["C"] - 1), "children": children, "levels": tree.levels(children)}
    return Case(s, args, ("z",))


def improbable_tree(draw: Draw) -> Case:
    """Scores so large that probabilities underflow."""
    case = whole_tree(draw)
    case.args["z"] = 1000 * draw.apart(*case.args["z"].shape)
    return Case(case.sizes, case.args, note="scores of some hundreds")


def hopeless_tree(draw: Draw) -> Case:
    """Scores so large that exponentials overflow."""
    case = improbable_tree(draw)
    case.args["z"] += 900 * np.sign(case.args["z"])
    return replace(case, note="scores of ±900 and more")


def grouped(draw: Draw) -> Case:
    """Three groups of different sizes, their classes mixed."""
    n = int(draw.rng.choice([4, 5]))
    group = draw.rng.permutation([0, 0, 1, 1, 1, 2, 2, 2])
    args = {"z_group": draw.normal(n, 3), "z_class": draw.normal(n, 8), "t": draw.labels(n, 8), "group": group}
    return Case({"N": n, "G": 3, "C": 8}, args, ("z_group", "z_class"))


def grouped_large(draw: Draw) -> Case:
    """Scores whose exponentials overflow and underflow."""
    case = grouped(draw)
    for name in ("z_group", "z_class"):
        case.args[name] = 900 * np.sign(case.args[name]) + case.args[name]
    return replace(case, wrt=(), note="scores of ±900")


def superclasses(draw: Draw) -> Case:
    """The 20 superclasses of CIFAR-100, five classes in each."""
    group = draw.rng.permutation(np.repeat(np.arange(20), 5))
    args = {"z_group": draw.normal(2, 20), "z_class": draw.normal(2, 100), "t": draw.labels(2, 100), "group": group}
    return Case({"N": 2, "G": 20, "C": 100}, args, ("z_group", "z_class"), note="as in CIFAR-100")


def clustered(draw: Draw) -> Case:
    """A short list of three classes, five rare ones behind it; the first of them, which is the cutoff, occurs."""
    s = {"N": 5, "D": int(draw.rng.choice([6, 7])), "E": 2, "C": 8}
    t = draw.rng.permutation([0, 2, 3, 7, int(draw.rng.choice([1, 5]))])
    args: dict[str, Any] = {
        "h": draw.normal(s["N"], s["D"]),
        "w_head": draw.normal(4, s["D"]),
        "proj": draw.normal(s["E"], s["D"]),
        "w_tail": draw.normal(5, s["E"]),
        "t": t,
        "cutoff": 3,
    }
    return Case(s, args, ("h", "w_head", "proj", "w_tail"), note="cutoff=3")


def clustered_large(draw: Draw) -> Case:
    """Scores whose exponentials overflow, of both signs."""
    case = clustered(draw)
    for name in ("w_head", "w_tail"):
        case.args[name] *= 600
    return replace(case, wrt=(), note=f"{case.note}, scores of ±900 and more")


def all_frequent(draw: Draw) -> Case:
    """A batch without a rare class: the cluster's gradient is zeros, not a crash."""
    case = clustered(draw)
    case.args["t"] = draw.labels(5, 3)
    return Case(case.sizes, case.args, case.wrt, note="cutoff=3, no rare class in the batch")


def drawn(draw: Draw) -> Case:
    """Four drawn classes, one of them a target, and a label that occurs twice."""
    s = {"N": 5, "D": 3, "C": 9, "S": 4}
    chosen = np.sort(draw.rng.permutation(s["C"])[: s["S"]])
    t = draw.labels(s["N"], s["C"])
    t[0], t[2] = chosen[1], t[1]
    args = {
        "h": draw.normal(s["N"], s["D"]),
        "w": draw.normal(s["C"], s["D"]),
        "b": draw.normal(s["C"]),
        "t": t,
        "drawn": chosen,
        "log_expected": draw.normal(s["S"]) - 1,
    }
    return Case(s, args, ("h", "w", "b"))


def drawn_large(draw: Draw) -> Case:
    """Scores whose exponentials overflow and underflow."""
    case = drawn(draw)
    case.args["b"] = 900 * np.sign(case.args["b"]) + case.args["b"]
    return replace(case, wrt=(), note="scores of ±900")


def code_lengths(case: Case, outputs: dict[str, Any]) -> dict[str, Any]:
    """children -> the depth of every class: which of two children is left is free in Huffman's tree.

    Two readings of the counts are taken: counts[c] of class c, and counts[j] of class order[j].
    """
    n = case.sizes["C"]
    children = shaped(outputs["children"], (n - 1, 2))
    if children is None:
        raise ValueError("children is no array of whole numbers")
    if children.shape != (n - 1, 2):
        raise ValueError(f"children has shape {children.shape}, but ({n - 1}, 2) was expected")
    if sorted(children.ravel().tolist()) != list(range(1, 2 * n - 1)):
        raise ValueError("every place but the root, 1 to 2C - 2, has to be the child of exactly one node")
    children, depth = children.astype(int), np.zeros(2 * n - 1, dtype=int)
    for place in range(n - 1):
        if (children[place] <= place).any():
            raise ValueError(f"node {place} has a child with a lower number; nodes are numbered from the root down")
        depth[children[place]] = depth[place] + 1
    (right,) = oracle.huffman(**case.args)
    other = right[np.argsort(case.args["order"])]
    return {"code length": right if np.array_equal(depth[n - 1 :], other) else depth[n - 1 :]}


# ---------------------------------------------------------------- the table
TREES = (whole_tree, improbable_tree, hopeless_tree, one_sample(whole_tree))

EXERCISES = (
    Exercise(
        "a5", "balanced", TREE, ("children",), (ordered, two_classes), 1,
        ("Positions 0 … C - 2 of the heap are nodes, C - 1 … 2C - 2 are leaves; the leaf at position C - 1 + j is the "
         "class order[j], whose place is C - 1 + order[j].",
         "The children of node i stand at positions 2i + 1 and 2i + 2: all positions from 1 on, two by two."),
        oracle=oracle.balanced,
    ),
    Exercise(
        "a5", "huffman", TREE, ("children",), (counted, nearly_even), 2,
        ("Keep a queue of (count, subtree), and join the two with the smallest counts until one is left: heapq.",
         "Then number the nodes from the root down, breadth first, so that every child of a node has a larger number.",
         "A leaf of class c is the place C - 1 + c; you may use heapq and any helper of your own."),
        3, oracle=oracle.huffman, settle=code_lengths, judged=("code length",),
    ),
    Exercise(
        "a5", "climb", WALKS, ("nodes", "signs"), (leaves, one_sample(leaves)), 3,
        ("Start at place C - 1 + label. up[place] is 2·parent + side: its half is the node, its parity the side.",
         "Past the root up is -1: nodes -1 and signs 0 there, and do not index with -1."),
        2, oracle=oracle.climb,
    ),
    *pair(
        "a5", "path_loss", PATH, 4, (one_path, improbable, hopeless, one_sample(one_path)), oracle.path_loss,
        "(turned, tail, signs), each (N, L): turned = -s · z, tail = e^-|turned|",
        ("-log σ(s · z) = softplus(-s · z) = log(1 + e^(-s · z)); never the logarithm of a product of sigmoids.",
         "With a = -s · z: softplus(a) = max(a, 0) + log1p(e^-|a|). Where the sign is 0, add nothing, not even log 2.",
         "Sum over the path, mean over the samples."),
        ("The derivative of softplus(a) is σ(a), and a = -s · z: dz = -s · σ(-s · z) · dloss / N.",
         "σ(a) is 1/(1 + tail) where a >= 0, tail/(1 + tail) elsewhere."),
        outputs=("loss",),
    ),
    Exercise(
        "a5", "tree_log_prob", WALKS, ("log_p",), TREES, 5,
        ("log p of a place = log p of its parent + log σ(z) to the right, + log σ(-z) to the left.",
         "Go level by level from the root; log σ(z) = -logaddexp(-z, 0). The last C places are the leaves."),
        2, oracle=oracle.tree_log_prob,
    ),
    Exercise(
        "a5", "tree_log_prob_backward", PATH, ("dz",), TREES, 5,
        ("A node's score moves only the leaves below it: sum dlog_p over the leaves below each child, bottom up.",
         "dz = (sum right) · σ(-z) - (sum left) · σ(z)."),
        3, cache="(z, children, levels): what tree_log_prob was given",
    ),
    *pair(
        "a5", "two_level_loss", TWO_LEVEL, 6,
        (grouped, superclasses, grouped_large, one_sample(grouped)), oracle.two_level_loss,
        "(p_group, p_class, t, g): p_group (N, G), the softmax of z_group; p_class (N, C), that of z_class among the "
        "classes of the target's group, 0 elsewhere; g (N,) = group[t]",
        ("g = group[t]. Then two cross entropies: z_group against g, and the scores of the group's classes against t.",
         "np.where(group == g[:, None], z_class, -np.inf) keeps the classes of the group; take its log-softmax.",
         "p_class is 0 for the classes of other groups."),
        ("Each of the two losses has the gradient (p - onehot) · dloss / N.",
         "p_class is 0 outside the group, so the gradient there is 0 by itself."),
        outputs=("loss",), grads=("dz_group", "dz_class"), points=(2, 2),
    ),
    *pair(
        "a5", "adaptive_loss", ADAPTIVE, 7,
        (clustered, all_frequent, clustered_large, one_sample(clustered)), oracle.adaptive_loss,
        "(h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail): six as they came in; tail (R,), the "
        "numbers of the R >= 0 rows with t >= cutoff; low (R, E) = h[tail] @ projᵀ; p_head (N, cutoff + 1) and "
        "p_tail (R, C - cutoff), the two softmaxes",
        ("A frequent class is a column of the head; a rare one is the head's last column AND a column of the tail.",
         "tail = np.flatnonzero(t >= cutoff); only h[tail] goes through proj and w_tail.",
         "The mean is over all N samples, also for the samples of the tail."),
        ("dz_head = (p_head - onehot) · dloss / N with the target min(t, cutoff): the cluster's own score learns too.",
         "dz_tail likewise, with t[tail] - cutoff; N is the whole batch.",
         "dh gets two shares: from the head for all rows, and for the rows of the tail from proj as well."),
        outputs=("loss",), grads=("dh", "dw_head", "dproj", "dw_tail"), points=(2, 3),
    ),
    *pair(
        "a5", "sampled_loss", SAMPLED, 8,
        (drawn, drawn_large, one_sample(drawn)), oracle.sampled_loss,
        "(h, w, t, drawn, p): p (N, 1 + S), the probability of the target first, then those of the drawn classes; the "
        "others as they came in",
        ("The target's score is column 0, the drawn ones follow, each minus its log_expected.",
         "Where a drawn class is the target of a sample, its score there is -∞: it would count twice.",
         "p is the softmax of that row of 1 + S scores."),
        ("dz = p - onehot with the target in column 0, times dloss / N.",
         "dh = dz_t · w[t] + dz @ w[drawn]; the rows of dw are dz.T @ h for the drawn, dz_t · h for the targets.",
         "A label may occur twice in a batch, or be drawn too: np.add.at adds where dw[t] += … would not."),
        outputs=("loss",), grads=("dh", "dw", "db"), points=(2, 3),
    ),
)  # fmt: skip
