"""From evidence to a verdict: rules tried from the outside in, the first that sees something wins.

``diagnose`` is total and deterministic and needs no network (layer L1). One attempt alone never
yields a differential cause (``invite_blocked`` and its like): where it shows nothing but silence,
the rows of the case's battery tell what kind of silence, by the signatures of ``battery``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from psapwatch import call_findings
from psapwatch.battery import SILENT, Row, in_words, outcome_of, tell_apart
from psapwatch.bursts import burst_of
from psapwatch.call_findings import Finding
from psapwatch.case import Case
from psapwatch.evidence import Kind
from psapwatch.quarantine import own_rate
from psapwatch.responses import meaning_of
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from psapwatch.walks import walked

ADMIN_PROHIBITED: Final = frozenset(
    {(4, 3, 9), (4, 3, 10), (4, 3, 13), (6, 1, 1), (6, 1, 5), (6, 1, 6)}
)
"""RFC 1812 5.2.7.1 and RFC 1122; RFC 4443 3.1: a filter says that it filters."""
_PORT_UNREACHABLE: Final = frozenset({(4, 3, 3), (6, 1, 4)})
_TOO_BIG: Final = frozenset({(4, 3, 4), (6, 2, 0)})
_UNREACHABLE: Final = frozenset({(4, 3), (6, 1)})

REPEATS_ACK_LOST: Final = 2
"""2xx repeated this often after our ACK, which each of them brings again: it does not arrive
(13.3.1.4). More do not fit into a call of two seconds."""

SEEN_KEPT: Final = 256
"""Sets of kinds whose rules are remembered: attempts see the same few again and again."""

Rule = Callable[[Case], Finding | None]


def diagnose(case: Case) -> Verdict:
    """Judge one case; every case gets exactly one verdict."""
    verdict = _of_attempt(case)
    if not (case.battery and verdict.failed and verdict.cause in SILENT):
        return verdict
    outcomes = {case.own_row: verdict.outcome} | rows_of(case)
    signature = tell_apart(outcomes, verdict.cause)
    if signature is None:
        return verdict
    why = f"{verdict.why}; {in_words(signature)}"
    return Verdict(verdict.outcome, signature.cause, verdict.plane, why)


def rows_of(case: Case) -> dict[Row, Outcome]:
    """How each row of a case's battery came out, judged by the same rules."""
    return {
        row: outcome_of(row, _of_attempt(Case(evidence))) for row, evidence in case.battery.items()
    }


def _of_attempt(case: Case) -> Verdict:
    """What the failing attempt says by itself."""
    for rule in _asked(frozenset([each.kind for each in case.evidence.observations])):
        finding = rule(case)
        if finding is not None:
            outcome, cause, plane, why = finding
            return Verdict(outcome, cause, plane, why)
    return Verdict(
        Outcome.INCONCLUSIVE, Cause.UNKNOWN, Plane.SELF, "nothing was seen that any rule explains"
    )


@lru_cache(maxsize=SEEN_KEPT)
def _asked(seen: frozenset[Kind]) -> tuple[Rule, ...]:
    """The rules that may find something where these kinds of observation were made, in order."""
    return tuple(rule for speaks_of, rule in RULES if speaks_of is None or speaks_of in seen)


def _our_fault(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.LOCAL_ERROR)
    if seen is None or case.final is not None:
        return None
    why = f"our own side failed: {seen['error']} {seen.get('detail') or ''}".rstrip()
    return Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SELF, why


def _not_tried(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.NOT_TRIED)
    if seen is None:
        return None
    return Outcome.INCONCLUSIVE, Cause.NONE, Plane.SELF, f"not tried: {seen['why']}"


def _unsafe(case: Case) -> Finding | None:
    """The path carries calls, to something that looks like a person: degraded, and never again."""
    seen = case.evidence.first(Kind.UNSAFE)
    if seen is None:
        return None
    why = f"the test call met what looks like a person ({seen['why']}: {seen.get('detail')})"
    return Outcome.DEGRADED, Cause.UNSAFE_ANSWER, Plane.SIGNALLING, why


def _name(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.NAME_ERROR)
    if seen is None:
        return None
    why = f"{seen['name']} does not resolve ({seen['error']})"
    if case.final is not None:
        why += "; its last address answers"
        return Outcome.DEGRADED, Cause.NAME_RESOLUTION, Plane.NAME, why
    return Outcome.FAIL, Cause.NAME_RESOLUTION, Plane.NAME, why


def _icmp(case: Case) -> Finding | None:
    if case.final is not None:
        return None
    for seen in case.evidence.of(Kind.ICMP):
        family, kind, code = seen["family"], seen["icmp_type"], seen["code"]
        by = f"ICMPv{family} {kind}/{code} from {seen['offender']}" if kind else str(seen["errno"])
        if (family, kind, code) in ADMIN_PROHIBITED:
            why = f"administratively prohibited: {by}"
            return Outcome.FAIL, Cause.EXPLICIT_REJECT, Plane.PATH, why
        if (family, kind, code) in _PORT_UNREACHABLE:
            return Outcome.FAIL, Cause.CONNECTION_REFUSED, Plane.PATH, f"nobody listens there: {by}"
        if (family, kind, code) in _TOO_BIG:
            return (
                Outcome.FAIL,
                Cause.LARGE_MESSAGE_UDP_LOST,
                Plane.PATH,
                f"too big for the path: {by}",
            )
        if (family, kind) in _UNREACHABLE or kind is None:  # an open stream tells only the errno
            return Outcome.FAIL, Cause.UNREACHABLE, Plane.PATH, f"unreachable: {by}"
    return None


_CONNECT_FAILURES: Final = {
    "refused": (Cause.CONNECTION_REFUSED, "the connection was refused (RST)"),
    "timeout": (Cause.CALLS_BLOCKED, "no answer to the connection attempt (SYN)"),
    "unreachable": (Cause.UNREACHABLE, "no route to the far end"),
    "reset": (Cause.EXPLICIT_REJECT, "the connection was reset while it was made"),
}
_LOSSES: Final = {
    "reset": (Cause.EXPLICIT_REJECT, "the connection was reset in mid-transaction"),
    "closed": (Cause.SERVICE_UNAVAILABLE, "the far end closed the connection without an answer"),
    "timeout": (Cause.CALLS_BLOCKED, "the connection went silent"),
    "framing": (Cause.MALFORMED_RESPONSE, "what came over the connection is no SIP"),
}


def _connect(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.CONNECT_FAILED)
    if seen is None:
        return None
    cause, why = _CONNECT_FAILURES.get(str(seen["error"]), (Cause.UNREACHABLE, "no connection"))
    return Outcome.FAIL, cause, Plane.PATH, why


def _tls(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.TLS_FAILED)
    if seen is None:
        return None
    error, detail = str(seen["error"]), str(seen.get("detail") or "")
    if seen.get("ours"):
        why = f"the far end refused our certificate: {detail}"
        return Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.TLS, why
    if error in ("certificate", "name"):
        return Outcome.FAIL, Cause.TLS_CERTIFICATE, Plane.TLS, f"its certificate: {detail}"
    why = f"TLS could not be set up ({error}{': ' + detail if detail else ''})"
    return Outcome.FAIL, Cause.TLS_FAILURE, Plane.TLS, why


def _lost(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.CONNECTION_LOST)
    if seen is None or case.final is not None:
        return None
    cause, why = _LOSSES.get(str(seen["error"]), _LOSSES["closed"])
    return Outcome.FAIL, cause, Plane.PATH, why


def _silence(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.SILENT)
    if seen is None or case.final is not None:
        return None
    after = float(seen["after_s"] or 0.0)
    provisional = next((each for each in case.evidence.of(Kind.RESPONSE) if not each["late"]), None)
    if provisional is not None:
        why = f"{provisional['code']} and then nothing for {after:.1f} s"
        return Outcome.FAIL, Cause.FINAL_RESPONSE_LOST, Plane.SIGNALLING, why
    why = f"no answer to {seen['method']} within {after:.1f} s"
    return Outcome.FAIL, Cause.CALLS_BLOCKED, Plane.PATH, why


def _unreadable(case: Case) -> Finding | None:
    """Who answers in broken SIP is there, and is told so (i3 counts it as a keep-alive failure)."""
    seen = case.evidence.first(Kind.MALFORMED)
    if seen is None or case.final is not None:
        return None
    why = f"answered, but not in well-formed SIP: {seen['why']}"
    return Outcome.DEGRADED, Cause.MALFORMED_RESPONSE, Plane.SIGNALLING, why


def _forked(case: Case) -> Finding | None:
    if case.evidence.first(Kind.FORKED) is None:
        return None
    why = "two answering points took one call (i3 forbids forking)"
    return Outcome.FAIL, Cause.MISROUTED, Plane.SIGNALLING, why


def _refused_credentials(case: Case) -> Finding | None:
    challenges = [seen for seen in case.evidence.of(Kind.RESPONSE) if seen["code"] in (401, 407)]
    if len(challenges) < 2:
        return None
    why = f"our credentials were refused ({challenges[-1]['code']} twice)"
    return Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SIGNALLING, why


def _response(case: Case) -> Finding | None:
    """Any final response but a 2xx."""
    final = case.final
    if final is None:
        return None
    code, method = int(final["code"] or 0), str(final["method"])
    if code // 100 == 2:
        return None
    stranger = case.stranger
    outcome, cause, words = meaning_of(
        code,
        method,
        usual_pass=case.baseline.usual_pass,
        retry_after=bool(final.get("retry_after")),
        in_place=bool(stranger) and not case.baseline.is_usual(code),
    )
    if outcome is Outcome.PASS:
        return None
    words += call_findings.about_media(case.evidence, final)
    by = f" ({stranger})" if stranger else ""
    return outcome, cause, Plane.SIGNALLING, f"{code} to {method}: {words}{by}"


def _stranger(case: Case) -> Finding | None:
    """A good answer by another than usual: the path carries it, the far end may never see it."""
    stranger = case.stranger
    if case.final is None or not stranger:
        return None
    why = f"{case.final['code']} to {case.final['method']} by another than usual: {stranger}"
    return Outcome.DEGRADED, Cause.MISROUTED, Plane.SIGNALLING, why


_ANSWERS: Final = {
    "refused": (Cause.TEST_CALL_REFUSED, "answered, but refuses the test's media (port 0)"),
    "no_sdp": (Cause.TEST_CALL_REFUSED, "answered without SDP"),
    "source": (Cause.MALFORMED_RESPONSE, "answers as loopback source where it must mirror"),
    "bad": (Cause.MALFORMED_RESPONSE, "answered with SDP that is no loopback answer"),
}


def _answer(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.ANSWER)
    row = _ANSWERS.get(str(seen["what"])) if seen is not None else None
    return None if row is None else (Outcome.DEGRADED, row[0], Plane.MEDIA, row[1])


def _ack(case: Case) -> Finding | None:
    repeated = [
        int(seen["count"] or 0)
        for seen in case.evidence.of(Kind.REPEATED)
        if str(seen["code"]).startswith("2")
    ]
    if max(repeated, default=0) < REPEATS_ACK_LOST or case.evidence.first(Kind.ANSWER) is None:
        return None
    why = f"the 2xx came {max(repeated)} times again: our ACK does not arrive"
    return Outcome.DEGRADED, Cause.ACK_LOST, Plane.SIGNALLING, why


def _teardown(case: Case) -> Finding | None:
    seen = case.evidence.first(Kind.TEARDOWN_FAILED)
    if seen is None:
        return None
    why = f"{seen['method']} stayed without effect: {seen['why']}"
    return Outcome.DEGRADED, Cause.TEARDOWN_BLOCKED, Plane.SIGNALLING, why


def _elsewhere(case: Case) -> Finding | None:
    """The right branch from the wrong address is never sole proof of the path."""
    final = case.final
    if final is None or final["from_peer"]:
        return None
    why = f"the answer came from {final['source']}, not from where the request went"
    return Outcome.DEGRADED, Cause.UNREACHABLE, Plane.PATH, why


def _misrouted(case: Case) -> Finding | None:
    return call_findings.misrouted(case.evidence, case.expected_name, case.alternates)


def _readdressed(case: Case) -> Finding | None:
    """An answer that a caller's telephone drops: its Via is not the one that was sent."""
    discarded = case.evidence.of(Kind.DISCARDED)
    seen = next((each for each in discarded if each.get("code")), None)
    if seen is None or case.final is not None:
        return None
    why = (
        f"{seen['code']} came back with another Via than was sent ({seen['why']}): callers drop it"
    )
    return Outcome.FAIL, Cause.ALG_REWRITE, Plane.SIGNALLING, why


def _pass(case: Case) -> Finding | None:
    final = case.final
    if final is None:
        return None
    why = (
        f"{final['code']} to {final['method']} after {float(final['phase_s'] or 0.0) * 1000:.1f} ms"
    )
    return Outcome.PASS, Cause.NONE, Plane.SIGNALLING, why


RULES: Final[tuple[tuple[Kind | None, Rule], ...]] = (
    (Kind.NOT_TRIED, _not_tried),
    (Kind.LOCAL_ERROR, _our_fault),
    (Kind.OWN_RATE, lambda case: own_rate(case.evidence)),
    (Kind.BURST, lambda case: burst_of(case.evidence)),
    (Kind.HOP, lambda case: walked(case.evidence, case.baseline.walk)),
    (Kind.UNSAFE, _unsafe),
    (Kind.NAME_ERROR, _name),
    (Kind.ICMP, _icmp),  # before _connect: an ICMP error names who rejects
    (Kind.CONNECT_FAILED, _connect),
    (Kind.TLS_FAILED, _tls),
    (Kind.CONNECTION_LOST, _lost),
    (Kind.FORKED, _forked),
    (Kind.MALFORMED, _unreadable),  # before _silence: a broken answer is no silence
    (Kind.DISCARDED, _readdressed),  # before _silence: it was answered
    (Kind.SILENT, _silence),
    (None, _refused_credentials),
    (None, _response),
    (Kind.ANSWER, _misrouted),  # before _answer: the media of another say nothing of this one's
    (Kind.ANSWER, _answer),
    (Kind.MEDIA, lambda case: call_findings.media(case.evidence)),
    (Kind.REPEATED, _ack),
    (Kind.TEARDOWN_FAILED, _teardown),
    (None, _elsewhere),
    (None, lambda case: call_findings.rewritten(case.evidence)),
    (None, lambda case: call_findings.relocated(case.evidence)),
    (None, _stranger),  # after all that says more of the same answer
    (None, _pass),
)
"""In order; and the kind of observation without which a rule finds nothing, and is not asked."""
