"""The real world: clock, entropy, sockets, names and HTTP of this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import random  # noqa: TID251 - this is the port that everyone else uses
import resource
import socket  # noqa: TID251 - the real adapter
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp

from psapwatch.endpoint import Address, Source
from psapwatch.evidence import Kind, Observation
from psapwatch.net import TRANSPORTS
from psapwatch.net.clock import SystemClock
from psapwatch.net.flow import Lease
from psapwatch.net.media import media_ports, open_pair
from psapwatch.net.pool import Pool
from psapwatch.net.resolve import SipResolver
from psapwatch.net.sockets import (
    ReceiveTime,
    SourcePorts,
    limit_hops,
    local_error,
    open_socket,
)
from psapwatch.net.udp import Datagrams
from psapwatch.sip.machine import NO_ROOM
from psapwatch.world import (
    Clock,
    Entropy,
    Flow,
    Listener,
    MediaFlow,
    MediaListener,
    Reply,
    Road,
    World,
)

SOCKETS_MAX: Final = 16_384
_OTHER_DESCRIPTORS: Final = 256
"""Left for the store, the web, DNS and media when the file limit is what bounds the sockets."""
_POST_PATIENCE_S: Final = 10.0
_REPLY_DETAIL_MAX: Final = 300


def raise_file_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; return how many may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def sockets_that_fit() -> int:
    """Return how many SIP sockets the limit of descriptors leaves room for."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(SOCKETS_MAX, soft - _OTHER_DESCRIPTORS))


class SystemEntropy:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def token(self, octets: int) -> str:
        """Return ``2 * octets`` random lower-case hex digits."""
        return os.urandom(octets).hex()  # noqa: TID251 - this is the port that everyone else uses

    def uniform(self, low: float, high: float) -> float:
        """Return a float, evenly spread over ``[low, high)``."""
        return low + (high - low) * self._random.random()


class SystemNetwork:
    """Sockets of this machine, bounded: the oldest silent OPTIONS gives way, a call never does.

    Make it inside the running loop; ``close`` it at the end.
    """

    def __init__(self, clock: Clock, entropy: Entropy, *, sockets_max: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._entropy = entropy
        self._ports = SourcePorts(entropy)
        self._times = ReceiveTime(clock.wall, self._loop.time)
        self._pool = Pool(self._new_socket, self._times)
        self._fresh: dict[Datagrams, None] = {}
        self._may_give_way: dict[Datagrams, None] = {}
        self.sockets_max = sockets_max or sockets_that_fit()
        self.dropped = 0
        """Silent flows that gave way to others."""

    @property
    def sockets_open(self) -> int:
        """How many sockets are open now."""
        return len(self._fresh) + len(self._pool)

    async def open(
        self,
        road: Road,
        call_id: str,
        listener: Listener,
        *,
        patience_s: float,
        local_port: int = 0,
        is_call: bool = False,
    ) -> Flow | None:
        """Open or share a flow; see ``world.Network.open``."""
        if road.flow == "kept" or TRANSPORTS[road.transport].reliable:
            return await self._pool.lease(road, call_id, listener, local_port, patience_s)
        try:
            one = self._new_socket(socket.SOCK_DGRAM, road.source, road.peer, local_port)
            if road.ttl:
                limit_hops(one, road.ttl)
        except OSError as error:
            about = f"opening {road.source.address}"
            listener.failed(local_error(error, about, self._loop.time()))
            return None
        flow = Datagrams(one, road.peer, self._times, self._forget)
        self._fresh[flow] = None
        if not is_call:
            self._may_give_way[flow] = None
        flow.listeners.add("", listener)
        return Lease(flow, "", listener)

    def open_media(
        self, source: Source, local_host: str, listener: MediaListener
    ) -> MediaFlow | None:
        """Open a port pair for RTP and RTCP; see ``world.Network.open_media``."""

        def make(bound: Source, family: Address, port: int) -> socket.socket:
            return self._new_socket(socket.SOCK_DGRAM, bound, family, port)

        try:
            self._room_for(2)
            pair = open_pair(make, self._entropy, source, local_host)
        except OSError as error:
            about = f"opening media ports on {local_host}"
            listener.media_failed(local_error(error, about, self._loop.time()))
            return None
        ports = media_ports(pair, self._times, self._forget, listener)
        self._fresh.update(dict.fromkeys(ports.carriers))
        return ports

    def drop_reused(self, peer: Address | None = None) -> None:
        """On suspicion: whoever asks next gets a fresh connection (to ``peer``, or to anybody)."""
        self._pool.drop_reused(peer)

    def close(self) -> None:
        """Close every socket; nobody is told."""
        for flow in list(self._fresh):
            flow.close()
        self._pool.close()

    def _forget(self, flow: Datagrams) -> None:
        self._fresh.pop(flow, None)
        self._may_give_way.pop(flow, None)

    def _new_socket(
        self, kind: socket.SocketKind, source: Source, peer: Address, local_port: int
    ) -> socket.socket:
        """Raises OSError, EMFILE only when every socket is a call's or in use."""
        self._room_for(1)
        try:
            return open_socket(kind, source, peer, self._ports, local_port)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._make_room():
                raise
        return open_socket(kind, source, peer, self._ports, local_port)

    def _room_for(self, sockets: int) -> None:
        """Raises OSError (EMFILE) when there is none and nothing gives way."""
        while self.sockets_open + sockets > self.sockets_max:
            if not self._make_room():
                raise OSError(errno.EMFILE, f"all {self.sockets_max} sockets are in use")

    def _make_room(self) -> bool:
        """Drop the oldest silent flow that is no call's, otherwise an idle shared flow."""
        while self._may_give_way:
            flow = next(iter(self._may_give_way))
            del self._may_give_way[flow]
            if flow.silent:
                self._drop(flow)
                return True
        return self._pool.close_idle()

    def _drop(self, flow: Datagrams) -> None:
        self.dropped += 1
        flow.close()
        facts = {"error": NO_ROOM, "detail": f"gave way: {self.sockets_max} sockets open"}
        seen = Observation(Kind.LOCAL_ERROR, self._loop.time(), facts)
        self._loop.call_soon(flow.listeners.failed, seen)


class HttpPost:
    """HTTP out. ``close`` it at the end."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """POST and return what came of it; redirects are not followed."""
        if self._session is None:
            patience = aiohttp.ClientTimeout(total=_POST_PATIENCE_S)
            self._session = aiohttp.ClientSession(timeout=patience)
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                said = await answer.content.read(_REPLY_DETAIL_MAX)
                return Reply(answer.status, said.decode("utf-8", "replace"))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Reply(0, f"{type(error).__name__}: {error}"[:_REPLY_DETAIL_MAX])

    async def close(self) -> None:
        """Close the connections kept for the next post."""
        if self._session is not None:
            await self._session.close()


def system_world(
    *, dns_servers: Sequence[Address | str] = (), sockets_max: int | None = None
) -> World:
    """Return the world of this machine; call it inside the running loop.

    ``dns_servers`` replace the system's and its hosts file (numeric; text means port 53).
    """
    clock = SystemClock()
    entropy = SystemEntropy()
    return World(
        clock=clock,
        entropy=entropy,
        network=SystemNetwork(clock, entropy, sockets_max=sockets_max),
        resolver=SipResolver(entropy, servers=dns_servers),
        post=HttpPost(),
    )


async def close_world(world: World) -> None:
    """Close what ``system_world`` opened."""
    if isinstance(world.network, SystemNetwork):
        world.network.close()
    if isinstance(world.post, HttpPost):
        await world.post.close()
