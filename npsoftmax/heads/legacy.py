"""The warning of legacy wirings: published mistakes that are kept to be studied."""

from __future__ import annotations

import warnings
from typing import Any


class LegacyWiringWarning(UserWarning):
    """A head was made that is known to be wired wrongly."""


def warn_legacy(head: Any) -> None:
    """Say what is wrong with `head` and which head to use instead."""
    card = head.card
    message = f"{type(head).__name__}: {card.mistake}. To train a model, use {card.instead}."
    warnings.warn(message, LegacyWiringWarning, stacklevel=3)
