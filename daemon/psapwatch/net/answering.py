"""An answering point on real sockets: what ``psapwatch respond`` and the demo's towns listen with.

Bounded on every side: connections, requests a second from one source, sources remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket  # noqa: TID251 - the answering side's own door
import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import Address, PortRange, Source, Tls, TransportName
from psapwatch.net.clock import SystemClock
from psapwatch.net.mirror_ports import MIRRORS_MAX, MirrorPorts
from psapwatch.net.srtp import cipher_maker
from psapwatch.net.system import SystemEntropy
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import Script
from psapwatch.sip.guard import permit
from psapwatch.sip.wire import Malformed, StreamFramer
from psapwatch.world import Arrival, Entropy

CONNECTIONS_MAX: Final = 1_000
SOURCES_MAX: Final = 10_000
READ_OCTETS: Final = 65_536
PER_SOURCE_A_SECOND: Final = 50.0
PER_SOURCE_BURST: Final = 200.0
READS_AT_ONCE: Final = 64
"""Datagrams read at a wake-up; what remains wakes the loop again."""
ANY_PORTS: Final = PortRange(0, 0)
MARK_ANCILLARY: Final = socket.CMSG_SPACE(4)
_MARKS: Final = {
    (socket.IPPROTO_IP, socket.IP_TOS),
    (socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
}

Take = Callable[[bytes, Address, int | None], None]


@dataclass(slots=True)
class _Allowance:
    """What one source may still send us."""

    left: float
    at: float


class Answering:
    """One ``AnsweringPoint`` listening on its address over one transport."""

    def __init__(
        self,
        point: AnsweringPoint,
        transport: TransportName = "udp",
        *,
        tls: Tls | None = None,
        per_source_a_second: float = PER_SOURCE_A_SECOND,
        rtp_ports: PortRange = ANY_PORTS,
        mirrors_max: int = MIRRORS_MAX,
    ) -> None:
        self.point, self.transport = point, transport
        self.refused = 0
        """Requests that a source sent beyond its allowance."""
        self._tls, self._rate = tls, per_source_a_second
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._datagrams: _Datagrams | None = None
        self._server: asyncio.Server | None = None
        self._writers: dict[Address, asyncio.StreamWriter] = {}
        self.where = point.answerer.address
        """Where it listens, once it is open."""
        self._sources: OrderedDict[str, _Allowance] = OrderedDict()
        media = Source(point.answerer.address.host, rtp_ports=rtp_ports)
        self._mirrors = MirrorPorts(
            SystemClock(), SystemEntropy(), media, self._media_arrived, mirrors_max
        )
        point.mirror_through(self._mirrors, cipher_maker())

    async def open(self) -> Address:
        """Listen, and return where.

        Raises:
            OSError: the address is in use or not ours.
            ssl.SSLError: certificate and key do not fit.
        """
        where = self.point.answerer.address
        if self.transport == "udp":
            self._datagrams = _Datagrams(where, self.take)
            host, port = self._datagrams.local
        else:
            context = server_context(self._tls) if self.transport == "tls" and self._tls else None
            self._server = await asyncio.start_server(  # noqa: TID251 - the answering side's own door
                self._serve, where.host, where.port, ssl=context
            )
            host, port = self._server.sockets[0].getsockname()[:2]
        self.where = Address(host, port)
        return self.where

    def hang_up(self) -> None:
        """End every call that is still up."""
        self.point.hang_up(self._loop.time())
        self._pump()

    def close(self) -> None:
        """Stop listening; calls in progress are left to their own timers on the far side."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._datagrams is not None:
            self._datagrams.close()
        self._mirrors.shut()
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers.values()):
            writer.close()

    def take(self, octets: bytes, source: Address, dscp: int | None = None) -> None:
        """Take one datagram or message; ``dscp`` as it was marked, where that can be seen."""
        now = self._loop.time()
        if not self._allowed(source.host, now):
            self.refused += 1
            return
        self.point.receive(octets, source, now, self.transport, dscp)
        self._pump()

    def _media_arrived(self, local: Address, arrival: Arrival) -> None:
        now = self._loop.time()
        self.point.receive_media(local, arrival.octets, arrival.source, now, arrival.arrived_at)
        self._pump()

    def _pump(self) -> None:
        """Send what is due: media first, so that no BYE overtakes the last echo."""
        for local, packet in self.point.media_to_send():
            self._mirrors.send(local, packet)
        for octets, to in (*self.point.data_to_send(), *self.point.data_to_send_elsewhere()):
            permit(octets)  # an answering point calls nobody either
            if self._datagrams is not None:
                self._datagrams.send_octets(octets, to)
            elif (writer := self._writers.get(to)) is not None:
                writer.write(octets)
        due = self.point.next_timer()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if due is None else self._loop.call_at(due, self._ring, due)

    def _ring(self, due: float) -> None:
        self.point.handle_timer(max(due, self._loop.time()))
        self._pump()

    def _allowed(self, host: str, now: float) -> bool:
        """A token bucket a source; the least recently heard source is forgotten first."""
        known = self._sources.pop(host, None) or _Allowance(PER_SOURCE_BURST, now)
        known.left = min(PER_SOURCE_BURST, known.left + (now - known.at) * self._rate)
        known.at = now
        self._sources[host] = known
        if len(self._sources) > SOURCES_MAX:
            self._sources.popitem(last=False)
        if known.left < 1:
            return False
        known.left -= 1
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one connection until it ends or loses its framing."""
        host, port = writer.get_extra_info("peername")[:2]
        source = Address(host, port)
        if len(self._writers) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._writers[source] = writer
        framer = StreamFramer()
        try:
            while octets := await reader.read(READ_OCTETS):
                framer.feed(octets)
                while (message := framer.next()) is not None:
                    self.take(message, source)
        except (Malformed, ConnectionError, ssl.SSLError):
            pass  # framing or connection lost: nothing more can be read from it (RFC 3261 18.3)
        finally:
            del self._writers[source]
            writer.close()


class _Datagrams:
    """One UDP socket, read with the mark that each datagram carries."""

    def __init__(self, where: Address, take: Take) -> None:
        """Bind and listen.

        Raises:
            OSError: the address is in use or not ours.
        """
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._one = socket.socket(
            socket.AF_INET6 if where.is_v6 else socket.AF_INET, socket.SOCK_DGRAM
        )
        try:
            self._one.setblocking(False)  # noqa: FBT003 - the socket module takes it by position
            if where.is_v6:
                self._one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            else:
                self._one.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            self._one.bind((where.host, where.port))
        except OSError:
            self._one.close()
            raise
        self.local: tuple[str, int] = self._one.getsockname()[:2]
        self._loop.add_reader(self._one.fileno(), self._readable)

    def send_octets(self, octets: bytes, to: Address) -> None:
        """Send one datagram; one that cannot leave is lost, as on any network."""
        with contextlib.suppress(OSError):
            self._one.sendto(octets, (to.host, to.port))

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._one.fileno())
        self._one.close()

    def _readable(self) -> None:
        for _datagram in range(READS_AT_ONCE):
            try:
                octets, ancillary, _flags, sender = self._one.recvmsg(READ_OCTETS, MARK_ANCILLARY)
            except OSError:  # nothing left, or the errno of an ICMP error, which nobody waits for
                return
            self._take(octets, Address(sender[0], sender[1]), _dscp_of(ancillary))


def _dscp_of(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, octets in ancillary:
        if (level, kind) in _MARKS and octets:
            return (
                octets[0] >> 2 if len(octets) == 1 else int.from_bytes(octets, sys.byteorder) >> 2
            )
    return None


def server_context(tls: Tls) -> ssl.SSLContext:
    """Our own certificate, and the peers' if a CA is named (mutual TLS).

    Raises:
        ssl.SSLError, OSError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert_file or "", tls.key_file)
    if tls.ca_file:
        context.load_verify_locations(tls.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def open_targets(scripts: Mapping[str, Script], entropy: Entropy) -> dict[str, Answering]:
    """Open answering points on loopback ports of the system's choice, one for each script.

    Raises:
        OSError: loopback cannot be used.
    """
    opened = {}
    for name, script in scripts.items():
        at = Address("127.0.0.1", 0)
        point = AnsweringPoint(script, name=name, tag=lambda: entropy.token(8), address=at)
        opened[name] = Answering(point)
        await opened[name].open()
    return opened
