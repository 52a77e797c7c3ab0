"""What an answering point keeps of the requests it saw and of the calls it answered (layer L1)."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from psapwatch.endpoint import Address, TransportName
from psapwatch.sip.server_transaction import ServerTransaction


class Seen(NamedTuple):
    """One request that came in, for the log."""

    at: float
    method: str
    uri: str
    call_id: str
    source: Address
    transport: TransportName
    size: int


@dataclass(slots=True)
class Dialog:
    """Our side of one call; a script that forks has one for each To tag."""

    transaction: ServerTransaction
    tag: str
    answer: bytes
    elsewhere: bool
    transport: TransportName
    accepted_at: float
    repeats: int = 0
    acknowledged: bool = False
    ended: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self.transaction.request.call_id, self.tag


@dataclass(slots=True)
class Kept:
    """Transactions and dialogs for as long as the RFCs want them remembered, without timers.

    The queues hold when to forget which, loop seconds, oldest first.
    """

    transactions: dict[str, ServerTransaction] = field(default_factory=dict)
    dialogs: dict[tuple[str, str], Dialog] = field(default_factory=dict)
    answered: deque[tuple[float, str]] = field(default_factory=deque)
    ended: deque[tuple[float, tuple[str, str]]] = field(default_factory=deque)
    unanswered: deque[tuple[float, str]] = field(default_factory=deque)

    @property
    def open_calls(self) -> int:
        """INVITEs that got a 1xx and no final yet, and calls that nobody ended."""
        pending = sum(
            1
            for transaction in self.transactions.values()
            if transaction.request.method == "INVITE"
            and transaction.last
            and not transaction.is_answered
        )
        return pending + sum(1 for dialog in self.dialogs.values() if not dialog.ended)

    def forget(self, now: float) -> None:
        """Drop what is older than that."""
        while self.answered and self.answered[0][0] <= now:
            self.transactions.pop(self.answered.popleft()[1], None)
        while self.ended and self.ended[0][0] <= now:
            self.dialogs.pop(self.ended.popleft()[1], None)
        while self.unanswered and self.unanswered[0][0] <= now:
            key = self.unanswered.popleft()[1]
            stale = self.transactions.get(key)
            if stale is not None and not stale.is_answered:
                del self.transactions[key]


class Timers:
    """What is to be done when, in order; equal moments keep the order in which they were set."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    def later(self, due: float, action: Callable[[float], None]) -> None:
        """Have ``action(now)`` done at ``due``."""
        heapq.heappush(self._due, (due, next(self._order), action))

    def run(self, now: float) -> None:
        """Do all that is due."""
        while self._due and self._due[0][0] <= now:
            _due, _order, action = heapq.heappop(self._due)
            action(now)

    def next(self) -> float | None:
        """The next moment at which something is due."""
        return self._due[0][0] if self._due else None
