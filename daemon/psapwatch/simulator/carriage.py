"""How a packet gets from host to host: places, ways, links and firewalls (layer L3).

A host stands at a place; a way joins two places by a link, with firewalls on it. Nothing else
exists: an address that nobody placed is silent. Whatever crosses is written into the transcript
with its moment, so that the same seed can be seen to give the same run. Addresses mean something
only in here: no packet ever leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Observation
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.firewall import SimulatedFirewall
from psapwatch.simulator.icmp import Icmp, IcmpBudget, icmp_seen
from psapwatch.simulator.link import Link
from psapwatch.simulator.rule import Direction, Packet, Phase
from psapwatch.world import Clock

TRANSCRIPT_MAX: Final = 2_000
"""Crossings kept; more would be cold memory that every new one has to fetch."""
NEAR: Final = Link(delay_s=0.000_2, jitter_s=0.0)
"""Between hosts of one place."""

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


class Carriage:
    """Places, the ways between them, and what crossed."""

    def __init__(self, *, seed: int, clock: Clock) -> None:
        self.random = seeded(seed, "network")
        self.transcript: deque[Crossing] = deque(maxlen=TRANSCRIPT_MAX)
        self.crossings = 0
        self.taps: list[Callable[[Crossing], None]] = []
        """Each hears everything that is sent, and what becomes of it."""
        self.off: set[str] = set()
        """Hosts that are dead or cut off: nothing reaches them, nothing leaves them."""
        self.wall = clock.wall
        self._digest = hashlib.sha256()
        self._places: dict[str, str] = {}
        self._ways: dict[tuple[str, str], Way] = {}
        self._icmp = IcmpBudget()

    # --- building

    def place(self, host: str, place: str) -> None:
        """Put a host somewhere; one that stands nowhere is silent."""
        self._places[host] = place

    def join(self, outer: str, inner: str, link: Link, *firewalls: SimulatedFirewall) -> None:
        """Lay a way between two places; ``inward`` is from the first to the second."""
        self._ways[outer, inner] = Way(link, firewalls, "inward")
        self._ways[inner, outer] = Way(link, firewalls[::-1], "outward")

    def relink(self, outer: str, inner: str, link: Link) -> None:
        """Change the link of a way, both directions.

        Raises:
            KeyError: there is no such way.
        """
        for ends in ((outer, inner), (inner, outer)):
            self._ways[ends] = replace(self._ways[ends], link=link)

    def is_placed(self, host: str) -> bool:
        """Whether the host stands anywhere."""
        return host in self._places

    def way(self, source: str, destination: str) -> Way | None:
        """The way from a host to another; None where there is none."""
        here, there = self._places.get(source), self._places.get(destination)
        if here is None or there is None:
            return None
        if here == there:
            return Way(NEAR, (), "inward")
        return self._ways.get((here, there))

    @property
    def digest(self) -> str:
        """Hash of everything that ever crossed, with its moments."""
        return self._digest.hexdigest()

    # --- carrying

    def datagram(
        self,
        source: Address,
        destination: Address,
        octets: bytes,
        arrive: Callable[[Address, Address, bytes, Told | None], None],
        *,
        told: Told | None = None,
        phase: Phase = "message",
        ttl: int = 0,
    ) -> None:
        """Send one datagram; each copy that gets across is handed to ``arrive``."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        way = self.way(source.host, destination.host)
        fragments = way.link.fragments_of(len(octets)) if way else 1
        packet = Packet("udp", source, destination, octets, phase, fragments, ttl)
        carried = self._past_firewalls(packet, way, now, told, None)
        if carried is None or way is None:
            return
        octets, delay_s = carried
        delays = way.link.delays(self.random, fragments)
        self._write(now, packet, "sent" if delays else "lost")
        for after_s in delays:
            loop.call_at(now + delay_s + after_s, arrive, source, destination, octets, told)

    def carry_stream(
        self, packet: Packet, told: Told | None, reset: Callable[[], None]
    ) -> tuple[bytes, float] | None:
        """Carry one packet of a connection; what arrives and after how long, or None."""
        now = asyncio.get_running_loop().time()
        way = self.way(packet.source.host, packet.destination.host)
        carried = self._past_firewalls(packet, way, now, told, reset)
        if carried is None or way is None:
            return None
        delays = way.link.delays(self.random)
        self._write(now, packet, "sent" if delays else "lost")
        return (carried[0], carried[1] + delays[0]) if delays else None

    def unreachable(self, source: Address, destination: Address, octets: bytes, told: Told) -> None:
        """Tell a sender that nobody listens on the port (ICMP 3/3, ICMPv6 1/4)."""
        loop = asyncio.get_running_loop()
        back = self.way(destination.host, source.host)
        if back is None or not self._icmp.allows(destination.host, source.host, loop.time()):
            return
        icmp = (1, 4) if source.is_v6 else (3, 3)
        self._tell_later(told, icmp, destination.host, octets, destination, back)

    def _past_firewalls(
        self,
        packet: Packet,
        way: Way | None,
        now: float,
        told: Told | None,
        reset: Callable[[], None] | None,
    ) -> tuple[bytes, float] | None:
        """Lead a packet past the firewalls; its octets then and the delay there, or None."""
        if way is None or packet.source.host in self.off or packet.destination.host in self.off:
            self._write(now, packet, "off" if way else "no way")
            return None
        octets, delay_s = packet.octets, 0.0
        for hop, firewall in enumerate(way.firewalls, 1):
            if packet.ttl == hop:
                self._expire(packet, way, firewall.address, now, told)
                return None
            fate = firewall.cross(packet, way.direction, now)
            if fate.octets is None:
                if fate.icmp is not None and told is not None:
                    self._tell_later(
                        told, fate.icmp, fate.offender, packet.octets, packet.destination, way
                    )
                if fate.reset and reset is not None:
                    asyncio.get_running_loop().call_later(way.link.delay_s, reset)
                rejected: Fate = "rejected" if fate.icmp else "dropped"
                self._write(now, packet, "reset" if fate.reset else rejected)
                return None
            delay_s += fate.delay_s
            if fate.octets is not octets:
                octets = fate.octets
                packet = packet._replace(octets=octets)
        return octets, delay_s

    def _expire(
        self, packet: Packet, way: Way, offender: str, now: float, told: Told | None
    ) -> None:
        """End a packet that may go no further; a router says so before any rule is asked."""
        source, to = packet.source, packet.destination
        if told is not None and self._icmp.allows(offender, source.host, now):
            icmp = (3, 0) if source.is_v6 else (11, 0)
            self._tell_later(told, icmp, offender, packet.octets, to, way)
        self._write(now, packet, "rejected")

    def _tell_later(
        self, told: Told, icmp: Icmp, offender: str, octets: bytes, to: Address, way: Way
    ) -> None:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            told(icmp_seen(icmp, offender, to, loop.time()), octets)

        loop.call_later(way.link.delay_s, tell)

    def _write(self, now: float, packet: Packet, fate: Fate) -> None:
        transport, source, destination, octets, phase, _fragments, _ttl = packet
        self.crossings += 1
        crossing = Crossing(now, transport, phase, source, destination, fate, octets)
        self.transcript.append(crossing)
        for tap in self.taps:
            tap(crossing)
        line = (
            f"{now!r} {transport} {phase} {source.host} {source.port} "
            f"{destination.host} {destination.port} {fate}\n"
        )
        self._digest.update(line.encode() + octets)
