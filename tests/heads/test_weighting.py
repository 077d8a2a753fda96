"""The options class_weight and ignore_label, which every head has: what they become and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.options import check_options, parse_pairs
from npsoftmax.random import Rng

COUNTED = ClassInfo(3, np.array([6, 3, 1]))


def softmax(classes=COUNTED, **options):
    return HEADS["softmax"](4, classes, rng=Rng(0), **options)


@pytest.mark.parametrize(
    ("classes", "given", "words"),
    [
        (ClassInfo(3), "balanced", r"needs the number of training samples.*ClassInfo\.from_labels"),
        (ClassInfo(3, [6, 0, 1]), "balanced", "class 1 has no training sample, so no weight balances it"),
        (COUNTED, "equal", "class_weight is 'equal', but balanced or 3 numbers were expected"),
        (COUNTED, {0: 1.0}, r"class_weight is \{0: 1.0\}, but balanced or 3 numbers"),
        (COUNTED, 5.0, "class_weight is 5.0, but balanced or 3 numbers"),
        (COUNTED, (1.0, 1e300, 1.0), r"class_weight hold 1e\+300"),
        (COUNTED, (1.0, 2.0), "class_weight has 2 of them, but one weight for each of 3 classes"),
        (COUNTED, (1.0, -2.0, 1.0), "^class_weight hold -2.0"),
        (COUNTED, (1.0, np.nan, 1.0), "class_weight hold nan"),
        (COUNTED, (0.0, 0.0, 0.0), "every class with training samples the weight 0"),
        (ClassInfo(3, [6, 0, 0]), (0.0, 1.0, 1.0), "every class with training samples the weight 0"),
    ],
)
def test_class_weights_that_cannot_be(classes, given, words):
    with pytest.raises(InputError, match=words):
        softmax(classes, class_weight=given)


@pytest.mark.parametrize(
    ("classes", "given", "words"),
    [
        (COUNTED, 1.5, "ignore_label is 1.5, but a whole number was expected"),
        (COUNTED, True, "ignore_label is True"),
        (ClassInfo(3, [0, 5, 0]), 1, "no training sample has another label: nothing is left"),
    ],
)
def test_labels_that_cannot_be_ignored(classes, given, words):
    with pytest.raises(InputError, match=words):
        softmax(classes, ignore_label=given)


@pytest.mark.parametrize(
    ("text", "weights", "ignored"),
    [
        (["class_weight=balanced"], [10 / 18, 10 / 9, 10 / 3], None),
        (["class_weight=1,2.5,0", "ignore_label=0"], [1, 2.5, 0], 0),
        (["class_weight=none", "ignore_label=-100"], None, -100),
    ],
)
def test_options_as_they_are_typed(text, weights, ignored):
    for name, cls in HEADS.items():
        checked = check_options(f"head {name!r}", cls, parse_pairs(text))
        if name == "softmax":
            head = softmax(**checked)
            assert head.class_weight is weights is None or head.class_weight.tolist() == pytest.approx(weights)
            assert head.ignore_label == ignored


def test_a_label_that_is_not_ignored_must_be_a_class():
    with pytest.raises(InputError, match="labels run from -100 to 1, but 3 classes"):
        softmax(ignore_label=255).loss(np.ones((3, 4)), np.array([255, -100, 1]))
    assert softmax(ignore_label=255).loss(np.ones((2, 4)), np.array([255, 1], np.uint8))[0] > 0
