"""`npsoftmax train`, and the face of it that examples/train_cifar100.py shows."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from npsoftmax.cli._messages import headline, result_line, sizes_without_steps
from npsoftmax.cli._parser import Parser, whole_number
from npsoftmax.cli._train_options import add_settings
from npsoftmax.errors import InputError


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
    group.add_argument(
        "--from",
        dest="start_from",
        metavar="RUN",
        help="begin a new run with the parameters of this one, on other data or with another head, too; model, data, "
        "head and normalisation are those of RUN where nothing else is said (docs/your-own-data.md)",
    )
    group.add_argument(
        "--resume",
        metavar="RUN",
        help="continue the run in this directory, with its own settings; with --epochs N, to more epochs",
    )
    group.add_argument(
        "--checkpoint",
        choices=("last", "previous"),
        help="with --resume, where to continue: last, or previous if that is damaged (default: last)",
    )
    add_settings(parser)
    group = parser.add_argument_group("the reward of the assignments", argument_default=argparse.SUPPRESS)
    group.add_argument(
        "--my-gradients",
        metavar="PATH",
        help="train on the functions that you wrote in the assignments in PATH, beside the library's own: a convnet "
        "(a3), vit_small with your attention (a4), your heads (a5), whitened_resnet with and without each of your "
        "ingredients (a6), or what --model or --head says; --data digits",
    )
    group.add_argument("--steps", metavar="N", type=whole_number, help="with --my-gradients (default: 100)")
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
    group.add_argument(
        "--no-graph",
        action="store_true",
        help="on a GPU, launch each kernel of a step by itself, not all as one CUDA graph; the same bits, slower",
    )
    only = group.add_mutually_exclusive_group()
    only.add_argument("--quiet", action="store_true", help="print nothing but errors", default=argparse.SUPPRESS)
    only.add_argument(
        "--json-lines",
        action="store_true",
        help="print a line of JSON for every event (begin, step, epoch, note, end), for other programs",
        default=argparse.SUPPRESS,
    )
    group.add_argument(
        "--tensorboard", action="store_true", help='write RUN/tensorboard too (pip install "npsoftmax[tensorboard]")'
    )


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, plot; returns the exit code: 0, or 128 and the number of the signal that ended it early."""
    from npsoftmax.training.group import ALONE

    given = vars(args)
    if "my_gradients" in given:
        from npsoftmax.cli import _my_gradients

        return _my_gradients.run(given)
    if "steps" in given:
        raise InputError("--steps is for --my-gradients; a run that is written down takes --epochs.")
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
    from npsoftmax.training.checks import check_before_data, moved_momentum
    from npsoftmax.training.start_from import start_from

    resumed, config = group.broadcast(what_to_run(given) if group.is_first else None)
    callbacks, note = _listeners(given, group)
    progress = Progress(config.epochs, quiet=given.get("quiet", False) or not group.is_first, note=note)
    if given.get("distributed", False) and group.size == 1:
        progress.say("--distributed, but there is one process; for two, type: mpiexec -n 2 npsoftmax train …")

    def plan(data_name: str) -> Any:
        return group.broadcast(RunDirectory.plan(config, data_name, given.get("out")) if group.is_first else None)

    directory = plan(config.data) if resumed is None and "out" in given else resumed
    check_before_data(config)
    if "momentum" in given and (remark := moved_momentum(config)):
        progress.say(remark)
    with group.first_process_before_others():
        session = prepare(config, group)
    if resumed is not None and group.is_first:
        resumed.check_data(session.dataset)
    for said in (session.dataset.note, sizes_without_steps(session)):
        if said:
            progress.say(said)
    if directory is None:
        directory = plan(session.dataset.name)
    options: dict[str, Any] = {
        "stop_after": given.get("stop_after"),
        "callbacks": callbacks,
        "graph": not given.get("no_graph", False),
    }
    trainer = Trainer(session, directory, progress, **options)
    with _kept(directory) if group.is_first else nullcontext():
        machine = group.describe()
        if resumed:
            trainer.resume(given.get("checkpoint", "last"))
            progress.say(f"resumed {directory.path} after {trainer.state.epoch} epochs, {trainer.state.step} steps")
            if "epochs" in given:
                progress.say(_more_epochs(trainer))
        elif group.is_first:
            directory.describe(session.config, session.dataset, session.train.normalize, session.backend, machine)
        if config.start_from is not None and (not resumed or directory.is_unbegun()):
            progress.say(start_from(session, config.start_from))
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
    for callback in callbacks:
        callback.end(summary)
    progress.say(result_line(summary))
    if group.is_first and not given.get("no_plots", False):
        plot_run(directory.path)
    progress.say(f"everything is in {directory.path}")
    # mpiexec ends the other processes where one fails, so the first one alone says it: it is the last to end.
    return 0 if trainer.ended_by is None or not group.is_first else 128 + trainer.ended_by


def _listeners(given: dict[str, Any], group: Any) -> tuple[list[Any], Any]:
    """The callbacks that were asked for, and who hears what else is said, in place of the console (None: nobody)."""
    from npsoftmax.training.callbacks import Callback, JsonLines, TensorBoard

    found: list[Callback] = [TensorBoard()] if given.get("tensorboard") and group.is_first else []
    if not given.get("json_lines") or not group.is_first:
        return found, None
    lines = JsonLines()
    return [lines, *found], lines.note


def _more_epochs(trainer: Any) -> str:
    """Let a run that was begun with fewer epochs go on to those of its settings now; returns what to say of it."""
    trainer.state.stopped_early = False
    if trainer.group.is_first:
        trainer.config.save(trainer.run.config_file)
    rate, _ = trainer.schedule(trainer.state.step)
    return (
        f"to {trainer.config.epochs} epochs: the learning rate goes on at {rate:.2e}, where {trainer.config.schedule} "
        "over so many epochs has it"
    )


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
