"""Media through a real firewall: which way it is closed, who says so, and who rewrites it."""

from __future__ import annotations

from typing import Final

import pytest

from components.calling import Called, place_calls
from components.daemon import PROGRAM
from components.firewall import FIREWALL_INNER, FIREWALL_OUTER, INSIDE, SIP_PORT, Laboratory
from components.peer import Peer
from components.process import Bench

THEIRS: Final = "30000-30099"
OURS: Final = (40_000, 40_099)
FORWARD: Final = f"udp dport {THEIRS} counter drop"
REVERSE: Final = f"udp dport {OURS[0]}-{OURS[1]} counter drop"
GATEWAY: Final = f"""
table ip gateway {{
  ct helper sip {{
    type "sip" protocol udp
    l3proto ip
  }}
  chain seen {{
    type filter hook prerouting priority filter
    udp dport {SIP_PORT} counter ct helper set "sip"
  }}
  chain leave {{
    type nat hook postrouting priority srcnat
    oifname "inner" counter masquerade
  }}
}}
"""


@pytest.fixture
def reference(bench: Bench, laboratory: Laboratory) -> Peer:
    """``psapwatch respond`` inside, with its media on ports that rules can name."""
    argv = [
        *(str(PROGRAM), "respond", "--listen", f"{INSIDE}:{SIP_PORT}"),
        *("--rtp-ports", THEIRS, "--name", "reference", "--echoes", "200"),
    ]
    running = bench.start("respond", argv, place=laboratory.inside)
    running.wait_until(lambda: running.output.count("answering on") == 2, "answers")
    return Peer(INSIDE, SIP_PORT, "udp", running)


def call(laboratory: Laboratory, reference: Peer, **more: object) -> Called:
    """One call from outside."""
    settings = {"rtp_ports": OURS, "psap": "reference", **more}
    [called] = place_calls(reference, place=laboratory.outside, **settings)  # type: ignore[arg-type]
    return called


def test_nothing_in_the_way(laboratory: Laboratory, reference: Peer) -> None:
    """Media there and back, nobody rewrites anything."""
    called = call(laboratory, reference)
    assert (called.outcome, called.media["echoed"]) == ("pass", 3)
    assert called.media["far_heard"] is None or called.media["far_heard"] >= 3


@pytest.mark.parametrize(
    ("rules", "cause", "direction"),
    [
        ((FORWARD,), "one_way_media", "forward"),
        ((REVERSE,), "one_way_media", "reverse"),
        ((FORWARD, REVERSE), "media_blocked", "none of 10"),
    ],
    ids=["there", "back", "both"],
)
def test_rtp_dropped(
    laboratory: Laboratory, reference: Peer, rules: tuple[str, ...], cause: str, direction: str
) -> None:
    """Each way and both: signalling passes, the cause has its direction, the counters moved."""
    if len(rules) == 1:
        with laboratory.rule(rules[0]) as rule:
            called = call(laboratory, reference)
            dropped = rule.packets
    else:
        # The way back is never met: what does not arrive there is not sent back.
        with laboratory.rule(rules[0]) as rule, laboratory.rule(rules[1]) as back:
            called = call(laboratory, reference)
            dropped = rule.packets
            assert back.packets == 1  # the far side's own report
    assert (called.outcome, called.cause) == ("fail", cause)
    assert called.why.startswith(direction)
    assert dropped >= 3
    assert called.media["echoed"] == 0
    after = call(laboratory, reference)
    assert after.outcome == "pass"


def test_rtp_rejected_names_the_firewall(laboratory: Laboratory, reference: Peer) -> None:
    """An ICMP error on the media port: blocked, and by whom."""
    with laboratory.rule(f"udp dport {THEIRS} counter reject with icmpx admin-prohibited"):
        called = call(laboratory, reference)
    assert called.cause == "media_blocked"
    assert f"3/13 from {FIREWALL_OUTER}" in called.why


def test_rtp_to_new_flows_only(laboratory: Laboratory, reference: Peer) -> None:
    """SIP alone is let in, its answers go out: media is blocked both ways, as in a real outage."""
    laboratory.nft(
        "add rule inet bench forward ct state established,related accept\n"
        f"add rule inet bench forward udp dport {SIP_PORT} accept\n"
    )
    with laboratory.rule("meta l4proto udp counter drop"):
        called = call(laboratory, reference)
    assert called.cause == "media_blocked"


def test_loss_has_a_direction(laboratory: Laboratory, reference: Peer) -> None:
    """Every fifth packet lost on the way there, then on the way back: a stream of 100 tells."""
    for ports, forward, reverse in ((THEIRS, 20, 0), (f"{OURS[0]}-{OURS[1]}", 0, 20)):
        rule = f"udp dport {ports} numgen inc mod 5 == 0 counter drop"
        with laboratory.rule(rule):
            called = call(laboratory, reference, call={"packets": 100}, patience_s=10.0)
        media = called.media
        assert called.cause == "intermittent_loss"
        assert (media["forward_lost"], media["reverse_lost"]) == pytest.approx(
            (forward, reverse), abs=1
        )
        assert 2.5 < media["mos"] < 3.5


@pytest.mark.parametrize("media", [True, False], ids=["media", "signalling"])
def test_the_kernels_sip_gateway_is_found_out(
    laboratory: Laboratory, reference: Peer, media: bool
) -> None:
    """The real ALG: Via, Contact and SDP rewritten on the way in and put back in the answer.

    It drops a call that offers a port under 1024, so a call without media offers none such.
    """
    laboratory.nft(GATEWAY)
    called = call(laboratory, reference, call={"media": media})
    [final] = [seen for seen in called.observed("response") if seen["method"] == "INVITE"]
    assert f';source="{FIREWALL_INNER}:' in final["saw"]
    assert called.cause == "alg_rewrite"
    assert called.outcome == "degraded"
    assert f"arrived as sip:path-test@{FIREWALL_INNER}" in called.why
    assert not media or called.media["echoed"] == 3
    assert b"Via: SIP/2.0/UDP 198.51.100.10" in called.messages[1]
