"""`npsoftmax export RUN --torch FILE`: the weights of a run in PyTorch's names and layouts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError


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
        "--checkpoint", choices=("best", "last", "previous"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument(
        "--data-dir",
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="where the data is; runs of 0.1.0 and later need none",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file; returns the exit code."""
    from npsoftmax.torch_weights import save_torch, torch_tensors
    from npsoftmax.training.fitted import Fitted
    from npsoftmax.training.session import load_model

    path = Path(args.torch)
    folder, new_folder = path.parent, not path.parent.exists()
    if new_folder and not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent} for {path}. Make it, or give another --torch.")
    changes = {name: vars(args)[name] for name in ("data_dir",) if name in args}
    model, chosen = load_model(args.directory, args.checkpoint, **changes)
    save_torch(model, path)
    fitted = Fitted.of(Path(args.directory), model, chosen)
    if new_folder:
        print(f"the folder {folder} was made")
    counts = model.head.classes.counts
    images = "" if counts is None else f", trained on {int(counts.sum()):,} images of {len(counts):,} classes"
    print(f"{chosen} of {args.directory}{images}")
    print(
        f"{path}: {len(torch_tensors(model))} tensors of {model.name} with {model.head_name} head, by PyTorch's names"
    )
    if fitted.scaling is not None:
        how = f"temperature {fitted.temperature:.4g}" if fitted.temperature else "vector scaling"
        print(
            f"the run is calibrated ({how}), which is not in the weights: scale = γ and shift = b of calibration.json,"
        )
        print("log p' = log_softmax(γ · log p + b), are to be done after them")
    return 0
