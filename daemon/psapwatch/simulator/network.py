"""The simulated network: places joined by ways, and the daemon's ``Network`` on top (layer L3).

A host stands at a place; a way joins two places by links, with firewalls on it. Nothing else
exists: an address that nobody placed is silent. Whatever crosses is written into the transcript
with its moment, so that the same seed can be seen to give the same run. Datagrams are here,
connections in ``simulator.stream``. Addresses mean something only in here: no packet ever leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from psapwatch.endpoint import Address, Source, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.firewall import Direction, Packet, Phase, SimulatedFirewall
from psapwatch.simulator.icmp import IcmpBudget, icmp_seen
from psapwatch.simulator.link import Link
from psapwatch.sip.guard import permit
from psapwatch.sip.wire import call_id_of
from psapwatch.world import Arrival, Flow, Listener, Road

TRANSCRIPT_MAX: Final = 20_000
EPHEMERAL: Final = (32_768, 60_999)
"""Linux's ip_local_port_range, where a source names no ports."""
_NEAR: Final = Link(delay_s=0.0002, jitter_s=0.0)

Receiver = Callable[[bytes, Address], None]
Told = Callable[[Observation, bytes], None]
"""Hears an ICMP error and the octets that it quotes."""
Fate = Literal["sent", "lost", "dropped", "rejected", "reset", "no way", "off"]


@dataclass(frozen=True, slots=True)
class Way:
    """One direction between two places."""

    link: Link
    firewalls: tuple[SimulatedFirewall, ...]
    direction: Direction


class Crossing(NamedTuple):
    """One line of the transcript."""

    at: float
    transport: TransportName
    phase: Phase
    source: Address
    destination: Address
    fate: Fate
    octets: bytes


@dataclass(slots=True)
class _Socket:
    """A bound datagram port of the prober, and who hears what it brings."""

    local: Address
    shared: bool
    listeners: dict[str, Listener] = field(default_factory=dict)

    def listener_of(self, octets: bytes) -> Listener | None:
        if not self.shared:
            return next(iter(self.listeners.values()), None)
        return self.listeners.get(call_id_of(octets)) or self.listeners.get("")


class SimulatedNetwork:
    """``world.Network`` over simulated links and firewalls."""

    def __init__(self, *, seed: int) -> None:
        self.random = seeded(seed, "network")
        self.transcript: deque[Crossing] = deque(maxlen=TRANSCRIPT_MAX)
        self.crossings = 0
        self.off: set[str] = set()
        """Hosts that are dead or cut off: nothing reaches them, nothing leaves them."""
        self.local_fault = ""
        """An errno name that opening a flow fails with: the prober's own fault."""
        self._digest = hashlib.sha256()
        self._places: dict[str, str] = {}
        self._ways: dict[tuple[str, str], Way] = {}
        self._receivers: dict[Address, Receiver] = {}
        self._kept: dict[tuple[str, Address, str], _Socket] = {}
        self._icmp = IcmpBudget()
        self._open_flows = 0

    # --- building

    def place(self, host: str, place: str) -> None:
        """Put a host somewhere; one that stands nowhere is silent."""
        self._places[host] = place

    def join(self, outer: str, inner: str, link: Link, *firewalls: SimulatedFirewall) -> None:
        """Lay a way between two places; ``inward`` is from the first to the second."""
        self._ways[outer, inner] = Way(link, firewalls, "inward")
        self._ways[inner, outer] = Way(link, tuple(reversed(firewalls)), "outward")

    def bind(self, address: Address, receiver: Receiver) -> None:
        """Hear datagrams at an address.

        Raises:
            OSError: somebody hears there already.
        """
        if address in self._receivers:
            message = f"{address} is in use"
            raise OSError(message)
        self._receivers[address] = receiver

    def unbind(self, address: Address) -> None:
        """Hear no more there; what still comes is answered with ICMP port unreachable."""
        self._receivers.pop(address, None)

    # --- looking

    @property
    def open_flows(self) -> int:
        """Flows that were opened and not yet released."""
        return self._open_flows

    @property
    def digest(self) -> str:
        """Hash of everything that ever crossed, with its moments."""
        return self._digest.hexdigest()

    def way(self, source: str, destination: str) -> Way | None:
        """The way from a host to another; None where there is none."""
        here, there = self._places.get(source), self._places.get(destination)
        if here is None or there is None:
            return None
        if here == there:
            return Way(_NEAR, (), "inward")
        return self._ways.get((here, there))

    # --- carrying

    def datagram(
        self, source: Address, destination: Address, octets: bytes, told: Told | None = None,
        phase: Phase = "message",
    ) -> None:  # fmt: skip
        """Send one datagram; an ICMP error about it comes to ``told``."""
        way = self.way(source.host, destination.host)
        fragments = way.link.fragments_of(len(octets)) if way else 1
        packet = Packet("udp", source, destination, octets, phase, fragments)
        carried = self.carry(packet, way, told)
        if carried is None or way is None:
            return
        octets, delay_s = carried
        loop = asyncio.get_running_loop()
        now = loop.time()
        for after_s in way.link.delays(self.random, fragments):
            loop.call_at(now + delay_s + after_s, self._arrive, source, destination, octets, told)

    def carry(
        self,
        packet: Packet,
        way: Way | None,
        told: Told | None,
        reset: Callable[[], None] | None = None,
    ) -> tuple[bytes, float] | None:
        """Lead a packet past the firewalls; what arrives and after what extra delay, or None."""
        now = asyncio.get_running_loop().time()
        if way is None or packet.source.host in self.off or packet.destination.host in self.off:
            self._write(now, packet, "no way" if way is None else "off")
            return None
        octets, delay_s = packet.octets, 0.0
        for firewall in way.firewalls:
            fate = firewall.cross(packet, way.direction, now)
            if fate.octets is None:
                self._turn_back(packet, way, fate.icmp, fate.offender, told)
                if fate.reset and reset is not None:
                    asyncio.get_running_loop().call_later(way.link.delay_s, reset)
                refused: Fate = "rejected" if fate.icmp else "dropped"
                self._write(now, packet, "reset" if fate.reset else refused)
                return None
            delay_s += fate.delay_s
            octets = fate.octets
            if octets is not packet.octets:
                packet = Packet(
                    packet.transport, packet.source, packet.destination, octets, packet.phase,
                    packet.fragments,
                )  # fmt: skip
        self._write(now, packet, "sent")
        return octets, delay_s

    def _arrive(
        self, source: Address, destination: Address, octets: bytes, told: Told | None
    ) -> None:
        if destination.host in self.off:
            return
        receiver = self._receivers.get(destination)
        if receiver is not None:
            receiver(octets, source)
            return
        now = asyncio.get_running_loop().time()
        if told is None or not self._icmp.allows(destination.host, source.host, now):
            return
        back = self.way(destination.host, source.host)
        if back is not None:
            unreachable = (1, 4) if source.is_v6 else (3, 3)
            asyncio.get_running_loop().call_later(
                back.link.delay_s, self._tell, told, unreachable, destination.host, octets
            )

    def _turn_back(
        self,
        packet: Packet,
        way: Way,
        icmp: tuple[int, int] | None,
        offender: str,
        told: Told | None,
    ) -> None:
        if icmp is not None and told is not None:
            asyncio.get_running_loop().call_later(
                way.link.delay_s, self._tell, told, icmp, offender, packet.octets
            )

    def _tell(self, told: Told, icmp: tuple[int, int], offender: str, octets: bytes) -> None:
        told(icmp_seen(icmp, offender, asyncio.get_running_loop().time()), octets)

    def _write(self, now: float, packet: Packet, fate: Fate) -> None:
        source, destination = packet.source, packet.destination
        self.crossings += 1
        self.transcript.append(
            Crossing(now, packet.transport, packet.phase, source, destination, fate, packet.octets)
        )
        line = (
            f"{now!r} {packet.transport} {packet.phase} {source.host} {source.port} "
            f"{destination.host} {destination.port} {fate}\n"
        )
        self._digest.update(line.encode() + packet.octets)

    # --- world.Network

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
        """As ``world.Network.open``."""
        if self.local_fault:
            self._fail_locally(listener, self.local_fault)
            return None
        if road.transport != "udp":
            raise NotImplementedError("streams are being built")
        key = (road.source.address, road.peer, road.transport)
        socket = self._kept.get(key) if road.flow == "kept" else None
        if socket is None:
            port = self.free_port(road.source, local_port)
            if port is None or road.source.address not in self._places:
                known = road.source.address in self._places
                self._fail_locally(listener, "EADDRINUSE" if known else "EADDRNOTAVAIL")
                return None
            socket = _Socket(Address(road.source.address, port), shared=road.flow == "kept")
            self.bind(socket.local, self._receiver_of(socket))
            if socket.shared:
                self._kept[key] = socket
        socket.listeners[call_id] = listener
        self._open_flows += 1
        return _DatagramFlow(self, socket, road.peer, call_id)

    def free_port(self, source: Source, local_port: int, *, bound: bool = True) -> int | None:
        """A port of the source's range that nobody has; None when there is none."""
        low, high = source.sip_ports.low, source.sip_ports.high
        if local_port:
            low = high = local_port
        elif not high:
            low, high = EPHEMERAL
        count = high - low + 1
        first = self.random.randrange(count)
        taken = self._receivers if bound else {}
        for offset in range(count):
            port = low + (first + offset) % count
            if Address(source.address, port) not in taken:
                return port
        return None

    def flow_released(self) -> None:
        """Count one flow less."""
        self._open_flows -= 1

    def flow_opened(self) -> None:
        """Count one flow more."""
        self._open_flows += 1

    def _receiver_of(self, socket: _Socket) -> Receiver:
        def receive(octets: bytes, source: Address) -> None:
            listener = socket.listener_of(octets)
            if listener is not None:
                now = asyncio.get_running_loop().time()
                listener.arrived(Arrival(octets, source, now))

        return receive

    @staticmethod
    def _fail_locally(listener: Listener, error: str) -> None:
        now = asyncio.get_running_loop().time()
        listener.failed(Observation(Kind.LOCAL_ERROR, now, {"error": error, "detail": "simulated"}))


class _DatagramFlow:
    """One Call-ID's use of a socket."""

    __slots__ = ("_call_id", "_network", "_released", "_socket", "local", "peer", "transport")

    def __init__(
        self, network: SimulatedNetwork, socket: _Socket, peer: Address, call_id: str
    ) -> None:
        self.local = socket.local
        self.peer = peer
        self.transport: TransportName = "udp"
        self._network = network
        self._socket = socket
        self._call_id = call_id
        self._released = False

    def send(self, octets: bytes, to: Address | None = None) -> None:
        """As ``world.Flow.send``."""
        permit(octets)
        self._network.datagram(self.local, to or self.peer, octets, self._told)

    def release(self) -> None:
        """As ``world.Flow.release``; a second time does nothing."""
        if self._released:
            return
        self._released = True
        self._socket.listeners.pop(self._call_id, None)
        if not self._socket.shared:
            self._network.unbind(self.local)
        self._network.flow_released()

    def _told(self, seen: Observation, octets: bytes) -> None:
        listener = self._socket.listener_of(octets)
        if listener is not None:
            listener.failed(seen)
