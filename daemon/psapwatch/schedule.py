"""When each check is next due, and what a firewall may be asked to carry (layer L1).

Phases are spread evenly over the interval, so that 204 paths never start together; a firewall has
one budget for all that goes through it. All times are loop seconds unless said otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from psapwatch.endpoint import Agreement, Limits

ROUNDING = 1e-9
"""Tokens that floating point may lose: waiting for them would take no time, for ever."""
BURST_CALLS = 8
"""Calls that one burst begins at once (detection.md 5)."""
CALLS_PER_ATTEMPT = {"call": 1, "burst": BURST_CALLS}
MESSAGES_PER_ATTEMPT = {"options": 2, "call": 7, "walk": 8, "burst": 7 * BURST_CALLS}
"""Messages that one attempt sends when all goes well; what a budget counts with."""

GRAIN_S = 0.001
"""A timer may fire so much early: it is the attempt that was due, none brought forward."""


def phases(keys: list[str], every_s: float, offset: float = 0.0) -> dict[str, float]:
    """When in its interval each key's attempt is due: evenly, in the sorted keys' order.

    ``offset`` (0..1) turns the whole ring, so that two checks of the same interval do not meet.
    """
    ordered = sorted(keys)
    count = max(1, len(ordered))
    return {key: every_s * ((index / count + offset) % 1.0) for index, key in enumerate(ordered)}


def next_due(due: float, every_s: float, now: float) -> float:
    """The next time after ``now`` on the grid of ``due``: what was missed is not made up for.

    An attempt that was brought forward, and is over before its time, leaves that time as it is.
    """
    if due - GRAIN_S <= now < due + every_s:
        return due + every_s
    return due + every_s * (math.floor((now - due) / every_s) + 1)


def wait_for_turn_s(agreement: Agreement, wall: float) -> float:
    """Seconds until this vantage's wall-clock slot: ``turn: 1/2`` never meets ``turn: 2/2``.

    Slots are owned in rotation; a call may begin in the first half of its slot, and the half is
    the agreed spacing, so that it holds over all vantages.
    """
    mine, of = agreement.turn
    if of == 1:
        return 0.0
    slot_s = max(agreement.slot_s, 1.0)
    into_round = wall % (slot_s * of)
    begins = slot_s * (mine - 1)
    if begins <= into_round < begins + slot_s / 2:
        return 0.0
    return (begins - into_round) % (slot_s * of)


@dataclass(slots=True)
class Bucket:
    """A token bucket: ``rate`` a second, at most ``depth`` saved up."""

    rate: float
    depth: float
    level: float = field(default=-1.0)
    at: float = 0.0

    def wait_s(self, tokens: float, now: float) -> float:
        """Seconds until ``tokens`` are there (0 when they are)."""
        self._fill(now)
        missing = min(tokens, self.depth) - self.level
        return missing / self.rate if missing > ROUNDING else 0.0

    def take(self, tokens: float, now: float) -> None:
        """Take ``tokens``; an attempt larger than the depth takes the level below zero."""
        self._fill(now)
        self.level -= tokens

    def _fill(self, now: float) -> None:
        if self.level < 0 and not self.at:
            self.level = self.depth
        else:
            self.level = min(self.depth, self.level + (now - self.at) * self.rate)
        self.at = now


class Budget:
    """What may go through one firewall: messages and calls a second, and calls at once.

    A call's slot is freed at its give-up or when it has ended (detection.md 7).
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.calls_now = 0
        self._messages = Bucket(limits.messages_per_second, max(limits.messages_per_second, 8.0))
        self._calls = Bucket(limits.calls_per_second, max(limits.calls_per_second, 1.0))

    def wait_s(self, kind: str, now: float) -> float:
        """Seconds until an attempt of this kind fits; 0 when it does now."""
        wait = self._messages.wait_s(MESSAGES_PER_ATTEMPT[kind], now)
        calls = CALLS_PER_ATTEMPT.get(kind, 0)
        if not calls:
            return wait
        if self.calls_now + calls > self.limits.concurrent_calls:
            return max(wait, 0.05)
        return max(wait, self._calls.wait_s(1.0, now))  # a burst is paid for by those after it

    def enter(self, kind: str, now: float) -> None:
        """Take what an attempt needs."""
        self._messages.take(MESSAGES_PER_ATTEMPT[kind], now)
        if calls := CALLS_PER_ATTEMPT.get(kind, 0):
            self._calls.take(calls, now)
            self.calls_now += calls

    def leave(self, kind: str) -> None:
        """Give back the slots of its calls."""
        self.calls_now -= CALLS_PER_ATTEMPT.get(kind, 0)
