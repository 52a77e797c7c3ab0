"""INVITEs of two sizes through a real firewall that drops fragments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from components.calling import Called, place_calls
from components.firewall import INSIDE, SIP_PORT, Laboratory
from components.inside import start_answering_point
from components.peer import Peer
from components.process import Bench

DROPPED: Final = "ip frag-off & 0x3fff != 0 counter drop"
SMALL: Final[dict[str, Any]] = {}
LOCATED: Final = {"location": True}
PADDED: Final = {"padding": True}
PATIENCE_S: Final = 1.2
"""Two retransmissions; nothing on the way takes longer than some milliseconds."""


@pytest.fixture
def reference(bench: Bench, laboratory: Laboratory) -> Peer:
    """``psapwatch respond`` inside, over UDP and TCP."""
    return Peer(INSIDE, SIP_PORT, "udp", start_answering_point(bench, laboratory))


def call(
    laboratory: Laboratory, reference: Peer, content: dict[str, Any], transport: Any = "udp"
) -> Called:
    """One call to the reference, without media."""
    [called] = place_calls(
        replace(reference, transport=transport),
        place=laboratory.outside,
        call={"media": False, **content},
        psap="reference",
        patience_s=PATIENCE_S,
    )
    return called


def test_only_large_invites_over_udp_are_lost(laboratory: Laboratory, reference: Peer) -> None:
    """Location or padding, over UDP both need fragments; small ones and streams do not."""
    with laboratory.rule(DROPPED, chain="raw") as rule:
        small = call(laboratory, reference, SMALL)
        assert (small.outcome, rule.packets) == ("pass", 0)
        for content in (LOCATED, PADDED):
            before = rule.packets
            lost = call(laboratory, reference, content)
            assert (lost.outcome, len(lost.invite) > 1_800) == ("fail", True)
            assert lost.observed("response") == []
            assert rule.packets >= before + 4  # two fragments of each transmission
        before = rule.packets
        for content in (LOCATED, PADDED):
            assert call(laboratory, reference, content, "tcp").outcome == "pass"
        assert rule.packets == before


def test_fragments_reach_the_reference(laboratory: Laboratory, reference: Peer) -> None:
    """Without such a rule the same INVITE is put together and answered, as long as it was sent."""
    with laboratory.rule(DROPPED.replace("drop", "accept"), chain="raw") as rule:
        called = call(laboratory, reference, LOCATED)
    assert rule.packets >= 2
    assert called.outcome == "pass"
    [final] = [seen for seen in called.observed("response") if seen["method"] == "INVITE"]
    assert f'size="{len(called.invite)}"' in final["saw"]
