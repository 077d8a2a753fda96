"""The options of the command line that are settings of a run: those of TrainConfig."""

from __future__ import annotations

import argparse
from typing import Any

from npsoftmax.cli._parser import count_or_fraction, number, whole_number


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
        "of matrix products on a GPU: fp32, tf32 (tensor cores, 10 bits after the point), bf16 (7 bits, activations "
        "too; parameters and sums stay float32) or auto (tf32 where it can)",
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
        "digits; stdlib_tokens, the next token of Python's standard library (docs/tokens.md); or your own images: "
        "folder:PATH, a folder for each class, or arrays:FILE.npz (docs/your-own-data.md)",
        metavar="NAME",
    )
    add(
        group,
        "--data-dir",
        "folder that holds the CIFAR files, also $NPSOFTMAX_DATA; where images of your own lie now; or source files "
        "for stdlib_tokens, in place of those of the standard library",
        metavar="DIR",
    )
    add(
        group,
        "--image-size",
        "pixels a side that the images of folder:PATH are cut to; not set means 32",
        type=whole_number,
        metavar="N",
    )
    add(
        group,
        "--vocabulary",
        "words that stdlib_tokens has, the most frequent ones; not set means 10,000",
        type=whole_number,
        metavar="N",
    )
    add(
        group,
        "--limit-train",
        "use only this many training samples, the classes balanced",
        type=whole_number,
        metavar="N",
    )
    add(group, "--limit-test", "use only this many test samples, the classes balanced", type=whole_number, metavar="N")
    add(
        group,
        "--val-split",
        "training images held out for validation: a fraction such as 0.2, or how many, such as 500",
        type=count_or_fraction,
        metavar="F|N",
    )
    add(
        group,
        "--calibration-split",
        "of the validation images, a fraction or how many, that choose no epoch, for npsoftmax calibrate and conform",
        type=count_or_fraction,
        metavar="F|N",
    )
    add(
        group,
        "--normalize",
        "none (pixels/255), half (mean .5, deviation .5) or standard (of the training images)",
        metavar="NAME",
    )
    add(
        group,
        "--augment",
        "none, flip, standard (flip, pad and crop), alternating (the same, but each image is flipped in every second "
        "epoch) or cutout",
        metavar="NAME",
    )
    add(
        group,
        "--shift",
        "pixels that standard, alternating and cutout move an image by at most; not set means an eighth of its side",
        type=whole_number,
        metavar="N",
    )
    add(
        group,
        "--image-sizes",
        "begin with smaller images: 20:0.15,24:0.5,32 for 20x20 pixels in the first 15 % of the steps, 24x24 up to "
        "half of them, then all (docs/few-epochs.md)",
        metavar="N:SHARE,…",
    )
    add(group, "--mixup", "blend pairs of images, weights from Beta(A, A); 0 for never", type=number, metavar="A")
    add(
        group,
        "--cutmix",
        "paste a part of another image, its area from Beta(A, A); 0 for never",
        type=number,
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
        type=number,
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
    add(group, "--lr", "learning rate: the highest of the schedule", type=number, metavar="F")
    add(group, "--momentum", "momentum of sgd, and of muon for all that is no filter", type=number, metavar="F")
    add(group, "--nesterov", "Nesterov's momentum for sgd", action="store_true")
    add(
        group,
        "--muon-lr",
        "highest learning rate of muon's filters; --lr is that of all else (docs/few-epochs.md)",
        type=number,
        metavar="F",
    )
    add(group, "--muon-momentum", "momentum of muon's filters", type=number, metavar="F")
    add(group, "--muon-steps", "steps of Newton and Schulz that muon takes", type=whole_number, metavar="N")
    add(group, "--muon-unit-filters", "keep muon's filters at length 1 in the mean", action="store_true")
    add(group, "--muon-matrices", "muon for the trunk's weight matrices too, not only for filters", action="store_true")
    add(
        group,
        "--weight-decay",
        "weight decay: in the gradient (sgd, adam) or decoupled (adamw, and the filters of muon)",
        type=number,
        metavar="F",
    )
    add(
        group,
        "--decay",
        "what decays: all, weights (no norms, biases, positions) or auto (as is usual for the model)",
        metavar="NAME",
    )
    add(group, "--clip-value", "clip every gradient to plus or minus this", type=number, metavar="F")
    add(group, "--clip-norm", "scale the gradients down to this norm", type=number, metavar="F")
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
