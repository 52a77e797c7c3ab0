"""What a request looked like when it arrived, told to its sender in a header of ours (layer L1).

A SIP-aware firewall that rewrites addresses puts them back in the answer, so that only the far end
sees the change. ``psapwatch respond`` says what it saw, and the prober compares: same branch, other
addresses means that somebody on the way meant well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

SAW: Final = "Psapwatch-Saw"
VALUE_MAX: Final = 120
HEADER_MAX: Final = 800

_SENT_BY: Final = re.compile(r"SIP\s*/\s*2\.0\s*/\s*\w+\s+([^;\s]+)", re.IGNORECASE)
_BRANCH: Final = re.compile(r";\s*branch=([^;,\s]+)", re.IGNORECASE)
_URI: Final = re.compile(r"sips?:[^>\s]+", re.IGNORECASE)
_CONNECTION: Final = re.compile(rb"(?m)^c=IN IP[46] (\S+)")
_AUDIO: Final = re.compile(rb"(?m)^m=audio (\d+)")
_PARAMETER: Final = re.compile(r';(\w+)="([^"]*)"')
_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\;]')


@dataclass(frozen=True, slots=True)
class Saw:
    """Every value as text; "" where there was none."""

    transport: str = ""
    source: str = ""
    via: str = ""
    """The sender's own Via: host and port, without what was added on the way."""
    branch: str = ""
    contact: str = ""
    media: str = ""
    """Host and port that the offer names."""
    size: str = ""
    dscp: str = ""

    @classmethod
    def of_message(
        cls, *, via: str, contact: str, body: bytes, arrival: tuple[str, str, int, int | None]
    ) -> Saw:
        """Note a request: its last Via, Contact and body, and how it arrived."""
        transport, source, size, dscp = arrival
        host, port = _CONNECTION.search(body), _AUDIO.search(body)
        media = f"{host[1].decode('latin-1')}:{int(port[1])}" if host and port else ""
        return cls(
            transport, source, _first(_SENT_BY, via), _first(_BRANCH, via),
            _whole(_URI, contact), media, str(size), "" if dscp is None else str(dscp),
        )  # fmt: skip

    @classmethod
    def parse(cls, header: str) -> Saw | None:
        """Read the header; None for what is none."""
        if not header:
            return None
        known = {field.name for field in fields(cls)}
        found = dict(_PARAMETER.findall(header[:HEADER_MAX]))
        return cls(**{name: found[name] for name in known & found.keys()}) if found else None

    def __str__(self) -> str:
        values = ((field.name, str(getattr(self, field.name))) for field in fields(self))
        return "1" + "".join(
            f';{name}="{_UNSAFE.sub("_", value)[:VALUE_MAX]}"' for name, value in values if value
        )

    def changed(self, sent: Saw) -> tuple[str, ...]:
        """Name the parts that arrived otherwise than they were sent.

        Nothing where the branch is another: then this request is another element's, not ours.
        """
        if not self.branch or self.branch != _clean(sent.branch):
            return ()
        parts = ("via", "contact", "media")
        return tuple(
            f"{name} {getattr(sent, name)} arrived as {getattr(self, name)}"
            for name in parts
            if getattr(sent, name) and getattr(self, name) != _clean(getattr(sent, name))
        )


def _clean(value: str) -> str:
    return _UNSAFE.sub("_", value)[:VALUE_MAX]


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _whole(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""
