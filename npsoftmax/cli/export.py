"""`npsoftmax export RUN --torch FILE`: the weights of a run in PyTorch's names and layouts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "export",
        help="write the weights of a run for PyTorch",
        description="Write the weights of a run as a safetensors file in PyTorch's names and layouts; docs/pytorch.md "
        "has the table. PyTorch need not be installed.",
    )
    parser.add_argument("directory", metavar="RUN", help="the run directory")
    parser.add_argument("--torch", required=True, metavar="FILE", help="the file to write, such as weights.safetensors")
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument("--data-dir", default=argparse.SUPPRESS, metavar="DIR", help="where the data is now")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file; returns the exit code."""
    from npsoftmax.torch_weights import save_torch, torch_tensors
    from npsoftmax.training.session import load_run

    changes = {name: vars(args)[name] for name in ("data_dir",) if name in args}
    model = load_run(args.directory, args.checkpoint, **changes).model
    path = Path(args.torch)
    save_torch(model, path)
    print(
        f"{path}: {len(torch_tensors(model))} tensors of {model.name} with {model.head_name} head, by PyTorch's names"
    )
    return 0
