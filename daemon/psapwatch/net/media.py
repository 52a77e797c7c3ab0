"""A port pair for one call's RTP and RTCP, on the same kind of socket as SIP datagrams.

Kernel receive times and ICMP errors with their sender come with it. Nothing but RTP and RTCP leaves
here: octets that are neither (a SIP request, say) are refused.
"""

from __future__ import annotations

import asyncio
import errno
import socket  # noqa: TID251 - the real adapter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from psapwatch.endpoint import Address, PortRange, Source
from psapwatch.evidence import Observation
from psapwatch.net.sockets import ReceiveTime
from psapwatch.net.udp import Datagrams
from psapwatch.rtp.packet import is_media
from psapwatch.world import Arrival, Entropy, MediaListener

PAIR_TRIES: Final = 128
"""Port pairs that are tried before the range counts as used up."""

SocketMaker = Callable[[Source, Address, int], socket.socket]
"""Source, an address of the family that is meant, and the port."""


class _Ear:
    """Turns what a datagram socket tells into what a media listener hears."""

    def __init__(self, listener: MediaListener) -> None:
        self._listener = listener

    def arrived(self, arrival: Arrival) -> None:
        """Take one datagram."""
        self._listener.media_arrived(arrival)

    def observed(self, seen: Observation) -> None:
        """Nothing: a datagram socket has no phases."""

    def failed(self, seen: Observation) -> None:
        """Take an ICMP error."""
        self._listener.media_failed(seen)


class MediaPorts:
    """The ``world.MediaFlow`` of the real network."""

    __slots__ = ("_control", "_loop", "_rtp", "local")

    def __init__(self, rtp: Datagrams, control: Datagrams, listener: MediaListener) -> None:
        self._loop = asyncio.get_running_loop()
        self._rtp, self._control = rtp, control
        self.local = rtp.local
        ear = _Ear(listener)
        for datagrams in self.carriers:
            datagrams.listeners.add("", ear)

    @property
    def carriers(self) -> tuple[Datagrams, Datagrams]:
        """The two sockets."""
        return self._rtp, self._control

    def send(self, octets: bytes, to: Address, *, is_control: bool = False) -> float:
        """Send one packet; see ``world.MediaFlow.send``."""
        if not is_media(octets):
            raise ValueError("neither RTP nor RTCP: it does not leave through a media port")
        at = self._loop.time()
        (self._control if is_control else self._rtp).send(octets, to, "")
        return at

    def release(self) -> None:
        """Close both ports."""
        self._rtp.close()
        self._control.close()


def open_pair(
    make: SocketMaker, entropy: Entropy, source: Source, local_host: str
) -> tuple[socket.socket, socket.socket]:
    """Bind an even port of the source's range and the one above it (RFC 3550 11).

    Raises:
        OSError: the address is not ours, no descriptor is left, or no pair is free (EADDRINUSE).
    """
    bound = replace(source, address=local_host, sip_ports=PortRange(0, 0))
    family = Address(local_host, 0)
    for port in _candidates(source.rtp_ports, entropy):
        try:
            first = make(bound, family, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        number = int(first.getsockname()[1])
        try:
            second = make(bound, family, number ^ 1)
        except OSError as error:
            first.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return (second, first) if number & 1 else (first, second)
    raise OSError(errno.EADDRINUSE, f"no free port pair in {source.rtp_ports}")


def media_ports(
    pair: tuple[socket.socket, socket.socket],
    times: ReceiveTime,
    on_end: Callable[[Datagrams], None],
    listener: MediaListener,
) -> MediaPorts:
    """Read a bound pair from now on; ``on_end`` is told as each of the two closes."""
    rtp, control = (Datagrams(one, _anywhere(one), times, on_end) for one in pair)
    return MediaPorts(rtp, control, listener)


def _anywhere(one: socket.socket) -> Address:
    """The peer of a socket that has none: nothing is ever sent to it."""
    host, port = one.getsockname()[:2]
    return Address(str(host), int(port))


def _candidates(ports: PortRange, entropy: Entropy) -> Iterator[int]:
    """Even ports of the range in turn, from anywhere in it; 0 where the system is to choose."""
    if not ports.high:
        yield from (0,) * PAIR_TRIES
        return
    first = ports.low + ports.low % 2
    pairs = (ports.high - first + 1) // 2
    start = int(entropy.uniform(0, max(1, pairs)))
    for step in range(min(pairs, PAIR_TRIES)):
        yield first + 2 * ((start + step) % pairs)
