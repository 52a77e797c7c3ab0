"""What a test call's answer, media and far-end report say: findings for ``diagnosis`` (layer L1).

Each function looks at one attempt's evidence and returns a finding or None; ``diagnosis`` puts
them in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from psapwatch.evidence import Evidence, Fact, Kind, Observation
from psapwatch.sip.saw import Saw
from psapwatch.sip.wire import Malformed, Request, parse
from psapwatch.verdict import Cause, Outcome, Plane

Finding = tuple[Outcome, Cause, Plane, str]

PACKETS_JUDGED: Final = 3
"""A call that the far side ended before so many packets had left says nothing about media."""
PROMPT_S: Final = 0.3
"""Who hangs up sooner after our third packet has heard three (RFC 6881 ED-79); who has heard none
waits longer, 500 ms in a common answering point."""
THIRD_PACKET_S: Final = 0.04
LOSS_PACKETS_MIN: Final = 50
LOSS_SHARE: Final = 0.05

_MEDIA_REFUSALS: Final = frozenset({488, 606})
_SECURED: Final = re.compile(rb"RTP/SAVP|\bSRTP\b|\bSDES\b|\bencrypt|\bsecure", re.IGNORECASE)
_HOW_TO_SECURE: Final = "set srtp on the check (extra psapwatch[srtp])"

_NOT_A_WORD: Final = re.compile(r"[^a-z0-9]+")
_DISPLAYED: Final = re.compile(r'^\s*"?([^"<>]*?)"?\s*<')
_USER: Final = re.compile(r"sips?:([^@>;]+)@", re.IGNORECASE)


def misrouted(
    evidence: Evidence, expected: str | None, alternates: Iterable[str]
) -> Finding | None:
    """Whether the answer names another answering point than the configuration expects.

    The text says so in its first line (i3), else Contact does. An alternate is a diversion.
    """
    answer = evidence.first(Kind.ANSWER)
    if expected is None or answer is None:
        return None
    said = _name_in(answer, evidence)
    if not said or slug(said) == slug(expected):
        return None
    if slug(said) in {slug(other) for other in alternates}:
        why = f"{said} answers in place of {expected}: a diversion that is provided for"
        return Outcome.DEGRADED, Cause.MISROUTED, Plane.SIGNALLING, why
    if not str(answer["text"]).strip():
        return None  # a Contact that is neither name may name a machine
    return Outcome.FAIL, Cause.MISROUTED, Plane.SIGNALLING, f"{said} answers, not {expected}"


def answerer(evidence: Evidence) -> str:
    """Who answered a call, as ``slug`` writes names; "" where the answer does not say."""
    answer = evidence.first(Kind.ANSWER)
    return slug(_name_in(answer, evidence)) if answer is not None else ""


def slug(name: str) -> str:
    """A name for comparison: its letters and digits, in lower case."""
    return _NOT_A_WORD.sub("-", name.lower()).strip("-")


def media(evidence: Evidence) -> Finding | None:
    """Whether sound went there and came back, and if not, which way is closed."""
    seen = evidence.last(Kind.MEDIA)
    if seen is None:
        return None
    if _number(seen["echoed"]):
        return _asymmetric(seen) or _lossy(seen)
    if _number(seen["sent"]) < PACKETS_JUDGED and seen["ended_by"] == "far":
        return None
    if seen.get("rejected"):
        why = f"media is rejected on the way: {seen['rejected']}"
        return Outcome.FAIL, Cause.MEDIA_BLOCKED, Plane.MEDIA, why
    direction, why = _direction(seen, evidence)
    cause = Cause.ONE_WAY_MEDIA if direction else Cause.MEDIA_BLOCKED
    if _number(seen.get("unopened")):
        why += f"; {seen['unopened']} came that the agreed key does not open"
    said = f"none of {seen['sent']} packets came back; {why}"
    return Outcome.FAIL, cause, Plane.MEDIA, f"{direction}: {said}" if direction else said


def about_media(evidence: Evidence, final: Observation) -> str:
    """What a refusal of the offered media may be about: i3 3.1.9 lets a PSAP demand SRTP."""
    if final["method"] != "INVITE" or final["code"] not in _MEDIA_REFUSALS:
        return ""
    start = b"SIP/2.0 %d" % int(final["code"])
    refusals = [packet.octets for packet in evidence.transcript if packet.octets.startswith(start)]
    if any(b" RTP/SAVP " in packet.octets for packet in evidence.transcript if packet.way == "out"):
        return "; secured media (SRTP) was offered"
    said = str(final.get("warning") or "").encode() + b"".join(refusals)
    if _SECURED.search(said):
        return f"; it demands secured media, and plain RTP was offered: {_HOW_TO_SECURE}"
    return f"; it may demand secured media, as i3 does, and plain RTP was offered: {_HOW_TO_SECURE}"


def rewritten(evidence: Evidence) -> Finding | None:
    """Whether somebody on the way changed addresses in our request, as the far end tells."""
    for seen in evidence.of(Kind.RESPONSE):
        saw = Saw.parse(str(seen.get("saw") or ""))
        sent = _sent(evidence) if saw is not None else None
        changes = saw.changed(sent) if saw is not None and sent is not None else ()
        if changes:
            why = f"changed on the way: {'; '.join(changes)}"
            return Outcome.DEGRADED, Cause.ALG_REWRITE, Plane.SIGNALLING, why
    return None


def relocated(evidence: Evidence) -> Finding | None:
    """Whether our location was refused, or is read back as another."""
    for seen in evidence.of(Kind.RESPONSE):
        if seen.get("geolocation_error") and str(seen["code"]).startswith("2"):
            why = f"our location is not accepted: {seen['geolocation_error']}"
            return Outcome.DEGRADED, Cause.PROBER_FAULT, Plane.SIGNALLING, why
    answer = evidence.first(Kind.ANSWER)
    if answer is not None and answer.get("location") == "other":
        why = "the answer reads back another location than was sent"
        return Outcome.DEGRADED, Cause.ALG_REWRITE, Plane.SIGNALLING, why
    return None


def _name_in(answer: Observation, evidence: Evidence) -> str:
    """Who answers: the first line of the text, else Contact's display name, else its user part."""
    for line in str(answer["text"]).splitlines():
        if line.strip():
            return line.strip()[:80]
    contacts = [
        str(seen.get("contact") or "")
        for seen in evidence.of(Kind.RESPONSE)
        if str(seen["code"]).startswith("2")
    ]
    for pattern in (_DISPLAYED, _USER):
        for contact in contacts:
            found = pattern.search(contact)
            if found and found[1].strip():
                return found[1].strip()[:80]
    return ""


def _asymmetric(seen: Observation) -> Finding | None:
    if not seen["source"] or seen["source"] == seen["remote"]:
        return None
    why = f"the echo comes from {seen['source']}, not from {seen['remote']} that was answered"
    return Outcome.DEGRADED, Cause.UNREACHABLE, Plane.MEDIA, why


def _lossy(seen: Observation) -> Finding | None:
    """Loss, where enough packets went out to speak of it."""
    counted, lost = _number(seen["counted"]), _number(seen["lost"])
    if counted < LOSS_PACKETS_MIN or lost < LOSS_SHARE * counted:
        return None
    ways = ""
    if seen["forward_lost"] is not None:
        ways = f" ({seen['forward_lost']} on the way there, {seen['reverse_lost']} on the way back)"
    why = f"{lost} of {counted} media packets are lost{ways}"
    return Outcome.DEGRADED, Cause.INTERMITTENT_LOSS, Plane.MEDIA, why


def _direction(seen: Observation, evidence: Evidence) -> tuple[str, str]:
    """Which way is closed, and by what that is known; "" where both may be."""
    heard = seen.get("far_heard")
    if heard is not None:
        if _number(heard):
            return "reverse", f"the far side reports that it heard {heard} of them"
        return "forward", "the far side's own report arrives, and says that it heard none"
    told = seen.get("far_told")
    if told is not None:
        return "reverse" if _number(told) else "", f"the far side's BYE says that it heard {told}"
    after_s = float(seen["ended_after_s"] or 0.0)
    if seen["ended_by"] != "far":
        return "", "and the far side neither reports nor hangs up"
    waited_s = after_s - THIRD_PACKET_S - _round_trip_s(evidence)
    if -0.01 <= waited_s < PROMPT_S:
        return "reverse", f"the far side hangs up after {after_s:.2f} s, as after three packets"
    return "", f"the far side hangs up after {after_s:.2f} s, as one that heard nothing"


def _round_trip_s(evidence: Evidence) -> float:
    """The signalling's own round trip: the soonest response of the attempt."""
    phases = [_seconds(seen.get("phase_s")) for seen in evidence.of(Kind.RESPONSE)]
    return min(phases, default=0.0)


def _sent(evidence: Evidence) -> Saw | None:
    """Our request as it left: the first message of the transcript."""
    for packet in evidence.transcript:
        if packet.way != "out":
            continue
        try:
            message = parse(packet.octets)
        except Malformed:
            return None
        if isinstance(message, Request):
            return Saw.of_message(
                via=message.header("Via") or "",
                contact=message.header("Contact") or "",
                body=message.body,
                arrival=("", "", len(packet.octets), None),
            )
    return None


def _number(fact: Fact) -> int:
    return fact if isinstance(fact, int) else 0


def _seconds(fact: Fact) -> float:
    return float(fact) if isinstance(fact, int | float) else 0.0
