"""What one attempt saw, in order; it never judges (layer L0).

An ``Observation`` is a kind, a moment and its facts. Kinds are append-only, and every released
``EVIDENCE_VERSION`` stays readable (a golden file each), because stored evidence is judged again
by later and better rules. Moments are seconds since the attempt began, on the loop's clock;
``started_at`` is the only wall time (Unix seconds, UTC).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Final, Literal

from psapwatch.endpoint import TransportName
from psapwatch.frozen import frozen

EVIDENCE_VERSION: Final = 1

Fact = str | int | float | bool | None


class Kind(StrEnum):
    """The kinds of observation, each with the facts that it carries."""

    # name and connection
    RESOLVED = "resolved"  # name, addresses (comma separated), duration_s, cached
    NAME_ERROR = "name_error"  # name, error (nxdomain|timeout|servfail|no_data|other), detail
    CONNECTED = "connected"  # peer, duration_s, reused
    CONNECT_FAILED = "connect_failed"  # error (refused|timeout|unreachable|reset|other), detail
    TLS_UP = (
        "tls_up"  # version, cipher, not_after (Unix s), subject, names, fingerprint, duration_s
    )
    TLS_FAILED = "tls_failed"  # error (alert|certificate|name|timeout|closed|other), detail, ours
    CONNECTION_LOST = "connection_lost"  # error (reset|closed|timeout), detail
    ICMP = "icmp"  # family (4|6), icmp_type, code, offender, errno
    LOCAL_ERROR = "local_error"  # error (errno name or a word), detail: our own side failed
    # signalling
    SENT = "sent"  # method, nth (1 = first transmission), size
    RESPONSE = "response"  # code, method, source, from_peer, server, contact, to_tag, phase_s, late
    DISCARDED = "discarded"  # why (malformed|no_match|truncated|many_vias|sent_by), source, detail,
    # and code where all but its Via answers our request
    MALFORMED = "malformed"  # code, why, source: ours by branch, but not well-formed
    REQUEST_IN = "request_in"  # method, source: a request from the far side
    SILENT = "silent"  # after_s, method: patience or a RFC 3261 timer ran out without a final
    ENDED = "ended"  # how (bye_sent|bye_received|cancelled|rejected|no_answer), confirmed
    TEARDOWN_FAILED = "teardown_failed"  # method (BYE|CANCEL), why
    FORKED = "forked"  # to_tag: a further 2xx with another To tag
    REPEATED = "repeated"  # code, count: a final seen again
    ANSWER = "answer"  # what (mirror|source|no_loopback|refused|no_sdp|bad), detail, text
    UNSAFE = "unsafe"  # why (ringing|no_loopback|live_urn|foreign_media|callback), detail
    NOT_TRIED = "not_tried"  # why: consent, budget, ledger ...
    HOP = "hop"  # by, n, who ("" silent), after_s; code, or icmp and expired, or error
    BURST = "burst"  # call_id, code (0: no final), again, after_s: one of many calls begun at once
    OWN_RATE = "own_rate"  # messages, limit: in the busiest second before a silence
    # media
    MEDIA = "media"  # sent, echoed, forward_lost, reverse_lost, rtt_s, jitter_s, ...


@frozen
class Observation:
    """One thing seen: its kind, when (seconds since the attempt began) and the facts."""

    kind: Kind
    at_s: float
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Fact:
        return self.facts[name]

    def get(self, name: str, default: Fact = None) -> Fact:
        """Return one fact, or ``default`` where this observation does not carry it."""
        return self.facts.get(name, default)


@frozen
class Packet:
    """One message as it crossed the socket, for the ladder and the transcript."""

    at_s: float
    way: Literal["out", "in"]
    peer: str
    octets: bytes


@frozen
class Evidence:
    """Everything one attempt saw, and which attempt it was."""

    attempt_id: str
    psap: str
    path: str
    firewall: str
    transport: TransportName
    check: str
    probe: str
    leg: str
    source: str
    call_id: str
    started_at: float
    duration_s: float
    observations: tuple[Observation, ...]
    transcript: tuple[Packet, ...] = ()
    v: int = EVIDENCE_VERSION

    def of(self, *kinds: Kind) -> Iterator[Observation]:
        """Observations of these kinds, oldest first."""
        return (seen for seen in self.observations if seen.kind in kinds)

    def first(self, kind: Kind) -> Observation | None:
        """Return the oldest observation of a kind, if there is one."""
        for seen in self.observations:
            if seen.kind is kind:
                return seen
        return None

    def last(self, kind: Kind) -> Observation | None:
        """Return the newest observation of a kind, if there is one."""
        for seen in reversed(self.observations):
            if seen.kind is kind:
                return seen
        return None


def to_json(evidence: Evidence) -> dict[str, Any]:
    """Evidence as JSON-ready data; octets in base64. Redact the transcript before."""
    plain: dict[str, Any] = {name: getattr(evidence, name) for name in _SCALARS}
    plain["observations"] = plain_observations(evidence)
    plain["transcript"] = plain_transcript(evidence.transcript)
    return plain


def plain_observations(evidence: Evidence) -> list[list[Any]]:
    """The observations as ``to_json`` has them."""
    return [[seen.kind, seen.at_s, dict(seen.facts)] for seen in evidence.observations]


def plain_transcript(packets: Iterable[Packet]) -> list[list[Any]]:
    """The packets as ``to_json`` has them."""
    return [
        [packet.at_s, packet.way, packet.peer, base64.b64encode(packet.octets).decode("ascii")]
        for packet in packets
    ]


def from_json(plain: Mapping[str, Any]) -> Evidence:
    """Read evidence of any released version.

    Raises:
        ValueError: the version is newer than this program, or a field is missing or damaged.
    """
    if plain.get("v") != EVIDENCE_VERSION:
        message = f"evidence version {plain.get('v')!r}: this program reads {EVIDENCE_VERSION}"
        raise ValueError(message)
    try:
        return Evidence(
            **{name: plain[name] for name in _SCALARS},
            observations=tuple(
                Observation(Kind(kind), at_s, facts) for kind, at_s, facts in plain["observations"]
            ),
            transcript=tuple(
                Packet(at_s, way, peer, base64.b64decode(octets))
                for at_s, way, peer, octets in plain["transcript"]
            ),
        )
    except KeyError as missing:
        message = f"evidence without {missing}"
        raise ValueError(message) from None
    except (TypeError, ValueError):
        raise ValueError("evidence with an observation or a packet that is none") from None


_SCALARS: Final = (
    "v",
    "attempt_id",
    "psap",
    "path",
    "firewall",
    "transport",
    "check",
    "probe",
    "leg",
    "source",
    "call_id",
    "started_at",
    "duration_s",
)
