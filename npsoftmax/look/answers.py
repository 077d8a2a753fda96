"""The questions that the page may ask, each with what it needs: names and types are checked here, once."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.data.pictures import read_picture
from npsoftmax.errors import InputError
from npsoftmax.heads import FlatHead
from npsoftmax.look import charts, gradients, heads, trees
from npsoftmax.look.plain import check_place, numbers
from npsoftmax.look.subject import Subject
from npsoftmax.look.trace import sample
from npsoftmax.look.units import sum_of_products, unit

MOST_OWN = 50  # images of one's own that are kept
PAGE_OF_IMAGES = 60


class Answers:
    """What is known of one run, or of two that are compared."""

    def __init__(self, subjects: list[Subject]):
        self.subjects = subjects
        self.questions: dict[str, Callable[[_Asked], Any]] = {
            "start": self._start,
            "images": self._images,
            "forward": self._forward,
            "unit": self._unit,
            "parameters": self._parameters,
            "mappings": self._mappings,
            "losses": self._losses,
            "tree": self._tree,
            "gradient": self._gradient,
            "element": self._element,
            "curves": self._curves,
            "confusion": self._confusion,
            "cell": self._cell,
            "compare": self._compare,
        }

    def ask(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question. InputError for what does not fit it."""
        return self.questions[name](_Asked(asked))

    def upload(self, content: bytes) -> dict[str, Any]:
        """An image of one's own, as the network takes it: its number is below 0."""
        subject = self.subjects[0]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "image"
            file.write_bytes(content)
            try:
                pixels = read_picture(file, subject.model.input_shape)
            except InputError as error:
                raise InputError(str(error).replace(str(file), "that file").partition(". Replace")[0] + ".") from error
        for each in self.subjects:
            with each.lock:
                if len(each.own) >= MOST_OWN:
                    raise InputError(f"{MOST_OWN} images of your own are kept; start npsoftmax look again for others.")
                each.own.append(pixels)
        return {"image": -len(subject.own)}

    # ------------------------------------------------------------ the network
    def _start(self, asked: _Asked) -> dict[str, Any]:
        return {"runs": [subject.described() for subject in self.subjects]}

    def _images(self, asked: _Asked) -> dict[str, Any]:
        return self.subjects[0].gallery(asked.whole("first"), PAGE_OF_IMAGES)

    def _forward(self, asked: _Asked) -> dict[str, Any]:
        return self.subjects[0].forward(asked.whole("image"))

    def _unit(self, asked: _Asked) -> dict[str, Any]:
        subject, path, place = self.subjects[0], asked.text("path"), asked.wholes("place")
        with subject.lock:
            h = subject.run(asked.whole("image"))
            if path == gradients.HEAD:
                return _score(subject, h[0], place)
            note = subject.seen(path)
            x, y = sample(note.x), sample(note.y)
            check_place(place, y.shape, "what this layer gives")
            return unit(subject.layers[path], x, y, place)

    def _parameters(self, asked: _Asked) -> dict[str, Any]:
        return {"tensors": gradients.parameters(self.subjects[0], asked.text("path"))}

    # ------------------------------------------------------------ the head
    def _mappings(self, asked: _Asked) -> dict[str, Any]:
        options = {name: asked.number(name) for name in heads.SLIDERS if name in asked.given}
        return {"rows": heads.mappings(asked.numbers("z"), options, asked.whole("noise"))}

    def _losses(self, asked: _Asked) -> dict[str, Any]:
        return {"rows": heads.losses(asked.numbers("z"), asked.whole("target"), asked.whole("noise"))}

    def _tree(self, asked: _Asked) -> dict[str, Any]:
        return {"ways": trees.ways(self.subjects[0], asked.whole("image"))}

    # ------------------------------------------------------------ gradients
    def _gradient(self, asked: _Asked) -> dict[str, Any]:
        return gradients.backward(self.subjects[0], asked.whole("image"), asked.whole("target"), asked.text("path"))

    def _element(self, asked: _Asked) -> dict[str, Any]:
        where = asked.text("path"), asked.text("tensor"), list(asked.wholes("index"))
        return gradients.element(self.subjects[0], asked.whole("image"), asked.whole("target"), *where)

    # ------------------------------------------------------------ the run
    def _curves(self, asked: _Asked) -> dict[str, Any]:
        return charts.curves(self.subjects[0])

    def _confusion(self, asked: _Asked) -> dict[str, Any]:
        return charts.confusion(self.subjects[0])

    def _cell(self, asked: _Asked) -> dict[str, Any]:
        subject = self.subjects[0]
        found = charts.cell(subject, asked.whole("right"), asked.whole("said"))
        return {"count": len(found)} | subject.gallery(0, PAGE_OF_IMAGES, found)

    # ------------------------------------------------------------ two runs
    def _compare(self, asked: _Asked) -> dict[str, Any]:
        image = asked.whole("image")
        return {"runs": [_said(subject, image) for subject in self.subjects]}


class _Asked:
    """The values of a question, by name; InputError for one that is missing or of another type."""

    def __init__(self, given: dict[str, Any]):
        self.given = given

    def _value(self, name: str, what: str, fits: Callable[[Any], bool]) -> Any:
        value = self.given.get(name)
        if not fits(value):
            raise InputError(f"{name} is {value!r:.60}, but {what} was expected.")
        return value

    def whole(self, name: str) -> int:
        return self._value(name, "a whole number", _is_whole)

    def number(self, name: str) -> float:
        return self._value(name, "a number", _is_number)

    def text(self, name: str) -> str:
        return self._value(name, "a text", lambda value: isinstance(value, str))

    def wholes(self, name: str) -> tuple[int, ...]:
        return tuple(self._value(name, "a list of whole numbers", _list_of(_is_whole)))

    def numbers(self, name: str) -> list[float]:
        return self._value(name, "a list of numbers", _list_of(_is_number))


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _score(subject: Subject, h: np.ndarray, place: tuple[int, ...]) -> dict[str, Any]:
    """The score of a class, a sum of products of the features."""
    head = subject.model.head
    if not subject.has_scores() or not isinstance(head, FlatHead):
        raise InputError(f"{subject.model.head_name} has no linear map to one score a class.")
    check_place(place, (len(subject.names),), "the head")
    w, b = head.params["w"][:, place[0]], head.params.get("b")
    z = float(head.scores(h[None])[0][0, place[0]])
    return sum_of_products(h, w, 0.0 if b is None else float(b[place[0]]), z)


def _said(subject: Subject, image: int) -> dict[str, Any]:
    with subject.lock:
        log_p = subject.model.log_prob(subject.batch(image), rng=subject.noise())[0]
    p = np.exp(log_p)
    order = np.argsort(-p, kind="stable")[:10]
    entropy = float(-(p[p > 0] * log_p[p > 0]).sum())
    return {
        "run": subject.path.name,
        "head": subject.model.head_name,
        "top": [{"label": int(c), "p": float(p[c])} for c in order],
        "p": numbers(p) if len(p) <= 1000 else None,
        "entropy": entropy if subject.model.head.distribution else None,
    }
