"""Whole simulated networks: vantages, firewalls, PSAPs, references and a control (layer L3).

``topology`` builds both halves of a world that fit each other: what stands on the network, and
the nouns of ``endpoint`` that a daemon there would have been configured with. Addresses are
10.x and fd00::x and mean nothing outside:

===================  ===========================  ==================
who                  address                      place
===================  ===========================  ==================
sources of a         10.(100+v).f.10, .11,        vantage/firewall
vantage              fd00:(100+v):f::10
its witness          10.(100+v).f.1               vantage/firewall
control source       10.(150+v).0.10              vantage/control
firewall             10.40.f.1                    (signs its ICMP)
reference            10.30.f.1                    esinet
must-block           10.30.f.2                    esinet
PSAP                 10.20.x.y, fd00:20::n        esinet
===================  ===========================  ==================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from psapwatch.endpoint import (
    MUST_BLOCK,
    Address,
    Agreement,
    Control,
    Firewall,
    Limits,
    Path,
    PortRange,
    Psap,
    Source,
    TransportName,
)
from psapwatch.simulator.certificate import Certificate
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.firewall import SimulatedFirewall
from psapwatch.simulator.link import Link
from psapwatch.simulator.psap import SimulatedPsap
from psapwatch.simulator.rule import Rule
from psapwatch.simulator.world import EPOCH, SimulatedWorld
from psapwatch.sip.answering_script import SCRIPTS, Script

ESINET: Final = "esinet"
PSAPS_MAX: Final = 10_000
_YEAR_S: Final = 365 * 86_400.0
_COUNTIES: Final = (("county", tuple(f"county-{nth:02d}" for nth in range(14))),)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build."""

    psaps: int = 204
    firewalls: tuple[str, ...] = ("fw-east",)
    vantages: tuple[str, ...] = ("boston-a",)
    transports: tuple[TransportName, ...] = ("udp",)
    """Each gives every PSAP a path through every firewall."""
    with_v6: bool = False
    script: Script = SCRIPTS["multipart"]
    link: Link = field(default_factory=Link)
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = _COUNTIES
    """What PSAPs have in common: each attribute's values are dealt out in turn."""
    names: tuple[str, ...] = ()
    """Of the PSAPs, in order; where they end, ``PSAP 17`` and so on."""
    calls_every_s: float = 300.0
    messages_per_second: float = 200.0
    """What the daemon may put through each firewall."""
    must_block: bool = False
    """Behind each firewall stands something that answers and that the firewall has to block."""
    rate_burst: bool = False
    """Each firewall's reference may be called eight times at once."""
    sip_ports: PortRange = PortRange(20_000, 29_999)
    rtp_ports: PortRange = PortRange(40_000, 49_999)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the daemon of one vantage is configured with."""

    vantage: str
    firewalls: tuple[Firewall, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """A built network, by the ids of its parts."""

    world: SimulatedWorld
    plan: Plan
    firewalls: Mapping[str, SimulatedFirewall]
    psaps: Mapping[str, SimulatedPsap]
    references: Mapping[str, SimulatedPsap]
    """By firewall."""
    witnesses: Mapping[str, SimulatedPsap]
    """By place: ``vantage/firewall``."""
    outlooks: tuple[Outlook, ...]

    @property
    def open_calls(self) -> int:
        """Calls that nobody ended, anywhere; 0 in a clean world."""
        far = (*self.psaps.values(), *self.references.values(), *self.witnesses.values())
        return sum(psap.open_calls for psap in far)

    @property
    def open_flows(self) -> int:
        """Flows that nobody released; 0 in a clean world."""
        return self.world.network.open_flows

    def hosts(self, *psap_ids: str) -> frozenset[str]:
        """Addresses of some PSAPs, for a firewall rule."""
        return frozenset(host for one in psap_ids for host in self.psaps[one].hosts)


def topology(world: SimulatedWorld, seed: int, plan: Plan = Plan()) -> Topology:
    """Build a network on an empty world.

    Raises:
        ValueError: more PSAPs than there are addresses.
    """
    if plan.psaps > PSAPS_MAX:
        raise ValueError(f"{plan.psaps} PSAPs: at most {PSAPS_MAX}")
    firewalls = {
        name: SimulatedFirewall(name, f"10.40.{number}.1", seed=seed)
        for number, name in enumerate(plan.firewalls)
    }
    agencies = tuple(_agency(plan, number) for number in range(1, plan.psaps + 1))
    psaps = {
        agency.id: _stand(world, seed, plan, agency.id, agency.name, _hosts_of(plan, number))
        for number, agency in enumerate(agencies, 1)
    }
    references = {
        name: _stand(world, seed, plan, f"ref-{name}", f"Reference {name}", (f"10.30.{number}.1",))
        for number, name in enumerate(plan.firewalls)
    }
    for point in (each for reference in references.values() for each in reference.points):
        point.tells_what_it_saw = True  # as ``psapwatch respond`` does
    for number, name in enumerate(plan.firewalls if plan.must_block else ()):
        host = f"10.30.{number}.2"
        _stand(world, seed, plan, f"blocked-{name}", f"Blocked by {name}", (host,))
        firewalls[name].add(Rule(name=MUST_BLOCK, hosts=frozenset({host})))
    witnesses = {}
    for v, vantage in enumerate(plan.vantages):
        world.network.place(f"10.{150 + v}.0.10", f"{vantage}/control")
        world.network.join(f"{vantage}/control", ESINET, plan.link)
        for f, name in enumerate(plan.firewalls):
            place = f"{vantage}/{name}"
            host = f"10.{100 + v}.{f}.1"
            for each in (host, *_sources(plan, v, f)):
                world.network.place(each, place)
            world.network.join(place, ESINET, plan.link, firewalls[name])
            tag = _tags(seed, place)
            witnesses[place] = SimulatedPsap(world.network, "Witness", (host,), tag=tag)
    outlooks = tuple(_outlook(plan, v, agencies) for v in range(len(plan.vantages)))
    return Topology(world, plan, firewalls, psaps, references, witnesses, outlooks)


def _agency(plan: Plan, number: int) -> Psap:
    named = number <= len(plan.names)
    name = plan.names[number - 1] if named else f"PSAP {number}"
    return Psap(
        id=f"psap-{number:03d}",
        name=name,
        expected_name=name,
        attributes=tuple((name, values[number % len(values)]) for name, values in plan.attributes),
        agreement=Agreement(consent="simulated", every_s=plan.calls_every_s, commissioned=True),
    )


def _hosts_of(plan: Plan, number: int) -> tuple[str, ...]:
    v4 = f"10.20.{number // 250}.{number % 250 + 1}"
    return (v4, f"fd00:20::{number:x}") if plan.with_v6 else (v4,)


def _stand(
    world: SimulatedWorld, seed: int, plan: Plan, label: str, name: str, hosts: tuple[str, ...]
) -> SimulatedPsap:
    """Put one answering point into the ESInet, and its name into the resolver."""
    domain = f"{label}.example.gov"
    for host in hosts:
        world.network.place(host, ESINET)
    world.resolver.names[domain] = tuple(Address(host, 0) for host in hosts)
    certificate = None
    if "tls" in plan.transports:
        certificate = Certificate(names=(domain,), not_after=EPOCH + _YEAR_S)
    return SimulatedPsap(
        world.network,
        name,
        hosts,
        tag=_tags(seed, label),
        script=plan.script,
        transports=plan.transports,
        certificate=certificate,
    )


def _tags(seed: int, label: str) -> Callable[[], str]:
    chance = seeded(seed, label)
    return lambda: chance.randbytes(8).hex()


def _sources(plan: Plan, v: int, f: int) -> tuple[str, ...]:
    """Addresses that vantage v sends from through firewall f; the first is the usual one."""
    v4 = (f"10.{100 + v}.{f}.10", f"10.{100 + v}.{f}.11")
    return (*v4, f"fd00:{100 + v}:{f:x}::10") if plan.with_v6 else v4


def _reference_params(plan: Plan) -> str:
    """The references stand on the plan's transports: where UDP is none of them, they say so."""
    return "" if "udp" in plan.transports else f";transport={plan.transports[0]}"


def _outlook(plan: Plan, v: int, agencies: tuple[Psap, ...]) -> Outlook:
    control = Control(
        Source(f"10.{150 + v}.0.10", sip_ports=plan.sip_ports, rtp_ports=plan.rtp_ports)
    )
    firewalls = tuple(
        Firewall(
            id=name,
            sources=tuple(
                Source(
                    host,
                    sip_ports=plan.sip_ports,
                    rtp_ports=plan.rtp_ports,
                    witness=f"sip:witness@10.{100 + v}.{f}.1",
                )
                for host in _sources(plan, v, f)
            ),
            limits=Limits(messages_per_second=plan.messages_per_second),
            reference=f"sip:ref-{name}.example.gov{_reference_params(plan)}",
            control=control,
            must_block=f"sip:blocked-{name}.example.gov{_reference_params(plan)}"
            if plan.must_block
            else None,
            rate_burst=plan.rate_burst,
        )
        for f, name in enumerate(plan.firewalls)
    )
    paths = tuple(
        Path(
            psap=agency,
            id=firewall.id if len(plan.transports) == 1 else f"{firewall.id}-{transport}",
            vantage=plan.vantages[v],
            firewall=firewall,
            uri=f"sip:{agency.id}.example.gov",
            transport=transport,
        )
        for agency in agencies
        for firewall in firewalls
        for transport in plan.transports
    )
    return Outlook(plan.vantages[v], firewalls, paths)
