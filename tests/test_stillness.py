"""Our own loop's absence is not the network's silence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.stillness import KEPT_MAX, LATE_FOR_S, Stillness
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from samples import attempt, sent

SILENT = Observation(Kind.SILENT, 4.0, {"method": "OPTIONS", "after_s": 4.0})
FAILED = Verdict(Outcome.FAIL, Cause.CALLS_BLOCKED, Plane.PATH, "no answer")


def silence(duration_s: float = 4.0) -> Evidence:
    """Return the evidence of an attempt that nothing was heard of."""
    return replace(attempt(seen=(sent(), SILENT)), duration_s=duration_s)


def loop(*late: tuple[float, float]) -> Stillness:
    """Return a loop whose ticks at these moments were so late, and whose next is due at 101 s."""
    still = Stillness()
    for now, late_s in late:
        still.expect(now - late_s)
        assert still.ticked(now) == pytest.approx(late_s)
    still.expect(101.0)
    return still


@pytest.mark.parametrize(
    ("still", "is_excused"),
    [
        (loop(), False),
        (loop((99.0, 0.9)), False),
        (loop((99.0, 1.1)), True),
        (loop((98.0, 0.4), (99.0, 0.4), (100.0, 0.4)), True),
        (loop((90.0, 6.0)), False),  # before the attempt began
        (loop((98.5, 60.0)), True),
        (loop(*((100.0 - nth / 10, 0.09) for nth in range(40, 0, -1))), False),  # only busy
    ],
)
def test_silence_while_our_loop_was_away_is_inconclusive(
    still: Stillness, *, is_excused: bool
) -> None:
    """More than a quarter of the attempt is too much; less is no excuse for a block."""
    verdict = still.excuse(silence(), FAILED, 100.0)
    assert (verdict is FAILED) is not is_excused
    if is_excused:
        assert (verdict.outcome, verdict.cause) == (Outcome.INCONCLUSIVE, Cause.PROBER_FAULT)
        assert "stood still" in verdict.why


def test_a_tick_that_is_overdue_right_now_counts() -> None:
    """After a pause the attempts' timers fire before the tick does."""
    assert loop().excuse(silence(8.0), FAILED, 104.0).cause is Cause.PROBER_FAULT
    assert loop().excuse(silence(8.0), FAILED, 101.05) is FAILED


@pytest.mark.parametrize("kind", ["connect_failed", "tls_failed", "connection_lost"])
@pytest.mark.parametrize(("error", "is_excused"), [("timeout", True), ("refused", False)])
def test_whatever_was_waited_for_in_vain_is_inconclusive(
    kind: str, error: str, *, is_excused: bool
) -> None:
    """A connection, a handshake: a time that ran out is ours, a refusal is not."""
    seen = Observation(Kind(kind), 4.0, {"error": error})
    failed = replace(attempt(seen=(seen,)), duration_s=4.0)
    assert (loop((99.0, 3.0)).excuse(failed, FAILED, 100.0) is FAILED) is not is_excused


def test_what_was_heard_is_no_silence() -> None:
    """A rejection is a rejection, however late our loop was."""
    refused = replace(attempt(seen=(sent(),)), duration_s=4.0)
    assert loop((99.0, 3.0)).excuse(refused, FAILED, 100.0) is FAILED


@pytest.mark.parametrize(
    ("still", "repeats", "is_excused"),
    [
        (loop((99.0, 1.6)), 2, True),
        (loop((99.0, 1.3)), 2, True),  # it began up to a tick before it was due
        (loop((99.0, 0.9)), 2, False),
        (loop((99.0, 1.6)), 3, False),  # the third comes after 3.5 s
        (loop((98.0, 3.6)), 3, True),
        (loop(*((100.0 - nth / 4, 0.2) for nth in range(32, 0, -1))), 2, False),  # only busy
        (loop((91.0, 5.0)), 2, False),  # before the call began
    ],
)
def test_who_missed_our_ack_is_blamed_but_for_one_long_absence(
    still: Stillness, repeats: int, *, is_excused: bool
) -> None:
    """A 2xx comes again after 0.5, 1.5 and 3.5 s without an ACK: for so long we were away."""
    again = Observation(Kind.REPEATED, 4.0, {"code": 200, "count": repeats})
    lost = Verdict(Outcome.DEGRADED, Cause.ACK_LOST, Plane.SIGNALLING, "the 2xx came again")
    answered = replace(attempt(seen=(sent(), again)), duration_s=8.0)
    assert (still.excuse(answered, lost, 100.0) is lost) is not is_excused


def test_a_late_loop_is_late_for_a_while() -> None:
    """First transmissions say nothing for some seconds."""
    still = loop((100.0, 0.2))
    assert still.lately(100.5)
    still.expect(200.0)
    assert still.lately(100.0 + LATE_FOR_S - 0.1)
    assert not still.lately(100.0 + LATE_FOR_S)


def test_memory_is_bounded() -> None:
    """A loop that is late for ever is remembered as far as an attempt goes back."""
    still = loop(*((float(nth), 0.5) for nth in range(2 * KEPT_MAX)))
    assert still.within(0.0, 2.0 * KEPT_MAX) <= 0.5 * KEPT_MAX + 2 * KEPT_MAX
    assert len(still._late) == KEPT_MAX
