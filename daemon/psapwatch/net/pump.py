"""Moves octets, errors and timers between a SIP machine and a flow: all the asyncio a call needs.

One pump an attempt. ``drive`` returns when a verdict is due; the pump itself goes on listening
until the machine is closed, so that a late answer is still ended. Nothing here is cancelled to
time out: patience is inside the machine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind, Observation, Packet
from psapwatch.sip.machine import Machine, Send
from psapwatch.sip.uri import BadUri, parse_uri
from psapwatch.sip.wire import Malformed, parse
from psapwatch.world import Arrival, CallForbidden, Flow, Network, Resolver, Road

OBSERVATIONS_MAX: Final = 200
TRANSCRIPT_MAX: Final = 48
"""Packets kept of one attempt: a call with all its retransmissions needs about 30."""
ERRANDS_MAX: Final = 8
"""Look-ups and further connections that one attempt may start for its ACK and BYE."""

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
        self.flow: Flow | None = None
        self.is_call = ledger is not None
        self._network, self._resolver, self.road, self._call_id = network, resolver, road, call_id
        self._crowd, self._ledger, self._heard = crowd, ledger, heard
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._machine: Machine | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: deque[Observation] = deque()
        self._further: dict[Address, Flow | None] = {}
        self._stepping = False

    # ---- opening and driving

    async def open(self, patience_s: float, local_port: int = 0) -> Flow | None:
        """Open the flow; its phases and failures become observations."""
        self.flow = await self._network.open(
            self.road,
            self._call_id,
            self,
            local_port=local_port,
            patience_s=patience_s,
            is_call=self.is_call,
        )
        return self.flow

    async def drive(self, machine: Machine, begin: Callable[[float], None] | None = None) -> None:
        """Start the machine and return when its attempt is over; listening goes on without us."""
        self._machine = machine
        self._crowd[self] = None
        (begin or machine.start)(self._loop.time())
        self._step()
        await asyncio.shield(self._done)

    def end(self) -> None:
        """Ask the machine to end what it has open."""
        if self._machine is not None:
            self._machine.end(self._loop.time())
            self._step()

    def abandon(self) -> None:
        """Let go of the sockets; the ledger keeps what is still open."""
        self._close()

    # ---- what the flow tells

    def arrived(self, arrival: Arrival) -> None:
        """Take octets from the flow."""
        if self._machine is None:
            return
        now = self._loop.time()
        self.last_arrival = arrival.octets
        self._keep("in", arrival.source, arrival.octets, arrival.arrived_at)
        try:
            message = parse(arrival.octets, stream=self.road.transport != "udp")
        except Malformed as bad:
            self._machine.malformed(
                arrival.octets, self._unreadable(bad, arrival, now), now, arrival.source
            )
        else:
            self._machine.receive(message, now, min(arrival.arrived_at, now), arrival.source)
        self._step()

    def observed(self, seen: Observation) -> None:
        """Take a phase of the connection."""
        self._note(seen)

    def failed(self, seen: Observation) -> None:
        """Take an error of the flow; inside a send it is handled after it."""
        if self._machine is None:
            self._note(seen)
            return
        if seen.kind is Kind.CONNECTION_LOST:
            self.flow = None
        self._errors.append(seen)
        if not self._stepping:
            self._step()

    # ---- inside

    def _step(self) -> None:
        """Let everything that is ready happen, then sleep until the machine's next deadline."""
        machine = self._machine
        if machine is None or self._stepping:
            return
        self._stepping = True
        try:
            self._settle(machine)
        finally:
            self._stepping = False
        if machine.over and not self._done.done():
            self._done.set_result(None)
        if machine.closed and not self._tasks:
            self._close()
        else:
            self._arm(machine.next_timer())

    def _settle(self, machine: Machine) -> None:
        while True:
            while self._errors:
                machine.transport_error(self._errors.popleft(), self._loop.time())
            while (seen := machine.next_event()) is not None:
                self._note(seen)
            for send in machine.data_to_send():
                self._send(send)
            if machine.ledger_due is not None and not self._tasks:
                self._spawn(self._enter(machine, machine.ledger_due))
            if not self._errors:
                return

    def _arm(self, deadline: float | None) -> None:
        if self._alarm is not None:
            if self._alarm.when() == deadline:
                return
            self._alarm.cancel()
        self._alarm = None if deadline is None else self._loop.call_at(deadline, self._ring, deadline)

    def _ring(self, deadline: float) -> None:
        self._alarm = None
        if self._machine is not None:
            # asyncio may fire a tick early; a machine fed less than its deadline would do nothing
            self._machine.handle_timer(max(deadline, self._loop.time()))
            self._step()

    async def _enter(self, machine: Machine, octets: bytes) -> None:
        """Commit the ledger row, and only then let the INVITE leave (detection.md 7)."""
        try:
            if self._ledger is None or self.flow is None:
                message = "no ledger, no INVITE"
                raise RuntimeError(message)  # noqa: TRY301 - one place turns it into an observation
            await self._ledger(octets, self.flow)
        except CallForbidden as refusal:
            now = self._loop.time()
            machine.transport_error(Observation(Kind.NOT_TRIED, now, {"why": str(refusal)[:120]}), now)
        except Exception as error:  # noqa: BLE001 - whatever failed, the INVITE must not leave
            now, detail = self._loop.time(), f"{type(error).__name__}: {error}"[:120]
            facts = {"error": "ledger", "detail": detail}
            machine.transport_error(Observation(Kind.LOCAL_ERROR, now, facts), now)
        else:
            machine.ledgered(self._loop.time())

    def _send(self, send: Send) -> None:
        to = self._address(send.uri)
        if isinstance(to, str):
            if len(self._tasks) < ERRANDS_MAX:
                self._spawn(self._look_up(send, to))
            return
        self._send_to(send.octets, to)

    def _send_to(self, octets: bytes, to: Address) -> None:
        self._keep("out", to, octets, self._loop.time())
        elsewhere = to != self.road.peer
        if self.flow is not None and (not elsewhere or self.road.transport == "udp"):
            self.flow.send(octets, to if elsewhere else None)
        elif (flow := self._further.get(to)) is not None:
            flow.send(octets)
        elif len(self._tasks) < ERRANDS_MAX:
            self._spawn(self._connect(octets, to))

    def _address(self, uri: str | None) -> Address | str:
        """The numeric address of a next hop, or its URI where a look-up is needed."""
        if uri is None:
            return self.road.peer
        try:
            where = parse_uri(uri)
        except BadUri:
            return self.road.peer
        host = where.host.strip("[]")
        secure = self.road.transport == "tls"
        if host and host.replace(".", "").isdigit() or ":" in host:
            return Address(host, where.port or (5061 if secure else 5060))
        return uri

    async def _look_up(self, send: Send, uri: str) -> None:
        found = await self._resolver.resolve(uri, self.road.transport)
        self._send_to(send.octets, found.legs[0] if found.legs else self.road.peer)

    async def _connect(self, octets: bytes, to: Address) -> None:
        """Open a way to another next hop, or to the same one after its connection was lost."""
        road = Road(
            self.road.transport, self.road.source, to, self.road.server_name, self.road.tls
        )
        flow = await self._network.open(
            road, self._call_id, _Bystander(self), patience_s=4.0, is_call=self.is_call
        )
        self._further[to] = flow
        if flow is not None:
            flow.send(octets)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = self._loop.create_task(_as_coroutine(work))
        self._tasks.add(task)
        task.add_done_callback(self._errand_done)

    def _errand_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            facts = {"error": type(error).__name__, "detail": str(error)[:120]}
            self.failed(Observation(Kind.LOCAL_ERROR, self._loop.time(), facts))
        self._step()

    def _note(self, seen: Observation) -> None:
        relative = Observation(seen.kind, seen.at_s - self.began, seen.facts)
        if len(self.observations) < OBSERVATIONS_MAX:
            self.observations.append(relative)
        if self._heard is not None:
            self._heard(relative)

    def _keep(self, way: str, peer: Address, octets: bytes, at: float) -> None:
        if len(self.transcript) < TRANSCRIPT_MAX:
            self.transcript.append(
                Packet(at - self.began, "out" if way == "out" else "in", str(peer), octets)
            )

    def _unreadable(self, bad: Malformed, arrival: Arrival, now: float) -> Observation:
        """RFC 3261 18.3: a truncated datagram is discarded; a malformed one of ours is a fact."""
        branch = bad.branch.encode("ascii", "replace")
        ours = bool(branch) and any(
            branch in packet.octets for packet in self.transcript if packet.way == "out"
        )
        source = str(arrival.source)
        if ours and bad.why != "truncated":
            return Observation(Kind.MALFORMED, now, {"code": bad.code, "why": bad.why, "source": source})
        why = "truncated" if bad.why == "truncated" else "malformed"
        return Observation(Kind.DISCARDED, now, {"why": why, "detail": bad.why, "source": source})

    def _close(self) -> None:
        self._crowd.pop(self, None)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._done.done():
            self._done.set_result(None)
        for flow in (self.flow, *self._further.values()):
            if flow is not None:
                flow.release()
        self.flow, self._machine = None, None
        self._further.clear()


class _Bystander:
    """Listens on a second flow of the same call: messages count, its own failures only as facts."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    def arrived(self, arrival: Arrival) -> None:
        """Hand on."""
        self._pump.arrived(arrival)

    def observed(self, seen: Observation) -> None:
        """Hand on."""
        self._pump.observed(seen)

    def failed(self, seen: Observation) -> None:
        """Note it: the machine's own timers decide what it means."""
        self._pump.observed(seen)


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work
