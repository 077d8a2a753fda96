"""What several processes do is what one does: steps, noise, batch norm, rows, evaluation. In doubles, to rounding."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import ended, start
from sharing import CASES, OF_THREE, end_of

from npsoftmax.params import leaves
from npsoftmax.training.group import ALONE, share_of

PROGRAM = Path(__file__).with_name("sharing.py")


# (processes, cases that they run, one program for all of them)
EVERY_DAY = ("mlp", "muon", "synchronised batch norm", "mixup and cutmix", "gumbel", "sparse rows", "early stopping")
JOBS = [
    (2, EVERY_DAY), (2, tuple(name for name in CASES if name not in EVERY_DAY)),
    (3, OF_THREE), (3, tuple(name for name in CASES if name not in OF_THREE)),
]  # fmt: skip
MARKS = [(), *[pytest.mark.slow] * 3]
# Several processes against one. A bias in front of a batch norm has no gradient but rounding.
RTOL, ATOL = 1e-11, 1e-13


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """A job -> of each process, the end of its cases, by name."""

    @functools.cache
    def found(n, names):
        folder = tmp_path_factory.mktemp(f"{n}-processes")
        code, out, error = ended(start(n, "-m", "mpi4py", PROGRAM, folder, *names))
        assert code == 0, out + error
        numbers = {name: number for number, name in enumerate(CASES) if name in names}
        return [
            {name: dict(np.load(folder / f"{number}-{rank}.npz")) for name, number in numbers.items()}
            for rank in range(n)
        ]

    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same by this process, each case when it is asked for."""
    known = {}

    def end(name):
        if name not in known:
            known[name] = end_of(name, ALONE, tmp_path_factory.mktemp("alone"))
        return known[name]

    return end


@pytest.mark.parametrize(
    ("job", "name"),
    [
        pytest.param(job, name, marks=mark, id=f"{job[0]}-{name}")
        for job, mark in zip(JOBS, MARKS, strict=True)
        for name in job[1]
    ],
)
def test_several_processes_end_where_one_does(job, name, ends, alone):
    expected = alone(name)
    for end in ends(*job):
        assert end[name].keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(end[name][key], value, rtol=RTOL, atol=ATOL, err_msg=key)


@pytest.mark.parametrize(
    "job", [pytest.param(job, marks=mark, id=str(job[0])) for job, mark in zip(JOBS, MARKS, strict=True)]
)
def test_all_processes_hold_the_same_to_the_last_bit(job, ends):
    first, *others = ends(*job)
    assert first.keys() == set(job[1])
    for name, arrays in first.items():
        for other in others:
            for key, value in arrays.items():
                assert value.tobytes() == other[name][key].tobytes(), f"{key} of {name}"


@pytest.mark.slow
def test_the_cases_differ_where_they_should(alone):
    """A noise, a mixing or a clipping that did nothing would prove nothing."""
    last = {name: float(alone(name)["last loss"]) for name in CASES}
    for one, other in [
        ("mlp", "clipped by norm"),
        ("mlp", "clipped by value"),
        ("augmented, with dropout", "mixup"),
        ("mixup", "mixup and cutmix"),
        ("sparse rows", "sparse rows, mixed"),
    ]:
        assert abs(last[one] - last[other]) > 1e-4
    assert alone("early stopping")["figures"][3] == 2  # epochs, of five


def one_ulp(params):
    """Move each parameter by the last bit, up or down, or leave it."""
    rng = np.random.default_rng(0)
    for _, value in leaves(params):
        value *= 1 + rng.integers(-1, 2, value.shape) * np.finfo(np.float64).eps


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_last_bit_of_the_parameters_moves_no_end_half_as_far_as_is_allowed(name, alone, tmp_path):
    """Else the order of a sum, which several processes and another BLAS change, would decide whether a test passes."""
    expected = alone(name)
    for key, value in end_of(name, ALONE, tmp_path, one_ulp).items():
        np.testing.assert_allclose(value, expected[key], rtol=RTOL / 2, atol=ATOL / 2, err_msg=key)


@given(st.integers(1, 200), st.integers(1, 40))
def test_shares_are_neighbours_and_make_the_whole(n, size):
    shares = [share_of(n, rank, size) for rank in range(size)]
    samples = [i for part, weight in shares if weight for i in range(n)[part]]
    assert samples == list(range(n))
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    sizes = {len(range(n)[part]) for part, weight in shares if weight}
    assert max(sizes) - min(sizes) <= 1
    assert all(len(range(n)[part]) == 1 for part, weight in shares if not weight)
