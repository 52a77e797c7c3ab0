"""The daemon in front of a real firewall: each way to block, and what the daemon says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from components.daemon import Daemon
from components.firewall import FIREWALL_OUTER, OUTSIDE, SIP_PORT, Laboratory
from components.inside import start_answering_point
from components.process import Bench
from components.waiting import until
from components.watching import FIREWALL, outcomes, watching

PSAPS: Final = [f"ma-{number}" for number in range(6)]
INVITE_OCTETS: Final = "@th,64,48 0x494e56495445"


@pytest.fixture
def answering_point(bench: Bench, laboratory: Laboratory) -> None:
    """Our own answering point inside: it is every PSAP of the tests."""
    start_answering_point(bench, laboratory)


@pytest.fixture
def start(
    answering_point: None, daemon: Callable[..., Daemon], laboratory: Laboratory
) -> Callable[[str], Daemon]:
    """Start the daemon outside, watching all PSAPs over one transport, and see it all green."""

    def start(transport: str) -> Daemon:
        uris = {
            name: f"sip:psap@198.18.0.{number}:{SIP_PORT};transport={transport}"
            for number, name in enumerate(PSAPS, 1)
        }
        config = watching(uris, source=OUTSIDE[0], detection={"clean": "1s", "rise": 1})
        watch = daemon(config, place=laboratory.outside, laboratory=laboratory)
        watch.wait_for(
            lambda: all(
                watch.total("psapwatch_path_up", {"check": check}) == len(PSAPS)
                for check in ("keepalive", "test-call")
            ),
            10,
            "all paths up",
        )
        assert watch.json("/api/v1/incidents")["incidents"] == []
        assert set(outcomes(watch)) == {"pass"}
        return watch

    return start


def incident_with(watch: Daemon, cause: str) -> dict[str, Any]:
    """Wait for the one open incident and its cause, and return it."""
    open_ = {"alert": "CallsBlocked", "scope": "firewall", "member": FIREWALL, "severity": "page"}
    watch.wait_for(lambda: watch.total("psapwatch_incident_open", open_), 15, "the incident")
    named = {"scope": "firewall", "member": FIREWALL, "cause": cause}
    watch.wait_for(lambda: watch.total("psapwatch_incident_cause", named), 10, f"its cause {cause}")
    found: list[dict[str, Any]] = watch.json("/api/v1/incidents")["incidents"]
    assert [incident["scope"] for incident in found] == ["firewall"], "told once, not PSAP by PSAP"
    return found[0]


def wait_until_options_pass(watch: Daemon) -> None:
    """Wait until all paths answer again, and see that nothing was called our own fault.

    Calls are not waited for: an INVITE that met silence stays open for 32 s (Timer B), and no PSAP
    is called while a call to it is open.
    """
    watch.wait_for(
        lambda: watch.total("psapwatch_path_up", {"check": "keepalive"}) == len(PSAPS),
        10,
        "OPTIONS pass again",
    )
    assert watch.total("psapwatch_causes_total", {"cause": "prober_fault"}) == 0
    assert watch.total("psapwatch_internal_errors_total") == 0


def failing_attempts(watch: Daemon, check: str) -> list[dict[str, Any]]:
    """Return the last failed attempt of a check on each path, with its evidence."""
    rows = [
        row
        for path in watch.json("/api/v1/status")["paths"]
        for row in path["checks"]
        if row["check"] == check and row["last_failure"]
    ]
    return [watch.json(f"/api/v1/attempts/{row['last_failure']}") for row in rows]


def test_silent_drop(start: Callable[[str], Daemon], laboratory: Laboratory) -> None:
    """Everything dropped: one incident for the firewall, calls_blocked; OPTIONS pass afterwards."""
    watch = start("udp")
    with laboratory.rule(f"udp dport {SIP_PORT} counter drop"):
        incident = incident_with(watch, "calls_blocked")
        assert len(incident["affected"]) >= 3
    wait_until_options_pass(watch)


def test_reject_names_the_firewall(start: Callable[[str], Daemon], laboratory: Laboratory) -> None:
    """Admin-prohibited: explicit_reject, and the evidence names the firewall that said so."""
    watch = start("udp")
    with laboratory.rule(f"udp dport {SIP_PORT} counter reject with icmpx admin-prohibited"):
        incident_with(watch, "explicit_reject")
        # A kernel sends few ICMP errors a second: of the last failures not each has one.
        offenders = until(lambda: _offenders(failing_attempts(watch, "keepalive")), 10, "ICMP")
    assert offenders == {(3, 13, FIREWALL_OUTER)}
    wait_until_options_pass(watch)


def _offenders(attempts: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Type, code and sender of every ICMP error that these attempts met."""
    return {
        (facts["icmp_type"], facts["code"], facts["offender"])
        for attempt in attempts
        for kind, _at_s, facts in attempt["attempt"]["observations"]
        if kind == "icmp"
    }


def test_invite_only_drop(start: Callable[[str], Daemon], laboratory: Laboratory) -> None:
    """Calls lost while OPTIONS pass: invite_blocked, which one attempt alone could never say."""
    watch = start("udp")
    with laboratory.rule(f"udp dport {SIP_PORT} {INVITE_OCTETS} counter drop"):
        before = outcomes(watch, {"check": "keepalive"})
        incident_with(watch, "invite_blocked")
        after = outcomes(watch, {"check": "keepalive"})
        assert set(after) == {"pass"}
        assert after["pass"] > before["pass"]
    wait_until_options_pass(watch)


def test_tcp_reset(start: Callable[[str], Daemon], laboratory: Laboratory) -> None:
    """Connections reset and refused: said as such, also on connections that were up."""
    watch = start("tcp")
    with laboratory.rule(f"tcp dport {SIP_PORT} counter reject with tcp reset"):
        incident_with(watch, "connection_refused")
        attempts = failing_attempts(watch, "keepalive")
    errors = {
        facts["error"]
        for attempt in attempts
        for kind, _at_s, facts in attempt["attempt"]["observations"]
        if kind in ("connect_failed", "connection_lost")
    }
    assert "refused" in errors
    assert errors <= {"refused", "reset"}
    wait_until_options_pass(watch)
