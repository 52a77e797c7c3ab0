"""The demo's ground: 204 answering points behind two firewalls in user space (layer L5).

Real sockets on loopback; each town is reached through its firewall's relay only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from psapwatch.demo.relay import Relay
from psapwatch.demo.towns import FIREWALLS, TOWNS, Town
from psapwatch.endpoint import Address, TransportName
from psapwatch.net.answering import Answering
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.world import Entropy

HOST: Final = "127.0.0.1"
FIRST_PORTS: Final = {"fw-east": 21_000, "fw-west": 23_000}
"""Below the ports that systems give out themselves, so that a closed one is not taken meanwhile."""
EVERY_NTH_TCP: Final = 17
"""Twelve of the towns are reached over TCP, the others over UDP."""
REQUESTS_A_SECOND: Final = 2_000.0
"""An answering point's allowance: the daemon is its only source, and all of them are ours."""
FAR_END_S: Final = 0.25
"""How long the towns may still take to see the end of their calls after the daemon's stop."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an answering point is reached from outside."""

    uri: str
    transport: TransportName


class Ground:
    """Opened inside the running loop, closed at the end; the relays take and lift rules."""

    def __init__(self, entropy: Entropy) -> None:
        self.relays = {name: Relay(name, first_port=FIRST_PORTS[name]) for name in FIREWALLS}
        self.towns: dict[Town, Way] = {}
        self.references: dict[str, Way] = {}
        """The answering point of our own behind each firewall."""
        self._entropy = entropy
        self._answering: list[Answering] = []

    async def open(self) -> None:
        """Stand every town and both references.

        Raises:
            OSError: a port cannot be used; ``close`` what was opened.
        """
        for name, relay in self.relays.items():
            labels = frozenset({"reference"})
            called = f"Reference behind {name}"
            self.references[name] = await self._stand(called, "udp", relay, labels, "")
        for number, town in enumerate(TOWNS, 1):
            transport: TransportName = "udp" if number % EVERY_NTH_TCP else "tcp"
            labels = frozenset({town.id, town.county})
            self.towns[town] = await self._stand(
                town.name, transport, self.relays[town.firewall], labels, town.county
            )

    async def close(self) -> int:
        """Stop everything; returns how many calls the towns still held for open."""
        loop = asyncio.get_running_loop()
        until = loop.time() + FAR_END_S
        while self.open_calls and loop.time() < until:  # noqa: ASYNC110 - bounded, at the end
            await asyncio.sleep(0.02)
        for answering in self._answering:
            answering.hang_up()  # a call whose answer was lost: here nobody else knows of it
        left = self.open_calls
        for relay in self.relays.values():
            relay.close()
        for answering in self._answering:
            answering.close()
        return left

    @property
    def open_calls(self) -> int:
        """Calls that the answering points hold for open now."""
        return sum(answering.point.open_calls for answering in self._answering)

    async def _stand(
        self,
        name: str,
        transport: TransportName,
        relay: Relay,
        labels: frozenset[str],
        location: str,
    ) -> Way:
        """Stand an answering point behind a firewall."""
        point = AnsweringPoint(
            SCRIPTS["multipart"],
            name=name,
            tag=lambda: self._entropy.token(8),
            address=Address(HOST, 0),
            location=location,
        )
        answering = Answering(point, transport, per_source_a_second=REQUESTS_A_SECOND)
        inside = await answering.open()
        self._answering.append(answering)
        outside = await relay.carry(transport, inside, labels)
        # What it calls itself (Contact) is where it is reached, so that ACK and BYE take the way
        # through the firewall that the INVITE took.
        point.answerer = replace(point.answerer, address=outside)
        suffix = "" if transport == "udp" else f";transport={transport}"
        return Way(f"sip:{outside}{suffix}", transport)
