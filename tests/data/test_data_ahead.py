"""Batches made ahead by a thread: the same ones, its errors, and its end."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from npsoftmax import Rng
from npsoftmax.data import Batches, fit_normalization, made_ahead

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 16, 12, 3), dtype=np.uint8)
LABELS = np.arange(50)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "npsoftmax batches"]


def batches(**options):
    return Batches(IMAGES, LABELS, 8, rng=Rng(1), normalize=fit_normalization("standard", IMAGES), **options)


def assert_same_batches(ours, others):
    for one, other in itertools.zip_longest(ours, others):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("augment", ["none", "cutout"])
def test_a_thread_changes_no_bit_of_a_batch(augment):
    made = batches(augment=augment)
    with made_ahead(made.epoch(3)) as ahead:
        assert_same_batches(list(ahead), made.epoch(3))


@pytest.mark.parametrize("first", [0, 1, 6, 7])
def test_an_epoch_can_begin_in_the_middle(first):
    made = batches(augment="standard")
    assert_same_batches(made.epoch(2, first), itertools.islice(made.epoch(2), first, None))


def test_items_are_made_while_the_last_one_is_in_use_and_no_more_than_that():
    begun = []
    with made_ahead(begun.append(n) or n for n in range(20)) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 10
        while len(begun) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert begun == [0, 1, 2]
        assert list(items) == list(range(1, 20))
        assert next(items, None) is None


def test_an_error_comes_where_its_item_would_have_come():
    def items():
        yield from (1, 2)
        raise ZeroDivisionError("the third")

    seen = []
    with pytest.raises(ZeroDivisionError, match="the third"), made_ahead(items()) as ahead:
        for item in ahead:
            seen.append(item)
    assert seen == [1, 2]


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_leaving_early_ends_the_thread(taken):
    with made_ahead(itertools.count()) as items:
        assert list(itertools.islice(items, taken)) == list(range(taken))


def test_an_error_in_the_loop_ends_the_thread():
    with pytest.raises(KeyboardInterrupt), made_ahead(itertools.count()) as items:
        for n in items:
            if n == 3:
                raise KeyboardInterrupt
