"""Steps that go wrong in a4."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import Steps

STEPS: tuple[Steps, ...] = ()
