"""Where on the way: a real firewall's ICMP and a real proxy's 483 are the hops of a walk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from components.daemon import PROGRAM
from components.firewall import FIREWALL_OUTER, INSIDE, INSIDE_V6, SIP_PORT, Laboratory
from components.inside import start_answering_point
from components.kamailio import Kamailio
from components.peer import Peer
from components.process import Bench, Place

PATIENCE_S: Final = 30
FIREWALL_OUTER_V6: Final = "2001:db8:1::1"


class Walked(NamedTuple):
    """What the command said."""

    code: int
    why: str
    hops: list[dict[str, Any]]


def walk(place: Place, uri: str, kind: str) -> Walked:
    """Run ``psapwatch probe --kind walk`` in a place."""
    argv = [*place.prefix, str(PROGRAM), "probe", uri, "--kind", kind, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    said = json.loads(done.stdout)
    seen = said["attempt"]["observations"]
    hops = [facts for name, _at_s, facts in seen if name == "hop"]
    return Walked(done.returncode, said["verdict"]["why"], hops)


@pytest.mark.parametrize("family", [4, 6])
def test_the_firewall_is_an_ip_hop_and_the_last_one_while_it_drops(
    bench: Bench, laboratory: Laboratory, family: int
) -> None:
    """It answers time exceeded to a TTL of 1 in any case; beyond it nobody does."""
    host, firewall = (INSIDE, FIREWALL_OUTER) if family == 4 else (INSIDE_V6, FIREWALL_OUTER_V6)
    shown = host if family == 4 else f"[{host}]"
    start_answering_point(bench, laboratory, f"{shown}:{SIP_PORT}")
    uri = f"sip:psap@{shown}:{SIP_PORT}"
    good = walk(laboratory.outside, uri, "walk-ip")
    expired = "11/0" if family == 4 else "3/0"
    assert [hop.get("icmp") or hop["code"] for hop in good.hops] == [expired, 200]
    assert good.hops[0]["who"] == firewall
    assert (good.code, good.why.startswith(f"200 at hop 2: {firewall}, ")) == (0, True)
    with laboratory.rule("udp dport 5060 counter drop"):
        blocked = walk(laboratory.outside, uri, "walk-ip")
    assert (blocked.code, blocked.why) == (3, f"last hop that answered: {firewall}")
    assert [hop["who"] for hop in blocked.hops] == [firewall, "", "", ""]


def test_a_firewall_that_rejects_ends_the_walk(laboratory: Laboratory) -> None:
    """Prohibited is no time exceeded: who says so is the last hop, and nothing more is sent."""
    with laboratory.rule("udp dport 5060 counter reject with icmpx admin-prohibited") as rule:
        walked = walk(laboratory.outside, f"sip:psap@{INSIDE}:{SIP_PORT}", "walk-ip")
    assert [hop["icmp"] for hop in walked.hops] == ["11/0", "3/13"]
    assert rule.packets == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_proxy_is_a_sip_hop(
    bench: Bench, laboratory: Laboratory, kamailio: Callable[..., Kamailio], transport: str
) -> None:
    """Kamailio answers 483 to Max-Forwards 0, and lets 1 through to the far end."""
    responder = start_answering_point(bench, laboratory)
    far_end = Peer(INSIDE, SIP_PORT, "udp", responder)
    proxy = kamailio(place=laboratory.inside, forward_to=far_end).peer(transport)
    good = walk(laboratory.outside, proxy.uri, "walk")
    assert [(hop["n"], hop["code"]) for hop in good.hops] == [(1, 483), (2, 200)]
    assert "kamailio" in good.hops[0]["who"].lower()
    assert "psapwatch" in good.hops[1]["who"]
    assert good.code == 0
    with laboratory.rule("udp dport 5060 counter drop", chain="raw", place=laboratory.inside):
        cut = walk(laboratory.outside, proxy.uri, "walk")
    assert cut.code == 3
    assert cut.why.startswith("last hop that answered: ")
    assert "kamailio" in cut.why.lower()
