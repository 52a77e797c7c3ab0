"""The outside world as five small ports, and ``World``, the frozen bundle of them (layer L2).

The real ports are in ``net.system``; the simulated ones in ``simulator``. The daemon is handed a
``World`` and never asks which of the two it got.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from psapwatch.endpoint import Address, FlowKind, Source, Tls, TransportName
from psapwatch.evidence import Observation
from psapwatch.frozen import frozen


class Clock(Protocol):
    """Wall time. Monotonic time is the running loop's ``time()``."""

    def wall(self) -> float:
        """Return Unix seconds, UTC."""
        ...


class Entropy(Protocol):
    """The only source of chance: seeded in the simulator, the system's otherwise."""

    def token(self, octets: int) -> str:
        """Return ``2 * octets`` random lower-case hex digits."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a float, evenly spread over ``[low, high)``."""
        ...


class Arrival(NamedTuple):
    """Octets that came in: one datagram, or one framed message of a stream."""

    octets: bytes
    source: Address
    arrived_at: float
    """Loop seconds, from the kernel's receive time where the transport has one."""


class Listener(Protocol):
    """Who hears what a flow brings for one Call-ID."""

    def arrived(self, arrival: Arrival) -> None:
        """Take one datagram or message."""
        ...

    def observed(self, seen: Observation) -> None:
        """Take a phase that went well (CONNECTED, TLS_UP); ``at_s`` is loop time here."""
        ...

    def failed(self, seen: Observation) -> None:
        """Take ICMP, CONNECT_FAILED, TLS_FAILED, CONNECTION_LOST, LOCAL_ERROR (loop time)."""
        ...


REUSE_MAX_S: Final = 300.0
"""A connection older than this is not given out again: old flows lie after a rule push."""


@frozen
class Road:
    """How to get from a source to one peer address."""

    transport: TransportName
    source: Source
    peer: Address
    server_name: str = ""
    """The SIP domain that a TLS certificate must name (RFC 5922 7.1); never the SRV target."""
    tls: Tls = Tls()
    flow: FlowKind = "fresh"
    """``fresh``: a new 5-tuple for UDP; a reused connection at most 5 min old for streams.
    ``kept``: one long-lived flow shared by all that ask for the same road."""
    begins: bool = field(default=False, compare=False)
    """Reuses no connection and begins one, which those who ask later share: the same road."""
    ttl: int = 0
    """How many IP hops a fresh datagram flow's packets may take; 0: the system's own number."""


class Flow(Protocol):
    """An open way to one peer. All octets leave through ``send``, which keeps the URN guard."""

    local: Address
    peer: Address
    transport: TransportName

    def send(self, octets: bytes, to: Address | None = None) -> None:
        """Send one message. ``to`` differs from ``peer`` only on datagram flows.

        Errors come to the listener's ``failed``, never as an exception.

        Raises:
            psapwatch.sip.guard.NotATestCall: an INVITE that is not to a test URN; nothing was sent.
        """
        ...

    def release(self) -> None:
        """Say that this Call-ID is done: closes a fresh datagram flow, leaves a shared one."""
        ...


class Network(Protocol):
    """Sockets."""

    async def open(
        self,
        road: Road,
        call_id: str,
        listener: Listener,
        *,
        patience_s: float,
        local_port: int = 0,
        is_call: bool = False,
    ) -> Flow | None:
        """Open or share a flow on which messages of ``call_id`` come to ``listener``.

        Returns ``None`` after ``listener.failed`` when no connection came about within
        ``patience_s``. ``local_port`` binds exactly that port (a killed daemon ending its calls).
        ``call_id`` ``""`` takes everything no one else asked for. A flow of a call (``is_call``) is
        never dropped to make room for another.
        """
        ...

    def open_media(
        self, source: Source, local_host: str, listener: MediaListener
    ) -> MediaFlow | None:
        """Open a port pair of ``source.rtp_ports`` on ``local_host``, where the call's SIP leaves.

        Returns ``None`` after ``listener.media_failed`` when our own side could not.
        """
        ...


class MediaListener(Protocol):
    """Who hears what comes to a media port."""

    def media_arrived(self, arrival: Arrival) -> None:
        """Take one RTP or RTCP datagram."""
        ...

    def media_failed(self, seen: Observation) -> None:
        """Take an ICMP error with its sender, or an error of our own (loop time)."""
        ...


class MediaFlow(Protocol):
    """A port pair for one call's RTP and, one port higher, its RTCP (RFC 3550 11)."""

    local: Address
    """Where RTP leaves from and comes to: symmetric (RFC 4961)."""

    def send(self, octets: bytes, to: Address, *, is_control: bool = False) -> float:
        """Send one packet, from the RTCP port if ``is_control``; return when it left (loop time).

        Errors come to the listener, never as an exception.

        Raises:
            ValueError: the octets are neither RTP nor RTCP; nothing was sent.
        """
        ...

    def release(self) -> None:
        """Close both ports."""
        ...


@frozen
class Resolved:
    """The addresses of one name, or why there are none."""

    name: str
    legs: tuple[Address, ...]
    transport: TransportName
    error: str = ""
    """``nxdomain``, ``timeout``, ``servfail``, ``no_data`` or ``other``; ``""`` when it went well.
    With an error ``legs`` holds the last known addresses, so that probing goes on."""
    detail: str = ""
    duration_s: float = 0.0
    cached: bool = False


class Resolver(Protocol):
    """SIP server location (RFC 3263)."""

    async def resolve(self, uri: str, transport: TransportName) -> Resolved:
        """Return the legs (at most 8) of a SIP URI over ``transport``; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What an HTTP post came to: a status, or 0 and the error."""

    status: int
    detail: str = ""


class Post(Protocol):
    """HTTP out: how notices leave."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """POST and return what came of it; never raises for a network failure."""
        ...


@frozen
class OpenCall:
    """The ledger row of one test call: enough to end it after a crash (detection.md 7)."""

    call_id: str
    psap: str
    path: str
    firewall: str
    transport: TransportName
    local: Address
    peer: Address
    octets: bytes
    """The INVITE exactly as sent."""
    invited_at: float
    """Unix seconds."""
    answer: bytes = b""
    """The 2xx exactly as received, once there was one: ACK and BYE are built from it."""


class CallForbidden(Exception):
    """The ledger refuses the call: stopped, too soon, or another one is open."""


class CallLedger(Protocol):
    """Keeps test calls: on disk before they are on the wire."""

    async def open_call(self, row: OpenCall) -> None:
        """Commit the row; return only then.

        Raises:
            CallForbidden: the call is not to be placed.
            Exception: the row was not committed within 1 s; the INVITE must not leave.
        """
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Clock, entropy, network, resolver and post: all that the daemon knows of the outside."""

    clock: Clock
    entropy: Entropy
    network: Network
    resolver: Resolver
    post: Post
