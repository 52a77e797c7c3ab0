"""The battery: differential probes that tell one kind of block from another (layer L1, pure).

One attempt alone never says why it was lost. A row asks the same thing with one thing changed:
another source, an old flow, a small message. What passes and what fails together names the cause;
the first signature that fits wins, and where none fits the cause stays what one attempt shows
(detection.md 5). What runs the rows is ``trials``, what they come to is ``tried``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.detection import Standing
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path
from psapwatch.verdict import Cause, Outcome, Verdict

Row = Literal[
    "call",
    "options",
    "kept",
    "new_connection",
    "second_source",
    "other_family",
    "must_block",
    "witness",
    "reference",
    "control",
    "small_call",
    "large_call",
    "padded_call",
    "large_call_tcp",
    "padded_call_tcp",
    "delayed_call",
    "repeated_call",
    "burst_call",
    "walk",
    "walk_ip",
    "own_rate",
]

ASKS: Final[dict[Row, str]] = {
    "call": "test calls to the PSAPs, as scheduled",
    "options": "OPTIONS on new flows",
    "kept": "OPTIONS on flows that were there before",
    "new_connection": "OPTIONS on a connection made for it",
    "second_source": "OPTIONS from another of our addresses",
    "other_family": "OPTIONS over the other IP family",
    "must_block": "OPTIONS to what this firewall has to block",
    "witness": "OPTIONS to the witness on our side of the firewall",
    "reference": "OPTIONS to the reference behind the firewall",
    "control": "OPTIONS to the reference, not through the firewall",
    "small_call": "a small call to the reference",
    "large_call": "a call with a location to the reference over UDP, in fragments",
    "padded_call": "a call of the same size without a location over UDP",
    "large_call_tcp": "a call with a location to the reference over TCP",
    "padded_call_tcp": "a call of the same size without a location over TCP",
    "delayed_call": "a call that the reference answers late",
    "repeated_call": "calls to the reference that got through only when they were sent again",
    "burst_call": "eight calls to the reference at once",
    "walk": "OPTIONS with Max-Forwards 0, 1, 2 and so on",
    "walk_ip": "OPTIONS with a TTL of 1, 2, 3 and so on",
    "own_rate": "messages of our own shortly before, close to their limit,",
}
"""Every row in words: what the alert's evidence, ``explain`` and the documents say."""

MIXED_MAX: Final = 0.1
"""So few others may come out the other way: one PSAP has a fault of its own now and then."""
_SCHEDULED: Final[tuple[Row, ...]] = ("call", "options", "kept")
"""Rows that the scheduled checks fill by themselves."""

Outcomes = Mapping[Row, Outcome]


@dataclass(frozen=True, slots=True)
class Signature:
    """A cause, and which rows pass and fail together when it is at work."""

    cause: Cause
    fails: tuple[Row, ...] = ()
    passes: tuple[Row, ...] = ()

    def fits(self, outcomes: Outcomes) -> bool:
        """Whether every row that it names was tried, and came out so."""
        return all(outcomes.get(row) is Outcome.FAIL for row in self.fails) and all(
            outcomes.get(row) in _PASSES for row in self.passes
        )


_PASSES: Final = (Outcome.PASS, Outcome.DEGRADED)

SIGNATURES: Final = (
    Signature(Cause.PATH_BYPASSED, passes=("must_block",)),
    Signature(Cause.PROBER_QUARANTINED, ("options",), ("second_source", "own_rate")),
    Signature(Cause.SOURCE_BLOCKED, fails=("options",), passes=("second_source",)),
    Signature(Cause.ADDRESS_FAMILY, fails=("options",), passes=("other_family",)),
    Signature(Cause.NEW_FLOWS_BLOCKED, fails=("options",), passes=("kept",)),
    Signature(Cause.NEW_FLOWS_BLOCKED, fails=("call", "new_connection"), passes=("options",)),
    Signature(Cause.STALE_FLOW, fails=("kept",), passes=("options",)),
    Signature(Cause.CONTENT_BLOCKED, fails=("large_call",), passes=("padded_call",)),
    Signature(Cause.CONTENT_BLOCKED, fails=("large_call_tcp",), passes=("padded_call_tcp",)),
    Signature(
        Cause.LARGE_MESSAGE_UDP_LOST, fails=("large_call", "padded_call"), passes=("small_call",)
    ),
    Signature(
        Cause.LARGE_MESSAGE_TCP_STALLED,
        fails=("large_call_tcp", "padded_call_tcp"),
        passes=("small_call",),
    ),
    Signature(Cause.UDP_STATE_TIMEOUT, fails=("delayed_call",), passes=("small_call",)),
    Signature(Cause.RATE_LIMITED, passes=("repeated_call", "reference")),
    Signature(Cause.RATE_LIMITED, fails=("burst_call",), passes=("small_call",)),
    Signature(Cause.INVITE_BLOCKED, fails=("call",), passes=("options",)),
    Signature(Cause.PSAP_ENDPOINT, fails=("reference", "control"), passes=("witness",)),
    Signature(Cause.UNKNOWN, fails=("options",), passes=("call",)),  # whatever it is: calls pass
)
"""From the outside in, as detection.md 5 has them; the first that fits wins."""

SILENT: Final = frozenset({Cause.CALLS_BLOCKED, Cause.FINAL_RESPONSE_LOST, Cause.UNKNOWN})
"""What one attempt calls its silence: only that needs telling apart. An ICMP error, a reset or a
503 says by itself what it is."""


OUR_ROWS: Final[frozenset[Row]] = frozenset(ASKS) - {
    "call",
    "options",
    "kept",
    "new_connection",
    "second_source",
    "other_family",
    "walk",
    "walk_ip",
}
"""Rows that were tried on responders of our own: they speak of a firewall, not of one PSAP."""
CALLS: Final[tuple[Row, ...]] = ("call", "small_call", "large_call", "padded_call")
WALKS: Final[dict[Row, str]] = {"walk": "SIP hops", "walk_ip": "IP hops"}
"""Rows that say where, and never what: no signature has them."""


def outcome_of(row: Row, verdict: Verdict) -> Outcome:
    """What an attempt comes to in its row.

    Nobody listens on every transport: a refusal says nothing, unless it was to be blocked.
    """
    if row == "must_block" and verdict.cause in _BLOCKS:
        return Outcome.FAIL
    if row in WALKS and verdict.cause is Cause.UNKNOWN:
        return Outcome.FAIL  # it came to no answer; one of our own fault stays inconclusive
    if verdict.cause is Cause.CONNECTION_REFUSED:
        return Outcome.INCONCLUSIVE
    return verdict.outcome


_BLOCKS: Final = (Cause.EXPLICIT_REJECT, Cause.CONNECTION_REFUSED)
"""A firewall may answer, reset or send ICMP in place of what it blocks."""


VARIANTS: Final = (
    "large_call",
    "padded_call",
    "large_call_tcp",
    "padded_call_tcp",
    "delayed_call",
)


def row_of(path: Path, check: Check) -> Row | None:
    """The row that a scheduled attempt fills by itself; OPTIONS of PSAPs stand in the standings."""
    if path.psap.id not in (REFERENCE, CONTROL):
        return "call" if check.is_call else None
    if not check.is_call:
        return "reference" if path.psap.id == REFERENCE else "control"
    if path.psap.id == CONTROL:
        return None
    settings, is_udp = check.settings, path.transport == "udp"
    if settings.answer_after:
        return "delayed_call"
    if settings.padding:
        return "padded_call" if is_udp else "padded_call_tcp"
    if settings.location:
        return "large_call" if is_udp else "large_call_tcp"
    return "small_call"


def is_variant(path: Path, check: Check) -> bool:
    """Whether a check asks our own responder something that no PSAP is asked in this way.

    Its failures are of its own kind: no samples of how callers fare.
    """
    row = row_of(path, check)
    return row in VARIANTS


def conclusive(outcomes: Outcomes) -> dict[Row, Outcome]:
    """The rows that say something, as a signature sees them: they pass, or they fail."""
    return {
        row: Outcome.PASS if outcome in _PASSES else outcome
        for row, outcome in outcomes.items()
        if outcome is not Outcome.INCONCLUSIVE
    }


def tell_apart(outcomes: Outcomes, shown: Cause = Cause.CALLS_BLOCKED) -> Signature | None:
    """Return the first signature that fits what was tried; None where nothing tells more.

    ``shown``: what the silence looked like by itself. An INVITE that was answered 100 arrived.
    """
    ruled_out = Cause.INVITE_BLOCKED if shown is Cause.FINAL_RESPONSE_LOST else None
    fitting = (each for each in SIGNATURES if each.cause is not ruled_out and each.fits(outcomes))
    return next(fitting, None)


def named_cause(
    by_kind: Mapping[str, Sequence[Standing]], outcomes: Outcomes
) -> tuple[Cause, Signature | None]:
    """The cause that most failing standings name; silence is told apart by all that was tried.

    ICMP is rate-limited: one prohibition explains much silence.
    """
    named = Counter(leg.cause for found in by_kind.values() for leg in found if leg.is_failing)
    cause = named.most_common(1)[0][0] if named else Cause.UNKNOWN
    if cause not in SILENT:
        return cause, None
    if Cause.EXPLICIT_REJECT in named:
        return Cause.EXPLICIT_REJECT, None
    signature = tell_apart(outcomes, cause)
    return (signature.cause, signature) if signature else (cause, None)


def as_rows(by_kind: Mapping[str, Sequence[Standing]], since: float) -> dict[Row, Outcome]:
    """What the scheduled checks say of a domain since its failures began, as rows of the battery.

    A leg speaks while its newest attempt failed, or where it had passed before the newest failure
    began: while things mend, what passes first is no contrast to what was not tried anew.
    """
    failures = (leg.last_at for found in by_kind.values() for leg in found if leg.last_failed)
    tried_at = max(failures, default=0.0)
    rows: dict[Row, Outcome] = {}
    for row in _SCHEDULED:
        legs = by_kind.get(row, ())
        failing = sum(leg.is_failing and leg.last_failed for leg in legs)
        passing = sum(
            not leg.is_failing and leg.last_at > since and leg.passing_since < tried_at
            for leg in legs
        )
        if failing and passing <= MIXED_MAX * failing:
            rows[row] = Outcome.FAIL
        elif passing and failing <= MIXED_MAX * passing:
            rows[row] = Outcome.PASS
    return rows


def in_words(signature: Signature) -> str:
    """What a signature rests on, for an alert: what passes and what fails."""
    fails = [f"{ASKS[row]} fail" for row in signature.fails]
    passes = [f"{ASKS[row]} pass" for row in signature.passes]
    return ", ".join(fails + passes)
