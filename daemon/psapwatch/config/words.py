"""Field types of the configuration: text that is checked and, where it has parts, taken apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any, Final, cast, get_args

from pydantic import AfterValidator, PlainValidator

from psapwatch.endpoint import Address, PortRange, TransportName
from psapwatch.location import CIVIC
from psapwatch.sip.uri import BadUri, Uri, parse_uri

PORT_MAX: Final = 65_535
DNS_PORT: Final = 53
TEXT_CHARACTERS_MAX: Final = 500
YEARS: Final = range(1970, 9999)
"""Of a written time: what is outside is a slip of the pen, and may have no date in another zone."""
RESERVED_SCOPES: Final = frozenset(
    {"firewall", "psap", "path", "vantage", "family", "transport", "source", "check"}
)
"""Scopes that an attribute may not be called, because incidents name both in one label."""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_PORTS: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_TURN: Final = re.compile(r"([0-9]{1,3})/([0-9]{1,3})", re.ASCII)
_LISTEN: Final = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", re.ASCII)
_EXAMPLE: Final = "sip:psap.example.gov;transport=tcp"
_HOST: Final = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII
)


def _wrong(message: str) -> ValueError:
    return ValueError(message)


def parse_text(text: str) -> str:
    """Return one line of text as it is.

    Raises:
        ValueError: it is empty, too long, or more than one line of printable text.
    """
    if not text.strip():
        raise _wrong("must not be empty")
    if len(text) > TEXT_CHARACTERS_MAX:
        raise _wrong(f"must be at most {TEXT_CHARACTERS_MAX} characters")
    if not text.isprintable():
        raise _wrong("must be one line of printable text")
    return text


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise _wrong(f"{text[:40]!r} is no id; letters, digits, '.', '_' and '-', at most 63")
    return text


def _attribute(text: str) -> str:
    if text in RESERVED_SCOPES:
        raise _wrong(f"{text!r} is a fault domain already; call the attribute otherwise")
    if not _ATTRIBUTE.fullmatch(text):
        raise _wrong(f"{text[:40]!r} cannot name an attribute; lower-case letters, digits and '_'")
    return text


def _civic_element(text: str) -> str:
    if text not in CIVIC:
        raise _wrong(f"{text[:20]!r} is no civic element of RFC 5139, such as A3, RD, HNO, PC")
    return text


def _civic_address(address: dict[str, str]) -> dict[str, str]:
    country = address.get("country", "US")
    if not _COUNTRY.fullmatch(country):
        raise _wrong(f"country: {country[:20]!r} is no code of two capital letters, such as US")
    return address


def _ports(text: str) -> PortRange:
    written = _PORTS.fullmatch(text)
    if not written:
        raise _wrong(f"{text[:40]!r} is no port range; write LOW-HIGH, such as 20000-29999")
    low, high = int(written[1]), int(written[2])
    if (low, high) != (0, 0) and not 1 <= low <= high <= PORT_MAX:
        raise _wrong(f"{text} is no port range; 1 <= LOW <= HIGH <= {PORT_MAX}, or 0-0 for any")
    return PortRange(low, high)


def _turn(text: str) -> tuple[int, int]:
    written = _TURN.fullmatch(text)
    if not written or not 1 <= int(written[1]) <= int(written[2]):
        raise _wrong("must be I/N with 1 <= I <= N, such as 1/2 for the first of two vantages")
    return int(written[1]), int(written[2])


def parse_address(text: str) -> str:
    """Return a numeric address in its canonical form.

    Raises:
        ValueError: not a numeric IPv4 or IPv6 address.
    """
    try:
        return str(ip_address(text))
    except ValueError:
        raise _wrong(f"{text[:60]!r} is no numeric IPv4 or IPv6 address") from None


def parse_listen(text: str) -> Address:
    """Return the ``HOST:PORT`` to listen on; ``[::1]:9911`` for IPv6, port 0 for any.

    Raises:
        ValueError: not a numeric address and a port.
    """
    written = _LISTEN.fullmatch(text)
    if not written or int(written[3]) > PORT_MAX:
        raise _wrong(f"{text[:60]!r} is no HOST:PORT, such as 127.0.0.1:9911 or [::1]:9911")
    return Address(parse_address(written[1] or written[2]), int(written[3]))


def _server(text: str) -> Address:
    """One DNS server, which is asked at port 53."""
    return Address(parse_address(text), DNS_PORT)


def parse_moment(text: str) -> float:
    """Return the Unix seconds of a written time.

    Raises:
        ValueError: it is none, has no zone, or is not of these centuries.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(f"{text[:40]!r} is no time; write it as 2026-12-01T02:00:00-05:00") from None
    if moment.tzinfo is None:
        raise _wrong(f"{text} has no zone; write {text}Z for UTC, or its offset as in {text}-05:00")
    if moment.year not in YEARS:
        raise _wrong(f"{text} is not between the years {YEARS[0]} and {YEARS[-1]}")
    return moment.timestamp()


def sip_uri(text: str) -> str:
    """Check a SIP or SIPS URI that something can be sent to (RFC 3261 19.1.1).

    Raises:
        ValueError: says what is wrong and what is allowed.
    """
    scheme = text.partition(":")[0].lower()
    if scheme in ("tel", "urn"):
        why = (
            "has no host to send to"
            if scheme == "tel"
            else "is what a test call asks for, not where it goes"
        )
        raise _wrong(f"a {scheme}: URI {why}; allowed are sip: and sips: URIs")
    if scheme not in ("sip", "sips") or ":" not in text:
        raise _wrong(f"{text[:60]!r} is no sip: or sips: URI, such as {_EXAMPLE}")
    if ":" in text.partition(":")[2].rpartition("@")[0]:
        raise _wrong("a password in a URI is sent in the clear; write auth with a password_file")
    try:
        uri = parse_uri(text)
    except BadUri as bad:
        raise _wrong(f"{bad}; write sip:HOST or sips:HOST, such as {_EXAMPLE}") from None
    if uri.headers:
        raise _wrong("a URI to send to carries no ?headers (RFC 3261 19.1.1)")
    if uri.port == 0:
        raise _wrong("port 0 is nobody's; allowed are 1 to 65535")
    _check_host(uri)
    transport_of(text)
    return text


def _check_host(uri: Uri) -> None:
    if ":" in uri.host:
        parse_address(uri.host.strip("[]"))
    elif re.fullmatch(r"[0-9.]+", uri.host):
        parse_address(uri.host)
    elif not _HOST.fullmatch(uri.host):
        raise _wrong(f"{uri.host[:60]!r} is no host name")


def transport_of(text: str) -> TransportName:
    """Return the transport that a SIP URI asks for; UDP where it asks for none (RFC 3263 4.1).

    Raises:
        ValueError: a transport that we do not have, or sips over UDP (RFC 3261 26.2.2).
    """
    uri = parse_uri(text)
    asked = next((value for name, value in uri.params if name.lower() == "transport"), None)
    secure = uri.scheme.lower() == "sips"
    if asked is None:
        return "tls" if secure else "udp"
    allowed = get_args(TransportName)
    if asked.lower() not in allowed:
        raise _wrong(f"transport={asked[:20]} is not one of {', '.join(allowed)}")
    if secure and asked.lower() == "udp":
        raise _wrong("sips: goes over TLS, not UDP (RFC 3261 26.2.2)")
    return "tls" if secure else cast("TransportName", asked.lower())


def _written(read: Callable[[str], Any], what: str) -> PlainValidator:
    """Read text with ``read``; anything else is told to be ``what``."""

    def from_text(value: Any) -> Any:
        if not isinstance(value, str):
            raise _wrong(f"must be text: {what}")
        return read(value)

    return PlainValidator(from_text, json_schema_input_type=str)


Text = Annotated[str, AfterValidator(parse_text)]
Id = Annotated[str, AfterValidator(_identifier)]
AttributeName = Annotated[str, AfterValidator(_attribute)]
CivicElement = Annotated[str, AfterValidator(_civic_element)]
CivicAddress = Annotated[dict[CivicElement, Text], AfterValidator(_civic_address)]
Numeric = Annotated[str, AfterValidator(parse_address)]
SipUri = Annotated[str, AfterValidator(sip_uri)]
Ports = Annotated[PortRange, _written(_ports, "LOW-HIGH, such as 20000-29999")]
Turn = Annotated[tuple[int, int], _written(_turn, "I/N, such as 1/2")]
Listen = Annotated[Address, _written(parse_listen, "HOST:PORT, such as 127.0.0.1:9911")]
Server = Annotated[Address, _written(_server, "a numeric address")]
Moment = Annotated[
    float, _written(parse_moment, "a time with a zone, such as 2026-12-01T02:00:00-05:00")
]

WRITTEN_AS: Final = tuple(
    (get_args(kind)[1], words)
    for kind, words in (
        (Id, "id"),
        (AttributeName, "attribute name"),
        (CivicElement, "civic element"),
        (Numeric, "numeric address"),
        (SipUri, "sip: or sips: URI"),
        (Ports, "LOW-HIGH"),
        (Turn, "I/N"),
        (Listen, "HOST:PORT"),
        (Server, "numeric address"),
        (Moment, "time with zone"),
        (Text, "text"),
    )
)
"""What the reference calls each type, by the validator that makes it."""
