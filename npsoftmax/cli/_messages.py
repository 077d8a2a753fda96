"""What `npsoftmax train` says of a run before it begins and when it has ended."""

from __future__ import annotations

from typing import Any


def headline(session: Any) -> str:
    """The model, the data and the machine of a run."""
    config, model = session.config, session.model
    held_out = "no validation" if session.validation is None else f"{len(session.validation.y):,} for validation"
    held_out += "" if session.calibration is None else f", {len(session.calibration.y):,} for calibration"
    what = (
        f"{config.model} with {config.head} head, {model.parameter_count():,} parameters, on {session.dataset.name}: "
        f"{session.train_images:,} {session.dataset.samples} to train, {held_out}, {len(session.test.y):,} to test"
    )
    where = f"{_logits(model.head, config.batch_size)}{_where(session.backend)}{_shared(session.group)}"
    return f"{_label(config.recipe, config.shortened)}{what}{where}"


def sizes_without_steps(session: Any) -> str:
    """A sentence where the run is too short for one of the sizes of its images; else nothing."""
    growth, steps = session.train.growth, session.config.epochs * len(session.train)
    if growth is None or not (unused := growth.without_steps(session.dataset.input_shape[0], steps)):
        return ""
    sizes = " or ".join(map(str, unused))
    return f"--image-sizes {session.config.image_sizes}: the run is too short; no step has images of {sizes} pixels"


def _logits(head: Any, batch: int) -> str:
    """That the logits of a batch are not held; nothing where they are."""
    in_blocks = getattr(head, "in_blocks", None)
    return f"; {batch:,} x {head.classes.n:,} logits in blocks, never held" if in_blocks and in_blocks(batch) else ""


def _where(backend: Any) -> str:
    """The device and the precision of its products; nothing for the host."""
    return "" if backend.on_host else f"; on {backend.describe()['device']}, products in {backend.precision}"


def _shared(group: Any) -> str:
    """How many processes share the batches; nothing for one."""
    return "" if group.size == 1 else f"; by {group.size} processes"


def _label(recipe: str | None, shortened: str | None) -> str:
    """What stands before everything that is said of a recipe's run."""
    if recipe is None:
        return ""
    return f"{recipe}: " if shortened is None else f"{recipe}, SHORTENED ({shortened}): "


def result_line(summary: dict[str, Any]) -> str:
    """What came out on the test set."""
    test = summary["test"]
    parts = [f"accuracy {test['accuracy']:.2%}"]
    if test["top5"] is not None:
        parts.append(f"top-5 {test['top5']:.2%}")
    if "subset_accuracy" in test:  # sets of labels
        parts.append(f"whole sets {test['subset_accuracy']:.2%}")
        parts.append(f"micro F1 {test['f1_micro']:.4f}")
    parts.append(f"macro F1 {test['f1_macro']:.4f}")
    if test.get("mean_average_precision") is not None:
        parts.append(f"mAP {test['mean_average_precision']:.4f}")
    if test["nll"] is not None:
        parts.append(f"NLL {test['nll']:.4f}")
    if test["ece"] is not None:
        parts.append(f"ECE {test['ece']:.4f}")
    which = "best by validation" if summary["checkpoint"] == "best" else "last"
    label = _label(summary["recipe"], summary["shortened"])
    return f"{label}test ({which}, epoch {summary['checkpoint_epoch']}): " + ", ".join(parts)
