"""A firewall in user space: relays pass datagrams and streams, or stop them by rule (layer L5).

Real sockets, no privileges. UDP has one mapping a flow (an outside address and a town) as a
stateful firewall has; TCP is passed message by message. Each rule counts what it stopped, so that
nobody takes a fault that was never injected for a passed test.
"""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the demo's firewall is made of sockets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psapwatch.demo.block import KINDS, Block, kind_of
from psapwatch.demo.stream_relay import StreamFront
from psapwatch.endpoint import Address

FLOWS_MAX: Final = 1_000
"""UDP mappings a firewall keeps; the one that was idle longest gives way."""
UDP_IDLE_S: Final = 40.0
"""Longer than a SIP transaction lives (64 * T1 = 32 s)."""
SWEEP_S: Final = 5.0
DATAGRAM_OCTETS_MAX: Final = 65_535
BATCH: Final = 32
"""Datagrams read at one wake-up of a socket; the rest wakes the loop again."""
PORT_TRIES_MAX: Final = 2_000

Outside = tuple[str, int]


@dataclass(slots=True)
class _Mapping:
    """One UDP flow: who is outside, and our socket towards the town."""

    inner: socket.socket
    used_at: float


class _DatagramFront:
    """One town's UDP port as seen from outside."""

    __slots__ = ("_relay", "_socket", "inner", "labels", "where")

    def __init__(
        self, relay: Relay, where: Address, inner: Address, labels: frozenset[str]
    ) -> None:
        self.where, self.inner, self.labels = where, inner, labels
        self._relay = relay
        self._socket: socket.socket | None = None

    async def open(self) -> None:
        """Listen. Raises OSError: the port is taken."""
        opened = _datagram_socket()
        try:
            opened.bind((self.where.host, self.where.port))
        except OSError:
            opened.close()
            raise
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._from_outside, opened)

    def close(self) -> None:
        """Stop listening: the kernel now refuses with ICMP port unreachable."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def send(self, octets: bytes, outside: Outside) -> None:
        """Pass a datagram of the town on."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(octets, outside)
        except OSError:  # whoever asked has gone, or the buffer is full: a datagram is lost
            self._relay.lost += 1

    def _from_outside(self, opened: socket.socket) -> None:
        for octets, outside in _arrived(opened):
            if self._relay.passes(octets, self.labels):
                self._relay.send_inside(self, outside, octets)


class Relay:
    """One firewall with the conduits that lead through it; make it inside the running loop."""

    def __init__(self, name: str, *, first_port: int) -> None:
        self.name = name
        self.stopped: dict[Block, int] = {}
        """The rules in force, and how many packets or connections each has stopped."""
        self.passed = 0
        self.lost = 0
        """Datagrams that the system would not take."""
        self._ports: Iterator[int] = iter(range(first_port, first_port + PORT_TRIES_MAX))
        self._fronts: list[_DatagramFront | StreamFront] = []
        self._flows: OrderedDict[tuple[_DatagramFront, Outside], _Mapping] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    @property
    def flows(self) -> int:
        """UDP mappings held now."""
        return len(self._flows)

    async def carry(self, transport: str, inner: Address, labels: frozenset[str]) -> Address:
        """Open a conduit to a town and return where it is reached from outside.

        Raises:
            OSError: no port is free.
        """
        for port in self._ports:
            where = Address("127.0.0.1", port)
            front: _DatagramFront | StreamFront = (
                _DatagramFront(self, where, inner, labels)
                if transport == "udp"
                else StreamFront(self, where, inner, labels)
            )
            try:
                await front.open()
            except OSError:
                continue  # somebody else's port: the next one
            self._fronts.append(front)
            return where
        raise OSError(f"{self.name}: no port is free on 127.0.0.1")

    def block(self, rule: Block) -> None:
        """Put a rule in force; one that is in force already goes on counting."""
        if rule in self.stopped:
            return
        self.stopped[rule] = 0
        if KINDS[rule.kind].refuses:
            for front in self._fronts:
                if rule.concerns(front.labels):
                    front.close()

    async def lift(self, rule: Block) -> None:
        """Take a rule away.

        Raises:
            OSError: a port that the rule had closed was taken by another program.
        """
        if self.stopped.pop(rule, None) is None or not KINDS[rule.kind].refuses:
            return
        for front in self._fronts:
            if rule.concerns(front.labels) and not self._is_refused(front.labels):
                await front.open()

    def passes(self, octets: bytes, labels: frozenset[str]) -> bool:
        """Ask the rules about one packet, in either direction, and count it."""
        if self.stopped:
            kind = kind_of(octets)
            for rule in self.stopped:
                if rule.stops(kind, labels):
                    self.stopped[rule] += 1
                    return False
        self.passed += 1
        return True

    def send_inside(self, front: _DatagramFront, outside: Outside, octets: bytes) -> None:
        """Pass a datagram to the town over its flow's mapping."""
        key = (front, outside)
        mapping = self._flows.get(key)
        if mapping is None:
            mapping = self._map(front, outside)
        mapping.used_at = self._loop.time()
        self._flows.move_to_end(key)
        try:
            mapping.inner.send(octets)
        except OSError:  # the town does not listen (ICMP), or the buffer is full
            self.lost += 1

    def close(self) -> None:
        """Close everything."""
        self._sweeping.cancel()
        for front in self._fronts:
            front.close()
        while self._flows:
            self._forget_oldest()

    def _is_refused(self, labels: frozenset[str]) -> bool:
        return any(KINDS[rule.kind].refuses and rule.concerns(labels) for rule in self.stopped)

    def _map(self, front: _DatagramFront, outside: Outside) -> _Mapping:
        if len(self._flows) >= FLOWS_MAX:
            self._forget_oldest()
        inner = _datagram_socket()
        inner.connect((front.inner.host, front.inner.port))
        mapping = self._flows[front, outside] = _Mapping(inner, self._loop.time())

        def from_inside() -> None:
            for octets, _town in _arrived(inner):
                mapping.used_at = self._loop.time()
                if self.passes(octets, front.labels):
                    front.send(octets, outside)

        self._loop.add_reader(inner, from_inside)
        return mapping

    def _forget_oldest(self) -> None:
        _key, mapping = self._flows.popitem(last=False)
        self._loop.remove_reader(mapping.inner)
        mapping.inner.close()

    def _sweep(self) -> None:
        idle_since = self._loop.time() - UDP_IDLE_S
        while self._flows and next(iter(self._flows.values())).used_at < idle_since:
            self._forget_oldest()
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)


def _datagram_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setblocking(False)  # noqa: FBT003 - the socket module takes it by position only
    return one


def _arrived(one: socket.socket) -> Iterator[tuple[bytes, Outside]]:
    """Yield what waits in a socket; an ICMP error of an earlier sending is passed over."""
    for _nth in range(BATCH):
        try:
            yield one.recvfrom(DATAGRAM_OCTETS_MAX)
        except BlockingIOError:
            return
        except OSError:
            continue
