"""Shared flows by road: reused connections and kept datagram sockets (RFC 5923)."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the real adapter
from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address, Source
from psapwatch.evidence import Kind, Observation
from psapwatch.net import TRANSPORTS
from psapwatch.net.flow import Lease
from psapwatch.net.sockets import ReceiveTime, local_error
from psapwatch.net.stream import Connection
from psapwatch.net.tls import TlsContexts, TlsSession
from psapwatch.net.udp import Datagrams
from psapwatch.world import REUSE_MAX_S, Listener, Road

IDLE_MAX_S: Final = 3_600.0
"""A kept flow that nobody used for so long belongs to a path that is no longer watched."""
_SWEEP_EVERY_S: Final = 30.0

SocketMaker = Callable[[socket.SocketKind, Source, Address, int], socket.socket]

_Carrier = Connection | Datagrams
_Key = tuple[Road, int]


class Pool:
    """The connections and kept sockets of one network, each by its road."""

    def __init__(self, new_socket: SocketMaker, times: ReceiveTime) -> None:
        self._new_socket = new_socket
        self._times = times
        self._contexts = TlsContexts()
        self._current: dict[_Key, _Carrier] = {}
        self._all: dict[_Carrier, None] = {}
        self._swept_at = 0.0

    def __len__(self) -> int:
        return len(self._all)

    async def lease(
        self, road: Road, call_id: str, listener: Listener, local_port: int, patience_s: float
    ) -> Lease | None:
        """Lease the road's flow for one Call-ID; opens it when there is none that may be shared."""
        now = asyncio.get_running_loop().time()
        self._sweep(now)
        key = (road, local_port)
        carrier = self._reusable(key, now) or self._opened(key, listener, now)
        if carrier is None:
            return None
        if isinstance(carrier, Connection):
            if carrier.is_open:
                for seen in carrier.phases:
                    listener.observed(_again(seen, now))
            elif not await _came_up(carrier, listener, patience_s):
                return None
        carrier.listeners.add(call_id, listener)
        return Lease(carrier, call_id, listener)

    def drop_reused(self, peer: Address | None = None) -> None:
        """Let the next who asks get a fresh connection (to ``peer``, or to anybody)."""
        for key, carrier in list(self._current.items()):
            reused = isinstance(carrier, Connection) and not carrier.is_kept
            if reused and peer in (None, carrier.peer):
                self._retire(key)

    def close_idle(self) -> bool:
        """Close the flow that was idle longest, to make room; False when all are in use."""
        idle = [carrier for carrier in self._all if carrier.is_idle]
        if not idle:
            return False
        min(idle, key=lambda carrier: carrier.used_at).close()
        return True

    def close(self) -> None:
        """Close everything; nobody is told."""
        for carrier in list(self._all):
            carrier.close()

    def _reusable(self, key: _Key, now: float) -> _Carrier | None:
        carrier = self._current.get(key)
        if not isinstance(carrier, Connection):
            return carrier
        is_old = key[0].begins or now - carrier.began_at >= REUSE_MAX_S
        if carrier.is_retired or (is_old and not carrier.is_kept):
            self._retire(key)
            return None
        return carrier

    def _retire(self, key: _Key) -> None:
        carrier = self._current.pop(key)
        if isinstance(carrier, Connection):
            carrier.retire()

    def _opened(self, key: _Key, listener: Listener, now: float) -> _Carrier | None:
        """Open a flow, or tell why our own side could not."""
        road, local_port = key
        row = TRANSPORTS[road.transport]
        try:
            session = self._session(road) if row.secure else None
        except (OSError, ValueError) as error:
            facts = {"error": "tls_settings", "detail": str(error)}
            listener.failed(Observation(Kind.LOCAL_ERROR, now, facts))
            return None
        kind = socket.SOCK_STREAM if row.reliable else socket.SOCK_DGRAM
        is_kept = road.flow == "kept"

        def forget(ended: _Carrier) -> None:
            self._all.pop(ended, None)
            if self._current.get(key) is ended:
                del self._current[key]

        try:
            one = self._new_socket(kind, road.source, road.peer, local_port)
            carrier: _Carrier
            if row.reliable:
                carrier = Connection(
                    one, road.peer, self._times, forget, tls=session, is_kept=is_kept
                )
            else:
                carrier = Datagrams(one, road.peer, self._times, forget, is_kept=is_kept)
        except OSError as error:
            listener.failed(local_error(error, f"opening {road.source.address}", now))
            return None
        self._current[key] = carrier
        self._all[carrier] = None
        if isinstance(carrier, Connection):
            carrier.connect()
        return carrier

    def _session(self, road: Road) -> TlsSession:
        """Raises OSError for the files, ValueError for a server name that cannot be one."""
        context = self._contexts.get(road.tls)
        name = road.server_name or road.peer.host
        return TlsSession(context, name, has_certificate=bool(road.tls.cert_file))

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < _SWEEP_EVERY_S:
            return
        self._swept_at = now
        for carrier in list(self._all):
            idle_max_s = IDLE_MAX_S if carrier.is_kept else REUSE_MAX_S
            if carrier.is_idle and now - carrier.used_at > idle_max_s:
                carrier.close()


async def _came_up(connection: Connection, listener: Listener, patience_s: float) -> bool:
    """Wait for a connection that is coming up, tell its phases, and what failed."""
    connection.waiters += 1
    try:
        await asyncio.wait([connection.settled], timeout=patience_s)
    finally:
        connection.waiters -= 1
        failures = connection.failures or [connection.give_up()]
        is_open = connection.is_open
        if not connection.waiters and not connection.settled.done():
            connection.close()
    for seen in connection.phases:
        listener.observed(seen)
    if is_open:
        return True
    for seen in failures:
        listener.failed(seen)
    return False


def _again(seen: Observation, now: float) -> Observation:
    """Return a phase of a reused connection as it is for one more attempt: it took no time."""
    return Observation(seen.kind, now, {**seen.facts, "duration_s": 0.0, "reused": True})
