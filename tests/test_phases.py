"""Durations are read from evidence, and only from phases that ended."""

from __future__ import annotations

import pytest

from psapwatch.evidence import Kind, Observation
from psapwatch.phases import phases_of
from samples import answered, attempt, sent


def test_every_phase_of_a_full_call_has_its_duration() -> None:
    """Name, connection, TLS, provisional, final, echo and teardown."""
    seen = (
        Observation(Kind.RESOLVED, 0.0, {"duration_s": 0.002}),
        Observation(Kind.CONNECTED, 0.01, {"duration_s": 0.008}),
        Observation(Kind.TLS_UP, 0.03, {"duration_s": 0.02}),
        sent(0.03, 1, "INVITE"),
        answered(0.05, 100, "INVITE"),
        answered(0.06, 180, "INVITE"),
        answered(0.13, 200, "INVITE"),
        Observation(Kind.MEDIA, 0.5, {"rtt_s": 0.04}),
        sent(0.6, 1, "BYE"),
        answered(0.65, 200, "BYE"),
    )
    assert phases_of(attempt(seen=seen)) == pytest.approx(
        {
            "resolve": 0.002,
            "connect": 0.008,
            "tls": 0.02,
            "provisional": 0.02,
            "final": 0.1,
            "echo": 0.04,
            "teardown": 0.05,
        }
    )


def test_final_is_measured_from_the_first_transmission() -> None:
    """A retransmission is part of how long the far end took."""
    seen = (sent(0.0), sent(0.5, 2), answered(0.52))
    assert phases_of(attempt(seen=seen)) == pytest.approx({"final": 0.52})


def test_a_digest_challenge_does_not_stretch_the_answer() -> None:
    """The second request is the one that was answered."""
    seen = (sent(0.0), answered(0.02, 401), sent(0.03), answered(0.06))
    assert phases_of(attempt(seen=seen)) == pytest.approx({"final": 0.03})


def test_the_kernels_receive_time_wins_over_a_busy_loop() -> None:
    """`phase_s` is from the socket; `at_s` only says when the loop came to it."""
    seen = (sent(0.0), answered(0.9, phase_s=0.021))
    assert phases_of(attempt(seen=seen)) == {"final": 0.021}


@pytest.mark.parametrize(
    "seen",
    [
        (sent(), Observation(Kind.SILENT, 4.0, {"after_s": 4.0, "method": "OPTIONS"})),
        (sent(), answered(9.0, late=True)),
        (answered(0.02),),
        (sent(), answered(0.02, method="SUBSCRIBE")),
        (Observation(Kind.CONNECTED, 0.0, {"duration_s": 0.0, "reused": True}),),
        (Observation(Kind.RESOLVED, 0.0, {"duration_s": 0.0, "cached": True}),),
        (Observation(Kind.MEDIA, 0.5, {"rtt_s": None}),),
        (Observation(Kind.MEDIA, 0.5, {"rtt_s": -1.0}),),
        (Observation(Kind.TLS_UP, 0.5, {"duration_s": "fast"}),),
    ],
)
def test_what_did_not_end_has_no_duration(seen: tuple[Observation, ...]) -> None:
    """Silence, late answers, reuse, cache hits and nonsense are no durations."""
    assert phases_of(attempt(seen=seen)) == {}
