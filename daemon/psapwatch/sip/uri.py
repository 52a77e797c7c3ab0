"""URIs, name-addr and Via values: strict readers that keep the text as written (layer L1).

A test call must never have its URN "corrected" on the way, so nothing here writes a URI anew:
``str()`` of everything gives back exactly what was read. Hosts are given without the brackets of
an IPv6 reference (as ``endpoint.Address`` has them), parameter names in lower case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

Params = tuple[tuple[str, str | None], ...]
"""Parameters in order: lower-case name, and the value or None where there is no ``=``."""

URIS_KEPT: Final = 1024
"""URIs whose reading is remembered: a prober meets the same few in every message."""
_KEPT_TEXT_MAX: Final = 256
_PORT_MAX: Final = 65_535
_PORT_DIGITS_MAX: Final = 5
_WHY_TEXT_MAX: Final = 60

_ESCAPED: Final = r"%[0-9A-Fa-f]{2}"
_UNRESERVED: Final = r"A-Za-z0-9\-_.!~*'()"
_HOST: Final = r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+"
_QUOTED: Final = r'"(?:[^"\\]++|\\.)*+"'
_TCHARS: Final = r"!%'*+\-.0-9A-Z_`a-z~"

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):([!#-;=?-~]++)")  # visible, none of <>"
_SIP_URI: Final = re.compile(
    rf"(?:((?:[{_UNRESERVED}&=+$,;?/]|{_ESCAPED})++)(?::(?:[{_UNRESERVED}&=+$,]|{_ESCAPED})*+)?@)?"
    rf"({_HOST})(?::([0-9]+))?"
    rf"((?:;(?:[{_UNRESERVED}\[\]/:&+$]|{_ESCAPED})++(?:=(?:[{_UNRESERVED}\[\]/:&+$]|{_ESCAPED})++)?)*+)"
    rf"(?:\?((?:[{_UNRESERVED}\[\]/?:+$&=]|{_ESCAPED})++))?"
)
_TEL_URI: Final = re.compile(r"(\+?[0-9A-Fa-f*#\-.()]++)((?:;[^;\s]++)*+)")
_NAME_ADDR: Final = re.compile(rf"(?:({_QUOTED})\s*|([{_TCHARS}\s]*+))<([^<>\s]++)>", re.DOTALL)
_ADDR_SPEC: Final = re.compile(r'[^<>"\s;?,]++')
_PARAM: Final = re.compile(
    rf'\s*;\s*([^\s;,="<>]++)(?:\s*=\s*({_QUOTED}|[^\s;,"<>]++))?', re.DOTALL
)
_VIA: Final = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*([{_TCHARS}]++)\s++({_HOST})(?:\s*:\s*([0-9]+))?", re.IGNORECASE
)
_PLAIN_PARAMS: Final = r'((?:;[^\s;,="<>]++(?:=[^\s;,"<>]++)?)*+)'
_PLAIN_VIA: Final = re.compile(
    rf"SIP/2\.0/([A-Za-z]++) ([A-Za-z0-9.\-]++)(?::([0-9]++))?{_PLAIN_PARAMS}"
)
_PLAIN_NAMED: Final = re.compile(rf"([^<>]*+<[^<>\s]++>){_PLAIN_PARAMS}")
_PLAIN_TAGGED: Final = re.compile(r'([^<>]*+<[^<>\s]++>)(?:;tag=([^\s;,="<>]++))?+')
"""Nearly all that is ever seen: no spaces, quotes or brackets where they are seldom."""
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)


class BadUri(ValueError):
    """A URI, name-addr or Via that RFC 3261 25.1 does not allow."""


@dataclass(frozen=True, slots=True)
class Uri:
    """One URI. Of ``tel`` and ``urn``, ``user`` holds what follows the scheme; host is ``""``."""

    scheme: str
    user: str
    host: str
    port: int | None
    params: Params
    headers: str
    text: str

    def param(self, name: str) -> str | None:
        """Return a parameter's value (``""`` for a flag), or None where it is absent."""
        return _value_of(self.params, name)

    @property
    def reaches(self) -> str:
        """The host that a request goes to: ``maddr`` overrides the other one (RFC 3261 19.1.1)."""
        return (self.param("maddr") or self.host).strip("[]").rstrip(".").lower()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, Route or Record-Route; ``display`` is unquoted."""

    display: str
    uri: Uri
    params: Params
    text: str = ""

    @property
    def tag(self) -> str:
        """The tag parameter, or ``""``."""
        return _value_of(self.params, "tag") or ""

    def __str__(self) -> str:
        return self.text


class Via(NamedTuple):
    """One Via value (RFC 3261 20.42); ``transport`` in upper case."""

    transport: str
    host: str
    port: int | None
    params: Params
    text: str = ""

    @property
    def branch(self) -> str:
        """The branch parameter, or ``""``."""
        return _value_of(self.params, "branch") or ""

    @property
    def received(self) -> str:
        """The address that the next hop saw us at, without brackets, or ``""``."""
        return (_value_of(self.params, "received") or "").strip("[]")

    @property
    def rport(self) -> int | None:
        """The port that the next hop saw us at (RFC 3581), if it filled it in."""
        return _port_or_none(_value_of(self.params, "rport"))

    def __str__(self) -> str:
        return self.text


def parse_uri(text: str) -> Uri:
    """Read a URI; schemes other than sip, sips, tel and urn are kept as scheme and text.

    Raises:
        BadUri: not a URI, or not a SIP or tel URI where it says so.
    """
    return _read_uri(text) if len(text) > _KEPT_TEXT_MAX else _read_short_uri(text)


def _read_uri(text: str) -> Uri:
    split = _SCHEME.fullmatch(text)
    if split is None:
        raise BadUri(_why("no URI", text))
    scheme, rest = split[1].lower(), split[2]
    if scheme in ("sip", "sips"):
        match = _SIP_URI.fullmatch(rest)
        if match is None:
            raise BadUri(_why("not a SIP URI", text))
        user, host, port, params, headers = match.groups()
        return Uri(
            scheme, user or "", _host(host), _port(port), _uri_params(params), headers or "", text
        )
    if scheme == "tel":
        match = _TEL_URI.fullmatch(rest)
        if match is None:
            raise BadUri(_why("not a tel URI", text))
        return Uri(scheme, match[1], "", None, _uri_params(match[2]), "", text)
    return Uri(scheme, rest if scheme == "urn" else "", "", None, (), "", text)


_read_short_uri: Final = lru_cache(maxsize=URIS_KEPT)(_read_uri)


def parse_name_addr(text: str) -> NameAddr:
    """Read a name-addr or addr-spec with its header parameters (RFC 3261 20.10).

    Without angle brackets every parameter belongs to the header, none to the URI.

    Raises:
        BadUri: not of that form.
    """
    text = text.strip()
    plain = _plain_named(text)
    if plain is not None:
        (display, where), params = plain
        return NameAddr(display, where, _plain_params(params), text)
    named = _NAME_ADDR.match(text)
    if named is not None:
        quoted, tokens, uri, end = named[1], named[2], named[3], named.end()
        display = unquote(quoted) if quoted else " ".join((tokens or "").split())
    else:
        bare = _ADDR_SPEC.match(text)
        if bare is None:
            raise BadUri(_why("no name-addr", text))
        uri, end, display = bare[0], bare.end(), ""
    return NameAddr(display, parse_uri(uri), _header_params(text, end), text)


def tag_of(text: str) -> str:
    """The tag of a From or To value, ``""`` where there is none: as ``parse_name_addr``, sooner.

    Raises:
        BadUri: not of that form.
    """
    plain = _PLAIN_TAGGED.fullmatch(text)
    if plain is None or len(plain[1]) > _KEPT_TEXT_MAX or _read_named(plain[1]) is None:
        return parse_name_addr(text).tag
    return plain[2] or ""


def parse_via(text: str) -> Via:
    """Read one Via value.

    Raises:
        BadUri: not of the form ``SIP/2.0/transport sent-by *(;param)``.
    """
    plain = _PLAIN_VIA.fullmatch(text)
    if plain is not None:
        transport, host, port, params = plain.groups()
        return Via(transport.upper(), host, _port(port), _plain_params(params), text)
    text = text.strip()
    match = _VIA.match(text)
    if match is None:
        raise BadUri(_why("not a Via", text))
    transport, host, port = match.groups()
    params = _header_params(text, match.end())
    return Via(transport.upper(), _host(host), _port(port), params, text)


def unquote(text: str) -> str:
    """Take a quoted string out of its quotes; anything else stays as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return _QUOTED_PAIR.sub(r"\1", text[1:-1]) if "\\" in text else text[1:-1]


def _plain_named(text: str) -> tuple[tuple[str, Uri], str] | None:
    """Display name and URI, and the parameters as written; None where it takes a closer look."""
    plain = _PLAIN_NAMED.fullmatch(text)
    if plain is None or len(plain[1]) > _KEPT_TEXT_MAX:
        return None
    known = _read_named(plain[1])
    return None if known is None else (known, plain[2])


@lru_cache(maxsize=URIS_KEPT)
def _read_named(text: str) -> tuple[str, Uri] | None:
    """Who is named in front of the parameters: the same few in message after message."""
    named = _NAME_ADDR.fullmatch(text)
    if named is None:
        return None
    quoted, tokens, uri = named.groups()
    return unquote(quoted) if quoted else " ".join((tokens or "").split()), parse_uri(uri)


def _plain_params(text: str) -> Params:
    """Parameters that ``_PLAIN_PARAMS`` matched."""
    if not text:
        return ()
    split = [item.partition("=") for item in text[1:].split(";")]
    return tuple([(name.lower(), value if equals else None) for name, equals, value in split])


def _header_params(text: str, start: int) -> Params:
    params: list[tuple[str, str | None]] = []
    while start < len(text):
        match = _PARAM.match(text, start)
        if match is None:
            raise BadUri(_why("bad parameters", text[start:]))
        name, value = match.groups()
        params.append((name.lower(), value if value is None else unquote(value)))
        start = match.end()
    return tuple(params)


def _uri_params(text: str) -> Params:
    params: list[tuple[str, str | None]] = []
    for item in text.split(";")[1:] if text else ():
        name, equals, value = item.partition("=")
        params.append((name.lower(), value if equals else None))
    return tuple(params)


def _value_of(params: Params, wanted: str) -> str | None:
    for name, value in params:
        if name == wanted:
            return value or ""
    return None


def _host(text: str) -> str:
    if text[0] != "[":
        return text
    try:
        IPv6Address(text[1:-1])
    except AddressValueError:
        raise BadUri(_why("not an IPv6 reference", text)) from None
    return text[1:-1]


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    port = _port_or_none(text)
    if port is None:
        raise BadUri(_why("not a port", text))
    return port


def _port_or_none(text: str | None) -> int | None:
    if not text or len(text) > _PORT_DIGITS_MAX or not (text.isascii() and text.isdigit()):
        return None
    port = int(text)
    return port if port <= _PORT_MAX else None


def _why(what: str, text: str) -> str:
    return f"{what}: {text[:_WHY_TEXT_MAX]!r}"
