"""`npsoftmax import FILE …`: a run directory of weights that come from PyTorch."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    from npsoftmax.cli.train import add_settings

    parser = subparsers.add_parser(
        "import",
        help="make a run of weights that come from PyTorch",
        description="Make a run directory of a safetensors file with PyTorch's names and layouts (docs/pytorch.md): "
        "`npsoftmax eval` measures it, `npsoftmax train --resume` continues the training. Say what the model is and "
        "how its images were normalised, as for `npsoftmax train`.",
    )
    plain = {"default": argparse.SUPPRESS}
    parser.add_argument("file", metavar="FILE", help="the weights: safetensors.torch.save_file(model.state_dict(), …)")
    parser.add_argument("--out", metavar="DIR", help="the run directory (default: as for train)", **plain)
    parser.add_argument("--config", metavar="FILE", help="all settings from a file like a run's config.toml", **plain)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the weights, write the run; returns the exit code."""
    from npsoftmax.cli._settings import new_config
    from npsoftmax.torch_weights import load_torch
    from npsoftmax.training import Progress, RunDirectory, Trainer, prepare
    from npsoftmax.training.checks import refuse_without_effect

    given = vars(args)
    config = new_config({name: value for name, value in given.items() if name != "file"})
    refuse_without_effect(given, [config])
    session = prepare(config)
    load_torch(session.model, args.file)
    directory = RunDirectory.plan(session.config, session.dataset.name, given.get("out"))
    trainer = Trainer(session, directory, Progress(config.epochs, quiet=True))
    directory.describe(session.config, session.dataset, session.train.normalize, session.backend)
    trainer.save()
    print(f"{directory.path}: {session.model!r}; see how good it is with npsoftmax eval {directory.path}")
    return 0
