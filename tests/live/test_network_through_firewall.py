"""The real network through a real firewall: ICMP with its sender, resets, silence, marks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from components.firewall import (
    FIREWALL_OUTER,
    INSIDE,
    INSIDE_V6,
    OUTSIDE,
    OUTSIDE_V6,
    Laboratory,
)
from components.process import Bench, program

PATIENCE_S: Final = 5.0
FIREWALL_OUTER_V6: Final = "2001:db8:1::1"
_TESTS: Final = Path(__file__).parent.parent

Seen = list[tuple[str, dict[str, Any]]]


def attempt(
    laboratory: Laboratory,
    transport: str,
    *sizes: int,
    family: int = 4,
    patience_s: float = PATIENCE_S,
) -> Seen:
    """Send OPTIONS with bodies of these sizes from outside to inside; return what was seen."""
    source, peer = (OUTSIDE[0], INSIDE) if family == 4 else (OUTSIDE_V6, INSIDE_V6)
    words = [transport, source, peer, str(patience_s), *map(str, sizes)]
    program_file = str(_TESTS / "net" / "open_and_send.py")
    argv = ["env", f"PYTHONPATH={_TESTS}", sys.executable, program_file, *words]
    said = laboratory.run(laboratory.outside, argv)
    return [(kind, facts) for kind, facts in json.loads(said)]


def echo(bench: Bench, laboratory: Laboratory, transport: str, family: int = 4) -> None:
    """Start something inside that sends back what it gets."""
    listen = f"{transport.upper()}{family}-LISTEN:5060,fork,reuseaddr"
    argv = [program("socat"), "-d", "-d", listen, "PIPE"]
    running = bench.start(f"echo-{transport}{family}", argv, place=laboratory.inside)
    running.wait_until(lambda: "listening on" in running.output, "listens")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_rejecting_firewall_names_itself(
    laboratory: Laboratory, transport: str, family: int
) -> None:
    """Reject with admin-prohibited: type, code and the firewall's own address, whatever is sent."""
    with laboratory.rule(
        "meta l4proto { tcp, udp } th dport 5060 counter reject with icmpx admin-prohibited"
    ):
        seen = attempt(laboratory, transport, 0, family=family)
    kinds = [kind for kind, _facts in seen]
    assert kinds == ["icmp"] if transport == "udp" else ["icmp", "connect_failed"]
    facts = seen[0][1]
    v4, v6 = (3, 13, FIREWALL_OUTER), (1, 1, FIREWALL_OUTER_V6)
    assert (facts["icmp_type"], facts["code"], facts["offender"]) == (v4 if family == 4 else v6)
    assert facts["family"] == family
    if transport != "udp":
        assert seen[1][1]["error"] == "unreachable"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_reset_by_the_firewall_is_a_refusal(laboratory: Laboratory, transport: str) -> None:
    """Reject with tcp reset looks like a closed port: refused, at once."""
    with laboratory.rule("tcp dport 5060 counter reject with tcp reset"):
        seen = attempt(laboratory, transport)
    assert [(kind, facts["error"]) for kind, facts in seen] == [("connect_failed", "refused")]


def test_a_dropped_syn_is_a_timeout(laboratory: Laboratory) -> None:
    """A silent firewall: no ICMP, nothing; the patience runs out."""
    with laboratory.rule("tcp dport 5060 counter drop"):
        seen = attempt(laboratory, "tcp", patience_s=0.3)
    assert [(kind, facts["error"]) for kind, facts in seen] == [("connect_failed", "timeout")]


def test_dropped_datagrams_are_silence(laboratory: Laboratory) -> None:
    """On UDP a dropping firewall shows as nothing at all."""
    with laboratory.rule("udp dport 5060 counter drop"):
        assert attempt(laboratory, "udp", 0, patience_s=0.3) == []


@pytest.mark.parametrize(
    ("transport", "family", "mark"),
    [
        ("udp", 4, "udp dport 5060 ip dscp ef counter"),
        ("tcp", 4, "tcp flags syn tcp dport 5060 ip dscp ef counter"),
        ("udp", 6, "udp dport 5060 ip6 dscp ef counter"),
        ("tcp", 6, "tcp flags syn tcp dport 5060 ip6 dscp ef counter"),
    ],
)
def test_packets_are_marked_from_the_first_on(
    laboratory: Laboratory, transport: str, family: int, mark: str
) -> None:
    """The firewall counts packets with DSCP 46, the SYN included."""
    with laboratory.rule(mark):
        attempt(laboratory, transport, 0, family=family, patience_s=2.0)


def test_a_connection_that_is_up_outlives_a_reject(bench: Bench, laboratory: Laboratory) -> None:
    """Small messages pass, a large one is rejected by ICMP: told, and the connection goes on."""
    echo(bench, laboratory, "tcp")
    with laboratory.rule(
        "tcp dport 5060 meta length > 600 counter reject with icmpx admin-prohibited"
    ):
        seen = attempt(laboratory, "tcp", 0, 900, 0)
    kinds = [kind for kind, _facts in seen]
    assert kinds[:3] == ["connected", "arrived", "icmp"]
    assert set(kinds[3:]) <= {"icmp"}
    assert seen[2][1]["errno"] == "EHOSTUNREACH"
