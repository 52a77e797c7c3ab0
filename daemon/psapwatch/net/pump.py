"""Moves octets, errors and timers between a SIP machine and a flow: all the asyncio a call needs.

One pump an attempt. ``drive`` returns when a verdict is due; the pump itself goes on listening
until the machine is closed, so that a late answer is still ended. Nothing here is cancelled to
time out: patience is inside the machine. A bug in the machine surfaces in ``drive``, while the
pump goes on: a call may be open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from psapwatch.endpoint import Address
from psapwatch.evidence import Fact, Kind, Observation, Packet
from psapwatch.net.ways import Errand, Ways
from psapwatch.sip.guard import NotATestCall
from psapwatch.sip.machine import LEDGER, Machine, is_loss
from psapwatch.sip.wire import Malformed, parse
from psapwatch.world import Arrival, CallForbidden, Flow, Network, Resolver, Road

OBSERVATIONS_MAX: Final = 200
TRANSCRIPT_MAX: Final = 48
"""Packets kept of one attempt: a call with all its retransmissions needs about 30."""
DETAIL_MAX: Final = 120
BROKEN_S: Final = 120.0
"""How long a machine with a bug goes on ending what it has open."""

Ledger = Callable[[bytes, Flow], Awaitable[None]]
Heard = Callable[[Observation], None]


class Pump:
    """A ``world.Listener`` that feeds one machine.

    ``ledger`` commits the row of an INVITE before it leaves; raising stops the INVITE.
    ``heard`` is told every observation at once, also those that come after ``drive`` returned.
    ``crowd`` holds the pumps still alive, in order: the daemon ends them when it stops.
    """

    def __init__(
        self,
        network: Network,
        resolver: Resolver,
        road: Road,
        call_id: str,
        *,
        crowd: dict[Pump, None],
        ledger: Ledger | None = None,
        heard: Heard | None = None,
    ) -> None:
        self.observations: list[Observation] = []
        self.transcript: list[Packet] = []
        self.last_arrival = b""
        self.is_call = ledger is not None
        self.road, self.call_id = road, call_id
        self._crowd, self._ledger, self._heard = crowd, ledger, heard
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._ways = Ways(
            network, resolver, road, call_id, self, spawn=self._spawn, sent=self._sent
        )
        self._machine: Machine | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._errands: set[asyncio.Task[None]] = set()
        self._errors: deque[Observation] = deque()
        self._is_entering = False
        self._is_stepping = False
        self._is_broken = False

    @property
    def flow(self) -> Flow | None:
        """The road's flow, while it is up."""
        return self._ways.flow

    # ---- opening and driving

    async def open(self, patience_s: float, local_port: int = 0) -> Flow | None:
        """Open the flow; its phases and failures become observations."""
        return await self._ways.open(
            patience_s=patience_s, local_port=local_port, is_call=self.is_call
        )

    async def drive(self, machine: Machine, begin: Callable[[float], None] | None = None) -> None:
        """Start the machine and return when its attempt is over; listening goes on without us.

        Raises:
            Exception: a bug in the machine; what it has open is still ended as far as it goes.
        """
        self._machine = machine
        self._crowd[self] = None
        self._step(begin or machine.start)
        await self._done  # whoever waits may be cancelled: then nobody waits, and listening goes on

    def end(self) -> None:
        """Ask the machine to end what it has open."""
        if self._machine is not None:
            self._step(self._machine.end)

    def abandon(self) -> None:
        """Let go of the sockets; the ledger keeps what is still open."""
        self._close()

    # ---- what the flow tells

    def arrived(self, arrival: Arrival) -> None:
        """Take octets from a flow."""
        machine = self._machine
        if machine is None:
            return
        octets, source = arrival.octets, arrival.source
        self.last_arrival = octets
        self._keep("in", source, octets, arrival.arrived_at)
        try:
            message = parse(octets, stream=self.road.transport != "udp")
        except Malformed as bad:
            seen = self._unreadable(bad, source)
            self._step(lambda now: machine.malformed(octets, seen, now, source))
        else:
            at = arrival.arrived_at
            self._step(lambda now: machine.receive(message, now, min(at, now), source))

    def observed(self, seen: Observation) -> None:
        """Take a phase of the connection."""
        self._note(seen)

    def failed(self, seen: Observation) -> None:
        """Take an error of the road's flow; inside a send it is handled after it."""
        if self._machine is None:
            self._note(seen)
            return
        if is_loss(seen):
            self._ways.lost()
        self._errors.append(seen)
        self._step()

    # ---- inside

    def _step(self, happen: Callable[[float], None] | None = None) -> None:
        """Let something happen to the machine, then all that follows; sleep until its deadline."""
        machine = self._machine
        if machine is None:
            return
        if happen is not None:
            try:
                happen(self._loop.time())
            except Exception as bug:  # noqa: BLE001 - watch judges it; here the call is ended
                self._broke(bug)
        if self._is_stepping:
            return  # the step that this one is in does what follows
        self._is_stepping = True
        try:
            self._settle(machine)
        except Exception as bug:  # noqa: BLE001 - as above
            self._broke(bug)
        self._is_stepping = False
        if machine.over and not self._done.done():
            self._done.set_result(None)
        if machine.closed:
            self._close()
        else:
            self._arm(machine.next_timer())

    def _settle(self, machine: Machine) -> None:
        """Take observations and messages out of the machine until there are none."""
        while True:
            while self._errors:
                machine.transport_error(self._errors.popleft(), self._loop.time())
            while (seen := machine.next_event()) is not None:
                self._note(seen)
            if machine.ledger_due is not None and not self._is_entering:
                self._is_entering = True
                self._spawn(self._enter(machine, machine.ledger_due))
            sends = machine.data_to_send()
            for send in sends:
                try:
                    self._ways.send(send)
                except NotATestCall as refusal:
                    self._fail("guard", refusal)
            if not sends and not self._errors:
                return

    def _arm(self, deadline: float | None) -> None:
        if self._alarm is not None:
            if self._alarm.when() == deadline:
                return
            self._alarm.cancel()
            self._alarm = None
        if deadline is not None:
            if self._is_broken:  # a deadline that a bug leaves standing must not spin
                deadline = max(deadline, self._loop.time() + 1.0)
            self._alarm = self._loop.call_at(deadline, self._ring, deadline)

    def _ring(self, deadline: float) -> None:
        self._alarm = None
        machine = self._machine
        if machine is not None:
            # asyncio may fire a tick early; a machine fed less than its deadline would do nothing
            self._step(lambda now: machine.handle_timer(max(deadline, now)))

    async def _enter(self, machine: Machine, octets: bytes) -> None:
        """Commit the ledger row, and only then let the INVITE leave (detection.md 7)."""
        try:
            if self._ledger is None or self.flow is None:
                raise RuntimeError("no ledger, no INVITE")  # noqa: TRY301 - becomes an observation
            await self._ledger(octets, self.flow)
        except CallForbidden as refusal:
            why = {"why": str(refusal)[:DETAIL_MAX]}
            self._errors.append(Observation(Kind.NOT_TRIED, self._loop.time(), why))
        except Exception as error:  # noqa: BLE001 - whatever failed, the INVITE must not leave
            self._fail(LEDGER, error)
        else:
            self._step(machine.ledgered)
        finally:
            self._is_entering = False

    def _spawn(self, work: Errand) -> None:
        task = self._loop.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errand_done)

    def _errand_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(type(error).__name__, error)
        self._step()

    def _fail(self, what: str, error: BaseException) -> None:
        """Let the machine know, at the next step, that our own side failed."""
        detail = f"{type(error).__name__}: {error}"[:DETAIL_MAX]
        facts = {"error": what, "detail": detail}
        self._errors.append(Observation(Kind.LOCAL_ERROR, self._loop.time(), facts))

    def _broke(self, bug: Exception) -> None:
        """Let a bug surface in ``drive``, and go on for a bounded time: a call may be open."""
        if not self._is_broken:
            self._is_broken = True
            self._loop.call_later(BROKEN_S, self._close)
        if not self._done.done():
            self._done.set_exception(bug)
        else:
            told = {"message": "a bug after the attempt was over", "exception": bug}
            self._loop.call_exception_handler(told)

    def _note(self, seen: Observation) -> None:
        relative = Observation(seen.kind, seen.at_s - self.began, seen.facts)
        if len(self.observations) < OBSERVATIONS_MAX:
            self.observations.append(relative)
        if self._heard is not None:
            try:
                self._heard(relative)
            except Exception as bug:  # noqa: BLE001 - as in a step: what is open is still ended
                self._broke(bug)

    def _sent(self, to: Address, octets: bytes) -> None:
        self._keep("out", to, octets, self._loop.time())

    def _keep(self, way: Literal["in", "out"], peer: Address, octets: bytes, at: float) -> None:
        if len(self.transcript) < TRANSCRIPT_MAX:
            self.transcript.append(Packet(at - self.began, way, str(peer), octets))

    def _unreadable(self, bad: Malformed, source: Address) -> Observation:
        """RFC 3261 18.3: a truncated datagram is discarded; a malformed one of ours is a fact."""
        now, branch = self._loop.time(), bad.branch.encode("ascii", "replace")
        is_ours = bool(branch) and any(
            branch in packet.octets for packet in self.transcript if packet.way == "out"
        )
        facts: dict[str, Fact]
        if is_ours and bad.why != "truncated":
            facts = {"code": bad.code, "why": bad.why, "source": str(source)}
            return Observation(Kind.MALFORMED, now, facts)
        why = "truncated" if bad.why == "truncated" else "malformed"
        facts = {"why": why, "detail": bad.why, "source": str(source)}
        return Observation(Kind.DISCARDED, now, facts)

    def _close(self) -> None:
        self._crowd.pop(self, None)
        self._machine = None
        self._arm(None)
        self._ways.close()
        self._heard = None  # it knows us: no cycle is left to the garbage collector
        if not self._done.done():
            self._done.set_result(None)
