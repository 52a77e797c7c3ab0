"""The call ledger: a row is on disk before its INVITE leaves (layer L4)."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, final

from psapwatch.endpoint import Address
from psapwatch.store.redact import redact
from psapwatch.store.runner import Closed, Runner
from psapwatch.world import OpenCall

LEDGER_S: Final = 1.0
"""How long a call waits for its row; then it is not placed (``prober_fault``)."""
NOT_SENT: Final = "not_sent"
"""How a call ended whose row came too late, so that its INVITE never left."""
EVERYWHERE: Final = ""
"""The PSAP of a stop that holds for all of them."""


class LedgerUnavailable(Exception):
    """The row could not be committed in time, so this INVITE must not leave."""


class CallsStopped(LedgerUnavailable):
    """Somebody has stopped test calls to this PSAP, perhaps a moment ago: no INVITE."""


class TooSoon(LedgerUnavailable):
    """Another call to this PSAP is open, or was placed within the floor: no INVITE."""


class Moment(NamedTuple):
    """A moment by both clocks: the wall's, and the loop's, which nobody steps."""

    wall: float
    """Unix seconds."""
    boot: str = ""
    """Which run of the machine; loop time means something only within one. "" for unknown."""
    loop_s: float = 0.0

    def since(self, earlier: Moment) -> float:
        """How long ago something was, by the clock that says less; negative for the future.

        A clock that is stepped must not shorten a floor (RFC 6881 15), over a restart either: the
        loop's clock goes on from process to process, until the machine starts anew.
        """
        wall_s, loop_s = self.wall - earlier.wall, self.steadily_since(earlier)
        return wall_s if loop_s is None else min(wall_s, loop_s)

    def steadily_since(self, earlier: Moment) -> float | None:
        """How long ago it was by the loop's clock; None where that does not know."""
        loop_s = self.loop_s - earlier.loop_s
        return loop_s if self.boot and self.boot == earlier.boot and loop_s >= 0 else None


def boot_id() -> str:
    """Which run of this machine it is (Linux); one word where that cannot be known.

    That word may lengthen a floor once, after a new start of the machine, and shortens none. A
    sandbox hides the file, so the systemd unit hands the id over (``%b``, without dashes).
    """
    found = os.environ.get("PSAPWATCH_BOOT_ID", "")
    with suppress(OSError):
        found = found or Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return found.strip().replace("-", "") or "unknown"


@final
class Floors:
    """When each PSAP was last called, over restarts and over steps of the wall clock.

    A call that lies in the future counts as placed when the loop's clock says, and where that one
    does not know, just now: it is waited for once, and not until the wall clock has caught up.
    """

    def __init__(self, at: dict[str, Moment], run: Runner, boot: str) -> None:
        self._at, self._run, self._boot = at, run, boot

    def now(self, wall: float) -> Moment:
        """This moment; without a loop by the wall clock alone."""
        try:
            return Moment(wall, self._boot, asyncio.get_running_loop().time())
        except RuntimeError:
            return Moment(wall)

    def last(self, psap: str) -> float | None:
        """When a PSAP was last called, Unix seconds; None for never."""
        at = self._at.get(psap)
        return at.wall if at else None

    def ago_s(self, psap: str, wall: float) -> float | None:
        """How long ago a PSAP was called, by the clock that says less; None for never."""
        at, now = self._at.get(psap), self.now(wall)
        if at is None:
            return None
        if at.wall > wall:
            at = self._at[psap] = at._replace(wall=wall - (now.steadily_since(at) or 0.0))
            self._run.post(lambda on: correct(on, psap, at.wall, wall))
        return now.since(at)

    def age_s(self, psap: str, placed: float, wall: float) -> float:
        """How long ago a call was placed (Unix seconds), by the clock that says more.

        For what may be done only soon after it; infinite where that cannot be known.
        """
        at, now = self._at.get(psap), self.now(wall)
        if at is None or at.wall != placed or placed > wall:
            return math.inf
        return max(wall - placed, now.steadily_since(at) or 0.0)

    def charge(self, psap: str, at: Moment) -> None:
        """Count a call of our own."""
        self._at[psap] = at._replace(wall=max(at.wall, self.last(psap) or at.wall))

    def take(self, psap: str, at: Moment) -> None:
        """Take over what is on the disk; what is later than ours was another process's call."""
        if at.wall > (self.last(psap) or 0.0):
            self._at[psap] = at


async def place(run: Runner, row: OpenCall, floor_s: float, now: Moment) -> None:
    """Commit the row of a call within ``LEDGER_S``, or see to it that the row does not stay open.

    Raises:
        LedgerUnavailable: the INVITE must not leave; a subclass where the store forbids the call.
    """
    abandoned = False

    def write(connection: sqlite3.Connection) -> None:
        if not abandoned:
            open_call(connection, row, floor_s, now)

    writing = asyncio.ensure_future(run.submit(write, writes=True))
    try:
        await asyncio.wait({writing}, timeout=LEDGER_S)
    finally:
        if not writing.done():
            # Too late, or cancelled. The writer may be in the middle of it: the row ends then.
            abandoned = True
            writing.add_done_callback(_retrieved)
            run.post(lambda on: close_call(on, row.call_id, NOT_SENT, row.invited_at))
    if abandoned:
        raise LedgerUnavailable(f"no commit within {LEDGER_S:g} s: {run.trouble or 'slow disk'}")
    try:
        writing.result()
    except (sqlite3.Error, Closed) as why:
        raise LedgerUnavailable(str(why)) from why


def open_call(connection: sqlite3.Connection, row: OpenCall, floor_s: float, now: Moment) -> None:
    """Write the row and charge the floor, unless the store itself forbids the call.

    Stops and floor are looked up here once more, because another process may have written them.

    Raises:
        CallsStopped: a stop holds for this PSAP.
        TooSoon: a call to it is open, or the last one is less than ``floor_s`` ago. One that lies
            in the future was before a clock was stepped back: nobody knows how long ago, so the
            floor holds (RFC 6881 15) until ``correct`` has put it right.
    """
    stop = connection.execute(
        "SELECT reason, why FROM stops WHERE psap IN (?, ?)", (EVERYWHERE, row.psap)
    ).fetchone()
    if stop:
        raise CallsStopped(f"test calls to {row.psap} are stopped ({stop[0]}): {stop[1]}")
    again = connection.execute(
        "UPDATE calls SET octets = ? WHERE call_id = ? AND ended_at IS NULL",
        (row.octets, row.call_id),
    )
    if again.rowcount:
        return  # the same call with credentials (RFC 3261 22.2): not a second one
    if floor_s > 0:
        another = "SELECT 1 FROM calls WHERE psap = ? AND ended_at IS NULL"
        if connection.execute(another, (row.psap,)).fetchone():
            raise TooSoon(f"another call to {row.psap} is open")
        at = "SELECT at, boot, loop_s FROM floor WHERE psap = ?"
        last = connection.execute(at, (row.psap,)).fetchone()
        if last and (ago_s := now.since(Moment(*last))) < floor_s:
            ago_s = max(0.0, ago_s)
            raise TooSoon(f"{row.psap} was called {ago_s:.0f} s ago, its floor is {floor_s:.0f} s")
    connection.execute(
        "INSERT INTO calls (call_id, psap, path, firewall, transport, local_host, local_port,"
        " peer_host, peer_port, octets, invited_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(row.call_id, row.psap, row.path, row.firewall, row.transport),
            *(row.local.host, row.local.port, row.peer.host, row.peer.port),
            *(row.octets, row.invited_at),
        ),
    )
    charge(connection, row.psap, now)


def note_answer(connection: sqlite3.Connection, call_id: str, octets: bytes) -> None:
    """Keep the 2xx of an open call: after a crash ACK and BYE are built from it."""
    connection.execute(
        "UPDATE calls SET answer = ? WHERE call_id = ? AND ended_at IS NULL", (octets, call_id)
    )


def charge(connection: sqlite3.Connection, psap: str, at: Moment) -> None:
    """Count a call against the floor of who was called, or of who answered instead."""
    connection.execute(
        "INSERT INTO floor (psap, at, boot, loop_s) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET at = max(at, excluded.at), boot = excluded.boot, loop_s = excluded.loop_s",
        (psap, *at),
    )


def correct(connection: sqlite3.Connection, psap: str, at: float, wall: float) -> None:
    """Put right a last call that lies in the future of ``wall``, unless somebody just has."""
    connection.execute("UPDATE floor SET at = ? WHERE psap = ? AND at > ?", (at, psap, wall))


def close_call(connection: sqlite3.Connection, call_id: str, how: str, at: float) -> None:
    """Say how a call ended; from now on its INVITE is kept redacted."""
    found = connection.execute("SELECT octets FROM calls WHERE call_id = ?", (call_id,)).fetchone()
    if found:
        connection.execute(
            "UPDATE calls SET ended_at = ?, how = ?, octets = ?, answer = x'' WHERE call_id = ?",
            (at, how, redact(found[0]), call_id),
        )


def open_calls(connection: sqlite3.Connection) -> list[OpenCall]:
    """Return the calls that have not ended, oldest first."""
    found = connection.execute(
        "SELECT call_id, psap, path, firewall, transport, local_host, local_port, peer_host,"
        " peer_port, octets, invited_at, answer FROM calls"
        " WHERE ended_at IS NULL ORDER BY invited_at"
    )
    return [
        OpenCall(
            call_id, psap, path, firewall, transport, Address(*ends[:2]), Address(*ends[2:4]), *rest
        )
        for call_id, psap, path, firewall, transport, ends, rest in (
            (*row[:5], row[5:9], row[9:]) for row in found
        )
    ]


def floors(connection: sqlite3.Connection) -> dict[str, Moment]:
    """Return when each PSAP was last called."""
    found = connection.execute("SELECT psap, at, boot, loop_s FROM floor")
    return {psap: Moment(*at) for psap, *at in found}


def _retrieved(writing: asyncio.Future[None]) -> None:
    if not writing.cancelled():
        writing.exception()  # it came too late to matter
