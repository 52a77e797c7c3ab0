"""Attempts, calls and incidents for the store's tests, and a store that closes itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Evidence, Kind, Observation, Packet
from psapwatch.incident import Incident, Notice, Status
from psapwatch.store.runner import Inline, Runner
from psapwatch.store.store import Store
from psapwatch.verdict import PASSED, Cause, Outcome, Plane, Verdict
from psapwatch.world import OpenCall

NOON: Final = 1_718_712_000.0
"""18 June 2024, noon UTC."""
FAILED: Final = Verdict(Outcome.FAIL, Cause.CALLS_BLOCKED, Plane.PATH, "no answer in 4 s")
DEGRADED: Final = Verdict(
    Outcome.DEGRADED, Cause.TEST_CALL_REFUSED, Plane.SIGNALLING, "486 Busy Here"
)
INVITE: Final = (
    b"INVITE urn:service:test.sos SIP/2.0\r\n"
    b'Proxy-Authorization: Digest username="u", response="5ecre7"\r\n'
    b"Call-ID: c1@boston-a\r\nContent-Length: 0\r\n\r\n"
)
__all__ = ["DEGRADED", "FAILED", "INVITE", "NOON", "PASSED"]


def attempt(number: int = 1, *, at: float = NOON, **more: Any) -> Evidence:
    """Return the evidence of one OPTIONS attempt; keywords replace its fields."""
    fields: dict[str, Any] = {
        "attempt_id": f"attempt-{number}",
        "psap": "ma-boston",
        "path": "east",
        "firewall": "fw-east",
        "transport": "udp",
        "check": "keepalive",
        "probe": "options",
        "leg": "198.51.100.7:5060",
        "source": "192.0.2.10:20001",
        "call_id": f"call-{number}@boston-a",
        "started_at": at,
        "duration_s": 0.012,
        "observations": (
            Observation(Kind.SENT, 0.001, {"method": "OPTIONS", "nth": 1, "size": 420}),
            Observation(Kind.RESPONSE, 0.012, {"code": 200, "method": "OPTIONS", "late": False}),
        ),
        "transcript": (
            Packet(0.001, "out", "198.51.100.7:5060", b"OPTIONS sip:a SIP/2.0\r\n\r\n"),
            Packet(0.012, "in", "198.51.100.7:5060", b"SIP/2.0 200 OK\r\n\r\n"),
        ),
    }
    return Evidence(**(fields | more))


def call(call_id: str = "c1", *, psap: str = "ma-boston", at: float = NOON) -> OpenCall:
    """Return the ledger row of a call."""
    return OpenCall(
        call_id=call_id,
        psap=psap,
        path="east",
        firewall="fw-east",
        transport="udp",
        local=Address("127.0.0.1", 20001),
        peer=Address("::1", 5060),
        octets=INVITE,
        invited_at=at,
    )


def incident(number: int = 1, **more: Any) -> Incident:
    """Return an open incident of a blocked firewall; keywords replace its fields."""
    fields: dict[str, Any] = {
        "id": f"incident-{number}",
        "alertname": "CallsBlocked",
        "severity": "page",
        "vantage": "boston-a",
        "scope": "firewall",
        "member": "fw-east",
        "psap": "",
        "firewall": "fw-east",
        "cause": Cause.CALLS_BLOCKED,
        "summary": "10 of 10 test calls through fw-east failed",
        "opened_at": NOON + 10,
        "first_failure_at": NOON,
        "last_pass_at": NOON - 5,
        "affected": ("ma-boston", "ma-quincy"),
        "evidence": {"failed": 10, "tried": 10, "control": "pass"},
    }
    return Incident(**(fields | more))


def notice(status: Status = "open", number: int = 1, *, at: float = NOON + 10) -> Notice:
    """Return a notice about an incident."""
    closed_at = at if status == "closed" else None
    return Notice(status, incident(number, closed_at=closed_at, changed_at=at), at)


@asynccontextmanager
async def opened(
    database: Path,
    run: Runner | None = None,
    *,
    boot: str = "",
    **more: Any,
) -> AsyncIterator[Store]:
    """Open a store, inline unless told otherwise, and close it in the end.

    With a ``boot`` the loop's clock counts too; without, only the times that a test makes up.
    """
    store = Store(database, run or Inline(), boot=boot, **more)
    try:
        yield store
    finally:
        await store.close()
