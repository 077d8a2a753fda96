"""Steps that go wrong in a3."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import Steps

STEPS: tuple[Steps, ...] = ()
