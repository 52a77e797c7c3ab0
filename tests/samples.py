"""Small worlds for the tests of metrics, reports and the web: paths, attempts, a desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psapwatch.case import Case
from psapwatch.endpoint import Agreement, Check, Firewall, Path, Psap, Source, TransportName
from psapwatch.evidence import Evidence, Fact, Kind, Observation, Packet
from psapwatch.incident import Incident
from psapwatch.verdict import PASSED, Cause, Outcome, Plane, Verdict
from psapwatch.web.view import CheckRow, MaintenanceRow, PathRow, Refused

WALL = 1_750_267_000.0
LEG = "198.51.100.9:5060"

OPTIONS_TEXT = b"OPTIONS sip:psap1.example.gov SIP/2.0\r\nCall-ID: abc123@192.0.2.10\r\n\r\n"
OK_TEXT = b"SIP/2.0 200 OK\r\nCall-ID: abc123@192.0.2.10\r\n\r\n"

FAILED = Verdict(Outcome.FAIL, Cause.CALLS_BLOCKED, Plane.PATH, "no answer in 4 s")
UNSURE = Verdict(Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SELF, "no file descriptors")


@dataclass
class FixedClock:
    """A wall clock that moves when it is told to."""

    at: float = WALL

    def wall(self) -> float:
        """Return Unix seconds."""
        return self.at


@dataclass(frozen=True)
class Settings:
    """What a check needs to know of its probe here: the kind."""

    kind: str


KEEPALIVE = Check("keepalive", 15.0, 4.0, Settings("options"))
TEST_CALL = Check("test-call", 300.0, 8.0, Settings("call"))
REFERENCE_CALL = Check("reference", 15.0, 8.0, Settings("call"), on="reference")
CHECKS = (KEEPALIVE, TEST_CALL, REFERENCE_CALL)


def firewall(name: str = "fw-east") -> Firewall:
    """Return a firewall."""
    return Firewall(name, (Source("192.0.2.10"),))


def path(
    psap: str = "ma-boston",
    name: str = "east",
    through: str = "fw-east",
    transport: TransportName = "udp",
    *,
    consent: bool = True,
) -> Path:
    """Return a path to a PSAP."""
    agreement = Agreement("MoU 1") if consent else None
    agency = Psap(psap, f"{psap} police", agreement=agreement)
    return Path(agency, name, "boston-a", firewall(through), f"sip:{psap}.example", transport)


def sent(at_s: float = 0.0, nth: int = 1, method: str = "OPTIONS") -> Observation:
    """Return one transmission."""
    return Observation(Kind.SENT, at_s, {"method": method, "nth": nth, "size": 400})


def answered(
    at_s: float = 0.02, code: int = 200, method: str = "OPTIONS", **more: Fact
) -> Observation:
    """Return one response."""
    return Observation(Kind.RESPONSE, at_s, {"code": code, "method": method, **more})


def attempt(
    on: Path | None = None,
    check: Check = KEEPALIVE,
    seen: Sequence[Observation] | None = None,
    *,
    leg: str = LEG,
    at: float = WALL,
    attempt_id: str = "a-1",
    transcript: tuple[Packet, ...] = (),
) -> Evidence:
    """Return the evidence of an attempt; by default OPTIONS answered after 20 ms."""
    to = on or path()
    return Evidence(
        attempt_id=attempt_id,
        psap=to.psap.id,
        path=to.id,
        firewall=to.firewall.id,
        transport=to.transport,
        check=check.name,
        probe=check.settings.kind,
        leg=leg,
        source="192.0.2.10:20311",
        call_id="abc123@192.0.2.10",
        started_at=at,
        duration_s=0.02,
        observations=tuple((sent(), answered()) if seen is None else seen),
        transcript=transcript,
    )


def incident(**changed: Any) -> Incident:
    """Return an open page about fw-east."""
    fields: dict[str, Any] = {
        "id": "i-1",
        "alertname": "CallsBlocked",
        "severity": "page",
        "vantage": "boston-a",
        "scope": "firewall",
        "member": "fw-east",
        "psap": "",
        "firewall": "fw-east",
        "cause": Cause.CALLS_BLOCKED,
        "summary": "10 of 10 test calls through fw-east failed since 13:15:22 EDT.",
        "opened_at": WALL + 9,
        "first_failure_at": WALL,
        "last_pass_at": WALL - 15,
        "affected": ("ma-boston/east",),
        "evidence": {"reference": "fails too"},
    }
    return Incident(**{**fields, **changed})


def row(psap: str = "ma-boston", state: str = "up", **changed: Any) -> PathRow:
    """Return a path as the page sees it."""
    outcome = {"up": Outcome.PASS, "down": Outcome.FAIL}.get(state)
    check = CheckRow(
        "keepalive",
        state,
        outcome,
        last_attempt_at=WALL - 3,
        last_pass_at=WALL - 3,
        last_pass="a-1",
    )
    fields: dict[str, Any] = {
        "psap": psap,
        "name": f"{psap} police",
        "path": "east",
        "firewall": "fw-east",
        "transport": "udp",
        "uri": f"sip:{psap}.example",
        "state": state,
        "since": WALL - 60,
        "checks": (check,),
    }
    return PathRow(**{**fields, **changed})


@dataclass
class Desk:
    """A daemon as the web sees it: View and Commands on plain fields."""

    rows: list[PathRow] = field(default_factory=lambda: [row()])
    open: list[Incident] = field(default_factory=list)
    kept: dict[str, Incident] = field(default_factory=dict)
    attempts: dict[str, tuple[Evidence, Verdict]] = field(default_factory=dict)
    stops: dict[str, str] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    windows: list[MaintenanceRow] = field(default_factory=list)
    is_ready: bool = True
    wrong: list[str] = field(default_factory=list)
    done: list[tuple[str, ...]] = field(default_factory=list)
    at: float = WALL

    @property
    def vantage(self) -> str:
        """Where we measure from."""
        return "boston-a"

    def now(self) -> float:
        """Return wall time."""
        return self.at

    def ready(self) -> bool:
        """Whether the first round is scheduled."""
        return self.is_ready

    def paths(self) -> Sequence[PathRow]:
        """Every path."""
        return self.rows

    def open_incidents(self) -> Sequence[Incident]:
        """Open incidents."""
        return self.open

    def calls_stopped(self) -> Mapping[str, str]:
        """PSAPs whose test calls are stopped."""
        return self.stops

    def maintenance(self) -> Sequence[MaintenanceRow]:
        """Open windows."""
        return self.windows

    async def incidents(self, limit: int) -> Sequence[Incident]:
        """Incidents from the store."""
        return [*self.open, *self.kept.values()][:limit]

    async def incident(self, incident_id: str) -> Incident | None:
        """One incident."""
        known = {each.id: each for each in (*self.open, *self.kept.values())}
        return known.get(incident_id)

    async def case(self, incident_id: str) -> Case | None:
        """What an incident's cause rests on."""
        return self.cases.get(incident_id)

    async def attempt(self, name: str) -> tuple[Evidence, Verdict] | None:
        """One attempt, by its id or its Call-ID."""
        named = (each for each in self.attempts.values() if each[0].call_id == name)
        return self.attempts.get(name) or next(named, None)

    async def reload(self, by: str) -> Sequence[str]:
        """Reload, or say what is wrong."""
        self.done.append(("reload", by))
        return self.wrong

    async def change(self, what: str, by: str, at: float) -> None:
        """Keep a change event."""
        self.done.append(("change", what, by, str(at)))

    async def probe(self, target: str, module: str) -> tuple[Evidence, Verdict]:
        """Make one attempt."""
        self.done.append(("probe", target, module))
        if module != "keepalive":
            raise Refused(f"no check is named {module}", "module", "use one of: keepalive")
        return attempt(), PASSED
