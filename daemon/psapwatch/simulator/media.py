"""RTP in the simulated network: a caller's port pair, and the ports of mirrors (layer L3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from psapwatch.endpoint import Address
from psapwatch.evidence import Observation
from psapwatch.rtp.packet import is_media
from psapwatch.simulator.carriage import Told
from psapwatch.simulator.rule import Phase
from psapwatch.world import Arrival, MediaListener

Receiver = Callable[[bytes, Address], None]


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
