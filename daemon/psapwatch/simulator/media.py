"""RTP in the simulated network: a caller's port pair, and the ports of mirrors (layer L3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Observation
from psapwatch.rtp.mirror import Packet
from psapwatch.rtp.packet import is_media
from psapwatch.simulator.carriage import Told
from psapwatch.simulator.rule import Phase
from psapwatch.world import Arrival, MediaListener

FIRST_PORTS: Final[Mapping[TransportName, int]] = {"udp": 30_000, "tcp": 40_000, "tls": 50_000}
"""Where the mirrors of each signalling transport begin; a host may have all three."""
PORTS: Final = 9_990
MIRRORS_MAX: Final = 1_000
LINGER_S: Final = 1.0

Receiver = Callable[[bytes, Address], None]
Arrived = Callable[[Address, bytes, Address], None]
"""Takes the pair's RTP address, the octets and who sent them."""


class Wires(Protocol):
    """What a media port needs of the network."""

    def bind(self, address: Address, receiver: Receiver) -> None:
        """Hear datagrams at an address."""
        ...

    def unbind(self, address: Address) -> None:
        """Hear no more there."""
        ...

    def datagram(
        self,
        source: Address,
        destination: Address,
        octets: bytes,
        told: Told | None = None,
        phase: Phase = "message",
    ) -> None:
        """Send one datagram."""
        ...


class MirrorPorts:
    """Port pairs of one simulated host for its mirrors: a ``sip.answering_media.Door``."""

    def __init__(self, wires: Wires, host: str, first: int, arrived: Arrived) -> None:
        self._wires, self._host, self._arrived = wires, host, arrived
        self._first = self._next = first
        self._open: set[Address] = set()

    @property
    def is_full(self) -> bool:
        """Whether no further call can be mirrored now."""
        return len(self._open) >= MIRRORS_MAX

    def open(self) -> Address | None:
        """Open the next pair that is free."""
        if self.is_full:
            return None
        local = Address(self._host, self._next)
        while local in self._open:
            local = Address(self._host, local.port + 2)
        self._next = local.port + 2 if local.port < self._first + PORTS else self._first
        self._open.add(local)
        for port in (local.port, local.port + 1):
            self._wires.bind(Address(self._host, port), partial(self._arrived, local))
        return local

    def close(self, local: Address) -> None:
        """Close a pair after what may still be on its way."""
        asyncio.get_running_loop().call_later(LINGER_S, self._shut, local)

    def send(self, local: Address, packet: Packet) -> None:
        """Send one packet of a mirror."""
        source = Address(local.host, local.port + packet.port_offset)
        self._wires.datagram(source, packet.to, packet.octets, None, "media")

    def _shut(self, local: Address) -> None:
        self._open.discard(local)
        for port in (local.port, local.port + 1):
            self._wires.unbind(Address(self._host, port))


class SimulatedMedia:
    """The ``world.MediaFlow`` of the simulated network: a pair of ports, RTP on the even one."""

    __slots__ = ("_control", "_is_open", "_listener", "_on_end", "_wires", "local")

    def __init__(
        self,
        wires: Wires,
        local: Address,
        listener: MediaListener,
        on_end: Callable[[Address], None],
    ) -> None:
        self.local, self._on_end = local, on_end
        self._control = Address(local.host, local.port + 1)
        self._wires, self._listener, self._is_open = wires, listener, True
        for address in (self.local, self._control):
            wires.bind(address, self._arrived)

    def send(self, octets: bytes, to: Address, *, is_control: bool = False) -> float:
        """Send one packet; see ``world.MediaFlow.send``."""
        if not is_media(octets):
            raise ValueError("neither RTP nor RTCP: it does not leave through a media port")
        if self._is_open:
            source = self._control if is_control else self.local
            self._wires.datagram(source, to, octets, self._failed, "media")
        return asyncio.get_running_loop().time()

    def release(self) -> None:
        """Close both ports."""
        if self._is_open:
            self._is_open = False
            self._wires.unbind(self.local)
            self._wires.unbind(self._control)
            self._on_end(self.local)

    def _arrived(self, octets: bytes, source: Address) -> None:
        at = asyncio.get_running_loop().time()
        self._listener.media_arrived(Arrival(octets, source, at))

    def _failed(self, seen: Observation, quoted: bytes) -> None:
        del quoted  # only our own packets leave here
        if self._is_open:
            self._listener.media_failed(seen)
