"""What stands on both sides of a demo firewall in its tests: callers and towns that keep all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from psapwatch.demo.relay import Relay
from psapwatch.endpoint import Address

HOST = "127.0.0.1"
FIRST_PORT = 24_000
"""Below the ports that systems give out, and none of the demo's own."""
LABELS = frozenset({"ma-boston", "Suffolk"})


def message(method: str, number: int = 0) -> bytes:
    """Return a SIP request with a number to be known by."""
    return (
        f"{method} sip:x SIP/2.0\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n".encode()
    )


OK = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass
class DatagramEnd(asyncio.DatagramProtocol):
    """A UDP port; what comes in and what goes wrong are kept in order."""

    answer: bytes = b""
    came: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    errors: asyncio.Queue[Exception] = field(default_factory=asyncio.Queue)
    sources: list[tuple[str, int]] = field(default_factory=list)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Begin."""
        self.transport = transport
        self.where = Address(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it, and answer if told to."""
        self.sources.append(addr)
        self.came.put_nowait(data)
        if self.answer:
            self.transport.sendto(self.answer, addr)

    def error_received(self, exc: Exception) -> None:
        """Keep an ICMP error."""
        self.errors.put_nowait(exc)


@dataclass
class StreamEnd(asyncio.Protocol):
    """One side of a TCP connection."""

    came: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    lost: asyncio.Queue[Exception | None] = field(default_factory=asyncio.Queue)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.came.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep how it ended."""
        self.lost.put_nowait(exc)


async def town(answer: bytes = b"") -> DatagramEnd:
    """Open a town's UDP port."""
    loop = asyncio.get_running_loop()
    _transport, end = await loop.create_datagram_endpoint(
        lambda: DatagramEnd(answer), local_addr=(HOST, 0)
    )
    return end


async def caller(outside: Address) -> DatagramEnd:
    """Open a UDP port that talks to one place only, and so hears its ICMP errors."""
    loop = asyncio.get_running_loop()
    _transport, end = await loop.create_datagram_endpoint(
        DatagramEnd, remote_addr=(outside.host, outside.port)
    )
    return end


def firewall() -> Relay:
    """Return a firewall without conduits."""
    return Relay("fw-east", first_port=FIRST_PORT)
