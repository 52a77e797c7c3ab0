"""A PSAP of the simulated world: answering points on simulated addresses (layer L3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from psapwatch.endpoint import Address, TransportName
from psapwatch.net import TRANSPORTS
from psapwatch.net.srtp import cipher_maker
from psapwatch.simulator.certificate import Certificate
from psapwatch.simulator.media import FIRST_PORTS, MirrorPorts
from psapwatch.simulator.network import SimulatedNetwork
from psapwatch.sip.answering_dialog import Seen
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS, Script

State = Literal["up", "stopped", "off"]
"""``stopped``: the host is there and nobody listens; ``off``: silence."""
ELSEWHERE: Final = 1
"""Added to the local port for what a script sends from elsewhere."""


class _Desk:
    """One answering point at one address over one transport, with its timer on the loop."""

    def __init__(
        self,
        network: SimulatedNetwork,
        point: AnsweringPoint,
        transport: TransportName,
        certificate: Certificate | None,
    ) -> None:
        self.point = point
        self.transport: TransportName = transport
        self.certificate = certificate
        self._network = network
        self._local = point.answerer.address
        self._timer: asyncio.TimerHandle | None = None
        first = FIRST_PORTS[transport]
        self._mirrors = MirrorPorts(network, self._local.host, first, self._media_arrived)
        point.mirror_through(self._mirrors, cipher_maker())

    def open(self) -> None:
        """Listen."""
        if self.transport == "udp":
            self._network.bind(self._local, self.arrived)
        else:
            self._network.serve(self._local, self.transport, self)

    def close(self) -> None:
        """Listen no more."""
        if self.transport == "udp":
            self._network.unbind(self._local)
        else:
            self._network.unserve(self._local, self.transport)

    def arrived(self, octets: bytes, source: Address) -> None:
        """Take one datagram, or one message of a connection."""
        now = asyncio.get_running_loop().time()
        self.point.receive(octets, source, now, self.transport)
        self._pump()

    stream_arrived = arrived

    def _media_arrived(self, local: Address, octets: bytes, source: Address) -> None:
        now = asyncio.get_running_loop().time()
        self.point.receive_media(local, octets, source, now, now)
        self._pump()

    def _fire(self) -> None:
        self._timer = None
        self.point.handle_timer(asyncio.get_running_loop().time())
        self._pump()

    def _pump(self) -> None:
        """Send what is due: media first, so that no BYE overtakes the last echo."""
        for local, packet in self.point.media_to_send():
            self._mirrors.send(local, packet)
        send = self._network.datagram if self.transport == "udp" else self._network.answer
        for octets, to in self.point.data_to_send():
            send(self._local, to, octets)
        for octets, to in self.point.data_to_send_elsewhere():
            elsewhere = Address(self._local.host, self._local.port + ELSEWHERE)
            self._network.datagram(elsewhere, to, octets)
        due = self.point.next_timer()
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._fire)


class SimulatedPsap:
    """One agency's answering point, at one or more hosts, over one or more transports."""

    def __init__(
        self,
        network: SimulatedNetwork,
        name: str,
        hosts: tuple[str, ...],
        *,
        tag: Callable[[], str],
        script: Script = SCRIPTS["mirror"],
        transports: tuple[TransportName, ...] = ("udp", "tcp"),
        certificate: Certificate | None = None,
    ) -> None:
        self.name = name
        self.hosts = hosts
        self._network = network
        self._state: State = "stopped"
        self._desks = tuple(
            _Desk(
                network,
                AnsweringPoint(
                    script,
                    name=name,
                    tag=tag,
                    address=Address(host, TRANSPORTS[transport].default_port),
                ),
                transport,
                certificate,
            )
            for host in hosts
            for transport in transports
        )
        self.state = "up"

    @property
    def points(self) -> tuple[AnsweringPoint, ...]:
        """The answering points: one for each host and transport."""
        return tuple(desk.point for desk in self._desks)

    @property
    def open_calls(self) -> int:
        """Calls that nobody ended."""
        return sum(desk.point.open_calls for desk in self._desks)

    @property
    def log(self) -> list[Seen]:
        """Requests that came in, oldest first; the newest of each answering point."""
        return sorted(
            (seen for desk in self._desks for seen in desk.point.log), key=lambda seen: seen.at
        )

    @property
    def script(self) -> Script:
        """What it plays; may be changed at any time."""
        return self._desks[0].point.script

    @script.setter
    def script(self, script: Script) -> None:
        for desk in self._desks:
            desk.point.script = script

    @property
    def certificate(self) -> Certificate | None:
        """What it shows to TLS; may be changed at any time."""
        return self._desks[0].certificate

    @certificate.setter
    def certificate(self, certificate: Certificate | None) -> None:
        for desk in self._desks:
            desk.certificate = certificate

    @property
    def state(self) -> State:
        """Whether it listens; may be changed at any time."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        for host in self.hosts:
            (self._network.off.add if state == "off" else self._network.off.discard)(host)
        if state == "stopped" and self._state != "stopped":
            for desk in self._desks:
                desk.close()
        elif state != "stopped" and self._state == "stopped":
            for desk in self._desks:
                desk.open()
        self._state = state
