"""`npsoftmax info`: what is installed; `npsoftmax info --model NAME`: a network, its shapes, parameters and cost."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from npsoftmax.cli._parser import whole_number
from npsoftmax.cli._surroundings import columns_of_output
from npsoftmax.errors import InputError


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser("info", help="what is installed, or a model: shapes, parameters, multiply-adds")
    parser.add_argument("--model", metavar="NAME", help="describe this model")
    parser.add_argument("--head", default="softmax", metavar="NAME", help="with this head (default: softmax)")
    parser.add_argument(
        "--classes", type=whole_number, default=100, metavar="C", help="number of classes (default: 100)"
    )
    parser.add_argument(
        "--conv",
        nargs="?",
        const="auto",
        metavar="NAME",
        help="say which algorithm each convolution of the model runs on, and why (default: by auto)",
    )
    parser.add_argument(
        "--input", default="32,32,3", metavar="H,W,C", help="shape of one image, channels last (default: 32,32,3)"
    )
    for kind in ("model", "head"):
        parser.add_argument(
            f"--{kind}-opt",
            dest=f"{kind}_opts",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help=f"an option of the {kind}",
        )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; returns the exit code."""
    if not args.model:
        _refuse_without_model(args)
    print(describe_model(args) if args.model else describe_installation())
    return 0


def _refuse_without_model(args: argparse.Namespace) -> None:
    """InputError for an option that says something of a model, where there is none."""
    plain = {"head": "softmax", "classes": 100, "conv": None, "input": "32,32,3", "model_opts": [], "head_opts": []}
    for name, unset in plain.items():
        if getattr(args, name) != unset:
            option = name.removesuffix("s").replace("_", "-") if name.endswith("_opts") else name
            raise InputError(f"--{option} would have no effect without --model NAME, which says what to describe.")


def describe_installation() -> str:
    """Versions, kernels, threads, GPU."""
    import importlib.metadata
    import platform

    from npsoftmax._version import __version__
    from npsoftmax.heads import HEADS
    from npsoftmax.host import blas_in_use, get_threads
    from npsoftmax.kernels import compiled_status
    from npsoftmax.models import MODELS

    lines = {
        "npsoftmax": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "libraries": ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("numpy", "scipy", "scikit-learn")),
        "kernels": compiled_status()[1]
        if compiled_status()[0]
        else f"NumPy reference: extension {compiled_status()[1]}",
        "blas": blas_in_use(),
        "threads": str(get_threads()),
        "cupy": _cupy_line(),
        "models": ", ".join(MODELS),
        "heads": ", ".join(HEADS),
    }
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())


def _cupy_line() -> str:
    from npsoftmax.backend import get_backend

    try:
        found = get_backend("cupy").describe()
    except InputError as error:
        return f"not usable: {error}"
    return "CuPy {cupy} on {device}, driver for CUDA {driver}, products in {precision}".format(**found)


def describe_model(args: argparse.Namespace) -> str:
    """The network drawn as a column of layers, with a table beside it."""
    from npsoftmax.cli._drawing import draw_model
    from npsoftmax.layers.initialisation import shapes_only
    from npsoftmax.models import build_model
    from npsoftmax.options import parse_pairs

    with shapes_only():
        model = build_model(
            args.model,
            args.head,
            args.classes,
            _input_shape(args.input),
            model_opts=parse_pairs(args.model_opts),
            head_opts=parse_pairs(args.head_opts),
        )
    drawing = draw_model(model, unicode=_takes_boxes(), columns=columns_of_output())
    if hasattr(model.head, "told_logits"):
        drawing = f"{drawing}\n{model.head.told_logits()}"
    return drawing if args.conv is None else f"{drawing}\n\n{describe_convolutions(model.use_convolution(args.conv))}"


def describe_convolutions(model: Any, batch: int = 128) -> str:
    """A line for each convolution: the algorithm it runs on for a batch of float32 images, and why."""
    import numpy as np

    from npsoftmax.cli._drawing import layers_with_shapes
    from npsoftmax.kernels import has_compiled
    from npsoftmax.layers import Conv2d

    compiled = has_compiled(np.empty(0, dtype=np.float32))
    rows = [
        (name, *layer.choice(shape, batch, compiled))
        for name, layer, shape in layers_with_shapes(model.trunk, model.input_shape)
        if isinstance(layer, Conv2d)
    ]
    if not rows:
        return f"{model.name} has no convolution."
    width = max(len(name) for name, *_ in rows)
    return "\n".join(f"{name:<{width}}  {algorithm:<8}  {reason}" for name, algorithm, reason in rows)


def _input_shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(p.strip().isdigit() and int(p) > 0 for p in parts):
        raise InputError(f"--input is {text!r}, but whole numbers such as 32,32,3 were expected.")
    return tuple(int(p) for p in parts)


def _takes_boxes() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")
