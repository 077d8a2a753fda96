"""Several threads of Python that train at the same time: each comes to what it comes to alone."""

from __future__ import annotations

import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

from npsoftmax import ImageClassifier
from npsoftmax.host import single_threaded_blas
from npsoftmax.kernels import compiled_status
from npsoftmax.params import leaves

WHO = [
    ("convnet", "softmax", 0),
    ("vit_small", "gumbel_softmax", 1),
    ("convnet", "hierarchical", 2),
    ("mlp", "adaptive", 3),
]


def trained(model: str, head: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (96, 8, 8, 3), dtype=np.uint8), np.arange(96) % 10
    small = {"convnet": {"widths": (8, 16)}, "vit_small": {"dim": 16, "depth": 1, "heads": 2}, "mlp": {}}[model]
    classifier = ImageClassifier(model, head, model_opts=small, epochs=3, batch_size=32, random_state=seed)
    classifier.fit(images, labels)
    return [classifier.predict_proba(images), *(value for _, value in leaves(classifier.model_.params))]


def test_threads_that_train_at_once_come_to_the_bits_of_each_alone():
    alone = [trained(*who) for who in WHO]
    start = threading.Barrier(len(WHO))

    def together(who):
        start.wait()
        return [trained(*who) for _ in range(2)]

    with ThreadPoolExecutor(len(WHO)) as pool:
        for expected, twice in zip(alone, pool.map(together, WHO), strict=True):
            for got in twice:
                assert len(got) == len(expected) > 3
                assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def blas_threads() -> set[int]:
    return {lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"}


def test_blas_has_one_thread_until_the_last_who_asked_for_it_leaves():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with single_threaded_blas():
            entered.set()
            leave.wait(20)
            return blas_threads()

    with threadpoolctl.threadpool_limits(2, "blas"), ThreadPoolExecutor(1) as pool:
        with single_threaded_blas():
            later = pool.submit(other)
            assert entered.wait(20)
        assert blas_threads() == {1}
        leave.set()
        assert later.result() == {1}
        assert blas_threads() == {2}


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has its global lock")
def test_the_kernels_leave_a_free_threaded_python_free():
    assert compiled_status()[0]
    assert not sys._is_gil_enabled()
