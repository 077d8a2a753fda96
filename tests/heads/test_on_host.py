"""What a head keeps on the host of an array on a device, with a stand-in for the device."""

from __future__ import annotations

import pickle

import numpy as np

from npsoftmax.heads.on_host import OnHost


class OnDevice:
    """An array that counts how often it is copied to the host."""

    def __init__(self, values):
        self.values, self.copies = np.array(values), 0

    def get(self):
        self.copies += 1
        return self.values.copy()


def test_an_array_on_a_device_is_copied_once():
    on_host, array = OnHost(np.ndarray.tolist), OnDevice([1, 2])
    assert [on_host(array), on_host(array)] == [[1, 2], [1, 2]]
    assert array.copies == 1


def test_another_array_on_the_device_is_another_result():
    on_host, array, other = OnHost(np.ndarray.tolist), OnDevice([1, 2]), OnDevice([3])
    assert [on_host(array), on_host(other), on_host(array)] == [[1, 2], [3], [1, 2]]


def test_an_array_in_host_memory_is_read_each_time():
    """It may be written in place, as by a checkpoint that is restored."""
    on_host, array = OnHost(np.ndarray.tolist), np.array([1, 2])
    assert on_host(array) == [1, 2]
    array[0] = 5
    assert on_host(array) == [5, 2]


def test_it_can_be_pickled_with_its_head():
    assert pickle.loads(pickle.dumps(OnHost(np.ndarray.tolist)))(np.arange(3)) == [0, 1, 2]
