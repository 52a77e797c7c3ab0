"""TCP and TLS connections: each phase an observation, each message framed.

A connection owns a non-blocking socket under ``add_reader`` rather than an asyncio transport,
which would hide the kernel's receive time, the error queue, and whether FIN or RST ended it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket  # noqa: TID251 - the real adapter
from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.net.flow import Listeners
from psapwatch.net.send_queue import SOFT_ERRORS, SendQueue
from psapwatch.net.sockets import (
    RECEIVED_ANCILLARY,
    ReceiveTime,
    icmp_by_errno,
    local_address,
    local_error,
    queued_errors,
)
from psapwatch.net.tls import TlsFailure, TlsSession
from psapwatch.sip.wire import Malformed, StreamFramer
from psapwatch.world import Arrival, Listener

_UNACKNOWLEDGED_MS: Final = 32_000
"""TCP_USER_TIMEOUT: as long as a SIP transaction waits (64 * T1)."""
_RECEIVE: Final = memoryview(bytearray(65_536))
"""One for all connections: octets are copied out before the next read."""

_CONNECT_ERRORS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.ECONNRESET: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "unreachable",
    errno.ENOPROTOOPT: "unreachable",
    errno.EOPNOTSUPP: "unreachable",
    errno.EPROTO: "unreachable",
}
_LOST: Final = {errno.ETIMEDOUT: "timeout", errno.ECONNRESET: "reset", errno.EPIPE: "reset"}


class Connection:
    """One connection to one peer, from SYN to its end, leased out by Call-ID."""

    __slots__ = (
        "_began_at",
        "_framer",
        "_loop",
        "_on_end",
        "_one",
        "_phase",
        "_queue",
        "_times",
        "_tls",
        "began_at",
        "failures",
        "is_kept",
        "is_retired",
        "listeners",
        "local",
        "peer",
        "phases",
        "settled",
        "transport",
        "used_at",
        "waiters",
    )

    def __init__(
        self,
        one: socket.socket,
        peer: Address,
        times: ReceiveTime,
        on_end: Callable[[Connection], None],
        *,
        tls: TlsSession | None = None,
        is_kept: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.peer = peer
        self.local = Address(one.getsockname()[0], one.getsockname()[1])
        self.transport: TransportName = "tls" if tls else "tcp"
        self.listeners = Listeners()
        self.is_kept = is_kept
        self.is_retired = False
        self.waiters = 0
        self.settled: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is up, or has failed."""
        self.phases: list[Observation] = []
        self.failures: list[Observation] = []
        self.began_at = self.used_at = self._began_at = self._loop.time()
        self._one: socket.socket | None = one
        self._phase = "connect"
        self._times = times
        self._on_end = on_end
        self._tls = tls
        self._framer = StreamFramer()
        self._queue = SendQueue(one, self._loop, self._soft_error)

    @property
    def is_open(self) -> bool:
        """Whether it is up: messages can be sent."""
        return self._phase == "open"

    @property
    def has_ended(self) -> bool:
        """Whether it failed or was closed."""
        return self._phase == "ended"

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it or waits for it."""
        return not len(self.listeners) and not self.waiters

    def retire(self) -> None:
        """Give it out no more; it closes as soon as nobody uses it."""
        self.is_retired = True
        if self.is_idle:
            self.close()

    def connect(self) -> None:
        """Send the SYN."""
        one = self._one
        assert one is not None, "connect is called once, first"
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        number = one.connect_ex((self.peer.host, self.peer.port))
        if number in (0, errno.EINPROGRESS):
            self._loop.add_writer(one.fileno(), self._connected)
            return
        icmp = [seen for seen, _quoted in queued_errors(one, self._now())]
        if icmp or number in _LOST or number == errno.ECONNREFUSED:
            self._connect_failed(number, icmp)
            return
        error = OSError(number, os.strerror(number))
        self._end(local_error(error, f"connecting to {self.peer}", self._now()))

    def send(self, octets: bytes, to: Address, call_id: str) -> None:  # noqa: ARG002 - one peer
        """Send one message of a Call-ID."""
        if not self.is_open:
            return
        try:
            if self._tls:
                self._tls.write(octets)
                octets = self._tls.data_to_send()
        except TlsFailure as failure:
            self._loop.call_soon(self._end, self._seen(Kind.TLS_FAILED, **failure.facts))
            return
        if not self._queue.has_room(len(octets)):
            detail = f"{len(self._queue)} octets were not taken"
            lost = self._seen(Kind.CONNECTION_LOST, error="timeout", detail=detail)
            self._loop.call_soon(self._end, lost)
            return
        self._queue.write(octets)

    def leave(self, call_id: str, listener: Listener) -> None:
        """Forget a listener; a connection that stayed silent for it is not reused for another."""
        if call_id not in self.listeners.heard and not self.is_kept:
            self.is_retired = True
        self.listeners.remove(call_id, listener)
        self.used_at = self._now()
        if self.is_retired and self.is_idle:
            self.close()

    def give_up(self) -> Observation:
        """Return what it means that a waiter's patience ran out in this phase."""
        kind = Kind.CONNECT_FAILED if self._phase == "connect" else Kind.TLS_FAILED
        detail = f"no answer from {self.peer}"
        ours = {} if kind is Kind.CONNECT_FAILED else {"ours": False}
        return self._seen(kind, error="timeout", detail=detail, **ours)

    def close(self) -> None:
        """Close; nobody is told."""
        one, self._one = self._one, None
        if one is None:
            return
        if self._tls and self.is_open:
            self._tls.close()
            self._queue.write(self._tls.data_to_send())
        self._phase = "ended"
        self._loop.remove_reader(one.fileno())
        self._loop.remove_writer(one.fileno())
        one.close()
        if not self.settled.done():
            self.settled.set_result(None)
        self._on_end(self)

    # -- coming up

    def _connected(self) -> None:
        """Take the outcome of the SYN: connected, refused, or an ICMP error with its sender."""
        one = self._one
        assert one is not None, "a closed socket has no writer"
        now = self._now()
        number = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        icmp = [seen for seen, _quoted in queued_errors(one, now)]
        if number or icmp:
            self._connect_failed(number, icmp)
            return
        self._loop.remove_writer(one.fileno())
        self._loop.add_reader(one.fileno(), self._readable)
        self.local = local_address(one, self.peer)
        self._took(Kind.CONNECTED, peer=str(self.peer))
        if self._tls is None:
            self._up()
            return
        self._phase = "tls"
        self._shake(self._tls)

    def _connect_failed(self, number: int, icmp: list[Observation]) -> None:
        error = _CONNECT_ERRORS.get(number, "other") if number else "unreachable"
        detail = errno.errorcode.get(number, str(number))
        self._end(*icmp, self._seen(Kind.CONNECT_FAILED, error=error, detail=detail))

    def _shake(self, tls: TlsSession) -> bool:
        """Go on with the handshake; True when the session is up."""
        try:
            done = tls.shake()
        except TlsFailure as failure:
            self._queue.write(tls.data_to_send())  # our alert, so that the peer knows why
            self._end(self._seen(Kind.TLS_FAILED, **failure.facts))
            return False
        self._queue.write(tls.data_to_send())
        if done:
            self._took(Kind.TLS_UP, **tls.facts())
            self._up()
        return done

    def _up(self) -> None:
        self._phase = "open"
        self.settled.set_result(None)

    def _took(self, kind: Kind, **facts: Fact) -> None:
        """Note that a phase went well, and how long it took."""
        now = self._now()
        duration_s = now - self._began_at
        self._began_at = now
        self.phases.append(self._seen(kind, **facts, duration_s=duration_s, reused=False))

    # -- reading

    def _readable(self) -> None:
        """Read once; what remains wakes the loop again."""
        one = self._one
        assert one is not None, "a closed socket has no reader"
        now = self._now()
        try:
            size, ancillary, _flags, _source = one.recvmsg_into((_RECEIVE,), RECEIVED_ANCILLARY)
        except (BlockingIOError, InterruptedError):
            self._soft_error(0)
            return
        except OSError as error:
            if error.errno in SOFT_ERRORS:
                self._soft_error(error.errno or 0)
            else:
                self._lost(error.errno or 0)
            return
        if not size:
            self._lost(self._queue.errno)
            return
        self._received(_RECEIVE[:size].tobytes(), self._times.to_loop(ancillary, now))

    def _received(self, octets: bytes, arrived_at: float) -> None:
        over = False
        if self._tls:
            self._tls.feed(octets)
            if not self._tls.is_up and not self._shake(self._tls):
                return
            try:
                octets, over = self._tls.read()
            except TlsFailure as failure:
                self._end(self._seen(Kind.TLS_FAILED, **failure.facts))
                return
            self._queue.write(self._tls.data_to_send())  # e.g. the answer to a key update
        self._framer.feed(octets)
        try:
            while not self.has_ended and (message := self._framer.next()) is not None:
                self.listeners.arrived(Arrival(message, self.peer, arrived_at))
        except Malformed as malformed:
            detail = f"lost the framing: {malformed.why}"
            self._end(self._seen(Kind.CONNECTION_LOST, error="framing", detail=detail))
            return
        if over:
            self._lost(0)

    def _soft_error(self, number: int) -> None:
        """Tell of ICMP on a connection that is up: TCP goes on (RFC 5927 5), and so do we.

        Linux queues type, code and sender while connecting only; later it gives the errno alone.
        """
        if self._one is None:
            return
        icmp = [seen for seen, _quoted in queued_errors(self._one, self._now())]
        if number and not icmp:
            icmp = [icmp_by_errno(number, self.peer, self._now())]
        if not icmp:
            return
        if self._phase == "tls":
            detail = errno.errorcode.get(number, "ICMP")
            self._end(*icmp, self._seen(Kind.TLS_FAILED, error="closed", detail=detail, ours=False))
            return
        for seen in icmp:
            self.listeners.failed(seen)

    def _lost(self, number: int) -> None:
        """Take FIN (no error number) or what broke the connection, in whichever phase it is."""
        how = _LOST.get(number, "closed")
        detail = errno.errorcode.get(number, "the peer closed")
        if self._phase == "tls":
            self._end(self._seen(Kind.TLS_FAILED, error="closed", detail=detail, ours=False))
        else:
            self._end(self._seen(Kind.CONNECTION_LOST, error=how, detail=detail))

    # -- ending

    def _end(self, *failures: Observation) -> None:
        """Fail: who waits reads ``failures``, who listens is told."""
        if self.has_ended:
            return
        self.failures.extend(failures)
        self.close()
        for seen in failures:
            self.listeners.failed(seen)

    def _now(self) -> float:
        return self._loop.time()

    def _seen(self, kind: Kind, **facts: Fact) -> Observation:
        return Observation(kind, self._now(), facts)
