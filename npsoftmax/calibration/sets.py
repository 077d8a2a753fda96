"""Split conformal prediction: sets of classes that hold the right one as often as was asked for.

A score says how strange a class is for a sample. The set of a new sample is all classes whose score is at most a
threshold, and the threshold is a quantile of the scores of right classes among samples that nothing was fitted on.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from npsoftmax.errors import InputError, as_number

PENALTIES = (0.0, 0.001, 0.01, 0.1, 0.2, 0.5)  # of RAPS that are tried


def check_coverage(coverage: float) -> Fraction:
    """The coverage as it was written, 0.95 as 19/20; InputError unless it is between 0 and 1."""
    if not 0 < as_number(coverage) < 1:
        raise InputError(
            f"--coverage is {coverage}, but a share between 0 and 1 was expected, such as 0.95: how often the set is "
            "to hold the right class."
        )
    return Fraction(repr(float(coverage)))


def least_images(coverage: float) -> int:
    """The fewest samples that give a finite threshold: ⌈coverage / (1 - coverage)⌉."""
    share = check_coverage(coverage)
    return math.ceil(share / (1 - share))


def threshold(scores: np.ndarray, coverage: float) -> float:
    """The ⌈(n + 1) · coverage⌉-th smallest of n scores. InputError where there are too few of them: it is infinite.

    If the n scores and that of a new sample are exchangeable, the new one is at most this with a probability of at
    least `coverage`, and, where no two are equal, of at most coverage + 1/(n + 1). (Vovk et al. 2005.)
    """
    rank, n = math.ceil((len(scores) + 1) * check_coverage(coverage)), len(scores)
    if rank > n:
        most = math.floor(1e4 * n / (n + 1)) / 1e4
        raise InputError(
            f"{n} images are too few for a coverage of {coverage:g}: the threshold is infinite, and every set all "
            f"classes. Hold out at least {least_images(coverage)}, or ask for at most {most:g}."
        )
    return float(np.partition(scores, rank - 1)[rank - 1])


def class_scores(p: np.ndarray, u: np.ndarray, penalty: float = 0.0, free: int = 0) -> np.ndarray:
    """How strange every class is: all that is more probable, and a part u of its own probability.

    score_c = Σ_{j before c} p_j + u · p_c + penalty · max(0, rank_c - free), classes by falling probability, ties to
    the lowest label, rank 1 the first; but 0 for the first, so that no set is empty. penalty = 0: APS (Romano, Sesia
    and Candès, NeurIPS 2020); else RAPS (Angelopoulos, Bates, Malik and Jordan, ICLR 2021), where classes far down the
    list cost more. A sample's set is all classes of a score up to the threshold. p (N, C), u (N,) uniform -> (N, C).
    """
    order = np.argsort(-p, axis=1, kind="stable")
    falling = np.take_along_axis(p, order, axis=1).astype(np.float64)
    scores = np.cumsum(falling, axis=1) - falling + u[:, None] * falling
    scores += penalty * np.maximum(0, np.arange(1, p.shape[1] + 1) - free)
    scores[:, 0] = 0
    back = np.empty_like(scores)
    np.put_along_axis(back, order, scores, axis=1)
    return back


def regularisation(p: np.ndarray, targets: np.ndarray, u: np.ndarray, coverage: float) -> tuple[float, int]:
    """RAPS's penalty and free ranks, from samples that the threshold is not taken from. p (N, C), targets (N,), u (N,).

    free: half the ranks that sets of one size would need (at all of them, a large penalty would look good by the luck
    of these very samples); penalty: that of PENALTIES whose sets are smallest in the mean, the smaller of equal ones.
    """
    rows = np.arange(len(targets))
    ranks = (p > p[rows, targets][:, None]).sum(axis=1) + 1
    free = int(threshold(ranks.astype(np.float64), coverage)) // 2
    sizes = {}
    for penalty in PENALTIES:
        scores = class_scores(p, u, penalty, free)
        sizes[penalty] = (scores <= threshold(scores[rows, targets], coverage)).sum(axis=1).mean()
    return min(sizes, key=lambda penalty: sizes[penalty]), free
