"""key=value options: what is read, what a signature allows, and the words of every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.errors import InputError, unknown_name
from npsoftmax.layers import Conv2d, ConvReLU2d
from npsoftmax.options import check_options, full_signature, option_defaults, parse_pairs
from npsoftmax.random import Rng


def build(
    shape: tuple[int, ...],
    *,
    rng: Rng,
    width: int = 8,
    widths: tuple[int, ...] = (8, 16),
    rate: float = 0.1,
    cutoffs: tuple[float, ...] = (),
    relu: bool = False,
    init: str = "default",
    logits: int | None = None,
    scale: int | float | str = 1,
    anything: Any = None,
) -> None:
    """A builder with one option of every kind."""


class Built:
    """A class is read by its __init__."""

    def __init__(self, features: int, *, rng: Rng, bias: bool = True, tau: float):
        pass


class Extended(Built):
    """Options of its own, another default, and what is handed up."""

    def __init__(self, features: int, *, width: int = 8, tau: float = 0.5, last: str = "no", **options: Any):
        super().__init__(features, tau=tau, **options)


class Inherits(Extended):
    """A class without a constructor has that of its base."""


class Closed(Inherits):
    """Hands nothing up: what its bases could do with is not offered."""

    def __init__(self, features: int, *, rng: Rng, width: int = 4):
        super().__init__(features, rng=rng, width=width)


class Collects(Inherits):
    """Keywords under another name than `options` are its own affair."""

    def __init__(self, *features: int, **named: int):
        super().__init__(*features)


def check(**options):
    return check_options("model 'x'", build, options)


# ---------------------------------------------------------------- reading text
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-3", -3),
        ("1_000", 1000),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("none", None),
        ("32,64", (32, 64)),
        ("(32, 64)", (32, 64)),
        ("[32, 64]", (32, 64)),
        ("32,", (32,)),
        ("he", "he"),
        ("he,0.5,true", ("he", 0.5, True)),
        ("'8'", "8"),
        ("a=b", "a=b"),
        ("", ""),
        ("1 2", "1 2"),
        ("{[]: 1}", "{[]: 1}"),
        ("(" * 300, "(" * 300),
    ],
)
def test_the_value_of_a_pair(text, value):
    parsed = parse_pairs([f"key={text}"])["key"]
    assert parsed == value and type(parsed) is type(value)


def test_pairs_keep_their_order_take_dashes_and_spaces_and_the_last_wins():
    parsed = parse_pairs(["label-smoothing = 0.1", "b=1", "b=2"])
    assert list(parsed.items()) == [("label_smoothing", 0.1), ("b", 2)]
    assert parse_pairs([]) == {}


@pytest.mark.parametrize("pair", ["width", "=3", "", "  =3"])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(InputError, match="not of the form key=value; type for example width=64"):
        parse_pairs([pair])


@given(st.text())
def test_any_text_is_a_value(text):
    assert list(parse_pairs([f"key={text}"])) == ["key"]


@given(
    st.one_of(
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
        st.lists(st.integers(), min_size=1).map(tuple),
    )
)
def test_a_printed_value_is_read_back(value):
    assert parse_pairs([f"key={value}"]) == {"key": value}


# ---------------------------------------------------------------- checking against a signature
def test_options_are_the_keyword_only_arguments_without_rng():
    defaults = option_defaults(build)
    assert list(defaults)[:3] == ["width", "widths", "rate"]
    assert defaults["widths"] == (8, 16) and "rng" not in defaults and "shape" not in defaults
    assert list(option_defaults(Built)) == ["bias", "tau"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"width": 4}, 4),
        ({"widths": (1, 2, 3)}, (1, 2, 3)),
        ({"widths": [1, 2]}, (1, 2)),
        ({"widths": 5}, (5,)),
        ({"widths": ()}, ()),
        ({"rate": 2}, 2.0),
        ({"cutoffs": (1, 0.5)}, (1.0, 0.5)),
        ({"relu": True}, True),
        ({"init": "he"}, "he"),
        ({"logits": None}, None),
        ({"logits": 3}, 3),
        ({"scale": 0.5}, 0.5),
        ({"scale": "auto"}, "auto"),
        ({"anything": {1: 2}}, {1: 2}),
    ],
)
def test_values_take_the_annotated_type(given, expected):
    checked = check(**given)
    (value,) = checked.values()
    assert list(checked) == list(given) and value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 2.5}, r"option 'width' of model 'x' is 2.5, but a whole number was expected"),
        ({"width": True}, r"option 'width' of model 'x' is True, but a whole number"),
        ({"width": "wide"}, r"is 'wide', but a whole number"),
        ({"width": (1, 2)}, r"is \(1, 2\), but a whole number"),
        ({"width": None}, r"is None, but a whole number"),
        ({"widths": (1, 2.5)}, r"option 'widths' of model 'x' is 2.5, but a whole number"),
        ({"rate": "fast"}, r"is 'fast', but a number was expected"),
        ({"rate": True}, r"is True, but a number"),
        ({"relu": 1}, r"is 1, but true or false was expected"),
        ({"relu": "yes"}, r"is 'yes', but true or false"),
        ({"init": 3}, r"is 3, but a word was expected"),
        ({"logits": 1.5}, r"is 1.5, but a whole number"),
        ({"scale": None}, r"is None, but a whole number"),
        ({"widht": 3}, r"unknown option of model 'x' 'widht'\. Did you mean 'width'.*Known: anything, cutoffs"),
        ({"rng": 3}, r"unknown option of model 'x' 'rng'"),
        ({"shape": 3}, r"unknown option of model 'x' 'shape'"),
    ],
)
def test_a_refusal_names_the_option_the_value_and_what_was_expected(given, message):
    with pytest.raises(InputError, match=message):
        check(**given)


def test_what_takes_no_options_says_so():
    with pytest.raises(InputError, match="layer takes no options, but width=3 was given"):
        check_options("layer", lambda x: x, {"width": 3})


def test_an_option_without_a_default_is_checked_like_the_others():
    assert check_options("head", Built, {"tau": 3}) == {"tau": 3.0}


# ---------------------------------------------------------------- options that are handed up
def test_the_options_of_a_class_are_its_own_and_those_that_it_hands_up():
    """Its own first; a name that its base has too keeps its place there, with the default of the class."""
    for cls in (Extended, Inherits):
        assert list(option_defaults(cls).items()) == [("width", 8), ("bias", True), ("tau", 0.5), ("last", "no")]
    assert option_defaults(Closed) == {"width": 4}
    assert option_defaults(Collects) == {}


def test_options_of_layers_follow_their_bases_too():
    assert option_defaults(Conv2d).items() < option_defaults(ConvReLU2d).items()
    assert check_options("layer", ConvReLU2d, {"stride": [2, 1]}) == {"stride": (2, 1)}


def test_an_option_that_is_handed_up_is_checked_by_the_type_its_base_gives_it():
    assert check_options("head", Inherits, {"tau": 3, "bias": False}) == {"tau": 3.0, "bias": False}
    with pytest.raises(InputError, match="option 'bias' of head is 1, but true or false was expected"):
        check_options("head", Inherits, {"bias": 1})
    with pytest.raises(InputError, match="unknown option of head 'options'"):
        check_options("head", Inherits, {"options": {}})


def test_the_full_signature_is_what_a_constructor_takes():
    signature = full_signature(Inherits)
    assert list(signature.parameters) == ["features", "rng", "width", "bias", "tau", "last"]
    assert signature.parameters["tau"].annotation == "float"
    Inherits(3, **signature.bind(3, rng=Rng(0), bias=False).kwargs)
    with pytest.raises(TypeError, match="hidden"):
        signature.bind(3, rng=Rng(0), hidden=3)
    assert str(full_signature(Collects)) == "(*features: 'int', **named: 'int')"
    assert list(full_signature(build).parameters)[:3] == ["shape", "rng", "width"]


# ---------------------------------------------------------------- unknown names
def test_an_unknown_name_gives_the_nearest_then_all():
    error = unknown_name("head", "sofmax", ["softmax", "taylor", "adaptive"])
    assert str(error) == "unknown head 'sofmax'. Did you mean 'softmax'? Known: adaptive, softmax, taylor."
    assert isinstance(error, ValueError)


def test_an_unknown_name_like_none_gives_all():
    assert str(unknown_name("head", "zzz", ["b", "a"])) == "unknown head 'zzz'. Known: a, b."
