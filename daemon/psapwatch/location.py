"""Where the test call says it is: PIDF-LO by value, its headers, and its echo (layer L1).

RFC 4119 with RFC 5491's rules: one device, one location, latitude first. A recipient must discard
an object whose retention has expired, so it is written anew for every call (RFC 4119 2.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape, unescape
from typing import Final, Literal

RETENTION_S: Final = 86_400.0
SAME_DEGREES: Final = 0.000_5
"""About 50 m: an answering point may round what it reads back."""
CIVIC: Final = (
    "country", "A1", "A2", "A3", "A4", "A5", "A6", "PRM", "PRD", "RD", "STS", "POD", "POM",
    "RDSEC", "RDBR", "RDSUBBR", "HNO", "HNS", "LMK", "LOC", "FLR", "NAM", "PC", "BLD", "UNIT",
    "ROOM", "SEAT", "PLC", "PCN", "POBOX", "ADDCODE",
)  # fmt: skip
"""Elements of a civic address, in the order that the schema wants (RFC 5139 4)."""

_ENVELOPE: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"
 xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"
 xmlns:{prefix}="{namespace}" entity="{entity}">
<dm:device id="prober">
<gp:geopriv>
<gp:location-info>{place}</gp:location-info>
<gp:usage-rules>
<gbp:retransmission-allowed>false</gbp:retransmission-allowed>
<gbp:retention-expiry>{expires}</gbp:retention-expiry>
</gp:usage-rules>
<gp:method>Manual</gp:method>
</gp:geopriv>
<dm:deviceID>{device}</dm:deviceID>
<dm:timestamp>{written}</dm:timestamp>
</dm:device>
</presence>
"""
_GML: Final = ("gml", "http://www.opengis.net/gml")
_CA: Final = ("ca", "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr")
_POS: Final = re.compile(
    rb"<(?:[\w.-]+:)?pos(?:\s[^<>]{0,200})?>\s*(-?\d{1,3}(?:\.\d{1,12})?)\s+"
    rb"(-?\d{1,3}(?:\.\d{1,12})?)[\s<]"
)
_SPOKEN: Final = re.compile(r"(-?\d{1,2}\.\d{3,12})\s*[,;\s]\s*(-?\d{1,3}\.\d{3,12})")
_ELEMENT: Final = re.compile(
    rb"<(?:[\w.-]+:)?(country|[A-Z][A-Z0-9]{1,9})(?:\s[^<>]{0,200})?>\s{0,20}([^<]{1,200}?)\s{0,20}</"
)
_ECHOES_MAX: Final = 8

Sameness = Literal["", "same", "other"]


@dataclass(frozen=True, slots=True)
class Point:
    """Degrees on WGS 84 (EPSG:4326), latitude first."""

    latitude: float
    longitude: float


NOWHERE: Final = Point(0.0, 0.0)
"""In the sea, where nobody lives: what our own responders are told where no place is configured."""


@dataclass(frozen=True, slots=True)
class Civic:
    """A civic address: pairs of an element of ``CIVIC`` and its value, in any order."""

    parts: tuple[tuple[str, str], ...]


Place = Point | Civic


@dataclass(frozen=True, slots=True)
class Message:
    """A body with its type, and the headers that speak of it."""

    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...]


def pidf_lo(place: Place, *, entity: str, device: str, at: float) -> bytes:
    """Write the presence document that says where we are.

    ``entity`` is who we are (a URI), ``device`` 32 hex digits, ``at`` Unix seconds.

    Raises:
        ValueError: a civic element that RFC 5139 does not know.
    """
    prefix, namespace = _GML if isinstance(place, Point) else _CA
    return _ENVELOPE.format(
        prefix=prefix,
        namespace=namespace,
        entity=escape(entity),
        place=_point(place) if isinstance(place, Point) else _civic(place),
        expires=_stamp(at + RETENTION_S),
        device=_urn(device),
        written=_stamp(at),
    ).encode()


def with_location(sdp: bytes, document: bytes, *, identity: str, token: str) -> Message:
    """Put offer and location into one body, and say so in the headers (RFC 6442 4, RFC 8262).

    ``identity`` is our domain, ``token`` at least 32 hex digits of this call alone.
    """
    name, boundary = f"location-{token[:16]}@{identity}", f"part-{token[16:32]}"
    parts = (
        ("application/sdp", "", sdp),
        ("application/pidf+xml", f"Content-ID: <{name}>\r\n", document),
    )
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\n{more}\r\n".encode() + octets + b"\r\n"
        for kind, more, octets in parts
    )
    return Message(
        f"multipart/mixed;boundary={boundary}",
        body + f"--{boundary}--\r\n".encode(),
        (("Geolocation", f"<cid:{name}>"), ("Geolocation-Routing", "yes")),
    )


def with_padding(sdp: bytes, like: Message, *, token: str) -> Message:
    """Put offer and padding into one body, as long with its headers as ``like`` and its own are.

    Not a word of a location: where this passes and ``like`` does not, content is to blame, not
    size. ``token`` is at least 16 hex digits of this call alone.
    """
    boundary = f"part-{token[:16]}"
    head = (
        f"--{boundary}\r\nContent-Type: application/sdp\r\n\r\n".encode() + sdp
        + f"\r\n--{boundary}\r\nContent-Type: text/plain\r\n\r\n".encode()
    )  # fmt: skip
    tail = f"\r\n--{boundary}--\r\n".encode()
    octets = len(like.body) + sum(len(f"{name}: {value}\r\n") for name, value in like.headers)
    padding = b"." * max(0, octets - len(head + tail))
    return Message(f"multipart/mixed;boundary={boundary}", head + padding + tail, ())


def call_identifiers(identity: str, token: str) -> tuple[tuple[str, str], ...]:
    """Return the Call-Info headers that an i3 call carries (NENA-STA-010 2.1.6, 2.1.7).

    Each holds a string of its own, unique in this call; ``token`` is at least 32 hex digits.
    """
    names = (
        ("callid", "emergency-CallId", token[:16]),
        ("incidentid", "emergency-IncidentId", token[16:32]),
    )
    return tuple(
        ("Call-Info", f"<urn:emergency:uid:{kind}:{unique}:{identity}>;purpose={purpose}")
        for kind, purpose, unique in names
    )


def sameness(place: Place, document: bytes, text: str) -> Sameness:
    """Compare what an answer says of our location with where we said we are.

    ``document`` is its PIDF-LO, ``text`` its readable part; "" where neither says where that is.
    A civic address is compared in the elements that come back.
    """
    if isinstance(place, Civic):
        return _civic_sameness(place, document)
    found = list(_positions(document, text))
    if not found:
        return ""
    return "same" if any(_is_near(place, other) for other in found) else "other"


def _civic_sameness(place: Civic, document: bytes) -> Sameness:
    said = {
        name.decode(): unescape(value.decode(errors="replace"))
        for name, value in _ELEMENT.findall(document)
    }
    both = [(value, said[name]) for name, value in place.parts if name in said]
    if not both:
        return ""
    return "same" if all(ours.casefold() == theirs.casefold() for ours, theirs in both) else "other"


def _positions(document: bytes, text: str) -> Iterator[Point]:
    for number, found in enumerate(_POS.finditer(document)):
        if number < _ECHOES_MAX:
            yield Point(float(found[1]), float(found[2]))
    for number, spoken in enumerate(_SPOKEN.finditer(text)):
        if number < _ECHOES_MAX:
            yield Point(float(spoken[1]), float(spoken[2]))


def _is_near(one: Point, other: Point) -> bool:
    return (
        abs(one.latitude - other.latitude) <= SAME_DEGREES
        and abs(one.longitude - other.longitude) <= SAME_DEGREES
    )


def _point(place: Point) -> str:
    position = f"{place.latitude:.6f} {place.longitude:.6f}"
    return (
        f'<gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>{position}</gml:pos></gml:Point>'
    )


def _civic(place: Civic) -> str:
    values = dict(place.parts)
    unknown = values.keys() - set(CIVIC)
    if unknown:
        raise ValueError(f"no civic element: {', '.join(sorted(unknown))}")
    inside = "".join(
        f"<ca:{name}>{escape(values[name])}</ca:{name}>" for name in CIVIC if name in values
    )
    return f"<ca:civicAddress>{inside}</ca:civicAddress>"


def _urn(device: str) -> str:
    groups = (device[:8], device[8:12], device[12:16], device[16:20], device[20:32])
    return f"urn:uuid:{'-'.join(groups)}"


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
