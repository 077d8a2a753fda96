"""`key=value` options, validated against the signature of the function that takes them.

One table entry (a head, a model) is one callable; its keyword-only arguments with their annotations and
defaults are its options, so no second list of names can drift away from the code. A class names its own options and
hands the others up to its bases as `**options`: each option is written in one place.
"""

from __future__ import annotations

import ast
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError, unknown_name

# Keyword arguments that the library supplies, never the user.
INTERNAL = {"rng"}
MOST_TEXT = 2**19  # characters of a file in the settings of a run: a tree of some 60,000 classes
# What a constructor calls the keywords that it hands up to the next class: `**options`.
HANDED_UP = "options"


def option_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """name -> default of every option of `function`: its keyword-only arguments, the library's own aside."""
    parameters = full_signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in INTERNAL}


def full_signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of `function`; of a class, with the keywords of its bases in the place of `**options`.

    The keywords of the class come first, then those of the next one up. A keyword that both name has the default of
    the class, and stays behind those that it stands behind in the base.
    """
    if not inspect.isclass(function):
        return inspect.signature(function)
    signatures = list(_constructors(function).values())
    keywords: dict[str, inspect.Parameter] = {}
    for signature in reversed(signatures):
        keywords = _merged({n: p for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}, keywords)
    _, *others = (p for p in signatures[0].parameters.values() if p.kind is not p.KEYWORD_ONLY and p.name != HANDED_UP)
    parameters = [*others, *keywords.values()]
    return inspect.Signature(sorted(parameters, key=lambda p: (p.kind, p.name not in INTERNAL)))


def _constructors(cls: type) -> dict[Callable[..., Any], inspect.Signature]:
    """`__init__` -> signature: of a class, then of those above it for as long as each hands its **options up."""
    found: dict[Callable[..., Any], inspect.Signature] = {}
    for base in cls.__mro__:
        if init := vars(base).get("__init__"):
            found[init] = inspect.signature(init)
            if HANDED_UP not in found[init].parameters:
                break
    return found


def _merged(own: dict[str, Any], inherited: dict[str, Any]) -> dict[str, Any]:
    """Both, without changing the order of either; where both have a name, with the value of `own`."""
    merged, rest = {}, dict(inherited)
    for name, value in own.items():
        while name in rest:
            first = next(iter(rest))
            merged[first] = rest.pop(first)
        merged[name] = value
    return merged | rest


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """['width=64', 'widths=32,64', 'relu=true'] -> {'width': 64, 'widths': (32, 64), 'relu': True}."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"option {pair!r} is not of the form key=value; type for example width=64.")
        options[key.strip().replace("-", "_")] = _literal(text.strip())
    return options


def check_options(what: str, function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return `options` with values converted to the annotated types.

    Raises InputError naming `what`, the option, the value and the expected type.
    """
    known = option_defaults(function)
    if not isinstance(options, dict):
        raise InputError(
            f"the options of {what} are {options!r:.80}, but a dict was expected, such as {_example(known)}."
        )
    hints: dict[str, Any] = {}
    for part in reversed(_constructors(function)) if inspect.isclass(function) else (function,):
        hints |= typing.get_type_hints(part)
    checked = {}
    for name, value in options.items():
        if name not in known:
            if not known:
                raise InputError(f"{what} takes no options, but {name}={value!r} was given.")
            raise unknown_name(f"option of {what}", name, known)
        checked[name] = convert(f"option {name!r} of {what}", value, hints.get(name, Any))
    return checked


def _example(known: dict[str, Any]) -> str:
    return repr(dict([next(iter(known.items()))]) if known else {})


def _literal(text: str) -> Any:
    lowered = text.lower()
    if lowered in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[lowered]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that it raises for odd text
        return tuple(_literal(part.strip()) for part in text.split(",")) if "," in text else text
    return tuple(value) if isinstance(value, list) else value


def convert(what: str, value: Any, hint: Any) -> Any:
    """`value` as the annotated type `hint`: the one check of plain values, for options, settings and saved states.

    A whole number will do for a float, and one value or a list for a tuple. InputError naming `what`, the value and
    what was expected.
    """
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _convert_union(what, value, typing.get_args(hint))
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        values = tuple(value) if isinstance(value, tuple | list) else (value,)
        inner = (typing.get_args(hint) or (Any,))[0]
        return tuple(convert(what, v, inner) for v in values)
    if origin is Any or (
        isinstance(origin, type) and isinstance(value, origin) and not _is_bool_for_int(value, origin)
    ):
        return value
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return as_float(what, value)
    expected = getattr(origin, "__name__", str(hint))
    raise InputError(f"{what} is {value!r:.80}, but {_article(expected)} was expected.")


def as_float(what: str, value: float) -> float:
    """A number as a float. InputError naming `what` for a whole number beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{what} is a number of {len(str(value))} digits, too large for a float.") from None


def _convert_union(what: str, value: Any, hints: tuple[Any, ...]) -> Any:
    if value is None and type(None) in hints:
        return None
    errors = []
    for hint in hints:
        if hint is not type(None):
            try:
                return convert(what, value, hint)
            except InputError as error:
                errors.append(error)
    raise errors[0]


def _is_bool_for_int(value: Any, origin: type) -> bool:
    return isinstance(value, bool) and origin in (int, float)


def _article(name: str) -> str:
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word", "dict": "a table"}
    return words.get(name, f"a {name}")


def plain(value: Any) -> Any:
    """A setting with Python's numbers in the place of NumPy's, which a search over settings draws."""
    if hasattr(value, "tolist"):  # of NumPy
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return tuple(plain(v) for v in value)
    return {name: plain(v) for name, v in value.items()} if isinstance(value, dict) else value


def written_out(value: Any) -> Any:
    """An option as a run keeps it: the name of a .json file becomes the text in it, anything else stays.

    So the run has what it was given when the file is gone, or holds something else. A text of more than MOST_TEXT stays
    a file; what cannot be read, or is no list, is left to whom it was given.
    """
    if not isinstance(value, str) or not value.endswith(".json") or not Path(value).is_file():
        return value
    try:
        content = json.loads(Path(value).read_text(encoding="utf-8"))
        text = json.dumps(content)
    except (OSError, ValueError, RecursionError):
        return value
    return text if isinstance(content, list) and len(text) <= MOST_TEXT else str(Path(value).absolute())
