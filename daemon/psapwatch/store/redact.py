"""Takes credentials, media keys and locations out of a transcript before it is kept (layer L4).

Pure functions over octets: what a message was is still seen, what must not be kept is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from psapwatch.evidence import Evidence, Packet

WITHHELD: Final = b"[withheld]"

_CREDENTIALS: Final = re.compile(
    # The scheme stays. A folded value goes on in lines that begin with blanks (RFC 3261 7.3.1).
    rb"^((?:proxy-)?authorization|authentication-info)([ \t]*:)[ \t]*([A-Za-z]+(?=[ \t]))?"
    rb"[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*",
    re.IGNORECASE | re.MULTILINE,
)
_PRESENCE: Final = re.compile(
    # To the end where the closing tag was cut off: half a location is one, too.
    rb"<(?:[\w.-]+:)?presence[\s>].*?(?:</(?:[\w.-]+:)?presence\s*>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_LOCATION_PART: Final = re.compile(
    rb"(content-type[ \t]*:[ \t]*application/pidf\+xml[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)"
    rb".*?(?=\r\n--|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_LOCATION_URI: Final = re.compile(
    # RFC 6442 4.1 allows a location by value or a reference to one; a cid: only names the body.
    rb"^(geolocation[ \t]*:)(?![ \t]*<cid:)[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*",
    re.IGNORECASE | re.MULTILINE,
)


_MEDIA_KEY: Final = re.compile(
    # RFC 4568 9.1 and RFC 8866 5.12 (which calls it obsolete): nothing of the line is a word.
    rb"(?m)^(a=crypto:[^\r\n]*?\binline:|k=)[^\r\n]*"
)


def redact(octets: bytes) -> bytes:
    """Return one message without credentials, media keys and location; else it is the same."""
    lowered = octets.lower()
    if b"auth" in lowered:
        octets = _CREDENTIALS.sub(_credentials, octets)
    if b"inline:" in octets or b"\nk=" in octets:
        octets = _MEDIA_KEY.sub(rb"\1" + WITHHELD, octets)
    if b"presence" in lowered or b"pidf" in lowered or b"geolocation" in lowered:
        octets = _LOCATION_URI.sub(rb"\1 " + WITHHELD, octets)
        octets = _PRESENCE.sub(WITHHELD, octets)
        octets = _LOCATION_PART.sub(rb"\1" + WITHHELD, octets)
    return octets


def redact_transcript(transcript: Iterable[Packet]) -> tuple[Packet, ...]:
    """Return the packets, each one redacted."""
    return tuple(
        [Packet(each.at_s, each.way, each.peer, redact(each.octets)) for each in transcript]
    )


def redacted(evidence: Evidence) -> Evidence:
    """Return evidence whose transcript may be kept and shown."""
    return replace(evidence, transcript=redact_transcript(evidence.transcript))


def _credentials(found: re.Match[bytes]) -> bytes:
    scheme = found[3] + b" " if found[3] else b""
    return found[1] + found[2] + b" " + scheme + WITHHELD
