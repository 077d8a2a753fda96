"""Several threads of Python that train at the same time: each comes to what it comes to alone."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

from npsoftmax import ImageClassifier
from npsoftmax.errors import InputError
from npsoftmax.host import get_threads, set_threads, single_threaded_blas
from npsoftmax.kernels import compiled_status
from npsoftmax.params import leaves
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare

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


FIRST_USE = """
import threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from npsoftmax import check_gradients
from npsoftmax.functional.conv import conv2d_im2col_backward, conv2d_im2col_forward
start = threading.Barrier(3)
def check(seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in ((2, 6, 6, 2), (3, 3, 2, 4), (4,))]
    start.wait()
    return check_gradients(conv2d_im2col_forward, conv2d_im2col_backward, arrays).ok
with ThreadPoolExecutor(3) as pool:
    assert all(pool.map(check, range(3)))
"""


def test_threads_may_be_the_first_to_use_a_kernel():
    subprocess.run([sys.executable, "-c", FIRST_USE], check=True, timeout=120)


def test_the_number_of_threads_stays_while_another_computes(kept_threads):
    entered, leave = threading.Event(), threading.Event()

    def computes():
        with single_threaded_blas():
            entered.set()
            leave.wait(20)

    set_threads(2)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(computes)
        assert entered.wait(20)
        set_threads(2)  # the same
        with pytest.raises(InputError, match=r"--threads is 1, but a computation in another thread .* uses 2"):
            set_threads(1)
        assert get_threads() == 2
        leave.set()
        under_way.result()
    set_threads(1)
    assert get_threads() == 1


def test_a_run_trains_with_the_number_it_was_prepared_with(kept_threads, tmp_path):
    config = TrainConfig(data="digits", limit_train=64, limit_test=32, model="mlp", epochs=1, threads=1)
    session = prepare(config)
    set_threads(3)  # as another run's `prepare` does
    Trainer(session, RunDirectory.plan(config, "digits", str(tmp_path / "run")), Progress(1, quiet=True)).fit()
    assert get_threads() == 1


@pytest.fixture
def kept_threads():
    yield
    set_threads(None)


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
