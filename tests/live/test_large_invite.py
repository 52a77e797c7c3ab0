"""INVITEs of two sizes through a real firewall that drops fragments, by hand and by the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from components.calling import Called, place_calls
from components.daemon import Daemon
from components.firewall import INSIDE, OUTSIDE, SIP_PORT, Laboratory
from components.inside import start_answering_point
from components.peer import Peer
from components.process import Bench
from components.watching import FIREWALL, OPTIONS, watching

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
    """Location or padding, over UDP both need fragments; small ones and streams do not.

    Without the rule they arrive, put together again and as long as they were sent.
    """
    arrived = call(laboratory, reference, LOCATED)
    [final] = [seen for seen in arrived.observed("response") if seen["method"] == "INVITE"]
    assert (arrived.outcome, f'size="{len(arrived.invite)}"' in final["saw"]) == ("pass", True)
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


def test_the_daemon_names_the_fragments(
    laboratory: Laboratory, reference: Peer, daemon: Callable[..., Daemon]
) -> None:
    """Large calls to the reference fail, with and without a location; small ones do not."""
    often = {"probe": "call", "on": "reference", "every": "2s", "give_up_after": "1s"}
    config = watching(
        {"ma-boston": reference.uri},
        source=OUTSIDE[0],
        firewall={"reference": reference.uri},
        checks={
            "keepalive": OPTIONS,
            "small": often,
            "large": often | {"location": True},
            "padded": often | {"padding": True},
        },
    )
    watch = daemon(config, place=laboratory.outside, laboratory=laboratory)
    passed = {"psap": "reference", "outcome": "pass"}
    watch.wait_for(
        lambda: (
            sum(watch.samples("psapwatch_attempts_total", passed).values()) >= 2 * 3
            and all(watch.samples("psapwatch_attempts_total", passed).values())
        ),
        15,
        "every call passes",
    )
    with laboratory.rule(DROPPED, chain="raw"):
        cause = {"alert": "CallsDegraded", "member": FIREWALL, "cause": "large_message_udp_lost"}
        watch.wait_for(
            lambda: watch.total("psapwatch_incident_cause", cause) == 1, 20, "the cause is named"
        )
    assert watch.total("psapwatch_incidents_total") == 1
