"""When failures become a state: fall and rise for each leg of each path and check (layer L1).

``unknown -> up -> suspect -> down -> up``, or ``degraded``, which counts as a pass. Inconclusive
attempts count as nothing. Moments are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from psapwatch.frozen import frozen
from psapwatch.verdict import Cause, Outcome, Verdict


class State(StrEnum):
    """The state of one leg under one check, as the ``state`` label says it."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    DEGRADED = "degraded"


WORST_LAST: Final = (State.UNKNOWN, State.UP, State.DEGRADED, State.SUSPECT, State.DOWN)
"""The state of a path is the worst of its checks; for its legs, the best of them counts."""

FAILING: Final = frozenset({State.SUSPECT, State.DOWN})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Failures in a row that make a leg down, passes in a row that make it up again."""

    fall: int = 2
    rise: int = 3


@frozen
class Standing:
    """How one leg stands under one check."""

    state: State = State.UNKNOWN
    failures: int = 0
    passes: int = 0
    failing_since: float | None = None
    """When the first attempt of the present run of failures began."""
    last_pass_at: float | None = None
    last_at: float = 0.0
    last_failed: bool = False
    cause: Cause = Cause.NONE
    why: str = ""
    passing_since: float = 0.0
    """When the first attempt of the present run of passes was over."""

    @property
    def is_failing(self) -> bool:
        """Suspect paths count as failing (detection.md 4)."""
        return self.state in FAILING


def step(
    standing: Standing,
    verdict: Verdict,
    began_at: float,
    thresholds: Thresholds,
    took_s: float = 0.0,
) -> Standing:
    """Take one verdict of an attempt that began at ``began_at`` and was over ``took_s`` later."""
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return standing
    if verdict.failed:
        failures = standing.failures + 1
        is_down = failures >= thresholds.fall or standing.state is State.DOWN
        return replace(
            standing,
            state=State.DOWN if is_down else State.SUSPECT,
            failures=failures,
            passes=0,
            failing_since=standing.failing_since if standing.failures else began_at,
            last_at=began_at,
            last_failed=True,
            cause=verdict.cause,
            why=verdict.why,
        )
    passes = standing.passes + 1
    up = State.DEGRADED if verdict.outcome is Outcome.DEGRADED else State.UP
    still_down = standing.state is State.DOWN and passes < thresholds.rise
    return Standing(
        state=State.DOWN if still_down else up,
        failures=0,
        passes=passes,
        failing_since=standing.failing_since if still_down else None,
        passing_since=standing.passing_since if standing.passes else began_at + took_s,
        last_pass_at=began_at,
        last_at=began_at,
        last_failed=False,
        cause=standing.cause if still_down else verdict.cause,
        why=standing.why if still_down else verdict.why,
    )


def best_leg(legs: Iterable[Standing]) -> Standing:
    """The leg that stands best; a path without any attempt yet is unknown."""
    known = tuple(legs)
    if len(known) == 1:
        return known[0]
    rank = (State.UP, State.DEGRADED, State.UNKNOWN, State.SUSPECT, State.DOWN)
    return min(known, key=lambda leg: rank.index(leg.state), default=Standing())
