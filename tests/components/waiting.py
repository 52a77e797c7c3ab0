"""Waiting for the world outside: a condition, a limit, and words for what did not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

PAUSE_S: Final = 0.02
PATIENCE: Final = 4.0
"""So many times longer than on a quiet machine is waited before a test fails: time decides none."""

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found], within_s: float, what: str, *, pause_s: float = PAUSE_S
) -> Found:
    """Return the condition's first true value; it is asked every ``pause_s``.

    ``within_s``: what a quiet machine may take.

    Raises:
        AssertionError: it stayed false ``PATIENCE`` times as long; says ``what`` was waited for.
    """
    patience_s = PATIENCE * within_s
    give_up_at = time.monotonic() + patience_s
    while True:
        if found := condition():
            return found
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"{what}: not within {patience_s:g} s")
        time.sleep(pause_s)
