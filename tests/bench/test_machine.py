"""What a benchmark says of its machine before it begins."""

from __future__ import annotations

import pytest

from npsoftmax.bench.machine import describe, machine

QUIET = {"compiled": True, "cpus": 4, "load": 0.1, "torch": "2.13.0"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"compiled": False, "kernels": "NumPy reference: not built"}, "its NumPy reference"),
        ({"cpus": 1}, "more threads than CPUs"),
        ({"load": 3.24}, "load 3.2"),
    ],
)
def test_a_benchmark_warns_of_what_makes_its_figures_worth_little(found, said):
    here = machine(threads=2) | QUIET
    assert "warning" not in describe(here)
    (warning,) = [line for line in describe(here | found).splitlines() if line.startswith("warning")]
    assert said in warning


def test_a_benchmark_says_what_its_figures_depend_on():
    here = machine(threads=2)
    for value in (here["cpu"], here["numpy"], here["kernels"], here["blas"], "threads: 2"):
        assert value in describe(here)
