"""`npsoftmax plot RUN`: draw the figures of a run again, from the files in its directory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npsoftmax.errors import InputError, unknown_name

if TYPE_CHECKING:
    from npsoftmax.plots import Run

IMAGES = 6  # test images whose attention is drawn
EXAMPLES = 8  # test images whose sets are drawn


def add_parser(subparsers: Any) -> None:
    """Register the command on the `add_subparsers()` of the main parser."""
    parser = subparsers.add_parser("plot", help="draw the figures of a run again", description=__doc__)
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="directory of a run, such as runs/resnet18")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="also draw where the class token of a transformer looks, for a few test images (needs the data)",
    )
    parser.add_argument(
        "--sets",
        action="store_true",
        help="also draw a few test images with the sets that npsoftmax conform found for them (needs the data)",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last", "previous"),
        default=argparse.SUPPRESS,
        help="whose attention or sets (default: best)",
    )
    parser.add_argument("--format", default="png", metavar="NAME", help="png, svg or pdf (default: png)")
    parser.add_argument("--data-dir", default=argparse.SUPPRESS, metavar="DIR", help="where the data is now")
    parser.set_defaults(run=plot)


def plot(args: argparse.Namespace) -> int:
    """Draw and print the path of each figure, one a line; what is missing goes to stderr."""
    from npsoftmax.plots import FORMATS, draw_run, read_run

    for name in ("data_dir", "checkpoint"):
        if name in args and not (args.attention or args.sets):
            raise InputError(
                f"--{name.replace('_', '-')} would have no effect without --attention or --sets. Leave it out."
            )
    form = args.format.lower().removeprefix(".")
    if form not in FORMATS:
        raise unknown_name("--format", args.format, FORMATS)
    run = read_run(args.run_dir)
    paths = draw_run(run, args.run_dir / "plots", form)
    for wanted, draw in ((args.attention, plot_attention), (args.sets, plot_sets)):
        if wanted:
            checkpoint = getattr(args, "checkpoint", "best")
            paths.append(draw(args.run_dir, getattr(args, "data_dir", None), checkpoint, form))
    for path in paths:
        print(path)
    if not paths:
        print(f"{args.run_dir}: nothing is recorded yet, so there is nothing to draw.")
    else:
        tell_missing(run, args.run_dir)
    return 0


def tell_missing(run: Run, run_dir: Path) -> None:
    """Say which figures are not drawn, for want of which files, and what gives them."""
    from npsoftmax.plots import not_drawn

    for file, figures in not_drawn(run).items():
        print(f"not drawn: {', '.join(figures)}; there is no {file} in {run_dir}", file=sys.stderr)
    if "classes.json" in run.missing and run.confusion.size:
        print(f"drawn without superclasses; there is no classes.json in {run_dir}", file=sys.stderr)
    if not run.summary:
        print(f"The run is not finished; npsoftmax train --resume {run_dir} goes on with it.", file=sys.stderr)


def plot_attention(run_dir: Path, data_dir: str | None, checkpoint: str = "best", form: str = "png") -> Path:
    """Draw the attention of a run's model on test images of different classes. InputError where it has none."""
    import numpy as np

    from npsoftmax.backend import to_numpy
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.models.vit import VisionTransformer
    from npsoftmax.plots import read_run
    from npsoftmax.plots.attention import attention_figure
    from npsoftmax.training import load_run

    session = load_run(run_dir, checkpoint, **({} if data_dir is None else {"data_dir": data_dir}))
    model, test = session.model, session.test
    if not isinstance(model.trunk, VisionTransformer):
        raise InputError(
            f"--attention draws what a transformer looks at, but {run_dir} is a run of {model.name}; train one with "
            "npsoftmax train --model vit_small."
        )
    _, first = np.unique(test.y, axis=0, return_index=True)  # the first image of each class, or set of labels
    chosen = first[np.linspace(0, len(first) - 1, min(IMAGES, len(first))).astype(int)]
    assert test.normalize is not None  # it takes images
    x = session.backend.asarray(test.normalize.apply(test.x[chosen]))
    with single_threaded_blas():
        maps, h = to_numpy(model.trunk.attention_maps(x)), model.features(x)
        sets = session.dataset.multi_label
        predicted = to_numpy(model.head.predict_sets(h) if sets else model.head.predict(h)[:, 0])
    names = session.dataset.class_names
    truth, said = ([_in_words(t, names) for t in labels] for labels in (test.y[chosen], predicted))
    figure = attention_figure(read_run(run_dir), test.x[chosen], maps, truth, said)
    return _save(figure, run_dir, "attention", form)


def _in_words(label: Any, names: Sequence[str]) -> str:
    """The name of a label, or of the labels of a set."""
    if not label.ndim:
        return names[label]
    return " + ".join(name for name, there in zip(names, label, strict=True) if there) or "none"


def plot_sets(run_dir: Path, data_dir: str | None, checkpoint: str = "best", form: str = "png") -> Path:
    """Draw test images with their sets, from small ones to large. InputError where there are no sets."""
    import numpy as np

    from npsoftmax.plots import read_run
    from npsoftmax.plots.sets import set_examples_figure
    from npsoftmax.training import load_run
    from npsoftmax.training.conform import superclasses
    from npsoftmax.training.fitted import Fitted
    from npsoftmax.training.held_out import answers

    session = load_run(run_dir, checkpoint, **({} if data_dir is None else {"data_dir": data_dir}))
    assert session.chosen is not None
    fitted = Fitted.of(run_dir, session.model, session.chosen)
    if fitted.sets is None:
        raise InputError(
            " ".join([*fitted.notes[-1:], f"{run_dir} has no sets: type npsoftmax conform {run_dir} --coverage 0.95"])
        )
    test, dataset = session.test, session.dataset
    found = answers(session, test)
    p = np.exp(found.log_prob)
    inside, _ = fitted.sets.of(session.model.head, p, found.u)
    sizes = inside.sum(axis=1)
    order = np.argsort(sizes, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).astype(int)]
    groups, names = superclasses(dataset.coarse, dataset.coarse_names), dataset.class_names
    words = fitted.sets.in_words(session.model.head, p[chosen], found.u[chosen], names, groups)
    truth, counts = [names[t] for t in found.targets[chosen]], sizes[chosen].tolist()
    figure = set_examples_figure(read_run(run_dir), test.x[chosen], truth, words, counts)
    return _save(figure, run_dir, "set_examples", form)


def _save(figure: Any, run_dir: Path, name: str, form: str) -> Path:
    from npsoftmax.files import replacing
    from npsoftmax.plots.style import save_figure

    path = Path(run_dir) / "plots" / f"{name}.{form}"
    with replacing(path) as beside:
        save_figure(figure, beside, form)
    return path
