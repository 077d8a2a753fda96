"""What is claimed of one row beside another, judged by the differences of their runs, seed by seed.

Design: a claim is about a difference, and two runs of one seed see the same batches, so the difference is taken within
each seed. Its mean has a doubt, which of three seeds is large. The verdict says no more than that allows.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from npsoftmax.compare.collect import RowResult, epochs_to_near_best, first_epoch, test_score
from npsoftmax.compare.tables import NOTHING, Table
from npsoftmax.plots.run_files import Run
from npsoftmax.recipes import MEASURES, Claim

COVERAGE = 0.95
# What each of recipes.MEASURES is in a run, how it is called and written, and by what it is multiplied.
READ: dict[str, tuple[Callable[[Run], float | None], str, str, float]] = {
    "accuracy": (test_score("accuracy"), "accuracy %", "{:+.2f}", 100),
    "ece": (test_score("ece"), "ECE", "{:+.3f}", 1),
    "nll": (test_score("nll"), "NLL", "{:+.3f}", 1),
    "first_epoch": (first_epoch, "training accuracy % of the first epoch", "{:+.2f}", 100),
    "epochs_to_near_best": (epochs_to_near_best, "epochs to 95% of best", "{:+.1f}", 1),
}


def claim_table(results: Sequence[RowResult]) -> Table | None:
    """Each claim of a recipe here, with the difference that was found and a verdict."""
    by_recipe = {result.recipe.name: result for result in results if result.recipe is not None}
    rows = []
    for result in results:
        for claim in result.recipe.claims if result.recipe else ():
            other = by_recipe.get(claim.than)
            differences = [] if other is None else differences_of(result, other, claim)
            _, name, form, factor = READ[claim.measure]
            interval = doubt(differences)
            found = NOTHING
            if differences:
                found = form.format(factor * statistics.mean(differences))
            if interval is not None:
                found += f" ({form.format(factor * interval[0])} to {form.format(factor * interval[1])})"
            rows.append((result.row.name, claim.says, claim.source, claim.than, name, found, verdict(claim, interval)))
    if not rows:
        return None
    about = (
        "Differences from the row beside which the claim is made, seed by seed: their mean and, in brackets, where it "
        f"lies with {COVERAGE:.0%} (Student's t). Repeated: all of that is on the side of the claim, or within what "
        "counts as the same; refuted: all of it is on the other side; else it was not seen at this size."
    )
    columns = ("row", "claim", "source", "beside", "measure", "difference", "verdict")
    return Table("Claims", about, columns, rows, ("claim", "source", "beside", "measure", "verdict"))


def differences_of(result: RowResult, other: RowResult, claim: Claim) -> list[float]:
    """The measure of a row less that of the other one, for each seed that both have."""
    read = READ[claim.measure][0]
    mine, theirs = (
        {out.seed: read(out.run) for out in each.outcomes if out.run is not None} for each in (result, other)
    )
    found = ((mine[seed], theirs[seed]) for seed in mine if seed in theirs)
    return [float(a) - float(b) for a, b in found if a is not None and b is not None]


def doubt(differences: Sequence[float]) -> tuple[float, float] | None:
    """Where the mean lies with COVERAGE, by Student's t; None of fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    from scipy.stats import t

    mean = statistics.mean(differences)
    half = float(t.ppf((1 + COVERAGE) / 2, n - 1)) * statistics.stdev(differences) / n**0.5
    return mean - half, mean + half


def verdict(claim: Claim, interval: tuple[float, float] | None) -> str:
    """Repeated, refuted, not seen at this size; or that there are too few runs."""
    if interval is None:
        return "too few runs"
    low, high = interval
    if claim.better == "same":
        same = MEASURES[claim.measure]
        inside, outside = -same <= low and high <= same, low > same or high < -same
    else:
        inside, outside = (low > 0, high < 0) if claim.better == "higher" else (high < 0, low > 0)
    return "repeated" if inside else "refuted" if outside else "not seen at this size"
