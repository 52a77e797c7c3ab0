"""A PSAP of the simulated world: answering points on simulated addresses (layer L3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Literal

from psapwatch.endpoint import Address
from psapwatch.simulator.network import SimulatedNetwork
from psapwatch.sip.answering_point import AnsweringPoint, Seen
from psapwatch.sip.answering_script import SCRIPTS, Script

State = Literal["up", "stopped", "off"]
"""``stopped``: the host answers that nobody listens; ``off``: silence."""
ELSEWHERE: Final = 1
"""Added to the local port for what a script sends from elsewhere."""


class _Point:
    """One answering point on one datagram address, with its timer on the loop."""

    def __init__(self, network: SimulatedNetwork, point: AnsweringPoint) -> None:
        self.point = point
        self._network = network
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, octets: bytes, source: Address) -> None:
        """Take a datagram."""
        now = asyncio.get_running_loop().time()
        self.point.receive(octets, source, now, "udp")
        self._pump()

    def _fire(self) -> None:
        self._timer = None
        self.point.handle_timer(asyncio.get_running_loop().time())
        self._pump()

    def _pump(self) -> None:
        local = self.point.address
        for octets, to in self.point.data_to_send():
            self._network.datagram(local, to, octets)
        for octets, to in self.point.data_to_send_elsewhere():
            elsewhere = Address(local.host, local.port + ELSEWHERE)
            self._network.datagram(elsewhere, to, octets)
        due = self.point.next_timer()
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._fire)


class SimulatedPsap:
    """One agency's answering point, reached at one or more addresses."""

    def __init__(
        self,
        network: SimulatedNetwork,
        name: str,
        addresses: tuple[Address, ...],
        *,
        tag: Callable[[], str],
        script: Script = SCRIPTS["mirror"],
    ) -> None:
        self.name = name
        self.addresses = addresses
        self._network = network
        self._state: State = "stopped"
        self._points = tuple(
            _Point(network, AnsweringPoint(script, name=name, tag=tag, address=address))
            for address in addresses
        )
        self.state = "up"

    @property
    def points(self) -> Iterator[AnsweringPoint]:
        """The answering points, one an address."""
        return (each.point for each in self._points)

    @property
    def open_calls(self) -> int:
        """Calls that nobody ended."""
        return sum(point.open_calls for point in self.points)

    @property
    def log(self) -> list[Seen]:
        """Requests that came in, oldest first."""
        return sorted((seen for point in self.points for seen in point.log), key=lambda s: s.at)

    @property
    def script(self) -> Script:
        """What it plays; may be changed at any time."""
        return next(self.points).script

    @script.setter
    def script(self, script: Script) -> None:
        for point in self.points:
            point.script = script

    @property
    def state(self) -> State:
        """Whether it listens; may be changed at any time."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        for each in self._points:
            host = each.point.address.host
            self._network.off.discard(host)
            if state == "off":
                self._network.off.add(host)
            if state == "up" and self._state == "stopped":
                self._network.bind(each.point.address, each.receive)
            elif state == "stopped" and self._state != "stopped":
                self._network.unbind(each.point.address)
        self._state = state
