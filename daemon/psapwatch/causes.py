"""What each cause means and what to look at first: one table for ``explain`` and the docs (L1).

``by`` says what it takes to name a cause: one attempt's evidence, a pattern over many attempts, or
differential probes of the battery (detection.md 5), without which it is not named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.battery import SIGNATURES, SILENT, in_words
from psapwatch.verdict import Cause

By = Literal["attempt", "pattern", "battery"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """One cause in words."""

    seen: str
    look_first: str
    by: By


MEANINGS: Final[dict[Cause, Meaning]] = {
    Cause.CALLS_BLOCKED: Meaning(
        "nothing gets through, neither OPTIONS nor calls",
        "the newest change on the firewall; its session table; is the session count falling?",
        "attempt",
    ),
    Cause.INVITE_BLOCKED: Meaning(
        "OPTIONS pass, INVITE gets no answer",
        "SIP inspection, application identification, content or signature updates; rules by method",
        "battery",
    ),
    Cause.MEDIA_BLOCKED: Meaning(
        "the call is answered, no media in either direction",
        "RTP port range, rules for UDP high ports, the addresses in the SDP",
        "attempt",
    ),
    Cause.ONE_WAY_MEDIA: Meaning(
        "media in one direction only",
        "NAT of the SDP address, asymmetric rules, an SIP ALG",
        "attempt",
    ),
    Cause.INTERMITTENT_LOSS: Meaning(
        "a share of attempts fails",
        "one member of a cluster or link bundle; congestion; does it depend on the source port?",
        "pattern",
    ),
    Cause.NEW_FLOWS_BLOCKED: Meaning(
        "old flows go on, new ones die",
        "a rule push that keeps established sessions; a full session table",
        "battery",
    ),
    Cause.STALE_FLOW: Meaning(
        "old flows die, new ones pass",
        "a failover without session sync; have peers reconnect",
        "battery",
    ),
    Cause.SOURCE_BLOCKED: Meaning(
        "only this source address fails, others pass",
        "threat feed, geo or reputation list, quarantine",
        "battery",
    ),
    Cause.LARGE_MESSAGE_UDP_LOST: Meaning(
        "small messages pass, large ones over UDP are lost",
        "IP fragments dropped; move to TCP or TLS",
        "attempt",
    ),
    Cause.LARGE_MESSAGE_TCP_STALLED: Meaning(
        "small messages pass, large ones over TCP stall",
        'path MTU: ICMP "fragmentation needed" filtered; clamp the MSS',
        "battery",
    ),
    Cause.CONTENT_BLOCKED: Meaning(
        "same size passes with other content",
        "inspection of bodies: PIDF-LO, multipart, unknown headers",
        "attempt",
    ),
    Cause.RATE_LIMITED: Meaning(
        "single calls pass, a burst loses some",
        "DoS or flood profile, SBC call admission",
        "battery",
    ),
    Cause.UDP_STATE_TIMEOUT: Meaning(
        "quick answers pass, answers after some seconds are lost",
        "UDP session timeout too short for a ringing call",
        "battery",
    ),
    Cause.EXPLICIT_REJECT: Meaning(
        'ICMP "administratively prohibited", with its sender',
        "the sender of the ICMP: that element has the rule",
        "attempt",
    ),
    Cause.CONNECTION_REFUSED: Meaning(
        "RST, or ICMP port unreachable",
        "is anything listening? A reset may also come from the firewall",
        "attempt",
    ),
    Cause.FINAL_RESPONSE_LOST: Meaning(
        "100 or 180 arrives, the final response does not",
        "rules or inspection of responses; the Via that the answer follows",
        "attempt",
    ),
    Cause.ACK_LOST: Meaning(
        "the 200 is repeated after our ACK",
        "Contact and Record-Route: where does the ACK go?",
        "attempt",
    ),
    Cause.TEARDOWN_BLOCKED: Meaning(
        "calls connect, BYE is not answered",
        "rules by method; in-dialogue routing",
        "attempt",
    ),
    Cause.NAME_RESOLUTION: Meaning(
        "the name does not resolve",
        "DNS servers, delegation, DNSSEC, a record that was taken out",
        "attempt",
    ),
    Cause.TLS_FAILURE: Meaning(
        "the handshake fails",
        "versions, ciphers, a client certificate that is refused, TLS inspection",
        "attempt",
    ),
    Cause.TLS_CERTIFICATE: Meaning(
        "the certificate is not acceptable, or soon will not be",
        "date, names (RFC 5922), chain",
        "attempt",
    ),
    Cause.ADDRESS_FAMILY: Meaning(
        "IPv4 passes and IPv6 fails, or the reverse",
        "the rules and routes of that family; they are often kept apart",
        "battery",
    ),
    Cause.UNREACHABLE: Meaning(
        "no route, or the way back is missing",
        "routing, BGP, a withdrawn prefix, asymmetric paths",
        "attempt",
    ),
    Cause.PSAP_ENDPOINT: Meaning(
        "the far side fails, not the firewall",
        "the PSAP's own equipment; call its operator",
        "attempt",
    ),
    Cause.SERVICE_UNAVAILABLE: Meaning(
        "5xx from the far end",
        "overload or restart there; Retry-After is honoured",
        "attempt",
    ),
    Cause.MISROUTED: Meaning(
        "another answering point answers",
        "the runbook Misrouted",
        "attempt",
    ),
    Cause.ALG_REWRITE: Meaning(
        "the far end saw other addresses than we sent, or answers come back under another Via",
        "switch the SIP ALG off",
        "attempt",
    ),
    Cause.MALFORMED_RESPONSE: Meaning(
        "answers that break the grammar, or not to what was asked",
        "an ALG or a middlebox; a broken software release",
        "attempt",
    ),
    Cause.TEST_CALL_REFUSED: Meaning(
        "the usual answerer refuses the test call (404, 488)",
        "the PSAP's policy for test calls: reach is proven, calls are not",
        "attempt",
    ),
    Cause.UNSAFE_ANSWER: Meaning(
        "what looks like a person answered",
        "the runbook TestCallUnsafe",
        "attempt",
    ),
    Cause.PROBER_FAULT: Meaning(
        "our own side failed",
        "the runbook ProberBlind",
        "attempt",
    ),
    Cause.PROBER_QUARANTINED: Meaning(
        "nothing from one of our addresses gets through since we sent much; another passes",
        "the flood list or DoS profile; is `limits` what was agreed? The runbook CallsDegraded",
        "battery",
    ),
    Cause.PATH_BYPASSED: Meaning(
        "the probe does not take the way that it should",
        "routing of the prober: its verdicts say nothing about this firewall",
        "battery",
    ),
    Cause.UNKNOWN: Meaning(
        "no rule explains what was seen",
        "the transcript of the attempt",
        "attempt",
    ),
}


NAMED_FROM: Final[dict[By, str]] = {
    "attempt": "one attempt's evidence",
    "pattern": "a pattern over many attempts",
    "battery": "differential probes; without them it is not named",
}


def told_apart(cause: Cause) -> tuple[str, ...]:
    """What passes and what fails when a cause is at work, one sentence a signature."""
    if cause in SILENT:
        return ("no more special signature of the battery fits its silence",)
    return tuple(in_words(each) for each in SIGNATURES if each.cause is cause)


def as_markdown() -> str:
    """The table of ``docs/runbooks/causes.md``, where a runbook that is named is a link."""
    head = ("cause", "what was seen", "look first at", "named from", "told from others by")
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|---|"]
    lines += [
        f"| `{cause.value}` | {row.seen} | {row.look_first} | {row.by} |"
        f" {'; or '.join(told_apart(cause)) or '-'} |"
        for cause, row in MEANINGS.items()
    ]
    return re.sub(r"the runbook (\w+)", r"the runbook [\1](\1.md)", "\n".join(lines)) + "\n"
