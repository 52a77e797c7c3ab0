"""The port pairs of an answering point's mirrors on real sockets, one pair a call."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the real adapter
from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address, Source
from psapwatch.evidence import Observation
from psapwatch.net.media import MediaPorts, media_ports, open_pair
from psapwatch.net.sockets import ReceiveTime, SourcePorts, open_socket
from psapwatch.net.udp import Datagrams
from psapwatch.rtp.mirror import Packet
from psapwatch.world import Arrival, Clock, Entropy

MIRRORS_MAX: Final = 32
"""Calls that are mirrored at once; the next one is told 486 (i3 section 9)."""
LINGER_S: Final = 1.0
"""A pair closes so long after its call: what is on its way must not meet an ICMP error."""

Arrived = Callable[[Address, Arrival], None]
"""Takes the pair's RTP address and what came to either port."""


class MirrorPorts:
    """A ``sip.answering_media.Door``; ``source`` says where from and with which ports."""

    def __init__(
        self,
        clock: Clock,
        entropy: Entropy,
        source: Source,
        arrived: Arrived,
        mirrors_max: int = MIRRORS_MAX,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._entropy, self._source, self._arrived = entropy, source, arrived
        self._ports = SourcePorts(entropy)
        self._times = ReceiveTime(clock.wall, self._loop.time)
        self._max = mirrors_max
        self._pairs: dict[Address, MediaPorts] = {}
        self._lingering: dict[Address, asyncio.TimerHandle] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further call can be mirrored now."""
        return len(self._pairs) - len(self._lingering) >= self._max

    def open(self) -> Address | None:
        """Open a pair; None when there is none, or our own system refuses."""
        if len(self._pairs) >= 2 * self._max:
            return None
        try:
            pair = open_pair(self._make, self._entropy, self._source, self._source.address)
        except OSError:
            return None
        ear = _Ear(self._arrived)
        ports = media_ports(pair, self._times, _forget, ear)
        ear.local = ports.local
        self._pairs[ports.local] = ports
        return ports.local

    def close(self, local: Address) -> None:
        """Close a pair, soon."""
        if local in self._pairs and local not in self._lingering:
            self._lingering[local] = self._loop.call_later(LINGER_S, self._shut, local)

    def send(self, local: Address, packet: Packet) -> None:
        """Send one packet of a mirror; a third port is nothing that a real one has."""
        pair = self._pairs.get(local)
        if pair is not None:
            pair.send(packet.octets, packet.to, is_control=packet.port_offset == 1)

    def shut(self) -> None:
        """Close everything at once."""
        for timer in self._lingering.values():
            timer.cancel()
        for local in list(self._pairs):
            self._shut(local)

    def _shut(self, local: Address) -> None:
        self._lingering.pop(local, None)
        self._pairs.pop(local).release()

    def _make(self, source: Source, family: Address, port: int) -> socket.socket:
        return open_socket(socket.SOCK_DGRAM, source, family, self._ports, port)


class _Ear:
    """Listens on one pair."""

    def __init__(self, arrived: Arrived) -> None:
        self.local = Address("", 0)
        self._arrived = arrived

    def media_arrived(self, arrival: Arrival) -> None:
        """Hand on."""
        self._arrived(self.local, arrival)

    def media_failed(self, seen: Observation) -> None:
        """Nothing: what a mirror cannot send is the prober's loss to count."""


def _forget(_ended: Datagrams) -> None:
    """Nothing else keeps them."""
