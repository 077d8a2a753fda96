"""`npsoftmax train --my-gradients PATH`: networks trained on a student's own functions, beside the library's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npsoftmax.cli._console import say as _say

TAKEN = ("my_gradients", "steps", "data", "data_dir", "model", "head", "out", "quiet", "run", "command", "words")
STEPS = 100


def run(given: Mapping[str, Any]) -> int:
    """Grade, train twice and compare: 0 where the curves are one, 1 where a function is wrong."""
    from npsoftmax.errors import InputError

    folder, steps = Path(given["my_gradients"]), given.get("steps", STEPS)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; --my-gradients takes the one with your assignments.")
    if other := [name for name in given if name not in TAKEN]:
        raise InputError(
            f"--{other[0].replace('_', '-')} has no meaning with --my-gradients, which takes --steps, --data, "
            "--data-dir, --model, --head, --out and --quiet."
        )
    if steps < 1:
        raise InputError(f"--steps is {steps}, but at least 1 is needed.")
    chosen = _chosen(given)
    done = [_one(capstone, folder, steps, given) for capstone in chosen]
    if all(code is None for code in done):
        raise InputError(
            f"{folder} has nothing finished that could be trained; it takes functions that pass of "
            f"{' or '.join(dict.fromkeys(c.assignment for c in chosen))}. Type npsoftmax grade to see where you are."
        )
    return max(code for code in done if code is not None)


def _chosen(given: Mapping[str, Any]) -> list[Any]:
    """The capstones for --model and --head: all of them where neither was typed."""
    from npsoftmax.errors import InputError, unknown_name
    from npsoftmax.grading.capstone import CAPSTONES
    from npsoftmax.grading.ingredients import SPEEDRUN

    names = {"convnet": CAPSTONES[0], "vit_small": CAPSTONES[1], "whitened_resnet": SPEEDRUN}
    heads = {"adaptive": CAPSTONES[2], "two_level": CAPSTONES[3]}
    if "model" in given and "head" in given:
        raise InputError(
            "--my-gradients takes --model (convnet, vit_small or whitened_resnet) or --head (adaptive or two_level), "
            "not both."
        )
    if "model" in given:
        if given["model"] not in names:
            raise unknown_name("model of --my-gradients", given["model"], names)
        return [names[given["model"]]]
    if "head" in given:
        if given["head"] not in heads:
            raise unknown_name("head of --my-gradients", given["head"], heads)
        return [heads[given["head"]]]
    return [*CAPSTONES, SPEEDRUN]


def _one(capstone: Any, folder: Path, steps: int, given: Mapping[str, Any]) -> int | None:
    """The exit code of one capstone; None where nothing of its assignment is finished."""
    from npsoftmax.grading import ingredients
    from npsoftmax.grading.capstone import compare, draw, graded
    from npsoftmax.grading.plain import marks

    def say(text: str) -> None:
        if not given.get("quiet", False):
            _say(text)

    def progress(who: str, step: int, loss: float) -> None:
        if step % 20 == 0:
            say(f"{who:>9}  step {step + 1:>4}  loss {loss:.4f}")

    rows = graded(folder, capstone)
    own = [row for row in rows if row["exercise"] in capstone.replaced]
    if not any(row["state"] != "not started" for row in own if row["assignment"] == capstone.assignment):
        return None
    say(f"{capstone.assignment}: {capstone.about}")
    if wrong := [row for row in rows if row["state"] == "wrong"]:
        for row in wrong:
            _say(row["report"] or f"{marks()['wrong']} {row['assignment']} {row['exercise']}  {row['cause']}")
        names = ", ".join(row["exercise"] for row in wrong)
        _say(f"\nnot trained: a network on a wrong gradient only hides where it is wrong. Not passed: {names}")
        return 1
    unfinished = [row["exercise"] for row in rows if row["state"] == "not started"]
    if unfinished:
        say(f"not started, so the library's: {', '.join(unfinished)}")
    data, data_dir = given.get("data", "digits"), given.get("data_dir")
    figure = _figure(given.get("out"), capstone)
    if capstone is ingredients.SPEEDRUN:
        bought = ingredients.worth(folder, steps, data, progress, unfinished=unfinished, data_dir=data_dir)
        ingredients.draw(bought, figure, capstone.about)
        curves = bought.curves
        say(
            f"{bought.epochs:.1f} epochs, one seed; by chance alone an accuracy on {bought.tested} images moves by "
            f"{100 * bought.deviation:.1f} points:\n{ingredients.table(bought)}"
        )
    else:
        curves = compare(folder, steps, data, progress, capstone=capstone, unfinished=unfinished, data_dir=data_dir)
        draw(curves, figure, capstone.about)
    say(f"largest difference in the first {min(20, steps)} steps: {curves.gap:.1g}; the curves: {figure}")
    many = sum(row["state"] == "passed" for row in own)
    if not curves.same:
        _say("two curves: something differs in training.")
        return 1
    mine = "every function" if many == len(own) else f"{many} of {len(own)} functions"
    _say(f"one curve: {mine} in it {'is' if many in (1, len(own)) else 'are'} yours.")
    say(
        f"what they bought: {100 * curves.student_accuracy:.1f} % of test images of {data} right after {steps} steps; "
        f"the library's: {100 * curves.reference_accuracy:.1f} %."
    )
    return 0


def _figure(out: str | None, capstone: Any) -> Path:
    """A file that was named, or one in a folder."""
    if out is not None and Path(out).suffix.lower() in (".png", ".svg", ".pdf"):
        return Path(out)
    name = next(iter(capstone.replaced)).rpartition("_")[0]
    return Path(out or ".") / f"my_gradients_{capstone.assignment}_{name}.png"
