"""The daemon's ``Network`` over the simulated carriage: sockets and connections (layer L3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address, PortRange, Source, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.net.flow import Lease, Listeners
from psapwatch.simulator.carriage import Carriage, Told
from psapwatch.simulator.media import SimulatedMedia
from psapwatch.simulator.rule import Phase
from psapwatch.simulator.stream import Server, SimulatedConnection
from psapwatch.world import (
    REUSE_MAX_S,
    Arrival,
    Clock,
    Flow,
    Listener,
    MediaFlow,
    MediaListener,
    Road,
)

EPHEMERAL: Final = (32_768, 60_999)
"""Linux's ip_local_port_range, where a source names no ports."""
MEDIA_PORTS: Final = PortRange(16_384, 32_767)
"""Where a source names no ports for media."""

Receiver = Callable[[bytes, Address], None]


class _Socket:
    """A bound datagram port of the prober: a ``net.flow.Carrier``."""

    __slots__ = ("_network", "_owner", "is_kept", "listeners", "local", "peer", "transport", "ttl")

    def __init__(self, network: SimulatedNetwork, local: Address, road: Road) -> None:
        self.local = local
        self.peer, self.ttl = road.peer, road.ttl
        self.transport: TransportName = "udp"
        self.is_kept = road.flow == "kept"
        self.listeners = Listeners()
        self._network = network
        self._owner: Listener | None = None

    def join(self, call_id: str, listener: Listener) -> None:
        """Let a listener hear its Call-ID, and on a fresh socket everything."""
        self._owner = listener
        self.listeners.add(call_id, listener)

    def send(self, octets: bytes, to: Address, call_id: str) -> None:  # noqa: ARG002 - one owner
        """Send one datagram."""
        self._network.datagram(self.local, to, octets, self.listeners.failed, ttl=self.ttl)

    def leave(self, call_id: str, listener: Listener) -> None:
        """Forget a listener; a fresh socket closes with its only one."""
        self.listeners.remove(call_id, listener)
        if not self.is_kept:
            self._network.closed(self)

    def receive(self, octets: bytes, source: Address) -> None:
        """Take one datagram from wherever it comes."""
        arrival = Arrival(octets, source, asyncio.get_running_loop().time())
        if self.is_kept:
            self.listeners.arrived(arrival)
        elif self._owner is not None:  # garbage and callbacks too: nobody else can hear them
            self._owner.arrived(arrival)


class SimulatedNetwork(Carriage):
    """``world.Network``; also where PSAPs bind their addresses."""

    def __init__(self, *, seed: int, clock: Clock) -> None:
        super().__init__(seed=seed, clock=clock)
        self.local_fault = ""
        """An errno name that opening a flow fails with: the prober's own fault."""
        self._receivers: dict[Address, Receiver] = {}
        self._servers: dict[tuple[Address, TransportName], Server] = {}
        self._sockets: dict[Address, _Socket] = {}
        self._shared: dict[tuple[Road, int], _Socket | SimulatedConnection] = {}
        self._connections: dict[tuple[Address, Address], SimulatedConnection] = {}
        self._media: set[Address] = set()

    # --- the far side

    def bind(self, address: Address, receiver: Receiver) -> None:
        """Hear datagrams at an address.

        Raises:
            OSError: somebody hears there already.
        """
        if address in self._receivers:
            raise OSError(f"{address} is in use")
        self._receivers[address] = receiver

    def unbind(self, address: Address) -> None:
        """Hear no more there; what still comes is answered with ICMP port unreachable."""
        self._receivers.pop(address, None)

    def serve(self, address: Address, transport: TransportName, server: Server) -> None:
        """Accept connections at an address."""
        self._servers[address, transport] = server

    def unserve(self, address: Address, transport: TransportName) -> None:
        """Accept no more: connections are refused, and those that are up are closed."""
        self._servers.pop((address, transport), None)
        for connection in list(self._connections.values()):
            if (connection.peer, connection.transport) == (address, transport):
                connection.lose("closed", "the peer closed")

    def answer(self, local: Address, to: Address, octets: bytes) -> None:
        """Send a message from a server back over the connection from ``to``, if it is still up."""
        connection = self._connections.get((to, local))
        if connection is not None:
            connection.send_back(octets)

    def datagram(  # type: ignore[override]  # narrower: where it arrives is known here
        self,
        source: Address,
        destination: Address,
        octets: bytes,
        told: Told | None = None,
        phase: Phase = "message",
        ttl: int = 0,
    ) -> None:
        """Send one datagram from any address; an ICMP error about it comes to ``told``."""
        super().datagram(source, destination, octets, self._arrive, told=told, phase=phase, ttl=ttl)

    def _arrive(
        self, source: Address, destination: Address, octets: bytes, told: Told | None
    ) -> None:
        if destination.host in self.off:
            return
        receiver = self._receivers.get(destination)
        if receiver is not None:
            receiver(octets, source)
        elif told is not None:
            self.unreachable(source, destination, octets, told)

    # --- world.Network

    @property
    def open_flows(self) -> int:
        """Leases and media ports that were given and not yet released."""
        sockets = sum(len(one.listeners) for one in self._sockets.values())
        connections = sum(len(one.listeners) for one in self._connections.values())
        return sockets + connections + len(self._media)

    async def open(
        self,
        road: Road,
        call_id: str,
        listener: Listener,
        *,
        patience_s: float,
        local_port: int = 0,
        is_call: bool = False,  # noqa: ARG002 - simulated sockets never run out
    ) -> Flow | None:
        """As ``world.Network.open``."""
        reliable = road.transport != "udp"
        shares = reliable or road.flow == "kept"
        carrier = self._reusable(road, local_port) if shares else None
        fresh = carrier is None
        if carrier is None:
            carrier = self._opened(road, local_port, listener)
            if carrier is None:
                return None
            if shares:
                self._shared[road, local_port] = carrier
        if isinstance(carrier, SimulatedConnection):
            if fresh:
                carrier.connect()
            if not await _came_up(carrier, listener, patience_s):
                return None
            carrier.listeners.add(call_id, listener)
        else:
            carrier.join(call_id, listener)
        return Lease(carrier, call_id, listener)

    def open_media(
        self, source: Source, local_host: str, listener: MediaListener
    ) -> MediaFlow | None:
        """As ``world.Network.open_media``."""
        ports = source.rtp_ports if source.rtp_ports.high else MEDIA_PORTS
        first = ports.low + ports.low % 2
        pairs = 0 if self.local_fault else (ports.high - first + 1) // 2
        start = self.random.randrange(max(1, pairs))
        for step in range(pairs):
            local = Address(local_host, first + 2 * ((start + step) % pairs))
            if local not in self._receivers and local not in self._media:
                media = SimulatedMedia(self, local, listener, self._media.remove)
                self._media.add(local)
                return media
        now = asyncio.get_running_loop().time()
        error = self.local_fault or "EADDRINUSE"
        facts = {"error": error, "detail": f"opening media on {local_host}: simulated"}
        listener.media_failed(Observation(Kind.LOCAL_ERROR, now, facts))
        return None

    def drop_reused(self, peer: Address | None = None) -> None:
        """Let the next who asks get a fresh connection (to ``peer``, or to anybody)."""
        for key, carrier in list(self._shared.items()):
            reused = isinstance(carrier, SimulatedConnection) and not carrier.is_kept
            if reused and peer in (None, carrier.peer):
                self._retire(key)

    def closed(self, carrier: _Socket | SimulatedConnection) -> None:
        """Forget a socket or connection that has ended."""
        if isinstance(carrier, _Socket):
            self._sockets.pop(carrier.local, None)
            self.unbind(carrier.local)
            return
        self._connections.pop((carrier.local, carrier.peer), None)
        for key, shared in list(self._shared.items()):
            if shared is carrier:
                del self._shared[key]

    def _reusable(self, road: Road, local_port: int) -> _Socket | SimulatedConnection | None:
        carrier = self._shared.get((road, local_port))
        if isinstance(carrier, SimulatedConnection):
            age_s = asyncio.get_running_loop().time() - carrier.began_at
            is_old = road.begins or age_s >= REUSE_MAX_S
            if carrier.is_retired or (is_old and not carrier.is_kept):
                self._retire((road, local_port))
                return None
        return carrier

    def _retire(self, key: tuple[Road, int]) -> None:
        carrier = self._shared.pop(key)
        if isinstance(carrier, SimulatedConnection):
            carrier.retire()

    def _opened(
        self, road: Road, local_port: int, listener: Listener
    ) -> _Socket | SimulatedConnection | None:
        """Open a socket or begin a connection, or tell why our own side could not."""
        address, error = road.source.address, self.local_fault
        port = None if error else self._free_port(road, local_port)
        if not error and not self.is_placed(address):
            error = "EADDRNOTAVAIL"
        if not error and (":" in address) != road.peer.is_v6:
            error = "EAFNOSUPPORT"
        if error or port is None:
            now = asyncio.get_running_loop().time()
            facts = {"error": error or "EADDRINUSE", "detail": f"opening {address}: simulated"}
            listener.failed(Observation(Kind.LOCAL_ERROR, now, facts))
            return None
        local = Address(address, port)
        if road.transport == "udp":
            socket = _Socket(self, local, road)
            self._sockets[local] = socket
            self.bind(local, socket.receive)
            return socket
        transport = road.transport
        connection = SimulatedConnection(
            self, road, local, lambda at: self._servers.get((at, transport)), self.closed
        )
        self._connections[local, road.peer] = connection
        return connection

    def _free_port(self, road: Road, local_port: int) -> int | None:
        """A port of the source's range that nobody has; None when there is none."""
        source: Source = road.source
        low, high = source.sip_ports.low, source.sip_ports.high
        if local_port:
            low = high = local_port
        elif not high:
            low, high = EPHEMERAL
        count = high - low + 1
        first = self.random.randrange(count)
        for offset in range(count):
            port = low + (first + offset) % count
            local = Address(source.address, port)
            if road.transport == "udp":
                taken = local in self._receivers
            else:
                taken = (local, road.peer) in self._connections
            if not taken:
                return port
        return None


async def _came_up(connection: SimulatedConnection, listener: Listener, patience_s: float) -> bool:
    """Wait for a connection that is coming up, tell its phases, and what failed."""
    now = asyncio.get_running_loop().time()
    if connection.is_open and connection.settled.done():
        for seen in connection.phases:
            facts = {**seen.facts, "duration_s": 0.0, "reused": True}
            listener.observed(Observation(seen.kind, now, facts))
        return True
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
    if not is_open:
        for seen in failures:
            listener.failed(seen)
    return is_open
