"""A firewall that does the wrong thing: one of its rules, as a scenario writes it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from psapwatch.config.models import Positive
from psapwatch.config.words import Numeric, Text
from psapwatch.duration import Duration
from psapwatch.endpoint import Address, TransportName
from psapwatch.replay.stage import Stage
from psapwatch.replay.timed import Timed, Undo, Who, hosts_of
from psapwatch.simulator.firewall import SimulatedFirewall
from psapwatch.simulator.rule import (
    Accept,
    Action,
    Delay,
    Direction,
    Drop,
    Flows,
    Fragments,
    Limit,
    Lose,
    Part,
    Phase,
    Reject,
    Rewrite,
    Rule,
    TcpReset,
)
from psapwatch.simulator.topology import ESINET

ALL: Final = "all"
Share = Annotated[float, Field(gt=0, le=1)]
Size = Annotated[int, Field(ge=0, le=1 << 20)]

_NOBODY: Final = Address("10.20.255.254", 5060)
_CALL: Final = b"INVITE sip:desk@example.gov SIP/2.0\r\nCall-ID: stranger-%d\r\n\r\n"
_MEMBER: Final = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")
_ICMP: Final = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")


def _matching(pattern: re.Pattern[str], like: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            message = f"{text[:20]!r} is nothing of the kind; write it like {like}"
            raise ValueError(message)
        return text

    return AfterValidator(check)


class RuleFault(Timed):
    """One rule of a firewall; what is left out matches everything."""

    kind: Literal["rule"] = "rule"
    firewall: Text = Field(ALL, description="which one, or `all`")
    action: Literal["drop", "lose", "reject", "reset", "accept", "limit", "delay", "rewrite"] = (
        Field(
            "drop", description="what becomes of a packet that matches; `lose`: behind the firewall"
        )
    )
    direction: Direction | None = Field(None, description="`inward` is towards the PSAPs")
    transports: list[TransportName] = Field(default_factory=list, description="udp, tcp, tls")
    phase: Phase | None = Field(None, description="message, syn, hello (TLS) or media")
    methods: list[Text] = Field(default_factory=list, description="of requests: INVITE, ...")
    codes: list[int] = Field(default_factory=list, description="of responses: 200, ...")
    content: Text | None = Field(None, description="text that the packet holds")
    min_size: Size = Field(0, description="octets of payload")
    max_size: Size = Field(1 << 20, description="octets of payload")
    fragments: Fragments = Field("any", description="whole or fragmented datagrams only")
    sources: list[Numeric] = Field(default_factory=list, description="where packets come from")
    who: Who | None = Field(None, description="whose packets, either way: ids, attributes")
    family: Literal[4, 6] | None = Field(None, description="IPv4 or IPv6 only")
    flows: Flows = Field("any", description="new or old flows only")
    share: Share = Field(1.0, description="part of all flows, by their source port")
    member: Annotated[str, _matching(_MEMBER, "0/4")] | None = Field(
        None, description="flows that one of several equal members carries: 0/4 is the first of 4"
    )
    probability: Share = Field(1.0, description="of each packet, by chance")
    icmp: Annotated[str, _matching(_ICMP, "3/13")] = Field(
        "3/13", description="type and code of a reject"
    )
    per_second: Positive = Field(1.0, description="packets that a limit lets pass")
    burst: int = Field(1, ge=1, description="packets that a limit lets pass at once")
    block: Duration = Field(0.0, description="a limit then blocks the source for so long")
    each_source: bool = Field(default=True, description="a limit counts each source by itself")
    by: Duration = Field(0.0, description="how long a delay holds packets back")
    to: Numeric = Field("192.0.2.99", description="address that a rewrite writes")
    parts: list[Part] = Field(["via", "contact", "sdp"], description="what a rewrite touches")
    restores: bool = Field(default=True, description="a rewrite puts the old address back")

    async def begin(self, stage: Stage, label: str) -> Undo:
        """Put the rule into force."""
        crossed = _firewalls(stage, self.firewall)
        rule = self._rule(stage, label)
        for firewall in crossed:
            firewall.add(rule)

        async def mend() -> None:
            for firewall in crossed:
                firewall.remove(label)

        return mend

    def touched(self, stage: Stage, label: str) -> int:
        """How many packets met the rule."""
        return sum(firewall.hits[label] for firewall in _firewalls(stage, self.firewall))

    def _rule(self, stage: Stage, label: str) -> Rule:
        member, members = map(int, (self.member or "0/1").split("/"))
        return Rule(
            name=label,
            action=_ACTIONS[self.action](self),
            direction=self.direction,
            transports=frozenset(self.transports),
            phase=self.phase,
            methods=frozenset(self.methods),
            codes=frozenset(self.codes),
            content=(self.content or "").encode(),
            min_size=self.min_size,
            max_size=self.max_size,
            fragments=self.fragments,
            sources=frozenset(self.sources),
            hosts=hosts_of(stage, self.who) if self.who else frozenset(),
            family=self.family,
            flows=self.flows,
            share=self.share,
            instance=(member, members),
            probability=self.probability,
        )


def _reject(fault: RuleFault) -> Action:
    icmp_type, code = map(int, fault.icmp.split("/"))
    return Reject(icmp_type, code)


_ACTIONS: Final[dict[str, Callable[[RuleFault], Action]]] = {
    "drop": lambda _fault: Drop(),
    "lose": lambda _fault: Lose(),
    "reject": _reject,
    "reset": lambda _fault: TcpReset(),
    "accept": lambda _fault: Accept(),
    "limit": lambda fault: Limit(fault.per_second, fault.burst, fault.block, fault.each_source),
    "delay": lambda fault: Delay(fault.by),
    "rewrite": lambda fault: Rewrite(fault.to, tuple(fault.parts), fault.restores),
}


class StateFault(Timed):
    """What a firewall forgets, or has no room for."""

    kind: Literal["states"] = "states"
    firewall: Text = Field(ALL, description="which one, or `all`")
    forget: bool = Field(default=False, description="lose all connection state, once")
    udp_timer: Duration | None = Field(None, description="forget idle UDP flows after so long")
    room: int | None = Field(None, ge=0, description="connections that it can remember")
    strict_tcp: bool = Field(default=False, description="refuse TCP in mid-stream")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Change the firewall's memory."""
        before = [
            (each, each.udp_state_s, each.states_max, each.tcp_loose)
            for each in _firewalls(stage, self.firewall)
        ]
        for firewall, udp_state_s, room, loose in before:
            if self.forget:
                firewall.forget_states()
            firewall.udp_state_s = udp_state_s if self.udp_timer is None else self.udp_timer
            firewall.states_max = room if self.room is None else self.room
            firewall.tcp_loose = loose and not self.strict_tcp

        async def mend() -> None:
            for firewall, udp_state_s, room, loose in before:
                firewall.udp_state_s, firewall.states_max = udp_state_s, room
                firewall.tcp_loose = loose

        return mend


class LoadFault(Timed):
    """Calls of strangers through a firewall: a flood, or an ordinary busy hour."""

    kind: Literal["load"] = "load"
    firewall: Text = Field(description="through which one")
    per_second: Positive = Field(description="INVITEs a second, of all strangers together")
    strangers: int = Field(50, ge=1, le=1_000, description="source addresses")

    async def begin(self, stage: Stage, label: str) -> Undo:
        """Let the strangers begin."""
        task = asyncio.get_running_loop().create_task(self._flood(stage, label))
        stage.scenery.add(task)

        async def mend() -> None:
            task.cancel()

        return mend

    def touched(self, stage: Stage, label: str) -> int:
        """How many INVITEs were sent."""
        return stage.sent[label]

    async def _flood(self, stage: Stage, label: str) -> None:
        """Send INVITEs to a host that is not ours and does not answer."""
        network = stage.topology.world.network
        outer = f"{stage.topology.plan.vantages[0]}/{self.firewall}"
        hosts = [f"10.200.{nth // 250}.{nth % 250 + 1}" for nth in range(self.strangers)]
        for host in hosts:
            network.place(host, outer)
        network.place(_NOBODY.host, ESINET)
        while True:
            nth = stage.sent[label]
            stage.sent[label] += 1
            source = Address(hosts[nth % len(hosts)], 5060)
            network.datagram(source, _NOBODY, _CALL % nth)
            # as callers come; in time with a limiter's beat they would take every place, or none
            await asyncio.sleep(network.random.expovariate(self.per_second))


def _firewalls(stage: Stage, name: str) -> list[SimulatedFirewall]:
    known = stage.topology.firewalls
    return list(known.values()) if name == ALL else [known[name]]
