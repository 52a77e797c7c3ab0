"""How an answering point behaves, as data: the signalling rows of the test-vector list (layer L1).

A ``Script`` says what is answered to INVITE, OPTIONS and BYE and when; ``SCRIPTS`` names them.
Moments are seconds after the request arrived. ``MANGLES`` damage a finished response the way a
broken element would; ``SDP_EDITS`` spoil a good mirror answer (RFC 6849).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.rtp.mirror import Manner

Body = Literal[
    "none", "mirror", "text", "multipart", "live_text",
    "no_loopback", "loopback_space", "two_types", "port_zero", "source", "recvonly",
    "direct", "media",
]  # fmt: skip
Mangle = Literal[
    "none", "lf_only", "folded", "compact", "two_vias", "wrong_branch", "wrong_sent_by",
    "wrong_cseq", "no_cseq", "short_content_length", "truncated", "garbage",
]  # fmt: skip

_GOOD: Final = Manner()


@dataclass(frozen=True, slots=True)
class Step:
    """One response."""

    code: int
    at_s: float = 0.0
    body: Body = "none"
    headers: tuple[tuple[str, str], ...] = ()
    mangle: Mangle = "none"
    fork: int = 0
    """Which To tag: another number is another answerer (RFC 3261 13.2.2.4)."""
    elsewhere: bool = False
    """Leaves from another local port than the request came to."""
    unruly: bool = False
    """Sent even where RFC 3261 17.2 forbids it: after another final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One behaviour; ``()`` in place of steps is silence."""

    invite: tuple[Step, ...] = (Step(200, body="mirror"),)
    options: tuple[Step, ...] = (Step(200),)
    bye: tuple[Step, ...] = (Step(200),)
    cancel: tuple[Step, ...] = (Step(200),)
    hangs_up_after_s: float | None = 0.5
    """BYE so long after the ACK or the last media, a common answering point's; None: never."""
    secured_only: bool = False
    """Answer 488 to an offer of plain RTP, as i3 3.1.9 would have it inside an ESInet."""
    manner: Manner = _GOOD
    """How its mirror behaves."""
    hangs_up_unacknowledged_s: float | None = None
    """BYE so long after the 200, whether an ACK came or not."""
    repeats_max: int | None = None
    """Repeat a 2xx so many times whatever ACK comes; None: until the ACK, as RFC 3261 13.3.1.4."""
    minds_expires: bool = True
    """Answer 487 when the INVITE's Expires runs out (RFC 3261 13.3.1)."""
    calls_back_after_s: float | None = None
    """A new INVITE to the caller's Contact so long after the INVITE."""


def _code(code: int, *headers: tuple[str, str]) -> Script:
    return Script(invite=(Step(code, headers=headers),))


def _answer(body: Body) -> Script:
    return Script(invite=(Step(200, body=body),))


def _mangled(mangle: Mangle) -> Script:
    return Script(
        invite=(Step(200, body="mirror", mangle=mangle),), options=(Step(200, mangle=mangle),)
    )


CODES: Final = (
    300, 301, 302, 305, 380, 400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 413, 414, 415, 416,
    417, 420, 421, 423, 424, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 494, 500,
    501, 502, 503, 504, 505, 513, 580, 600, 603, 604, 606,
)  # fmt: skip
"""Every final of the response table; ``invite_N`` and ``options_N`` in SCRIPTS."""

_OK: Final = Step(200, body="mirror")

SCRIPTS: Final[Mapping[str, Script]] = {
    "mirror": Script(),
    "multipart": _answer("multipart"),
    "secured_only": Script(secured_only=True),
    "text_only": _answer("text"),
    "no_sdp": _answer("none"),
    "no_loopback": _answer("no_loopback"),
    "loopback_space": _answer("loopback_space"),
    "two_types": _answer("two_types"),
    "port_zero": _answer("port_zero"),
    "loopback_source": _answer("source"),
    "recvonly": _answer("recvonly"),
    "direct": _answer("direct"),
    "media": _answer("media"),
    "echo_1": Script(manner=Manner(echoes_max=1)),
    "echo_2": Script(manner=Manner(echoes_max=2)),
    "echo_4": Script(manner=Manner(echoes_max=4)),
    "echo_200": Script(manner=Manner(echoes_max=200)),
    "no_echo": Script(manner=Manner(echoes_max=0)),
    "no_echo_no_rtcp": Script(manner=Manner(echoes_max=0, reports=False)),
    "echo_elsewhere": Script(manner=Manner(elsewhere=True)),
    "echo_fragment": Script(manner=Manner(fragment=0b11)),
    "speaks": Script(manner=Manner(speaks=True)),
    "no_bye_after_media": Script(hangs_up_after_s=None),
    "live_text": _answer("live_text"),
    "accepted_202": Script(invite=(Step(202, body="mirror"),), options=(Step(202),)),
    "silence": Script(invite=(), options=(), bye=(), cancel=()),
    "invite_silence": Script(invite=()),
    "options_silence": Script(options=()),
    "trying_then_silence": Script(
        invite=(Step(100),), options=(Step(100),), minds_expires=False
    ),
    "trying_then_mirror": Script(invite=(Step(100), Step(200, 0.3, "mirror"))),
    "ringing": Script(invite=(Step(100), Step(180, 0.1), Step(200, 2.0, "mirror"))),
    "ringing_for_ever": Script(invite=(Step(100), Step(180, 0.1)), minds_expires=False),
    "queued": Script(invite=(Step(100), Step(182, 0.1), Step(200, 2.0, "mirror"))),
    "session_progress": Script(invite=(Step(100), Step(183, 0.1), Step(200, 1.0, "mirror"))),
    "slow_mirror": Script(invite=(Step(100), Step(200, 3.0, "mirror"))),
    "held_40_s": Script(invite=(Step(100), Step(200, 40.0, "mirror")), minds_expires=False),
    "late_200": Script(invite=(Step(200, 33.0, "mirror"),), minds_expires=False),
    "late_options": Script(options=(Step(200, 6.0),)),
    "late_ringing": Script(invite=(Step(180, 9.0), Step(200, 12.0, "mirror")), minds_expires=False),
    "forked": Script(invite=(_OK, Step(200, 0.05, "mirror", fork=1))),
    "forked_unsafe": Script(invite=(_OK, Step(200, 0.05, "no_loopback", fork=1))),
    "two_finals": Script(options=(Step(200), Step(503, 0.05, unruly=True))),
    "repeated_200": Script(repeats_max=7, hangs_up_after_s=None),
    "bye_before_ack": Script(hangs_up_unacknowledged_s=0.0),
    "no_bye": Script(hangs_up_after_s=None),
    "bye_after_100_ms": Script(hangs_up_after_s=0.1),
    "bye_after_2_s": Script(hangs_up_after_s=2.0),
    "bye_unanswered": Script(bye=(), hangs_up_after_s=None),
    "bye_481": Script(bye=(Step(481),), hangs_up_after_s=None),
    "expires": Script(invite=(Step(100),)),
    "cancel_unanswered": Script(invite=(Step(100),), cancel=(), minds_expires=False),
    "cancel_crosses_200": Script(
        invite=(Step(100), Step(200, 8.02, "mirror")), minds_expires=False
    ),
    "other_port": Script(
        invite=(Step(200, body="mirror", elsewhere=True),), options=(Step(200, elsewhere=True),)
    ),
    "busy": _code(486, ("Retry-After", "120")),
    "unavailable": _code(503, ("Retry-After", "30")),
    "options_unavailable": Script(options=(Step(503, headers=(("Retry-After", "30"),)),)),
    "redirect_live": _code(302, ("Contact", "<urn:service:sos>")),
    "bad_location": _code(424, ("Geolocation-Error", '100 ;code="Cannot Process Location"')),
    "callback": Script(calls_back_after_s=1.0),
    **{
        name: _mangled(name)
        for name in (
            "lf_only", "folded", "compact", "two_vias", "wrong_branch", "wrong_sent_by",
            "wrong_cseq", "no_cseq", "short_content_length", "truncated", "garbage",
        )
    },
    **{f"invite_{code}": _code(code) for code in CODES},
    **{f"options_{code}": Script(options=(Step(code),)) for code in CODES},
}  # fmt: skip
"""Every behaviour by name; scenarios, tests and ``psapwatch respond --script`` use the names."""


def _top_via(pattern: bytes, replacement: bytes) -> Callable[[bytes], bytes]:
    compiled = re.compile(pattern)
    return lambda octets: compiled.sub(replacement, octets, count=1)


def _compact(octets: bytes) -> bytes:
    for long, short in (
        (b"Via", b"v"), (b"From", b"f"), (b"To", b"t"), (b"Call-ID", b"i"), (b"Contact", b"m"),
        (b"Content-Type", b"c"), (b"Content-Length", b"l"),
    ):  # fmt: skip
        octets = octets.replace(b"\r\n" + long + b": ", b"\r\n" + short + b": ")
    return octets


def _resized(by: int) -> Callable[[bytes], bytes]:
    length = re.compile(rb"\r\nContent-Length: (\d+)")

    def declare(octets: bytes) -> bytes:
        return length.sub(
            lambda found: b"\r\nContent-Length: %d" % max(0, int(found[1]) + by), octets, count=1
        )

    return declare


MANGLES: Final[Mapping[Mangle, Callable[[bytes], bytes]]] = {
    "none": lambda octets: octets,
    "lf_only": lambda octets: octets.replace(b"\r\n", b"\n"),
    "folded": lambda octets: octets.replace(b"\r\nTo: ", b"\r\nTo:\r\n ").replace(
        b"\r\nServer: ", b"\r\nServer:\r\n\t"
    ),
    "compact": _compact,
    "two_vias": _top_via(
        rb"\r\nVia: ", b"\r\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKnotours\r\nVia: "
    ),
    "wrong_branch": _top_via(rb"branch=[^;,\s]+", b"branch=z9hG4bKnotours"),
    "wrong_sent_by": _top_via(rb"(\r\nVia: \S+ )[^;\s]+", rb"\g<1>203.0.113.1:5060"),
    "wrong_cseq": _top_via(rb"(\r\nCSeq: \d+) \S+", rb"\1 SUBSCRIBE"),
    "no_cseq": _top_via(rb"\r\nCSeq: [^\r]*", b""),
    "short_content_length": _resized(-40),
    "truncated": _resized(40),
    "garbage": lambda _octets: b"\x80\x00\x17garbage, and no SIP at all\x00",
}

SDP_EDITS: Final[Mapping[Body, tuple[tuple[bytes, bytes], ...]]] = {
    "no_loopback": (
        (rb"a=loopback[^\r]*\r\n", b""),
        (rb"a=rtpmap:\d+ (?:encaprtp|rtploopback)[^\r]*\r\n", b""),
        (rb"(m=audio \d+ \S+ \d+)[^\r]*", rb"\1"),
    ),
    "loopback_space": ((rb"a=loopback:", b"a=loopback: "),),
    "two_types": ((rb"a=loopback:[^\r]*", b"a=loopback:rtp-pkt-loopback rtp-media-loopback"),),
    "port_zero": ((rb"m=audio \d+", b"m=audio 0"),),
    "source": ((rb"a=loopback-mirror", b"a=loopback-source"),),
    "recvonly": ((rb"a=loopback-mirror", b"a=loopback-mirror\r\na=recvonly"),),
    "direct": (
        (rb"(m=audio \d+ RTP/S?AVP \d+) 112", rb"\1 113"),
        (rb"112 encaprtp", b"113 rtploopback"),
    ),
    "media": (
        (rb"(m=audio \d+ RTP/S?AVP \d+) 112", rb"\1"),
        (rb"a=rtpmap:112 [^\r]*\r\n", b""),
        (rb"rtp-pkt-loopback", b"rtp-media-loopback"),
    ),
}
"""Regular expressions and replacements, in order, over a good mirror answer."""

REASONS: Final[Mapping[int, str]] = {
    100: "Trying", 180: "Ringing", 182: "Queued", 183: "Session Progress", 200: "OK",
    202: "Accepted", 300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    424: "Bad Location Information", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
    484: "Address Incomplete", 486: "Busy Here", 487: "Request Terminated",
    488: "Not Acceptable Here", 500: "Server Internal Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out",
    513: "Message Too Large", 600: "Busy Everywhere", 603: "Decline",
    604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}  # fmt: skip
"""Reason phrases that we send (RFC 3261 21); any other code says "Answer"."""
