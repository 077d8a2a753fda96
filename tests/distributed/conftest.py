"""Without MPI there is nothing to test here."""

from __future__ import annotations

import pytest
from processes import MPIEXEC


@pytest.fixture(scope="session", autouse=True)
def mpi():
    pytest.importorskip("mpi4py", reason='needs mpi4py: pip install "npsoftmax[mpi]"')
    if MPIEXEC is None:
        pytest.skip('there is no mpiexec: pip install "npsoftmax[mpi]"')
