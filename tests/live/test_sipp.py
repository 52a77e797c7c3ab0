"""OPTIONS and test calls against SIPp, over UDP and TCP, as a capture shows them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components.capture import Capture
from components.daemon import Daemon
from components.ladder import (
    ANSWERED,
    ASKED,
    ONLY_THE_TEST_URN,
    all_well_formed,
    called_uris,
    ladders,
    steps,
)
from components.peer import Peer
from components.sipp import finished_calls
from components.watching import outcomes, watching

TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


@TRANSPORTS
def test_options_and_calls_end_cleanly(
    sipp: Callable[..., Peer],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    transport: str,
) -> None:
    """Each call is INVITE, 200, ACK, BYE, 200: nothing twice, and SIPp counts no failed one."""
    peers = {scenario: sipp(scenario, transport=transport) for scenario in ("mirror", "patient")}
    captured = capture(list(peers.values()))
    watch = daemon(watching({name: peer.uri for name, peer in peers.items()}))
    watch.wait_for(
        lambda: (
            watch.total("psapwatch_calls_ended_total") >= 4
            and watch.total("psapwatch_attempts_total", {"check": "keepalive"}) >= 4
        ),
        10,
        "four calls and four OPTIONS",
    )
    assert set(outcomes(watch)) == {"pass"}
    assert watch.total("psapwatch_internal_errors_total") == 0
    watch.end()
    seen = captured.stop()
    assert all_well_formed(seen)
    assert called_uris(seen) == ONLY_THE_TEST_URN
    assert {message.transport for message in seen} == {transport}
    for peer in peers.values():
        conversations = ladders(seen, peer)
        assert {steps(ladder) for ladder in conversations} == {ANSWERED, ASKED}
        assert finished_calls(peer) == (len(conversations), 0)


@TRANSPORTS
def test_a_refused_call_is_acknowledged(
    sipp: Callable[..., Peer],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    transport: str,
) -> None:
    """486 is acknowledged at once, degrades the path, and the PSAP is left alone for a while."""
    peer = sipp("busy", transport=transport)
    captured = capture([peer])
    watch = daemon(watching({"ma-boston": peer.uri}))
    watch.wait_for(
        lambda: (
            watch.total("psapwatch_calls_ended_total", {"how": "rejected"})
            and watch.total("psapwatch_attempts_total", {"check": "keepalive"}) >= 2
        ),
        10,
        "a refused call",
    )
    refused = {"check": "test-call", "outcome": "degraded"}
    assert watch.total("psapwatch_attempts_total", refused) == 1
    assert watch.total("psapwatch_causes_total", {"cause": "test_call_refused"}) == 1
    watch.end()
    seen = captured.stop()
    calls = [ladder for ladder in ladders(seen, peer) if ladder[0].method == "INVITE"]
    assert [steps(ladder) for ladder in calls] == [("INVITE", "486 INVITE", "ACK")]
    assert called_uris(seen) == ONLY_THE_TEST_URN
    assert calls[0][-1].uri == calls[0][0].uri  # RFC 3261 17.1.1.3: the ACK of a refusal
    assert finished_calls(peer)[1] == 0


@TRANSPORTS
def test_a_ringing_phone_is_cancelled(
    sipp: Callable[..., Peer],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    transport: str,
) -> None:
    """180 looks like a person: CANCEL at once, 487 acknowledged, and no further call."""
    peer = sipp("ringing", transport=transport)
    captured = capture([peer])
    watch = daemon(watching({"ma-boston": peer.uri}))
    watch.wait_for(
        lambda: watch.total("psapwatch_calls_ended_total", {"how": "cancelled"}), 10, "a CANCEL"
    )
    assert watch.total("psapwatch_causes_total", {"cause": "unsafe_answer"}) == 1
    watch.wait_for(
        lambda: watch.total("psapwatch_test_calls_stopped", {"psap": "ma-boston"}), 3, "the stop"
    )
    watch.end()
    seen = captured.stop()
    calls = [ladder for ladder in ladders(seen, peer) if ladder[0].method == "INVITE"]
    assert len(calls) == 1
    first = steps(calls[0])
    assert first[:3] == ("INVITE", "180 INVITE", "CANCEL")
    assert sorted(first[3:]) == ["200 CANCEL", "487 INVITE", "ACK"]
    assert first.index("487 INVITE") < first.index("ACK")
    invite, _ringing, cancel, *_rest = calls[0]
    assert cancel.uri == invite.uri
    assert cancel.at_s - _ringing.at_s < 0.2
    assert finished_calls(peer)[1] == 0
