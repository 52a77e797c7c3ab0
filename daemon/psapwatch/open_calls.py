"""The calls that have not ended yet, in step with the ledger and the gauge (layer L4)."""

from __future__ import annotations

from typing import Final, Protocol

from psapwatch.endpoint import Path
from psapwatch.evidence import Kind, Observation
from psapwatch.permits import spacing_of
from psapwatch.store.ledger import CallsStopped, TooSoon
from psapwatch.store.store import Store
from psapwatch.world import CallForbidden, Clock, OpenCall


class CallCounters(Protocol):
    """What is counted about calls outside an attempt's evidence."""

    def calls_open(self, count: int) -> None:
        """How many test calls have not ended."""
        ...

    def call_ended(self, firewall: str, how: str) -> None:
        """A call ended after its attempt was over."""
        ...

    def teardown_failed(self, firewall: str) -> None:
        """A BYE or CANCEL stayed without effect after the attempt was over."""
        ...


class Counters(CallCounters, Protocol):
    """What the watch counts besides attempts."""

    def schedule_delay(self, late_s: float) -> None:
        """How late an attempt began."""
        ...

    def loop_delay(self, late_s: float) -> None:
        """How late a timer of the loop fired."""
        ...

    def internal_error(self) -> None:
        """Our own bug."""
        ...


_REACTIONS: Final = frozenset({Kind.RESPONSE, Kind.ANSWER, Kind.MALFORMED, Kind.REQUEST_IN})
"""The far side knows of the call."""


class OpenCalls:
    """Enters calls into the ledger, and closes their rows when they have ended."""

    def __init__(self, store: Store, clock: Clock, counters: CallCounters) -> None:
        self._store, self._clock, self._counters = store, clock, counters
        self._open: dict[str, bool] = {}
        """By Call-ID, whether the far side has said anything yet."""
        self._is_over = False

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._open

    @property
    def answered(self) -> int:
        """How many open calls somebody has reacted to: these must be ended.

        An INVITE that met silence cannot be (9.1 forbids CANCEL): its row waits for the next start.
        """
        return sum(self._open.values())

    def of(self, path: Path) -> PathLedger:
        """The ledger for the calls of one path, under that path's floor."""
        return PathLedger(self, path)

    async def enter(self, row: OpenCall, floor_s: float) -> None:
        """Commit the row of a call; the INVITE leaves only after this returns.

        Raises:
            CallForbidden: stopped, stopping, too soon, or another call to the PSAP is open.
            psapwatch.store.ledger.LedgerUnavailable: not committed within a second.
        """
        if self._is_over:
            raise CallForbidden("the daemon is stopping")
        try:
            await self._store.open_call(row, floor_s)
        except (CallsStopped, TooSoon) as refusal:
            raise CallForbidden(str(refusal)) from refusal
        self.adopt(row.call_id)

    def enter_no_more(self) -> None:
        """Refuse every call from now on: what is ended at a stop must not begin again."""
        self._is_over = True

    def adopt(self, call_id: str) -> None:
        """Count a call as open."""
        self._open[call_id] = False
        self._counters.calls_open(len(self._open))

    def heard(
        self, call_id: str, firewall: str, seen: Observation, octets: bytes, *, late: bool
    ) -> None:
        """Take what a call shows the moment it shows it, endings after its attempt included."""
        if call_id in self._open and seen.kind in _REACTIONS:
            self._open[call_id] = True
        if seen.kind is Kind.ANSWER and octets:
            self._store.note_answer(call_id, octets)
        elif seen.kind is Kind.ENDED:
            how = str(seen["how"])
            self._store.close_call(call_id, how, self._clock.wall())
            self._open.pop(call_id, None)
            self._counters.calls_open(len(self._open))
            if late:
                self._counters.call_ended(firewall, how)
        elif seen.kind is Kind.TEARDOWN_FAILED and late:
            self._counters.teardown_failed(firewall)


class PathLedger:
    """A ``world.CallLedger`` for one path."""

    def __init__(self, calls: OpenCalls, path: Path) -> None:
        self._calls, self._path = calls, path

    async def open_call(self, row: OpenCall) -> None:
        """Commit the row under this path's floor."""
        await self._calls.enter(row, spacing_of(self._path))
