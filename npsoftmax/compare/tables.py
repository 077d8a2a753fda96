"""The tables of a report as rows of text; report.py draws them, as Markdown and as HTML."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npsoftmax.compare.collect import (
    NEAR,
    RowResult,
    clean,
    epochs_to_near_best,
    fastest_epoch,
    gap,
    relation,
    seconds_to_train,
    seeds_of,
    summary_value,
    test_score,
)
from npsoftmax.plots.run_files import Run

SATURATED = 0.99  # mean largest probability from which loss = ln(e + C - 1) - accuracy is to hold
CLOSE = 0.003
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A heading, a sentence, columns and rows of cells; the first column is text, `text` names others that are."""

    heading: str
    about: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: tuple[str, ...] = ()


def spread(values: Sequence[float], form: str, factor: float = 1.0) -> str:
    """The mean, and the standard deviation (of a sample) where there are several."""
    if not values:
        return NOTHING
    mean = form.format(factor * statistics.mean(values))
    decimals = len(mean.partition(".")[2])  # ± has as many
    return mean if len(values) == 1 else f"{mean} ± {factor * statistics.stdev(values):.{decimals}f}"


# ---------------------------------------------------------------- what came out
SCORES: tuple[tuple[str, Callable[[Run], float | None], str, float], ...] = (
    ("accuracy %", test_score("accuracy"), "{:.2f}", 100),
    ("top-5 %", test_score("top5"), "{:.2f}", 100),
    ("precision", test_score("precision_macro"), "{:.4f}", 1),
    ("recall", test_score("recall_macro"), "{:.4f}", 1),
    ("F1", test_score("f1_macro"), "{:.4f}", 1),
    ("whole sets %", test_score("subset_accuracy"), "{:.2f}", 100),
    ("micro F1", test_score("f1_micro"), "{:.4f}", 1),
    ("mAP", test_score("mean_average_precision"), "{:.4f}", 1),
    ("NLL", test_score("nll"), "{:.3f}", 1),
    ("ECE", test_score("ece"), "{:.3f}", 1),
    ("parameters", summary_value("parameters"), "{:,.0f}", 1),
    ("s/epoch", fastest_epoch, "{:.3g}", 1),
    ("prepare + train s", seconds_to_train, "{:,.0f}", 1),
    (f"epochs to {NEAR:.0%} of best", epochs_to_near_best, "{:.0f}", 1),
    ("train − validation", gap, "{:+.1f}", 100),
)


EXPLAINED = {
    "top-5 %": "top-5: the true class is among the five that are thought most likely",
    "precision": "precision, recall and F1: means over the classes",
    "whole sets %": "accuracy: of sets of labels, |true ∩ predicted| / |true ∪ predicted|; whole sets: those without a "
    "mistake",
    "mAP": "mAP: the mean over the labels of the average precision",
    "NLL": f"NLL: mean −log of the probability of the true class, {NOTHING} where the loss is no likelihood",
    "ECE": "ECE: how far confidence and accuracy are apart, 0 is best",
    "s/epoch": "s/epoch: seconds of the fastest epoch",
    "prepare + train s": "prepare + train s: seconds from reading the data to the last step, validation left out",
    "train − validation": "train − validation: points of accuracy in the last epoch, measured while training (with "
    f"augmentation, dropout and the head's noise), less those of validation, {NOTHING} where nothing was held out",
}


def plus_minus(results: Sequence[RowResult]) -> str:
    """What ± stands for in a table of these rows, in a sentence."""
    seeds, most = seeds_of(results)
    if most < 2:
        return "One seed a row, so there is no ±; a difference below a point or two says nothing."
    alone = "; no ± where there is one" if seeds.startswith("1 ") else ""
    return f"Mean ± standard deviation of {seeds}{alone}."


def score_table(results: Sequence[RowResult]) -> Table:
    """All metrics of all rows; without the columns in which no row has anything."""
    columns: dict[str, list[str]] = {}
    for name, read, form, factor in SCORES:
        found = [result.values(read) for result in results]
        once = name == "parameters"  # the same for every seed
        columns[name] = [spread(values[:1] if once else values, form, factor) for values in found]
    filled = {name: cells for name, cells in columns.items() if any(cell != NOTHING for cell in cells)}
    counts = [f"{len(result.runs)} of {len(result.outcomes)}" for result in results]
    rows = list(zip([result.row.name for result in results], counts, *filled.values(), strict=True))
    explained = "; ".join(text for name, text in EXPLAINED.items() if name in filled)
    about = f"Test set. {plus_minus(results)}" + (f" {explained[0].upper()}{explained[1:]}." if explained else "")
    return Table("Scores", about, ("row", "runs", *filled), rows)


def noise_table(results: Sequence[RowResult]) -> Table | None:
    """The same parameters with and without the noise that a head adds in evaluation."""
    rows = [
        (
            result.row.name,
            spread(result.values(test_score("accuracy")), "{:.2f}", 100),
            spread(result.values(clean("accuracy")), "{:.2f}", 100),
        )
        for result in results
        if result.values(clean("accuracy"))
    ]
    about = (
        "Test accuracy in percent with the noise that these rows add to their scores in evaluation, and without it. "
        + plus_minus([result for result in results if result.values(clean("accuracy"))])
    )
    return Table("Noise in evaluation", about, ("row", "with noise", "without"), rows) if rows else None


def seed_table(results: Sequence[RowResult]) -> Table | None:
    """Every run by itself, where a row has several: a mean hides a seed that failed."""
    if all(len(result.runs) < 2 for result in results):
        return None
    seeds = list(dict.fromkeys(outcome.seed for result in results for outcome in result.outcomes))
    rows = []
    for result in results:
        found = {outcome.seed: outcome.run for outcome in result.outcomes}
        accuracies = (test_score("accuracy")(run) if (run := found.get(seed)) else None for seed in seeds)
        rows.append((result.row.name, *(NOTHING if a is None else f"{100 * a:.2f}" for a in accuracies)))
    about = "Test accuracy in percent of each run."
    return Table("Seeds", about, ("row", *(f"seed {seed}" for seed in seeds)), rows)


# ---------------------------------------------------------------- beside what was published
def published_table(results: Sequence[RowResult]) -> Table | None:
    """The published number, ours, the difference and a verdict."""
    rows = []
    for result in results:
        recipe = result.recipe
        if recipe is None:
            continue
        ours = result.values(test_score("accuracy"))
        said = recipe.published.get("accuracy")
        difference = NOTHING if said is None or not ours else f"{100 * statistics.mean(ours) - said:+.2f}"
        low, high = recipe.expected.get("accuracy", (None, None))
        rows.append(
            (
                result.row.name,
                recipe.title,
                NOTHING if said is None else f"{said:g}",
                spread(ours, "{:.2f}", 100),
                difference,
                NOTHING if low is None else f"{low:g} to {high:g}",
                result.verdict() or NOTHING,
                "; ".join(
                    filter(
                        None, (result.shortened, f"open in the source: {', '.join(recipe.open)}" if recipe.open else "")
                    )
                )
                or NOTHING,
            )
        )
    if not rows:
        return None
    columns = (
        "row",
        "what is computed",
        "published %",
        "ours %",
        "difference",
        "counts as reproduced",
        "verdict",
        "remarks",
    )
    about = (
        "Test accuracy. Rows without a published number are ours: the same experiment wired as it should be. "
        + plus_minus([result for result in results if result.recipe is not None])
    )
    return Table("Beside what was published", about, columns, rows, ("what is computed", "verdict", "remarks"))


def relation_table(results: Sequence[RowResult]) -> Table | None:
    """The losses of heads that normalise twice, against what they must be."""
    rows = []
    for result in results:
        for outcome in result.outcomes:
            found = None if outcome.run is None else relation(outcome.run)
            if found is None:
                continue
            gap = found["loss"] - found["if_saturated"]
            saturated = found["mean_max_p"] > SATURATED
            said = (
                f"{'holds' if abs(gap) <= CLOSE else 'does NOT hold'} within {CLOSE}" if saturated else "not saturated"
            )
            rows.append(
                (
                    f"{result.row.name}, seed {outcome.seed}",
                    f"{found['loss']:.6f}",
                    f"{found['loss'] - found['mean_lse'] + found['mean_p_target']:.1e}",
                    f"{found['mean_max_p']:.4f}",
                    f"{found['if_saturated']:.4f}",
                    f"{gap:+.4f}",
                    said,
                )
            )
    if not rows:
        return None
    columns = (
        "run",
        "loss",
        "loss − (mean lse(p) − mean p_y)",
        "mean max p",
        "ln(e + C − 1) − accuracy",
        "gap",
        "relation",
    )
    about = (
        "A cross entropy of outputs p that are probabilities already: always loss = mean lse(p) − mean p_y, and "
        "where p is all but one-hot, loss = ln(e + C − 1) − accuracy. It then says no more than the accuracy."
    )
    return Table("Cross entropy of probabilities", about, columns, rows, ("relation",))


# ---------------------------------------------------------------- what is not there
def missing_table(results: Sequence[RowResult]) -> Table | None:
    """The runs that are not finished, and why; and the finished ones that have lost files."""
    rows = []
    for result in results:
        rows += [(f"{result.row.name}, seed {out.seed}", out.missing) for out in result.outcomes if out.run is None]
        rows += [
            (f"{result.row.name}, seed {seed}", f"finished, but without {', '.join(files)}: not in all figures")
            for seed, files in result.incomplete
        ]
    if not rows:
        return None
    return Table("Missing runs", "Type the same command again to go on.", ("run", "why"), rows, ("why",))


def all_tables(results: Sequence[RowResult]) -> list[Table]:
    """The tables that have something to say, in their order in the report."""
    made = (published_table, score_table, seed_table, noise_table, relation_table, missing_table)
    return [table for table in (make(results) for make in made) if table is not None]
