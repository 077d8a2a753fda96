"""Parameters, backward through one layer, and the numeric difference of any of its numbers beside the analytic one."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import to_numpy
from npsoftmax.errors import InputError
from npsoftmax.look.plain import check_place, shown
from npsoftmax.look.subject import Subject
from npsoftmax.look.trace import sample
from npsoftmax.params import SparseRows, leaves

STEP = 1e-5  # in float64 the error of the difference is about STEP² and rounding / STEP
HEAD = "head"  # in the place of a layer's path
INPUT = "x"


def backward(subject: Subject, image: int, target: int, path: str) -> dict[str, Any]:
    """The loss, and the gradients of a layer's input and parameters, as pictures."""
    with subject.lock:
        loss, found = _gradients(subject, image, target, path)
    tensors = [{"name": name, "size": list(g.shape), **shown(_as_maps(g))} for name, g in found.items()]
    return {"loss": loss, "tensors": tensors}


def parameters(subject: Subject, path: str) -> list[dict[str, Any]]:
    """The parameters of a layer, or of the head, as pictures."""
    if path != HEAD and path not in subject.layers:
        raise InputError(f"there is no layer {path!r:.60}; there are {', '.join(subject.layers)}.")
    found = (subject.model.head if path == HEAD else subject.layers[path]).params
    return [
        {"name": name, "size": list(p.shape), **shown(_as_maps(to_numpy(p)))} for name, p in leaves(found) if p.ndim
    ]


def element(subject: Subject, image: int, target: int, path: str, tensor: str, index: list[int]) -> dict[str, Any]:
    """One number of a gradient, analytic and by differences of the loss.

    numeric: (ℓ(v + step) - ℓ(v - step)) / (2 · step); up, down: the one-sided ones, which differ at a kink.
    """
    with subject.lock:
        loss, found = _gradients(subject, image, target, path)
        if tensor not in found:
            raise InputError(f"there is no gradient {tensor!r:.40} here; there are {', '.join(found)}.")
        place = check_place(index, found[tensor].shape, "the gradient")
        value, losses = _shifted(subject, image, target, path, tensor, place)
    more, less = losses
    return {
        "value": value,
        "analytic": float(found[tensor][place]),
        "numeric": (more - less) / (2 * STEP),
        "up": (more - loss) / STEP,
        "down": (loss - less) / STEP,
        "step": STEP,
        "loss": loss,
        "more": more,
        "less": less,
    }


def _gradients(subject: Subject, image: int, target: int, path: str) -> tuple[float, dict[str, np.ndarray]]:
    """The loss, and name -> gradient; x without its batch axis."""
    h, trunk_cache = subject.passed(image)
    head = subject.model.head
    targets = np.array([_label(subject, target)])
    loss, cache = head.loss(h, targets, rng=subject.noise())
    dh, grads = head.backward(cache)
    if path == HEAD:
        return float(loss), {INPUT: dh[0], **_dense(grads)}
    note = subject.seen(path)
    subject.model.trunk.backward(dh, trunk_cache)
    if note.dx is None:
        raise InputError(f"layer {path} has no backward of its own here; look at the one around it.")
    return float(loss), {INPUT: sample(note.dx), **_dense(note.grads)}


def _dense(grads: Any) -> dict[str, np.ndarray]:
    return {name: to_numpy(g.to_dense() if isinstance(g, SparseRows) else g) for name, g in leaves(grads)}


def _shifted(
    subject: Subject, image: int, target: int, path: str, tensor: str, place: tuple[int, ...]
) -> tuple[float, list[float]]:
    """The number itself, and the loss with it a step larger and a step smaller."""
    if tensor == INPUT:
        return _shifted_input(subject, image, target, path, place)
    owner = subject.model.head if path == HEAD else subject.layers[path]
    array = dict(leaves(owner.params))[tensor]
    before = float(array[place])
    losses = []
    try:
        for step in (STEP, -STEP):
            array[place] = before + step
            losses.append(_loss(subject, subject.run(image), target))
    finally:
        array[place] = before
    return before, losses


def _shifted_input(
    subject: Subject, image: int, target: int, path: str, place: tuple[int, ...]
) -> tuple[float, list[float]]:
    losses = []
    if path == HEAD:
        h = subject.run(image)
        for step in (STEP, -STEP):
            moved = h.copy()
            moved[(0, *place)] += step
            losses.append(_loss(subject, moved, target))
        return float(h[(0, *place)]), losses
    x = subject.seen(path).x
    index = (0, *place) if len(x) == 1 else place
    value = float(x[index])
    try:
        for step in (STEP, -STEP):
            subject.trace.shift = (path, index, step)
            losses.append(_loss(subject, subject.run(image), target))
    finally:
        subject.trace.shift = None
    return value, losses


def _loss(subject: Subject, h: np.ndarray, target: int) -> float:
    return float(subject.model.head.loss(h, np.array([target]), rng=subject.noise())[0])


def _label(subject: Subject, target: int) -> int:
    if not 0 <= target < len(subject.names):
        raise InputError(f"the target is {target}, but a class from 0 to {len(subject.names) - 1} was expected.")
    return target


def _as_maps(g: np.ndarray) -> np.ndarray:
    """A gradient as maps: of a filter (KH, KW, C, F) the first channels of each, side by side."""
    return g.reshape(*g.shape[:2], -1) if g.ndim == 4 else g
