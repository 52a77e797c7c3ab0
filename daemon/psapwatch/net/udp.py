"""Datagrams: one unconnected socket per attempt, or one kept for many, with its ICMP errors.

Unconnected, because a connected socket never sees an answer that comes from elsewhere. The socket
is read under ``loop.add_reader``: asyncio's own datagram endpoint spins after the first ICMP
error with IP_RECVERR set.
"""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the real adapter
from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Observation
from psapwatch.net.flow import Listeners
from psapwatch.net.sockets import (
    DATAGRAM_OCTETS_MAX,
    RECEIVED_ANCILLARY,
    ReceiveTime,
    local_address,
    local_error,
    queued_errors,
)
from psapwatch.world import Arrival, Listener

_BUFFER: Final = memoryview(bytearray(DATAGRAM_OCTETS_MAX))
"""One for all sockets: a datagram is copied out before the next is read."""


class Datagrams:
    """One UDP socket, owned by one attempt or kept for many."""

    __slots__ = (
        "_loop",
        "_on_end",
        "_one",
        "_times",
        "is_kept",
        "listeners",
        "local",
        "peer",
        "silent",
        "transport",
        "used_at",
    )

    def __init__(
        self,
        one: socket.socket,
        peer: Address,
        times: ReceiveTime,
        on_end: Callable[[Datagrams], None],
        *,
        is_kept: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.local = local_address(one, peer)
        self.peer = peer
        self.transport: TransportName = "udp"
        self.listeners = Listeners()
        self.is_kept = is_kept
        self.silent = True
        self.used_at = self._loop.time()
        self._one: socket.socket | None = one
        self._times = times
        self._on_end = on_end
        self._loop.add_reader(one.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and heard."""
        return self._one is not None

    @property
    def is_idle(self) -> bool:
        """Whether nobody listens."""
        return not len(self.listeners)

    def send(self, octets: bytes, to: Address, call_id: str) -> None:
        """Send one datagram; where an earlier one's ICMP error stands in the way, send again."""
        one = self._one
        if one is None:
            return
        try:
            one.sendto(octets, (to.host, to.port))
        except OSError:
            errors = queued_errors(one, self._loop.time())
            self._loop.call_soon(self._tell, errors)
            try:
                one.sendto(octets, (to.host, to.port))
            except OSError as error:
                seen = local_error(error, f"sending to {to}", self._loop.time())
                self._loop.call_soon(self.listeners.tell, call_id, seen)

    def leave(self, call_id: str, listener: Listener) -> None:
        """Forget a listener; a fresh socket closes with its only one."""
        self.listeners.remove(call_id, listener)
        self.used_at = self._loop.time()
        if not self.is_kept:
            self.close()

    def close(self) -> None:
        """Close the socket; nobody is told."""
        one, self._one = self._one, None
        if one is not None:
            self._loop.remove_reader(one.fileno())
            one.close()
            self._on_end(self)

    def _readable(self) -> None:
        """Read one datagram, or the errors; what remains wakes the loop again."""
        one = self._one
        assert one is not None, "a closed socket has no reader"
        now = self._loop.time()
        try:
            size, ancillary, _flags, sender = one.recvmsg_into((_BUFFER,), RECEIVED_ANCILLARY)
        except OSError:  # nothing to read, or the errno of an ICMP error whose facts are queued
            self._tell(queued_errors(one, now))
            return
        self.silent = False
        arrived_at = self._times.to_loop(ancillary, now)
        source = Address(sender[0], sender[1])
        self.listeners.arrived(Arrival(_BUFFER[:size].tobytes(), source, arrived_at))

    def _tell(self, errors: list[tuple[Observation, bytes]]) -> None:
        for seen, quoted in errors:
            self.listeners.failed(seen, quoted)
