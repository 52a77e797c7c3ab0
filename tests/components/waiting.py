"""Waiting for the world outside: a condition, a limit, and words for what did not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

PAUSE_S: Final = 0.02

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found], within_s: float, what: str, *, pause_s: float = PAUSE_S
) -> Found:
    """Return the condition's first true value; it is asked every ``pause_s``.

    Raises:
        AssertionError: it stayed false for ``within_s``; says ``what`` was waited for.
    """
    give_up_at = time.monotonic() + within_s
    while True:
        if found := condition():
            return found
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"{what}: not within {within_s:g} s")
        time.sleep(pause_s)
