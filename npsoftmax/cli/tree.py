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
    from npsoftmax.heads import tree as trees

    if args.out is not None and not args.out.endswith(".json"):
        raise InputError(f"--out {args.out}: the name of a tree's file ends with .json, such as tree.json.")
    text, what, children = _learned(args) if "source" in args else _of_head(args)
    print(text)
    if children is not None:
        depths = trees.depths(children)
        print(
            f"{len(depths):,} classes, {depths.min()} to {depths.max()} decisions each, {depths.mean():.2f} on average"
        )
    print(what)
    if args.out is None:
        return 0
    if children is None:
        raise InputError("nothing was written to --out: this tree has two levels, and a file holds a tree of pairs.")
    write_replacing(Path(args.out), f"{trees.to_json(children)}\n".encode())
    print(f"{args.out} is written; to train with it: --head hierarchical --head-opt tree={args.out}")
    return 0


def _of_head(args: argparse.Namespace) -> tuple[str, str, Any]:
    """The tree of the run's own head: its text, what it is, and its children, None for two levels."""
    from npsoftmax.backend import to_numpy
    from npsoftmax.files import read_json
    from npsoftmax.heads.hierarchical import HierarchicalHead
    from npsoftmax.training import RunDirectory
    from npsoftmax.training.session import load_model

    if "threads" in args:
        raise InputError("--threads would have no effect without --from, which learns a tree. Leave it out.")
    changes = {"data_dir": args.data_dir} if "data_dir" in args else {}
    model, chosen = load_model(args.directory, args.checkpoint, **changes)
    if not isinstance(model.head, HierarchicalHead):
        raise InputError(
            f"{args.directory} has the head {model.head_name}, which has no tree. To learn one from this run, type: "
            f"npsoftmax tree {args.directory} --from means --out tree.json"
        )
    file = RunDirectory(Path(args.directory)).classes_file
    known = read_json(file) if file.is_file() else {}
    children = model.head.buffers.get("children")
    what = f"the tree of {model.head_name} in {args.directory}, {chosen}"
    return (
        model.head.tree_text(known.get("names"), known.get("coarse_names")),
        what,
        None if children is None else to_numpy(children),
    )


def _learned(args: argparse.Namespace) -> tuple[str, str, Any]:
    """A tree that is learned from the run: its text, what it was made of, and its children."""
    from npsoftmax.errors import unknown_name
    from npsoftmax.heads import tree as trees
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.training.session import load_run
    from npsoftmax.training.tree_of_run import SOURCES, learned_tree

    if args.source not in SOURCES:
        raise unknown_name("--from", args.source, SOURCES)
    changes = {name: vars(args)[name] for name in ("data_dir", "threads") if name in args}
    session = load_run(args.directory, args.checkpoint, **changes)
    with single_threaded_blas():
        found = learned_tree(session, args.source)
    what = f"from the {SOURCES[args.source]}: {found.images:,} training images, {session.chosen}"
    if found.absent:
        what += f"; {len(found.absent)} classes have no image (class {found.absent[0]} is one)"
    return trees.to_text(found.children, session.dataset.class_names), what, found.children
