"""`npsoftmax bench`: how fast this machine trains, whole steps and single layers, beside PyTorch."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError, unknown_name

DESCRIPTION = """\
Every measurement runs in a process of its own; npsoftmax and both layouts of PyTorch (where it is installed) take
turns in each round. Shown are medians over the rounds, with the smallest and the largest. Use an idle machine."""

Case = tuple[str, ...]
Measure = Callable[..., dict[str, Any]]


# ---------------------------------------------------------------- options
def add_parser(subparsers: Any) -> None:
    """Register `bench` with its benchmarks step, layers, machine and memory."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory, beside PyTorch",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)

    step = _add(actions, "step", bench_step, "whole training steps of models, images a second", rounds=3, seconds=6)
    _add_models(step)
    step.add_argument("--modes", default="train", metavar="NAMES", help="train, eval or train,eval (default: train)")

    layers = _add(actions, "layers", bench_layers, "the layers of resnet9 one by one", rounds=3, seconds=1)
    layers.add_argument(
        "--shapes",
        metavar="SHAPES",
        help="64-128@32 (convolution), 128@16 (batch norm and ReLU), 128@32/2 (max-pool), with commas between "
        "(default: those of resnet9)",
    )
    layers.add_argument(
        "--conv", default="auto", metavar="NAMES", help="algorithms to measure beside auto, such as tiled,winograd"
    )
    layers.add_argument("--plot", metavar="FILE", help="draw the roofline picture here (.png, .svg or .pdf)")

    _add(actions, "machine", bench_machine, "what the machine can do at best", rounds=3, seconds=2)
    memory = _add(actions, "memory", bench_memory, "the memory that training adds (Linux)", rounds=1)
    _add_models(memory)


def _add(
    actions: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    *,
    rounds: int,
    seconds: float | None = None,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=f"Measure {text}. {DESCRIPTION}", allow_abbrev=False)
    parser.set_defaults(run=functools.partial(_run, run))
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of every side (default: 2)")
    parser.add_argument(
        "--rounds", type=int, default=rounds, metavar="N", help=f"turns of every side (default: {rounds})"
    )
    if name != "machine":
        parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="images a step (default: 128)")
    if seconds is not None:
        parser.add_argument(
            "--seconds", type=float, default=seconds, metavar="S", help=f"for each figure (default: {seconds})"
        )
    parser.add_argument("--json", metavar="FILE", help="write the figures here as well")
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        default="convnet,tinyvgg,resnet9",
        metavar="NAMES",
        help="some of mlp, convnet, tinyvgg, resnet9, speednet, whitened_resnet, vit_small; convnet_e4, which has "
        "widths=6,8,10 and fc=200; vit_small_usual, where PyTorch's last block computes all tokens (default: "
        "convnet,tinyvgg,resnet9)",
    )


def _run(benchmark: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Check what all benchmarks take, then run one; 1 where it can give no figures."""
    from npsoftmax.bench.workers import BenchmarkError

    for option in ("threads", "rounds", "batch_size"):
        if getattr(args, option, 1) < 1:
            raise InputError(f"--{option.replace('_', '-')} is {getattr(args, option)}, but at least 1 is needed.")
    if not getattr(args, "seconds", 0) >= 0:
        raise InputError(f"--seconds is {args.seconds}, but a time of at least 0 is needed.")
    _check_file("--json", args.json)
    try:
        return benchmark(args)
    except BenchmarkError as error:
        print(f"npsoftmax bench: {error}", file=sys.stderr)
        return 1


def _check_file(option: str, name: str | None, endings: tuple[str, ...] = ()) -> None:
    """InputError unless a file can be written here once there is something to write."""
    path = Path(name or "nothing")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{option} is {name!r}, but a file in a folder that exists was expected.")
    if name and endings and path.suffix not in endings:
        raise InputError(f"{option} is {name!r}, but a name that ends in {', '.join(endings)} was expected.")


def names_in(text: str, kind: str, known: Collection[str]) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b'), each once; InputError for a name that is not known."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)
    return names


# ---------------------------------------------------------------- the benchmarks
def bench_step(args: argparse.Namespace) -> int:
    """Whole steps: guard, rounds, table. In --json each model is a key, beside "machine"."""
    from npsoftmax.bench import ceiling, machine, networks, report, step
    from npsoftmax.bench.turns import of_kind
    from npsoftmax.bench.workers import run_worker

    models = names_in(args.models, "model", networks.MODELS)
    modes = names_in(args.modes, "mode", step.MODES)
    sides, here = machine.sides(), _introduce(args)
    job = {"work": "step", "batch_size": args.batch_size, "threads": args.threads, "seconds": args.seconds}
    losses = {model: step.check_same_work({**job, "model": model}) for model in models if len(sides) > 1}

    def measure(model: str, mode: str, side: str) -> dict[str, Any]:
        return run_worker({**job, "model": model, "task": mode, "dropout": True, "side": side})

    cases: list[Case] = [("step", model, mode, side) for model in models for mode in modes for side in sides]
    roof_cases = ceiling.cases([args.threads], ["own"]) if ceiling.is_built() else []
    measured = _take_turns(args, roof_cases + cases, measure)
    roof = ceiling.compute_roof(of_kind(measured, "ceiling"), args.threads)
    speeds = of_kind(measured, "step")
    figures = {(model, mode): step.figures_of(speeds, model, mode, roof) for model in models for mode in modes}
    _head(f"whole steps, batch {args.batch_size}", report.roof_line(roof), here["torch"] and report.FASTER)
    print(report.step_table(figures))
    _warn(figures.values())
    answer = {model: {**figures.get((model, "train"), {}), "guard_losses": losses.get(model)} for model in models}
    for model in models if "eval" in modes else ():
        answer[model]["eval"] = figures[model, "eval"]
    _write(args, {**answer, "machine": {**here, "gflops_roof": roof}})
    return 0


def bench_layers(args: argparse.Namespace) -> int:
    """Layers one by one: rounds, guard, a table for each unit, the roofline."""
    from npsoftmax.bench import ceiling, layers, machine, report, shapes
    from npsoftmax.bench.turns import of_kind
    from npsoftmax.bench.workers import run_worker
    from npsoftmax.layers.conv import ALGORITHMS

    wanted = [shapes.parse_shape(text) for text in args.shapes.split(",")] if args.shapes else shapes.RESNET9
    algorithms = names_in(args.conv, "convolution algorithm", ALGORITHMS)
    _check_file("--plot", args.plot, (".png", ".svg", ".pdf"))
    here = _introduce(args)
    job = {"work": "layers", "batch_size": args.batch_size, "threads": args.threads, "seconds": args.seconds}

    def measure(shape: str, side: str, algorithm: str) -> dict[str, Any]:
        return run_worker({**job, "shape": shape, "side": side, "algorithm": algorithm})

    cases = ceiling.cases([args.threads], ["own", "memory"]) + layers.cases(wanted, machine.sides(), algorithms)
    measured = _take_turns(args, cases, measure)
    roofs, timed = ceiling.roofs(of_kind(measured, "ceiling"), args.threads), of_kind(measured, "layer")
    layers.check_same_results(timed)
    records = layers.figures_of(timed, roofs, args.batch_size)
    for heading, table in report.layer_tables(records, roofs):
        _head(f"{heading}, batch {args.batch_size}", here["torch"] and report.FASTER)
        print(table)
    _warn(records)
    _write(args, {"layers": records, "roofs": roofs, "machine": here})
    if args.plot:
        from npsoftmax.bench.roofline import roofline_figure

        roofline_figure(records, roofs, here).savefig(args.plot)
        print(f"\nthe picture is in {args.plot}")
    return 0


def bench_machine(args: argparse.Namespace) -> int:
    """The ceiling with one thread and with --threads. In --json the machine's name is the key."""
    from npsoftmax.bench import ceiling, report
    from npsoftmax.bench.turns import of_kind

    here = _introduce(args)
    measured = of_kind(_take_turns(args, ceiling.cases(sorted({1, args.threads}))), "ceiling")
    figures = ceiling.figures_of(measured)
    print(f"\n{report.ceiling_table(figures)}")
    _write(args, {here["name"]: {"roofs": ceiling.roofs(measured, args.threads), "figures": figures, "machine": here}})
    return 0


def bench_memory(args: argparse.Namespace) -> int:
    """Memory that three steps add. In --json each model is a key, beside "machine"."""
    from npsoftmax.bench import machine, memory, networks, report
    from npsoftmax.bench.turns import of_kind
    from npsoftmax.bench.workers import run_worker

    models = names_in(args.models, "model", networks.MODELS)
    if not memory.STATUS.exists():
        raise InputError(f"memory is read from {memory.STATUS}, which only Linux has.")
    here = _introduce(args)
    job = {"work": "memory", "batch_size": args.batch_size, "threads": args.threads, "dropout": True}

    def measure(model: str, side: str) -> dict[str, Any]:
        return run_worker({**job, "model": model, "side": side})

    cases = [("memory", model, side) for model in models for side in machine.sides()]
    measured = of_kind(_take_turns(args, cases, measure), "memory")
    figures = {model: memory.figures_of(measured, model) for model in models}
    _head(f"MiB that {memory.STEPS} training steps add, batch {args.batch_size}", here["torch"] and report.LEANER)
    print(report.memory_table(figures))
    if not all(answer["peak_was_reset"] for answers in measured.values() for answer in answers):
        print("\nnote: the peak could not be reset here, so that building the model may count in it")
    _write(args, {**figures, "machine": here})
    return 0


# ---------------------------------------------------------------- what they share
def _introduce(args: argparse.Namespace) -> dict[str, Any]:
    """Print the machine; what --json says of it."""
    from npsoftmax.bench.machine import describe, machine

    here = machine(args.threads)
    print(describe(here), flush=True)
    settings = {name: value for name, value in vars(args).items() if name not in ("command", "run", "json", "plot")}
    return {**here, "settings": settings}


def _take_turns(args: argparse.Namespace, cases: Iterable[Case], measure: Measure | None = None) -> dict[Case, Any]:
    """Measure all cases in turn and tell on standard error how it goes; cases of the ceiling need no `measure`."""
    from npsoftmax.bench import report
    from npsoftmax.bench.turns import take_turns
    from npsoftmax.bench.workers import run_worker

    def one(kind: str, *rest: str) -> dict[str, Any]:
        if measure is not None and kind != "ceiling":
            return measure(*rest)
        task, threads = rest
        return run_worker({"work": kind, "task": task, "threads": int(threads), "seconds": min(args.seconds, 2.0)})

    def tell(number: int, case: Case, answer: dict[str, Any]) -> None:
        print(f"round {number}/{args.rounds}  {' '.join(case)}: {report.brief(answer)}", file=sys.stderr)

    return take_turns(cases, args.rounds, one, tell)


def _head(*parts: str | None) -> None:
    """The line above a table, of the parts that there are."""
    print(f"\n{'; '.join(part for part in parts if part)}\n")


def _warn(figures: Iterable[Any]) -> None:
    from npsoftmax.bench.report import unsteady

    warning = unsteady(figures)
    if warning:
        print(f"\n{warning}")


def _write(args: argparse.Namespace, figures: dict[str, Any]) -> None:
    if args.json:
        try:
            Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write {args.json}: {error.strerror}; choose another --json.") from error
