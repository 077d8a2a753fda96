"""`npsoftmax train`, and the face of it that examples/train_cifar100.py shows."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from npsoftmax.cli._messages import headline, result_line
from npsoftmax.cli._parser import Parser, count_or_fraction, whole_number


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "train", help="train a model and write a run directory", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of `train`; none has a default of its own, so that a resumed run knows what was typed."""
    group = parser.add_argument_group("a run that is written down", argument_default=argparse.SUPPRESS)
    group.add_argument(
        "--recipe",
        metavar="NAME",
        help="a published experiment, such as e1/log_softmax (npsoftmax compare --list shows all); --epochs, "
        "--limit-train, --limit-test and --batch-size may be changed, and the run is then labelled as shortened",
    )
    group.add_argument("--config", metavar="FILE", help="all settings from a file like a run's config.toml")
    group.add_argument("--resume", metavar="RUN", help="continue the run in this directory, with its own settings")
    group.add_argument(
        "--checkpoint",
        choices=("last", "previous"),
        help="with --resume, where to continue: last, or previous if that is damaged (default: last)",
    )
    add_settings(parser)
    parser.add_argument_group("several processes", argument_default=argparse.SUPPRESS).add_argument(
        "--distributed",
        action="store_true",
        help="share every batch among the processes of mpiexec: mpiexec -n 2 npsoftmax train … --distributed "
        "(docs/cluster.md)",
    )
    group = parser.add_argument_group("output", argument_default=argparse.SUPPRESS)
    group.add_argument("--out", metavar="DIR", help="the run directory (default: runs/<date>_<data>_<model>_<head>)")
    group.add_argument(
        "--stop-after", metavar="N", type=whole_number, help="stop after this many epochs of a longer schedule"
    )
    group.add_argument("--no-plots", action="store_true", help="write no plots")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that are settings of a run: those of TrainConfig."""
    from npsoftmax.training import TrainConfig

    defaults = vars(TrainConfig())

    def add(group: Any, flag: str, text: str, **options: Any) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        shown = (
            {None: "not set"}.get(defaults[name], defaults[name]) if not isinstance(defaults[name], dict) else "none"
        )
        default = "" if options.get("action") == "store_true" else f" (default: {shown})"
        group.add_argument(flag, help=f"{text}{default}".replace("%", "%%"), default=argparse.SUPPRESS, **options)

    _data_arguments(parser, add)
    _model_arguments(parser, add)
    _training_arguments(parser, add)
    group = parser.add_argument_group("the run")
    add(group, "--backend", "where arrays live: numpy, or cupy (an NVIDIA GPU)", metavar="{numpy,cupy}")
    add(group, "--device", "number of the GPU", type=whole_number, metavar="N")
    add(
        group,
        "--precision",
        "of matrix products on a GPU: fp32, tf32 (tensor cores, 10 bits after the point), bf16 (7 bits; parameters and "
        "sums stay float32) or auto (tf32 where it can)",
        metavar="NAME",
    )
    add(
        group,
        "--threads",
        "threads of the compiled kernels; not set means one for each CPU",
        type=whole_number,
        metavar="N",
    )
    add(
        group,
        "--sync-batch-norm",
        "with --distributed, let batch norm see the whole batch, and not only the part that each process has",
        action="store_true",
    )
    add(group, "--seed", "seed of parameters, order, split and noise", type=whole_number, metavar="N")
    add(group, "--log-every", "steps between two rows of steps.csv", type=whole_number, metavar="N")
    add(
        group, "--checkpoint-every", "save every N steps too, not only after each epoch", type=whole_number, metavar="N"
    )


def _data_arguments(parser: argparse.ArgumentParser, add: Any) -> None:
    group = parser.add_argument_group("data")
    add(
        group,
        "--data",
        "auto (CIFAR-100 if it is on disk, else synthetic100), cifar100, cifar100-superclasses, cifar10, synthetic100, "
        "digits",
        metavar="NAME",
    )
    add(group, "--data-dir", "folder that holds the CIFAR files; also $NPSOFTMAX_DATA", metavar="DIR")
    add(
        group,
        "--limit-train",
        "use only this many training images, the classes balanced",
        type=whole_number,
        metavar="N",
    )
    add(group, "--limit-test", "use only this many test images, the classes balanced", type=whole_number, metavar="N")
    add(
        group,
        "--val-split",
        "training images held out for validation: a fraction such as 0.2, or how many, such as 500",
        type=count_or_fraction,
        metavar="F|N",
    )
    add(
        group,
        "--normalize",
        "none (pixels/255), half (mean .5, deviation .5) or standard (of the training images)",
        metavar="NAME",
    )
    add(group, "--augment", "none, flip, standard (flip, pad and crop) or cutout", metavar="NAME")
    add(group, "--mixup", "blend pairs of images, weights from Beta(A, A); 0 for never", type=float, metavar="A")
    add(
        group,
        "--cutmix",
        "paste a part of another image, its area from Beta(A, A); 0 for never",
        type=float,
        metavar="A",
    )


def _model_arguments(parser: argparse.ArgumentParser, add: Any) -> None:
    from npsoftmax.functional.mappings import MAPPINGS
    from npsoftmax.heads import HEADS
    from npsoftmax.layers.conv import ALGORITHMS
    from npsoftmax.models import MODELS

    group = parser.add_argument_group("model")
    add(group, "--model", f"one of {', '.join(MODELS)}", metavar="NAME")
    _add_pairs(group, "--model-opt", "an option of the model, such as widths=64,128,256")
    group.add_argument(
        "--attention",
        metavar="MAPPING",
        default=argparse.SUPPRESS,
        help="what turns scores into weights inside a transformer, the same as --model-opt attention=MAPPING "
        f"(default: softmax); one of {', '.join(name for name, m in MAPPINGS.items() if m.kind == 'probability')}",
    )
    _add_pairs(group, "--attention-opt", "an option of that mapping, such as tau=0.5")
    add(
        group,
        "--conv",
        f"how convolutions are computed, all with the same result: {', '.join(ALGORITHMS)}; "
        "`npsoftmax info --model NAME --conv` explains the choice",
        metavar="NAME",
    )
    add(group, "--head", f"one of {', '.join(HEADS)}", metavar="NAME")
    _add_pairs(group, "--head-opt", "an option of the head, such as temperature=2")
    group.add_argument(
        "--label-smoothing",
        type=float,
        metavar="E",
        default=argparse.SUPPRESS,
        help="the same as --head-opt label_smoothing=E (default: 0)",
    )


def _add_pairs(group: Any, flag: str, text: str) -> None:
    """An option that collects KEY=VALUE: --head-opt in head_opts."""
    group.add_argument(
        flag,
        dest=f"{flag.removeprefix('--').replace('-', '_')}s",
        action="append",
        metavar="KEY=VALUE",
        default=argparse.SUPPRESS,
        help=f"{text}; may be repeated",
    )


def _training_arguments(parser: argparse.ArgumentParser, add: Any) -> None:
    from npsoftmax.training import OPTIMIZERS, SCHEDULES

    group = parser.add_argument_group("training")
    add(group, "--epochs", "times to go through the training images", type=whole_number, metavar="N")
    add(group, "--batch-size", "images in a step", type=whole_number, metavar="N")
    add(group, "--optimizer", f"one of {', '.join(OPTIMIZERS)}", metavar="NAME")
    add(group, "--lr", "learning rate: the highest of the schedule", type=float, metavar="F")
    add(group, "--momentum", "momentum of sgd", type=float, metavar="F")
    add(group, "--nesterov", "Nesterov's momentum for sgd", action="store_true")
    add(
        group,
        "--weight-decay",
        "weight decay: in the gradient (sgd, adam) or decoupled (adamw)",
        type=float,
        metavar="F",
    )
    add(
        group,
        "--decay",
        "what decays: all, weights (no norms, biases, positions) or auto (as is usual for the model)",
        metavar="NAME",
    )
    add(group, "--clip-value", "clip every gradient to plus or minus this", type=float, metavar="F")
    add(group, "--clip-norm", "scale the gradients down to this norm", type=float, metavar="F")
    add(group, "--schedule", f"one of {', '.join(SCHEDULES)}", metavar="NAME")
    _add_pairs(group, "--schedule-opt", "an option of the schedule, such as pct_start=0.2")
    add(
        group,
        "--tested",
        "which parameters are tested: those of the best epoch by validation, or those of the last",
        metavar="NAME",
    )
    add(
        group,
        "--early-stop",
        "stop after this many epochs without a better validation accuracy",
        type=whole_number,
        metavar="N",
    )


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, plot; returns the exit code: 0, or 128 and the number of the signal that ended it early."""
    from npsoftmax.training.group import ALONE

    given = vars(args)
    if not given.get("distributed", False):
        return _train(given, ALONE)
    from npsoftmax.cli._processes import ending_together
    from npsoftmax.distributed import join

    group = join("npsoftmax train … --distributed")
    with ending_together(group):
        return _train(given, group)


def _train(given: dict[str, Any], group: Any) -> int:
    """What each process of the group does; the first one writes and speaks."""
    from npsoftmax.cli._settings import what_to_run
    from npsoftmax.plots import plot_run
    from npsoftmax.training import Progress, RunDirectory, Trainer, finish_run, prepare
    from npsoftmax.training.checks import moved_momentum

    resumed, config = group.broadcast(what_to_run(given) if group.is_first else None)
    progress = Progress(config.epochs, quiet=given.get("quiet", False) or not group.is_first)
    if given.get("distributed", False) and group.size == 1:
        progress.say("--distributed, but there is one process; for two, type: mpiexec -n 2 npsoftmax train …")
    if "momentum" in given and (remark := moved_momentum(config)):
        progress.say(remark)
    with group.first_process_before_others():
        session = prepare(config, group)
    if session.dataset.note:
        progress.say(session.dataset.note)
    directory = resumed
    if directory is None:
        planned = RunDirectory.plan(session.config, session.dataset.name, given.get("out")) if group.is_first else None
        directory = group.broadcast(planned)
    trainer = Trainer(session, directory, progress, stop_after=given.get("stop_after"))
    with _kept(directory) if group.is_first else nullcontext():
        machine = group.describe()
        if resumed:
            trainer.resume(given.get("checkpoint", "last"))
            progress.say(f"resumed {directory.path} after {trainer.state.epoch} epochs, {trainer.state.step} steps")
        elif group.is_first:
            directory.describe(session.config, session.dataset, session.backend, machine)
        progress.say(headline(session))
        state = trainer.fit()
        go_on = f"to go on, type: npsoftmax train --resume {shlex.quote(str(directory.path))}"
        if trainer.interrupted:
            progress.say(
                f"interrupted: saved at step {state.step}; {go_on}\n"
                "Now comes the test of what was learned so far; Ctrl-C again leaves it out."
            )
        try:
            summary = finish_run(session, directory, state, trainer.interrupted)
        except KeyboardInterrupt:
            progress.say(f"not tested, but all that was learned is saved; {go_on}")
            raise
    progress.say(result_line(summary))
    if group.is_first and not given.get("no_plots", False):
        plot_run(directory.path)
    progress.say(f"everything is in {directory.path}")
    # mpiexec ends the other processes where one fails, so the first one alone says it: it is the last to end.
    return 0 if trainer.ended_by is None or not group.is_first else 128 + trainer.ended_by


@contextmanager
def _kept(directory: Any) -> Iterator[None]:
    """Within it, the directory exists and no other process trains there."""
    directory.make()
    with directory.locked():
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """The `train` command as a program of its own: examples/train_cifar100.py."""
    from npsoftmax.cli.main import run_program

    def make_parser(_: str | None) -> Parser:
        parser = Parser(
            prog="train_cifar100.py" if argv is None else None,
            description="Train a network on CIFAR-100 (or on the embedded synthetic set) with any softmax head.",
        )
        add_arguments(parser)
        parser.set_defaults(run=run)
        return parser

    return run_program(make_parser, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
