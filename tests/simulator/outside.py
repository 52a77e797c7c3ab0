"""A bare caller for tests of the simulated network: sends what it is told, keeps what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from psapwatch.endpoint import Address, PortRange, Source, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.simulator.loop import run
from psapwatch.simulator.topology import Plan, Topology, topology
from psapwatch.simulator.world import simulated_world
from psapwatch.sip.offer import build_offer
from psapwatch.sip.request import Caller, ack_failure, dialog_of, in_dialog, invite, options
from psapwatch.sip.wire import Request, Response, parse, serialize
from psapwatch.world import Arrival, Flow, Road

_T = TypeVar("_T")

PSAP = "psap-001"
VANTAGE = "boston-a"
EAST = "fw-east"


@dataclass
class Ear:
    """A listener that keeps everything."""

    arrivals: list[Arrival] = field(default_factory=list)
    phases: list[Observation] = field(default_factory=list)
    failures: list[Observation] = field(default_factory=list)

    def arrived(self, arrival: Arrival) -> None:
        """Keep it."""
        self.arrivals.append(arrival)

    def observed(self, seen: Observation) -> None:
        """Keep it."""
        self.phases.append(seen)

    def failed(self, seen: Observation) -> None:
        """Keep it."""
        self.failures.append(seen)

    @property
    def codes(self) -> list[int]:
        """Status codes that came, in order."""
        return [int(arrival.octets[8:11]) for arrival in self.arrivals]

    @property
    def kinds(self) -> list[Kind]:
        """Kinds of the failures, in order."""
        return [seen.kind for seen in self.failures]


class Outside:
    """Someone at a vantage who can call."""

    def __init__(self, built: Topology) -> None:
        self.built = built
        self.network = built.world.network
        self.token = built.world.entropy.token
        self.firewall = next(iter(built.firewalls.values()))
        self.psap = built.psaps[PSAP]

    def road(
        self,
        transport: TransportName = "udp",
        *,
        host: str = "",
        kept: bool = False,
        ports: PortRange = PortRange(20_000, 29_999),
        source: str = "10.100.0.10",
    ) -> Road:
        """The road from the vantage to the first PSAP, or to another host."""
        port = 5061 if transport == "tls" else 5060
        return Road(
            transport,
            Source(source, sip_ports=ports),
            Address(host or self.psap.hosts[0], port),
            server_name=f"{PSAP}.example.gov",
            flow="kept" if kept else "fresh",
        )

    async def open(self, ear: Ear, road: Road | None = None, call_id: str = "") -> Flow:
        """Open a flow that must come up."""
        flow = await self.network.open(
            road or self.road(), call_id or self.token(16), ear, patience_s=4.0
        )
        assert flow is not None, ear.failures
        return flow

    def caller(self, flow: Flow, call_id: str = "") -> Caller:
        """Who calls over a flow."""
        return Caller(
            flow.transport.upper(),
            str(flow.local),
            f"sip:probe@{flow.local};transport={flow.transport}",
            "sip:911-path-test@example.net",
            self.token(8),
            call_id or self.token(16),
        )

    def options(self, flow: Flow, call_id: str = "") -> bytes:
        """OPTIONS for the PSAP."""
        branch = f"z9hG4bK{self.token(16)}"
        return serialize(options(self.caller(flow, call_id), branch, f"sip:{PSAP}.example.gov"))

    def invite(self, flow: Flow, call_id: str = "", padding: int = 0) -> Request:
        """A test INVITE for the PSAP, ``padding`` octets longer than it needs to be."""
        return invite(
            self.caller(flow, call_id),
            f"z9hG4bK{self.token(16)}",
            (f"sip:{PSAP}.example.gov",),
            build_offer(flow.local.host, 40_000, 1),
            "application/sdp",
            (("X-Padding", "x" * padding),) if padding else (),
        )

    async def ask(self, road: Road | None = None, *, wait_s: float = 1.0) -> Ear:
        """Send one OPTIONS on a fresh flow and return what came of it within ``wait_s``."""
        ear, call_id = Ear(), self.token(16)
        flow = await self.open(ear, road, call_id)
        flow.send(self.options(flow, call_id))
        await asyncio.sleep(wait_s)
        flow.release()
        return ear

    def acknowledge(self, flow: Flow, request: Request, octets: bytes) -> None:
        """ACK one final to an INVITE."""
        answer = parse(octets)
        assert isinstance(answer, Response)
        if answer.code >= 300:
            flow.send(serialize(ack_failure(request, answer)))
            return
        self.send_in_dialog(flow, request, answer, "ACK", 1)

    def send_in_dialog(
        self, flow: Flow, request: Request, answer: Response, method: str, cseq: int
    ) -> None:
        """ACK or BYE in the dialog of a 2xx."""
        dialog = dialog_of(answer, request, f"sip:{flow.peer}")
        caller = self.caller(flow, request.call_id)
        caller = Caller(
            caller.via_token, caller.sent_by, caller.contact, caller.from_uri,
            request.from_tag, request.call_id,
        )  # fmt: skip
        branch = f"z9hG4bK{self.token(16)}"
        flow.send(serialize(in_dialog(caller, dialog, branch, method, cseq)[0]))


def simulated(
    main: Callable[[Outside], Coroutine[Any, Any, _T]], *, seed: int = 1, plan: Plan | None = None
) -> _T:
    """Run ``main`` outside a freshly built network, in virtual time."""

    async def whole() -> _T:
        world = simulated_world(seed)
        return await main(Outside(topology(world, seed, plan or Plan(psaps=2))))

    return run(whole(), seed=seed)
