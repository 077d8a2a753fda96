"""What all optimisers share: the walk over parameters, who runs the rule, state to save, rows of sparse gradients.

Design: an optimiser is one rule, `_update`, on arrays of one shape; all that differs lies outside it.

* Host arrays in float32 or float64 go to the same rule compiled, `_update_compiled`: one pass on all threads. A
  test holds the two together.
* Without the compiled kernels they go through `_update` in blocks that stay in the second-level cache: the rule's
  dozen passes then run at cache speed, and two blocks of scratch are all the memory it needs.
* Layouts that are not contiguous are copied, updated and written back; device arrays go through in one piece.
* `SparseRows` have their rows picked out, put through the same rule, and written back.

The last makes sparse updates *lazy*: a row lives through the steps that bring it a gradient and through no
others. While absent it does not move, does not decay, and its momentum (or Adam's moments) does not fade. So

* SGD without momentum and decay does what it does with a dense gradient;
* with momentum, a row stops between visits instead of coasting, and goes on with its old velocity;
* weight decay shrinks a row once a visit: a row seen in one step of ten decays a tenth as much;
* under one-cycle, learning rate and momentum are those of the visiting step, however long the row was away;
* Adam's bias correction counts steps, not visits. Late in a run it is 1, and the first visit of a row moves
  it by lr · (1 - beta1) / √(1 - beta2), 3.2 · lr with the defaults, where Adam's first step moves by lr. That
  is PyTorch's `SparseAdam`, but for eps, which stands where Adam has it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError, as_number
from npsoftmax.kernels import tree as row_kernels
from npsoftmax.kernels import update
from npsoftmax.params import SparseRows, Tree, leaves, tree_map

BLOCK = 32768  # elements: p, g, two moments and two of scratch in float32 are 768 KiB
Arrays = Sequence[Array]
# What a rule needs to know about a step: learning rate, momentum, and all else that changes from step to step. An array
# of doubles on a device is read there, whenever the step runs: so a captured step has other rates each time.
Rates = tuple[float, ...] | Any


class Optimizer(ABC):
    """Updates parameters in place; keeps `state` (slot name -> a tree like the parameters) and `steps`.

    weight_decay: the factor of the L2 term; parameters whose dotted name ends in one of `no_decay` ("b",
    "norm.gamma": whole parts of a name) do not decay, all others do. Raises InputError for a value out of
    range and for an entry of `no_decay` that no parameter ends in.
    """

    def __init__(self, params: Tree, slots: Sequence[str], *, weight_decay: float, no_decay: tuple[str, ...]):
        self.weight_decay = at_least_0("weight_decay", weight_decay)
        for name, p in _named(params, "the parameters are"):
            if not hasattr(p, "dtype") or p.dtype.kind != "f" or p.dtype.itemsize < 4:  # eps is 0 in half precision
                given = getattr(p, "dtype", type(p).__name__)
                raise InputError(f"parameter {name!r} is of {given}, but an array of float32 or float64 was expected.")
        if not isinstance(no_decay, tuple | list):
            raise InputError(f"no_decay is {no_decay!r:.60}, but ends of names were expected; type for example ('b',).")
        self.state: dict[str, Tree] = {slot: tree_map(_zeros, params) for slot in slots}
        self._slots = [dict(leaves(tree)) for tree in self.state.values()]  # the same arrays, by name
        self.steps = 0
        self._decay = {name: self.weight_decay for name, _ in leaves(params)}
        for suffix in no_decay:
            exempt = [name for name in self._decay if f".{name}".endswith(f".{suffix}")]
            if not exempt:
                raise InputError(
                    f"no_decay has {suffix!r}, but no parameter ends in it; there are {_listed(self._decay)}."
                )
            self._decay.update(dict.fromkeys(exempt, 0.0))

    def step(self, params: Tree, grads: Tree, *, lr: float, momentum: float | None = None) -> None:
        """Update `params` in place from `grads`, a tree like it of arrays or SparseRows.

        lr: the learning rate of this step; momentum, where given, takes the place of the optimiser's own (for
        Adam: of beta1) in this step.
        Raises InputError, with nothing changed, if parameters, gradients and state do not fit together.
        """
        self.apply(params, grads, self.rates(lr, momentum, self.steps + 1))

    def rates(self, lr: float, momentum: float | None, step: int) -> tuple[float, ...]:
        """All that changes from step to step, for step number `step`, counted from 1; lr and momentum as in `step`."""
        return self._rates(at_least_0("lr", lr), momentum, step)

    def apply(self, params: Tree, grads: Tree, rates: Rates) -> None:
        """`step` with what `rates` gives, or with an array of these numbers, double (R,) on the device."""
        arrays, gradients = dict(_named(params, "the parameters are")), dict(_named(grads, "the gradients are"))
        self._check(arrays, gradients)
        self.steps += 1
        for name, p in arrays.items():
            self._update_parameter(name, p, gradients[name], [slot[name] for slot in self._slots], rates)

    def state_tree(self) -> Tree:
        """The state to save, together with `steps`: the arrays themselves, not copies."""
        return self.state

    def load_state(self, tree: Tree, steps: int) -> None:
        """Go on from a saved state. Raises InputError, with nothing changed, if it is another optimiser's."""
        own, saved = dict(leaves(self.state)), dict(_named(tree, "the saved state is"))
        if own.keys() != saved.keys():
            raise InputError(
                f"the saved state does not belong to this {type(self).__name__}: {_difference('it', own, saved)} "
                "Resume with the optimiser and the model that it was saved with."
            )
        for name, array in own.items():
            if not hasattr(saved[name], "dtype"):
                raise InputError(f"{name!r} of the saved state is {saved[name]!r:.60}, but an array was expected.")
            if (array.shape, array.dtype) != (saved[name].shape, saved[name].dtype):
                raise InputError(
                    f"{name!r} of the saved state is {saved[name].dtype} of shape {saved[name].shape}, but "
                    f"{array.dtype} of shape {array.shape} was expected. Resume with the model and precision "
                    "that it was saved with."
                )
        if not isinstance(steps, Integral) or steps < 0:
            raise InputError(f"the saved state counts {steps!r} steps, but 0 or more was expected.")
        for name, array in own.items():
            array[...] = array_module(array).asarray(to_numpy(saved[name]))
        self.steps = int(steps)

    @abstractmethod
    def _rates(self, lr: float, momentum: float | None, step: int) -> tuple[float, ...]:
        """What `_update` needs to know about step number `step`, counted from 1."""

    @abstractmethod
    def _update(self, p: Array, g: Array, slots: Arrays, scratch: Arrays, decay: float, rates: Rates) -> None:
        """The rule: writes p and the slots, reads g, may use the two of scratch; all have one shape."""

    @abstractmethod
    def _update_compiled(self, p: Array, g: Array, slots: Arrays, decay: float, rates: Rates) -> None:
        """The same rule by the compiled kernels, for p and slots that are contiguous."""

    def _update_parameter(self, name: str, p: Array, g: Array | SparseRows, slots: Arrays, rates: Rates) -> None:
        if isinstance(g, SparseRows):
            self._update_rows(p, g, slots, self._decay[name], rates)
        else:
            self._update_array(p, g, slots, self._decay[name], rates)

    def _update_array(self, p: Array, g: Array, slots: Arrays, decay: float, rates: Rates) -> None:
        xp = array_module(p)
        if not p.flags.c_contiguous:
            copy = xp.ascontiguousarray(p)
            self._update_array(copy, g, slots, decay, rates)
            p[...] = copy
            return
        if update.takes(p, g, *slots):
            self._update_compiled(p, g, slots, decay, rates)
            return
        block = max(1, min(BLOCK, p.size) if xp is np else p.size)
        scratch = xp.empty((2, block), p.dtype)
        flat = [xp.asarray(x).reshape(-1) for x in (p, g, *slots)]  # views of p and the slots; of g perhaps a copy
        for start in range(0, p.size, block):
            p_part, g_part, *slot_parts = [x[start : start + block] for x in flat]
            self._update(p_part, g_part, slot_parts, scratch[:, : len(p_part)], decay, rates)

    def _update_rows(self, p: Array, g: SparseRows, slots: Arrays, decay: float, rates: Rates) -> None:
        wholes = [p, *slots]
        parts = [whole[g.rows] for whole in wholes]  # copies
        self._update_array(parts[0], g.values, parts[1:], decay, rates)
        for whole, part in zip(wholes, parts, strict=True):
            row_kernels.write_rows(whole, g.rows, part)

    def _check(self, arrays: dict[str, Array], gradients: dict[str, Array]) -> None:
        if arrays.keys() != self._decay.keys():
            found = _difference("the tree given to step()", self._decay, arrays)
            raise InputError(f"these are not the parameters that the optimiser was made for: {found}")
        if arrays.keys() != gradients.keys():
            found = _difference("the tree of gradients", arrays, gradients)
            raise InputError(f"the gradients do not mirror the parameters: {found}")
        for name, p in arrays.items():
            g = gradients[name]
            masked = type(g) is not np.ndarray and isinstance(g, np.ma.MaskedArray)
            if masked or not hasattr(g, "dtype"):  # SparseRows have one
                raise InputError(f"the gradient of {name!r} is {g!r:.60}, but an array, or SparseRows, was expected.")
            if p.shape != g.shape:
                raise InputError(f"the gradient of {name!r} has shape {g.shape}, the parameter {p.shape}.")
            if g.dtype.kind not in "fiu":
                raise InputError(f"the gradient of {name!r} holds {g.dtype}, but real numbers were expected.")
            if not getattr(p.flags, "writeable", True):
                raise InputError(f"parameter {name!r} is read-only, but it is updated in place; use a copy of it.")


def with_decay(p: Array, g: Array, decay: float, out: Array) -> Array:
    """g + decay · p, in `out`."""
    array_module(p).multiply(p, decay, out=out)
    out += g
    return out


def _named(tree: Any, what: str) -> Iterator[tuple[str, Array]]:
    """The leaves of a tree, by name; InputError for what is none."""
    if not isinstance(tree, dict):
        raise InputError(f"{what} {type(tree).__name__}, but a dict was expected, as model.params is one.")
    return leaves(tree)


def _zeros(p: Array) -> Array:
    return array_module(p).zeros(p.shape, p.dtype)  # contiguous, whatever p is


def _difference(what: str, expected: Iterable[str], given: Iterable[str]) -> str:
    expected, given = set(expected), set(given)
    parts = [f"lacks {_listed(expected - given)}"] if expected - given else []
    parts += [f"has {_listed(given - expected)}, which is not expected"] if given - expected else []
    return f"{what} {' and '.join(parts)}."


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def at_least_0(name: str, value: float) -> float:
    """The value as a float; InputError below 0, and for infinity and NaN."""
    if not 0 <= as_number(value) < math.inf:
        raise InputError(f"{name} is {value!r}, but a number of 0 or more was expected.")
    return float(value)


def below_1(name: str, value: float) -> float:
    """The value as a float; InputError unless it is from 0 to below 1."""
    if not 0 <= as_number(value) < 1:
        raise InputError(f"{name} is {value!r}, but a number from 0 to below 1 was expected.")
    return float(value)
