"""What a header is called, however it was written (RFC 3261 7.3.1, 7.3.3; layer L1)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

NAMES_KEPT: Final = 512
"""Ways of writing that are remembered: every message brings the same few."""

LISTS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "alert-info",
        "allow",
        "allow-events",
        "call-info",
        "contact",
        "error-info",
        "geolocation",
        "history-info",
        "path",
        "proxy-require",
        "record-route",
        "require",
        "route",
        "supported",
        "unsupported",
        "via",
        "warning",
    }
)
"""Headers whose value is a comma-separated list; challenges and dates are not among them."""

_LONG_NAME: Final = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
    # and names that are shown alike however they were written
    **{
        name.lower(): name
        for name in (
            *("Call-ID", "Contact", "Content-Encoding", "Content-Length", "Content-Type"),
            *("CSeq", "From", "Subject", "Supported", "To", "Via"),
        )
    },
}
"""The IANA table of compact forms (RFC 3261 7.3.3 and the RFCs that added to it)."""


class Name(NamedTuple):
    """What a header is called: in full, in lower case, and whether its value is a list."""

    shown: str
    key: str
    is_list: bool


@lru_cache(maxsize=NAMES_KEPT)
def named(written: str) -> Name:
    """Return the name that stands in front of the colon."""
    written = written.strip()
    shown = _LONG_NAME.get(written.lower(), written)
    key = shown.lower()
    return Name(shown, key, key in LISTS)
