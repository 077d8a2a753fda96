"""Wrong calls by the thousand: every pair, layer, head and optimiser with mutated shapes, types and settings.

A call has to end in InputError, or in the numbers that the readable pair gives in float64. Anything else is a finding:
another exception ("foreign"), other numbers or shapes ("silent"), or a call that one version takes and the other does
not ("disagreement"). What a seed finds it finds again.

    python tests/wrong_calls.py --calls 100000 --seed 0
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.functional import centres, cosine, linear_softmax, log_loss, loss, noise, rows, sampled, target_losses
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.params import replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import SGD, Adam, AdamW, Muon

TESTS = Path(__file__).parent


def table_of(path: str) -> Any:
    """A module of the tests, for its table of cases."""
    name = f"cases_of_{Path(path).stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


# ---------------------------------------------------------------- what is called
class Call(NamedTuple):
    """One way in: arguments that are right, and what is done with them; `judge` is the readable version."""

    name: str
    arguments: list[Any]
    keywords: dict[str, Any]
    forward: Any
    backward: Any
    judge: tuple[Any, Any]


TWINS = {
    "relu_fused": "relu",
    "gelu_fused": "gelu",
    "silu_fused": "silu",
    "dense_threaded": "dense",
    "batch_norm_fused": "batch_norm",
    "batch_norm_fused_inference": "batch_norm_inference",
    "layer_norm_fused": "layer_norm",
    "path_losses_fused": "path_losses",
    "conv2d_im2col": "conv2d_naive",
    "conv2d_tiled": "conv2d_naive",
    "conv2d_direct": "conv2d_naive",
}
T, INFO = np.array([1, 0, 2, 4, 4]), ClassInfo(6, np.array([9, 7, 5, 3, 2, 1]), np.array([0, 0, 1, 1, 2, 2]))


def pair_of(module: Any, name: str) -> tuple[Any, Any]:
    return getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")


def pair_calls() -> list[Call]:
    pairs, calls = table_of("functional/test_pairs.py"), []
    for name, case in pairs.CASES.items():
        module, function = pairs.PAIRS[case.pair]
        arguments = [*case.arrays(np.float32), *case.rest]
        judge = pair_of(module, TWINS.get(function, function))
        calls.append(Call(name, arguments, dict(case.kwargs), *pair_of(module, function), judge))
    draw = np.random.default_rng(1).standard_normal
    scores = draw((5, 6)).astype(np.float32)
    for name in LOSSES:
        judge = pair_of(loss, TWINS.get(name, name))
        calls.append(Call(name, [scores, T], {}, *pair_of(loss, name), judge))
    for name, mapping in MAPPINGS.items():
        given = [scores, draw((5, 6))] if mapping.needs_noise else [scores]
        if mapping.kind == "probability":
            given.append(draw((5, 6)) < 1)
        both = mapping.forward, mapping.backward
        calls.append(Call(name, given, {}, *both, both))
    h, w, b = (draw(s).astype(np.float32) for s in ((5, 3), (8, 3), (8,)))
    places = np.array([[0, 7], [3, -1], [2, 1], [5, 4], [-1, 6]])
    others = [
        ("unit_rows", cosine, [h]),
        ("cosine", cosine, [h, np.ascontiguousarray(w.T)]),
        ("linear_softmax_nll", linear_softmax, [h, w, b, T]),
        ("log_loss", log_loss, [np.exp(scores), T, 0.1]),
        ("dense_rows", rows, [h, w, b, np.abs(places)]),
        ("sparse_rows", rows, [h, w, b, places]),
        ("sampled_softmax", sampled, [h, w, b, T, np.array([0, 2, 3]), np.log([0.5, 2.0, 1.5]).astype(np.float32)]),
    ]
    others += [(name, target_losses, [scores, T]) for name in ("focal", "generalised_cross_entropy")]
    times = np.array([1, 4, 2], np.float32)
    others += [("noise_contrast", noise, [h, w, b, b[::-1].copy(), T, np.array([0, 2, 3]), times])]
    for name, module, arguments in others:
        calls.append(Call(name, arguments, {}, *pair_of(module, name), pair_of(module, name)))
    both = pair_of(centres, "drawn_centres")
    calls.append(Call("drawn_centres", [h, w, T, np.array([0, 2, 3])], {"scale": 4.0, "angle": 0.5}, *both, both))
    return calls


LOSSES = [name.removesuffix("_forward") for name in vars(loss) if name.endswith("_forward")]


def in_doubles(part: Any) -> Any:
    """A layer or head with its parameters in float64."""
    for tree in (part.params, part.buffers):
        replace_leaves(tree, lambda _, x: x.astype(np.float64) if x.dtype.kind == "f" else x)
    return part


def layer_pair(make: Any, doubles: bool) -> tuple[Any, Any]:
    """forward and backward of a layer that is made anew for each call."""
    made: list[Any] = []

    def forward(x: Any, train: bool) -> tuple[Any, Any]:
        made[:] = [in_doubles(make()) if doubles else make()]
        return made[0].forward(x, train=train, rng=Rng(0))

    def backward(dy: Any, cache: Any) -> Any:
        dx, grads = made[0].backward(dy, cache)
        return dx, *[grads[key] for key in sorted(grads) if not isinstance(grads[key], dict)]

    return forward, backward


def layer_calls() -> list[Call]:
    calls = []
    for name, (make, shape) in table_of("layers/test_layers.py").CASES.items():
        x = np.random.default_rng(2).standard_normal((3, *shape)).astype(np.float32)
        for train in (True, False):
            calls.append(Call(f"layer {name}", [x, train], {}, *layer_pair(make, False), layer_pair(make, True)))
    return calls


def head_pair(cls: Any, features: int, doubles: bool) -> tuple[Any, Any]:
    """loss and backward of a head that is made anew for each call."""
    made: list[Any] = []

    def forward(h: Any, targets: Any) -> tuple[Any, Any]:
        made[:] = [in_doubles(cls(features, INFO, rng=Rng(0))) if doubles else cls(features, INFO, rng=Rng(0))]
        return made[0].loss(h, targets, rng=Rng(0))

    def backward(dloss: Any, cache: Any) -> Any:
        return made[0].backward(cache, dloss)[0]

    return forward, backward


def head_calls() -> list[Call]:
    calls = []
    for name, cls in HEADS.items():
        features = 6 if name == "legacy_adaptive_untrained" else 4  # its features are the scores
        h = np.random.default_rng(3).standard_normal((5, features)).astype(np.float32)
        judge = head_pair(cls, features, True)
        calls.append(Call(f"head {name}", [h, T], {}, *head_pair(cls, features, False), judge))
    return calls


def step_of(make: Any) -> tuple[Any, Any]:
    """Two steps of an optimiser that is made anew; in the place of a loss the parameters, of backward nothing."""

    def forward(p: Any, g: Any) -> tuple[Any, Any]:
        params = {"w": copy.deepcopy(p)}
        optimizer = make(params)
        for _ in range(2):
            optimizer.step(params, {"w": g}, lr=0.1)
        return params["w"], None

    return forward, lambda dy, cache: ()


def step_calls() -> list[Call]:
    draw = np.random.default_rng(4).standard_normal
    arrays = [draw((6, 4)).astype(np.float32), draw((6, 4)).astype(np.float32)]
    makers = {
        "sgd": lambda params: SGD(params, weight_decay=0.1),
        "momentum": lambda params: SGD(params, momentum=0.9, nesterov=True),
        "adam": lambda params: Adam(params, weight_decay=0.1),
        "adamw": AdamW,
        "muon": lambda params: Muon(params, matrices=True, unit_filters=True),
    }
    return [Call(f"step {name}", list(arrays), {}, *step_of(make), step_of(make)) for name, make in makers.items()]


# ---------------------------------------------------------------- how it is made wrong
def other_shape(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shape = list(a.shape)
    kind = rng.integers(7)
    axis = int(rng.integers(len(shape))) if shape else 0
    if kind == 0 and shape:
        del shape[axis]
    elif kind == 1:
        shape.insert(axis, int(rng.integers(3)))
    elif kind == 2 and shape:
        shape[axis] = 0
    elif kind == 3 and shape:
        shape[axis] = 1
    elif kind == 4 and shape:
        shape[axis] += int(rng.integers(1, 30))
    elif kind == 5 and shape:
        shape[axis] = max(0, shape[axis] - 1)
    else:
        return a.transpose(rng.permutation(a.ndim))
    return np.resize(a, shape) if a.size else np.zeros(shape, a.dtype)


def other_type(a: np.ndarray, rng: np.random.Generator) -> Any:
    kinds = ["f2", "f4", "f8", ">f4", ">f8", "g", "i4", "u1", "i8", ">i4", "?", "c8", "O", "U8"]
    kind = kinds[rng.integers(len(kinds))]
    return (np.abs(a) if kind == "u1" else a).astype(kind)


def other_form(a: np.ndarray, rng: np.random.Generator) -> Any:
    kind = rng.integers(10)
    if kind == 0:
        return a.tolist()
    if kind == 1:
        return np.asfortranarray(a)
    if kind == 2:
        return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a
    if kind == 3:
        return a[::-1].copy()[::-1] if a.ndim else a
    if kind == 4:
        a = a.copy()
        a.flags.writeable = False
        return a
    if kind == 5 and a.ndim == 2:
        return np.matrix(a)
    if kind == 6 and a.size:
        with tempfile.TemporaryFile() as file:
            file.write(a.tobytes())
            file.flush()
            return np.memmap(file, a.dtype, "r", shape=a.shape)
    if kind == 7:
        return np.ma.masked_array(a)
    if kind == 8:
        return None
    return [*a.tolist()[:1], [1, 2, 3]] if a.ndim > 1 else "word"


def other_number(value: Any, rng: np.random.Generator) -> Any:
    """Another setting: NumPy's own numbers, 0, one less, far more, or no number."""
    if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
        pairs = [tuple(map(np.int64, value)), list(value), (0, 0), (-1, 1), (*value, 1), value[0], (1.5, 1), (2, 40)]
        return pairs[rng.integers(len(pairs))]
    if type(value) is int:
        return [np.int64(value), np.uint8(value), 0, -1, value + 1, 10**5, 1.5][rng.integers(7)]
    return value


def mutated(value: Any, rng: np.random.Generator, places: bool = False) -> Any:
    """Another argument instead of this one; `places`: numbers of classes, rows or nodes, which may be too large."""
    if not isinstance(value, np.ndarray):
        return other_number(value, rng)
    if value.dtype.kind not in "fiub":
        return value
    if places and value.dtype.kind in "iu" and value.size and rng.random() < 0.3:
        value = value.astype(np.int64)
        value.flat[rng.integers(value.size)] += rng.choice([-(10**6), -3, 3, 10**6, 10**15])
        return value
    return (other_shape, other_type, other_form)[rng.integers(3)](value, rng)


# ---------------------------------------------------------------- what came of it
def plainly(value: Any) -> Any:
    """The same argument as anybody would write it: arrays in row order, real ones in float64."""
    if value is None or isinstance(value, (str, bool, int, float, tuple)) or callable(value):
        return value
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return value  # the levels of a tree
    a = np.asarray(value)
    if a.ndim == 0 and isinstance(value, np.integer):
        return int(value)
    return a.astype(np.float64) if a.dtype.kind in "f" else np.ascontiguousarray(a)


def results(got: Any) -> list[Any]:
    return list(got) if isinstance(got, tuple) else [got]


def flattened(values: list[Any]) -> list[np.ndarray]:
    flat: list[np.ndarray] = []
    for value in values:
        flat += flattened(list(value)) if isinstance(value, tuple) else [] if value is None else [np.asarray(value)]
    return flat


def same(got: list[Any], want: list[Any], tolerance: float) -> bool:
    a, b = flattened(got), flattened(want)
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        if x.shape != y.shape or x.dtype.kind not in "fiu" or y.dtype.kind not in "fiu":
            return False
        size = np.abs(y[np.isfinite(y)]).max(initial=1.0)
        if not np.allclose(x.astype(float), y.astype(float), rtol=tolerance, atol=tolerance * size, equal_nan=False):
            return False
    return True


def run(forward: Any, backward: Any, arguments: list[Any], keywords: dict[str, Any], dy: Any) -> list[Any]:
    *outputs, cache = forward(*arguments, **keywords)
    y = np.asarray(outputs[0])
    down = dy(y)
    return outputs + results(backward(down, cache))


class Finding(NamedTuple):
    name: str
    kind: str
    words: str


def one_call(call: Call, rng: np.random.Generator) -> tuple[str, Finding | None]:
    arguments = list(call.arguments)
    for _ in range(int(rng.integers(3))):
        i = int(rng.integers(len(arguments)))
        if isinstance(arguments[i], np.ndarray) or arguments[i] is call.arguments[i]:
            # Scores of 10^15 are numbers, too; but what float32 makes of their differences is no fault.
            places = isinstance(call.arguments[i], np.ndarray) and call.arguments[i].dtype.kind in "iu"
            arguments[i] = mutated(arguments[i], rng, places)
    wrong_dy, seed = rng.random() < 0.4, int(rng.integers(2**31))
    wrong_dy = wrong_dy and not call.name.startswith("step")  # which has no gradient

    def dy(y: np.ndarray) -> Any:
        own = np.random.default_rng(seed)
        down = own.standard_normal(y.shape).astype(y.dtype)
        if not y.ndim:
            down = 0.7 if not wrong_dy else own.choice([1, 0.7])
        elif wrong_dy:
            down = mutated(down, own)
        return down

    said = f"{call.name}({', '.join(map(described, arguments))}{', wrong dy' if wrong_dy else ''})"
    try:
        with np.errstate(all="ignore"):
            got = run(call.forward, call.backward, arguments, call.keywords, dy)
    except InputError:
        return "refused", None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{said}: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return "foreign", Finding(call.name, "foreign", words)

    def plain_dy(y: np.ndarray) -> Any:
        down = plainly(dy(np.zeros(y.shape, flattened(got[:1])[0].dtype)))
        return down.astype(np.float64) if isinstance(down, np.ndarray) else down

    try:
        with np.errstate(all="ignore"):
            want = run(*call.judge, [plainly(a) for a in arguments], call.keywords, plain_dy)
    except Exception as error:
        return "disagreement", Finding(call.name, "disagreement", f"{said}: {type(error).__name__}: {error}")
    exact = not any(a.dtype.itemsize < 8 for a in flattened([*got, *arguments]) if a.dtype.kind == "f")
    exact = exact and not wrong_dy and not call.name.startswith(("layer", "head"))  # their parameters are float32
    outputs = 1 if "relu" in call.name.lower() and not exact else None  # where y is nearly 0 both are right
    if same(got[:outputs], want[:outputs], 1e-8 if exact else 2e-3):
        return "right", None
    return "silent", Finding(call.name, "silent", said)


def described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        order = "" if value.flags.c_contiguous else ", strided"
        return f"{type(value).__name__}{value.shape}:{value.dtype}{order}"
    text = repr(value)
    return text if len(text) < 40 else f"{type(value).__name__} {text[:30]}…"


def search(calls: int, seed: int) -> tuple[Counter, list[Finding]]:
    """How many calls ended how, and what was found."""
    ways, rng = [*pair_calls(), *layer_calls(), *head_calls(), *step_calls()], np.random.default_rng(seed)
    counts: Counter = Counter()
    found: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(calls):
            outcome, finding = one_call(ways[i % len(ways)], rng)
            counts[outcome] += 1
            if finding is not None:
                found.append(finding)
    return counts, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, found = search(arguments.calls, arguments.seed)
    print(f"seed {arguments.seed}, {arguments.calls:,} calls")
    for outcome, count in counts.most_common():
        print(f"{outcome:14}{count:9,}")
    shown: Counter = Counter()
    for finding in found:
        shown[finding[:2]] += 1
        if shown[finding[:2]] <= 2:
            print(f"{finding.kind}: {finding.words}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
