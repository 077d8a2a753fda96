"""Softmax heads. `HEADS` is the table that the command line, the tests and the documentation run over."""

from npsoftmax.errors import unknown_name
from npsoftmax.heads.base import ClassInfo, Head, check_labels, top_k
from npsoftmax.heads.flat import SoftmaxHead
from npsoftmax.heads.hierarchical import HierarchicalHead

HEADS: dict[str, type[Head]] = {
    "softmax": SoftmaxHead,
    "hierarchical": HierarchicalHead,
}

__all__ = ["HEADS", "ClassInfo", "Head", "check_labels", "head_class", "top_k"]


def head_class(name: str) -> type[Head]:
    """The head called `name`; InputError gives the nearest names."""
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name]
