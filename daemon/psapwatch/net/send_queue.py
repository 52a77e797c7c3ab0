"""What a stream socket does not take at once, bounded."""

from __future__ import annotations

import asyncio
import errno
import socket  # noqa: TID251 - the real adapter
from collections.abc import Callable
from typing import Final

WRITE_BUFFER_MAX: Final = 262_144
"""Octets that the peer has not taken; more means that it, or the way, has stopped taking any."""

SOFT_ERRORS: Final = frozenset(
    {
        errno.EACCES,
        errno.ECONNREFUSED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPROTO,
    }
)
"""On a connection that is up these are ICMP errors, and TCP goes on (RFC 1122 4.2.3.9)."""


class SendQueue:
    """Octets on their way into one connected, non-blocking socket."""

    __slots__ = ("_loop", "_on_soft_error", "_one", "_waiting", "errno")

    def __init__(
        self,
        one: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_soft_error: Callable[[int], None],
    ) -> None:
        self._one = one
        self._loop = loop
        self._on_soft_error = on_soft_error
        self._waiting = bytearray()
        self.errno = 0
        """Why the socket takes no more. Its reader is woken, and may first read a last word."""

    def __len__(self) -> int:
        return len(self._waiting)

    def has_room(self, octets: int) -> bool:
        """Whether so many octets more would keep the bound."""
        return len(self._waiting) + octets <= WRITE_BUFFER_MAX

    def write(self, octets: bytes) -> None:
        """Write, or keep what the socket does not take."""
        if self._waiting:
            self._waiting += octets
        elif octets and not self.errno:
            taken = self._send(octets)
            if taken < len(octets) and not self.errno:
                self._waiting += octets[taken:]
                self._loop.add_writer(self._one.fileno(), self._writable)

    def _writable(self) -> None:
        del self._waiting[: self._send(self._waiting)]
        if self.errno or not self._waiting:
            self._loop.remove_writer(self._one.fileno())

    def _send(self, octets: bytes | bytearray, *, again: bool = True) -> int:
        try:
            return self._one.send(octets)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            number = error.errno or 0
        if again and number in SOFT_ERRORS:
            self._loop.call_soon(self._on_soft_error, number)
            return self._send(octets, again=False)
        self.errno = number
        return 0
