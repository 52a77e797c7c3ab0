"""Where the messages of one attempt go: its road, other next hops of its dialogs, new connections.

ACK and BYE follow Contact and Record-Route, which may name another host than the INVITE went to; a
lost connection is replaced when the call's end still has to leave. The transport is always the
road's: that is what an attempt measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Observation
from psapwatch.net import TRANSPORTS
from psapwatch.sip.machine import Send, is_loss
from psapwatch.sip.uri import BadUri, Uri, parse_uri
from psapwatch.world import Arrival, Flow, Listener, Network, Resolver, Road

WAYS_MAX: Final = 8
"""Next hops besides the road's that one attempt may look up or connect to."""
WAITING_MAX: Final = 8
"""Messages that wait for one of them; more are repeats of the same."""
CONNECT_S: Final = 4.0
CONNECT_AGAIN_S: Final = 2.0
"""A firewall that comes back is used soon, and one that does not is not stormed."""

Errand = Coroutine[Any, Any, None]
Sent = Callable[[Address, bytes], None]


class Ways:
    """Sends the messages of one attempt. ``listener`` hears all flows, ``sent`` what leaves."""

    def __init__(
        self,
        network: Network,
        resolver: Resolver,
        road: Road,
        call_id: str,
        listener: Listener,
        *,
        spawn: Callable[[Errand], None],
        sent: Sent,
    ) -> None:
        self.flow: Flow | None = None
        """The road's own; None before it is up and after it was lost."""
        self._network, self._resolver, self._road, self._call_id = network, resolver, road, call_id
        self._listener, self._spawn, self._sent = listener, spawn, sent
        self._is_call = False
        self._is_closed = False
        self._addresses: dict[str, Address] = {}
        self._names: dict[Address, str] = {}
        self._flows: dict[Address, Flow] = {}
        self._waiting: dict[str, list[bytes]] = {}

    async def open(self, *, patience_s: float, local_port: int, is_call: bool) -> Flow | None:
        """Open the road's flow; its phases and failures come to the listener."""
        self._is_call = is_call
        self.flow = await self._network.open(
            self._road,
            self._call_id,
            self._listener,
            local_port=local_port,
            patience_s=patience_s,
            is_call=is_call,
        )
        return self.flow

    def send(self, message: Send) -> None:
        """Send one message, at once or as soon as its next hop is known and connected.

        Raises:
            psapwatch.sip.guard.NotATestCall: it could become a live call; nothing was sent.
        """
        hop = self._road.peer if message.uri is None else self._hop(message.uri)
        if isinstance(hop, str):
            self._wait(hop, message.octets, lambda: self._look_up(hop))
        else:
            self._send_to(hop, message.octets)

    def lost(self) -> None:
        """The road's connection is gone; what is still to be sent opens a new one."""
        if self.flow is not None:
            self.flow.release()
            self.flow = None

    def close(self) -> None:
        """Let go of every flow, those that are still coming up included, and of the attempt."""
        self._is_closed = True
        self.lost()
        for flow in self._flows.values():
            flow.release()
        self._flows.clear()
        self._waiting.clear()
        # Hundreds of attempts end each second: none may be left to the garbage collector.
        self._listener, self._spawn, self._sent = _DEAF, _not_begun, _not_kept

    def forget(self, to: Address) -> None:
        """A further connection failed: the next message there opens another."""
        flow = self._flows.pop(to, None)
        if flow is not None:
            flow.release()

    def _hop(self, uri: str) -> Address | str:
        """The address of a next hop, or its URI where that has to be looked up."""
        try:
            where = parse_uri(uri)
        except BadUri:
            return self._road.peer
        return self._addresses.get(uri) or _numeric(where, self._road.transport) or uri

    def _send_to(self, to: Address, octets: bytes) -> None:
        is_datagram = self._road.transport == "udp"
        if self.flow is not None and (is_datagram or to == self._road.peer):
            self._sent(to, octets)
            self.flow.send(octets, to if to != self._road.peer else None)
        elif to in self._flows:
            self._sent(to, octets)
            self._flows[to].send(octets)
        elif not is_datagram:
            self._wait(str(to), octets, lambda: self._connect(to))

    def _wait(self, hop: str, octets: bytes, errand: Callable[[], Errand]) -> None:
        """Keep a message until the hop's one errand is done: ACK and BYE leave in their order."""
        waiting = self._waiting.get(hop)
        if waiting is not None:
            if len(waiting) < WAITING_MAX:
                waiting.append(octets)
        elif len(self._waiting) < WAYS_MAX and not self._is_closed:
            self._waiting[hop] = [octets]
            self._spawn(errand())

    async def _look_up(self, uri: str) -> None:
        found = await self._resolver.resolve(uri, self._road.transport)
        if found.legs:
            self._names[found.legs[0]] = parse_uri(uri).host
        to = self._addresses[uri] = found.legs[0] if found.legs else self._road.peer
        for octets in self._waiting.pop(uri, ()):
            self._send_to(to, octets)

    async def _connect(self, to: Address) -> None:
        """Open a way to another next hop, or to the same one after its connection was lost.

        Where none comes up, the road's own connection is better than to leave a call open; where
        there is none either, what ends a call tries again until the machine is closed (Timer F).
        """
        name = self._names.get(to, self._road.server_name)  # RFC 5922 7.1: whom the URI names
        while True:
            flow = await self._network.open(
                replace(self._road, peer=to, server_name=name, flow="fresh"),
                self._call_id,
                _Further(self, to, self._listener),
                patience_s=CONNECT_S,
                is_call=self._is_call,
            )
            if flow is not None or self.flow is not None or not self._owes(str(to)):
                break
            await asyncio.sleep(CONNECT_AGAIN_S)
        waiting = self._waiting.pop(str(to), [])
        if flow is not None and self._is_closed:
            flow.release()
        elif flow is not None:
            self._flows[to] = flow
        if flow is not None or self.flow is not None:
            for octets in waiting:
                self._send_to(to if flow else self._road.peer, octets)

    def _owes(self, hop: str) -> bool:
        """Whether what waits for a hop ends a call; an INVITE must not leave late."""
        waiting = [each for each in self._waiting.get(hop, ()) if not each.startswith(b"INVITE ")]
        if hop in self._waiting:
            self._waiting[hop] = waiting
        return self._is_call and bool(waiting)


class _Further:
    """Listens on a further flow of the same attempt: messages count, its failures only as facts."""

    def __init__(self, ways: Ways, to: Address, listener: Listener) -> None:
        self._ways, self._to, self._listener = ways, to, listener

    def arrived(self, arrival: Arrival) -> None:
        """Hand on."""
        self._listener.arrived(arrival)

    def observed(self, seen: Observation) -> None:
        """Hand on."""
        self._listener.observed(seen)

    def failed(self, seen: Observation) -> None:
        """Note it: the machine's own timers decide what it means."""
        if is_loss(seen):
            self._ways.forget(self._to)
        self._listener.observed(seen)


class _Deaf:
    """Nobody listens any more."""

    def arrived(self, arrival: Arrival) -> None:
        """Drop it."""

    def observed(self, seen: Observation) -> None:
        """Drop it."""

    def failed(self, seen: Observation) -> None:
        """Drop it."""


_DEAF: Final = _Deaf()


def _not_begun(errand: Errand) -> None:
    errand.close()


def _not_kept(to: Address, octets: bytes) -> None:
    del to, octets


def _numeric(where: Uri, transport: TransportName) -> Address | None:
    """The address that a URI spells out, if it does."""
    try:
        ip_address(where.reaches)
    except ValueError:
        return None
    return Address(where.reaches, where.port or TRANSPORTS[transport].default_port)
