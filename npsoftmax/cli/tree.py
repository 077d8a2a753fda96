"""`npsoftmax tree RUN`: the tree of a run's head, or one that is learned from a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from npsoftmax.cli._parser import whole_number
from npsoftmax.errors import InputError

DESCRIPTION = """\
Without --from: the tree of a run with a hierarchical head, with the names of its classes. With it: a tree of the
classes that is learned from the images that the run trained on, whatever its head; no validation or test image is seen.

  npsoftmax tree runs/softmax --from means --out tree.json
  npsoftmax train --head hierarchical --head-opt tree=tree.json
  npsoftmax tree runs/softmax --from confusions --groups 32 --out groups.json
"""


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "tree",
        help="the tree of a run's head, or one that is learned from a run",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plain = {"default": argparse.SUPPRESS}
    parser.add_argument("directory", metavar="RUN", help="the run directory")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="means (of the features), confusions (of the head) or pixels (means of the images)",
        **plain,
    )
    parser.add_argument(
        "--groups",
        type=whole_number,
        metavar="G",
        help="cut the learned tree in G groups of classes: two levels, a softmax over the groups and one in each",
        **plain,
    )
    parser.add_argument("--out", metavar="FILE", help="write the tree here, as nested lists: FILE.json")
    parser.add_argument(
        "--checkpoint", choices=("best", "last", "previous"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where the data is now", **plain)
    parser.add_argument("--threads", type=whole_number, metavar="N", help="threads of the kernels", **plain)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tree, and write it where it is asked for; returns the exit code."""
    from npsoftmax.files import write_replacing

    if args.out is not None and not args.out.endswith(".json"):
        raise InputError(f"--out {args.out}: the name of a tree's file ends with .json, such as tree.json.")
    text, what, nested = _learned(args) if "source" in args else _of_head(args)
    print(text)
    print(what)
    if args.out is not None:
        write_replacing(Path(args.out), f"{nested}\n".encode())
        print(f"{args.out} is written; to train with it: --head hierarchical --head-opt tree={args.out}")
    return 0


def _of_head(args: argparse.Namespace) -> tuple[str, str, str]:
    """The tree of the run's own head: its lines, what it is, and as JSON."""
    from npsoftmax.backend import to_numpy
    from npsoftmax.files import read_json
    from npsoftmax.heads import tree as trees
    from npsoftmax.heads.hierarchical import HierarchicalHead
    from npsoftmax.training import RunDirectory, TrainConfig
    from npsoftmax.training.session import load_model

    for name in ("threads", "groups"):
        if name in args:
            raise InputError(f"--{name} would have no effect without --from, which learns a tree. Leave it out.")
    changes = {"data_dir": args.data_dir} if "data_dir" in args else {}
    model, chosen = load_model(args.directory, args.checkpoint, **changes)
    if not isinstance(model.head, HierarchicalHead):
        raise InputError(
            f"{args.directory} has the head {model.head_name}, which has no tree. To learn one from this run, type: "
            f"npsoftmax tree {args.directory} --from means --out tree.json"
        )
    run = RunDirectory(Path(args.directory))
    known = read_json(run.classes_file) if run.classes_file.is_file() else {}
    own = TrainConfig.load(run.config_file).head_opts.get("tree") == "superclass"  # else the groups are others
    text = model.head.tree_text(known.get("names"), known.get("coarse_names") if own else None)
    what = f"the tree of {model.head_name} in {args.directory}, {chosen}"
    if "group" in model.head.buffers:
        return text, f"two levels, {what}", trees.groups_to_json(model.head.buffers["group"])
    children = to_numpy(model.head.buffers["children"])
    return text, f"{_shape(children)}; {what}", trees.to_json(children)


def _learned(args: argparse.Namespace) -> tuple[str, str, str]:
    """A tree that is learned from the run: its lines, what it was made of, and as JSON."""
    from npsoftmax.errors import unknown_name
    from npsoftmax.heads import tree as trees
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.training.session import load_run
    from npsoftmax.tree_of_run import SOURCES, learned_tree

    if args.source not in SOURCES:
        raise unknown_name("--from", args.source, SOURCES)
    changes = {name: vars(args)[name] for name in ("data_dir", "threads") if name in args}
    session = load_run(args.directory, args.checkpoint, **changes)
    names, classes = session.dataset.class_names, session.dataset.n_classes
    if not 2 <= getattr(args, "groups", 2) <= classes // 2:
        raise InputError(
            f"--groups is {args.groups}, but from 2 to {classes // 2} groups of {classes} classes make sense."
        )
    with single_threaded_blas():
        found = learned_tree(session, args.source)
    what = f"from the {SOURCES[args.source]}: {found.images:,} training images, {session.chosen}"
    if found.absent:
        what += f"; {len(found.absent)} classes have no image (class {found.absent[0]} is one)"
    if "groups" in args:
        group = trees.parts(found.children, args.groups)
        return trees.groups_to_text(group, names), f"{args.groups} groups, {what}", trees.groups_to_json(group)
    return trees.to_text(found.children, names), f"{_shape(found.children)}; {what}", trees.to_json(found.children)


def _shape(children: Any) -> str:
    """Classes and decisions, in words."""
    from npsoftmax.heads import tree as trees

    depths = trees.depths(children)
    return f"{len(depths):,} classes, {depths.min()} to {depths.max()} decisions each, {depths.mean():.2f} on average"
