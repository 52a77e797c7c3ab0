"""The TCP half of the demo's firewall: passes streams message by message, or resets (layer L5)."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - SO_LINGER makes the RST of a firewall that refuses
import struct
from typing import Final, Protocol

from psapwatch.endpoint import Address
from psapwatch.sip.wire import Malformed, StreamFramer

CONNECTIONS_MAX: Final = 256
"""Connections through one town's port; more are reset."""
WAITING_OCTETS_MAX: Final = 262_144
"""What may wait for a slow reader before the connection is given up."""
_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class Rules(Protocol):
    """Who is asked about each message."""

    def passes(self, octets: bytes, labels: frozenset[str]) -> bool:
        """Whether it may pass; the answer is counted."""
        ...


class StreamFront:
    """One town's TCP port as seen from outside."""

    def __init__(
        self, rules: Rules, where: Address, inner: Address, labels: frozenset[str]
    ) -> None:
        self.where, self.inner, self.labels = where, inner, labels
        self._rules = rules
        self._server: asyncio.Server | None = None
        self._joining: set[asyncio.Task[None]] = set()
        self.halves: set[_Half] = set()

    async def open(self) -> None:
        """Listen. Raises OSError: the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._accepted, self.where.host, self.where.port, reuse_address=True
        )

    def close(self) -> None:
        """Stop listening and reset what is connected: the kernel now refuses with RST."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for half in list(self.halves):
            half.reset()

    def passes(self, octets: bytes) -> bool:
        """Ask the rules about one message."""
        return self._rules.passes(octets, self.labels)

    def _accepted(self) -> _Half:
        outside = _Half(self)
        task = asyncio.get_running_loop().create_task(self._join(outside))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)
        return outside

    async def _join(self, outside: _Half) -> None:
        """Connect to the town; what the outside says meanwhile waits in its socket."""
        inside = _Half(self)
        if len(self.halves) > 2 * CONNECTIONS_MAX:
            outside.reset()
            return
        outside.other, inside.other = inside, outside
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: inside, self.inner.host, self.inner.port
            )
        except OSError:
            outside.reset()
            return
        if outside.transport is None:  # it has gone while we connected
            inside.reset()
        else:
            outside.transport.resume_reading()


class _Half(asyncio.Protocol):
    """One side of a connection; whole messages that may pass go to the other side."""

    def __init__(self, front: StreamFront) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None
        self._front = front
        self._framer = StreamFramer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the outer side waits until the inner one is there."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._front.halves.add(self)
        if self.other is None or self.other.transport is None:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass on what the rules let pass; a stream that is no SIP is reset."""
        try:
            self._framer.feed(data)
            while (message := self._framer.next()) is not None:
                if self._front.passes(message):
                    self._pass_on(message)
        except Malformed:
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side as this one was: cleanly, or by RST."""
        self._front.halves.discard(self)
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            if exc is None:
                self.other.transport.close()
            else:
                self.other.reset()

    def reset(self) -> None:
        """End this side with RST."""
        if self.transport is not None:
            one: socket.socket | None = self.transport.get_extra_info("socket")
            if one is not None:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def _pass_on(self, message: bytes) -> None:
        to = self.other.transport if self.other is not None else None
        if to is None:
            return
        if to.get_write_buffer_size() > WAITING_OCTETS_MAX:
            self.reset()
            return
        to.write(message)
