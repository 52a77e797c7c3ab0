"""TCP and TLS connections of the simulated network: phases, order, retransmission (layer L3).

A connection comes up as a real one does: SYN repeated at 1, 3, 7 s, then for TLS a ClientHello.
Messages cross whole, each as one packet that a firewall can judge; one that does not arrive is
sent again at doubling intervals while what follows waits behind it, as TCP's order demands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.net.flow import Listeners
from psapwatch.simulator.carriage import Carriage
from psapwatch.simulator.certificate import Certificate, facts_of, failure_of
from psapwatch.simulator.rule import Packet, Phase
from psapwatch.sip.wire import Malformed, StreamFramer
from psapwatch.world import Arrival, Listener, Road

SYN_EVERY_S: Final = 1.0
"""Linux's first SYN retransmission; each further one after twice the time."""
RESEND_S: Final = 0.2
RESEND_MAX_S: Final = 8.0
UNACKNOWLEDGED_S: Final = 32.0
"""As the real connections' TCP_USER_TIMEOUT: then the connection is lost."""
HELLO: Final = b"\x16\x03\x01"
CERTIFICATE_OCTETS: Final = 2_800


class Server(Protocol):
    """Who accepts connections at an address."""

    certificate: Certificate | None

    def stream_arrived(self, octets: bytes, source: Address) -> None:
        """Take one message of the connection from ``source``."""
        ...


@dataclass(slots=True)
class _Pipe:
    """One direction: what is not yet across, in order."""

    source: Address
    destination: Address
    deliver: Callable[[bytes], None]
    waiting: deque[bytes] = field(default_factory=deque)
    arrives_at: float = 0.0
    resend_s: float = RESEND_S
    stalled_at: float | None = None


class SimulatedConnection:
    """A ``net.flow.Carrier`` from SYN to its end, leased out by Call-ID."""

    def __init__(
        self,
        carriage: Carriage,
        road: Road,
        local: Address,
        find: Callable[[Address], Server | None],
        on_end: Callable[[SimulatedConnection], None],
    ) -> None:
        self.local = local
        self.peer = road.peer
        self.transport: TransportName = road.transport
        self.is_kept = road.flow == "kept"
        self.is_retired = False
        self.waiters = 0
        self.listeners = Listeners()
        self.phases: list[Observation] = []
        self.failures: list[Observation] = []
        self._loop = asyncio.get_running_loop()
        self.settled: asyncio.Future[None] = self._loop.create_future()
        self.began_at = self._phase_began_at = self._loop.time()
        self.phase = "connect"
        self._carriage = carriage
        self._road = road
        self._find = find
        self._on_end = on_end
        self._framer = StreamFramer()
        self._out = _Pipe(self.local, self.peer, self._reach_server)
        self._back = _Pipe(self.peer, self.local, self._reach_listener)

    @property
    def is_open(self) -> bool:
        """Whether it is up: messages can be sent."""
        return self.phase == "open"

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it or waits for it."""
        return not len(self.listeners) and not self.waiters

    def retire(self) -> None:
        """Give it out no more; it closes as soon as nobody uses it."""
        self.is_retired = True
        if self.is_idle:
            self.close()

    def leave(self, call_id: str, listener: Listener) -> None:
        """Forget a listener; a connection that stayed silent for it is not reused for another."""
        if call_id not in self.listeners.heard and not self.is_kept:
            self.is_retired = True
        self.listeners.remove(call_id, listener)
        if self.is_retired and self.is_idle:
            self.close()

    def send(self, octets: bytes, to: Address, call_id: str) -> None:  # noqa: ARG002 - one peer
        """Send one message to the server."""
        if self.is_open:
            self._push(self._out, octets)

    def send_back(self, octets: bytes) -> None:
        """Send one message from the server to us."""
        if self.is_open:
            self._push(self._back, octets)

    def close(self) -> None:
        """Close; nobody is told."""
        if self.phase == "ended":
            return
        self.phase = "ended"
        if not self.settled.done():
            self.settled.set_result(None)
        self._on_end(self)

    def give_up(self) -> Observation:
        """Return what it means that a waiter's patience ran out in this phase."""
        detail = f"no answer from {self.peer}"
        if self.phase == "connect":
            return self._seen(Kind.CONNECT_FAILED, error="timeout", detail=detail)
        return self._seen(Kind.TLS_FAILED, error="timeout", detail=detail, ours=False)

    def lose(self, error: str, detail: str) -> None:
        """End it from outside: ``reset``, ``closed``, ``timeout`` or ``framing``."""
        if self.phase == "connect":
            self._end(self._seen(Kind.CONNECT_FAILED, error="refused", detail=detail))
        elif self.phase == "tls":
            self._end(self._seen(Kind.TLS_FAILED, error="closed", detail=detail, ours=False))
        else:
            self._end(self._seen(Kind.CONNECTION_LOST, error=error, detail=detail))

    # --- coming up

    def connect(self, every_s: float = SYN_EVERY_S) -> None:
        """Send the SYN, and again until there is an answer."""
        if self.phase != "connect":
            return
        self._cross("syn", b"", self._syn_arrived)
        self._loop.call_later(every_s, self.connect, 2 * every_s)

    def _syn_arrived(self) -> None:
        back = self._syn_answered if self._find(self.peer) else self._refused
        self._cross("syn", b"", back, outward=True)

    def _refused(self) -> None:
        if self.phase == "connect":
            self.lose("reset", "ECONNREFUSED")

    def _syn_answered(self) -> None:
        if self.phase != "connect":
            return
        self._took(Kind.CONNECTED, peer=str(self.peer))
        if self.transport != "tls":
            self._up()
            return
        self.phase = "tls"
        self._hello(RESEND_S)

    def _hello(self, every_s: float) -> None:
        if self.phase != "tls":
            return
        name = self._road.server_name or self.peer.host
        self._cross("hello", HELLO + name.encode(), self._hello_arrived)
        self._loop.call_later(every_s, self._hello, min(2 * every_s, RESEND_MAX_S))

    def _hello_arrived(self) -> None:
        server = self._find(self.peer)
        certificate = server.certificate if server else None
        if certificate is None:
            self._cross("hello", b"", lambda: self.lose("closed", "no TLS there"), outward=True)
        elif certificate.behaves != "stalls":
            self._cross(
                "hello",
                HELLO + bytes(CERTIFICATE_OCTETS),
                lambda: self._shown(certificate),
                outward=True,
            )

    def _shown(self, certificate: Certificate) -> None:
        if self.phase != "tls":
            return
        failure = failure_of(certificate, self._road, self._carriage.wall())
        if failure is not None:
            self._end(self._seen(Kind.TLS_FAILED, **failure))
            return
        self._took(Kind.TLS_UP, **facts_of(certificate))
        self._up()

    def _up(self) -> None:
        self.phase = "open"
        self.settled.set_result(None)

    def _took(self, kind: Kind, **facts: Fact) -> None:
        now = self._loop.time()
        duration_s, self._phase_began_at = now - self._phase_began_at, now
        self.phases.append(self._seen(kind, **facts, duration_s=duration_s, reused=False))

    def _cross(
        self, phase: Phase, octets: bytes, then: Callable[[], None], *, outward: bool = False
    ) -> None:
        """Lead one handshake packet over the way; ``then`` runs where it arrives."""
        ends = (self.peer, self.local) if outward else (self.local, self.peer)
        packet = Packet(self.transport, *ends, octets, phase)
        after_s = self._carry(packet)
        if after_s is not None:
            self._loop.call_later(after_s[1], then)

    def _carry(self, packet: Packet) -> tuple[bytes, float] | None:
        """What arrives and after how long; None when it is lost on the way."""
        ours = packet.source == self.local
        return self._carriage.carry_stream(
            packet,
            self._icmp if ours else None,
            lambda: self.lose("reset", "ECONNRESET"),
        )

    def _icmp(self, seen: Observation, quoted: bytes) -> None:
        if self.phase == "connect":  # as Linux: a hard error ends connect(), not a live connection
            error = "refused" if seen["errno"] == "ECONNREFUSED" else "unreachable"
            detail = str(seen["errno"])
            self._end(seen, self._seen(Kind.CONNECT_FAILED, error=error, detail=detail))
        else:
            self.listeners.failed(seen, quoted)

    # --- messages

    def _push(self, pipe: _Pipe, octets: bytes) -> None:
        pipe.waiting.append(octets)
        if len(pipe.waiting) == 1:
            self._move(pipe)

    def _move(self, pipe: _Pipe) -> None:
        """Send what waits, in order, until something does not get across."""
        now = self._loop.time()
        while pipe.waiting and self.is_open:
            packet = Packet(self.transport, pipe.source, pipe.destination, pipe.waiting[0])
            carried = self._carry(packet)
            if carried is None:
                self._stall(pipe, now)
                return
            pipe.waiting.popleft()
            pipe.stalled_at, pipe.resend_s = None, RESEND_S
            octets, after_s = carried
            pipe.arrives_at = max(pipe.arrives_at, now + after_s)
            self._loop.call_at(pipe.arrives_at, pipe.deliver, octets)

    def _stall(self, pipe: _Pipe, now: float) -> None:
        if pipe.stalled_at is None:
            pipe.stalled_at = now
        if now - pipe.stalled_at >= UNACKNOWLEDGED_S:
            self.lose("timeout", "ETIMEDOUT")
            return
        self._loop.call_later(pipe.resend_s, self._move, pipe)
        pipe.resend_s = min(2 * pipe.resend_s, RESEND_MAX_S)

    def _reach_server(self, octets: bytes) -> None:
        if self.phase != "open":
            return
        server = self._find(self.peer)
        if server is None:
            self.lose("reset", "ECONNRESET")
        else:
            server.stream_arrived(octets, self.local)

    def _reach_listener(self, octets: bytes) -> None:
        if self.phase != "open":
            return
        self._framer.feed(octets)
        try:
            while self.is_open and (message := self._framer.next()) is not None:
                self.listeners.arrived(Arrival(message, self.peer, self._loop.time()))
        except Malformed as malformed:
            self.lose("framing", f"lost the framing: {malformed.why}")

    # --- ending

    def _end(self, *failures: Observation) -> None:
        if self.phase == "ended":
            return
        self.failures.extend(failures)
        self.close()
        for seen in failures:
            self.listeners.failed(seen)

    def _seen(self, kind: Kind, **facts: Fact) -> Observation:
        return Observation(kind, self._loop.time(), facts)
