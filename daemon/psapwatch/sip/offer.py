"""SDP offers with media loopback, and what an answer to one says (RFC 6849, RFC 3264; layer L1).

An answer decides whether a machine or a person took the call: a stream that was accepted without
a loopback role is an ordinary telephone call (RFC 6849 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final, Literal

from aiosipua import (
    ConnectionData,
    MediaDescription,
    Origin,
    SdpMessage,
    TimingField,
    parse_sdp,
    serialize_sdp,
)

from psapwatch.sip.sdes import PLAIN, SECURED, Crypto, read_crypto, write_crypto
from psapwatch.sip.uri import unquote

What = Literal["mirror", "source", "no_loopback", "refused", "no_sdp", "bad"]

PCMU: Final = 0
PCMA: Final = 8
ENCAPRTP: Final = 112
RTPLOOPBACK: Final = 113

TEXT_MAX: Final = 2_000
LOCATION_MAX: Final = 8_192
PARTS_MAX: Final = 16
"""Body parts that are looked at in one multipart."""
_NESTING_MAX: Final = 3
_DETAIL_MAX: Final = 120
_PORT_MAX: Final = 65_535

_ENCODINGS: Final = {PCMU: "PCMU", PCMA: "PCMA", ENCAPRTP: "encaprtp", RTPLOOPBACK: "rtploopback"}
_PACKET_FORMATS: Final = ("encaprtp", "rtploopback")
_TYPES: Final = ("rtp-pkt-loopback", "rtp-media-loopback")
_KNOWN_NAMES: Final = {name.lower(): name for name in _ENCODINGS.values()}
_BOUNDARY: Final = re.compile(r';\s*boundary\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]+)', re.IGNORECASE)
_PART_TYPE: Final = re.compile(
    rb"^(?:content-type|c)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_ACCEPTED: Final = re.compile(rb"^m=[a-z]+ 0*[1-9]", re.MULTILINE)
_ROLE: Final = re.compile(rb"^a=loopback-(?:mirror|source)", re.MULTILINE)
_NO_HEADERS: Final = re.compile(rb"\A\r?\n")
_PART_HEADERS_END: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a 2xx to our offer says. ``address`` and ``port`` are where our RTP may go.

    ``mirror``: echo is promised; ``source``: the far side took our own role; ``no_loopback``: an
    ordinary call was accepted; ``refused``: no media; ``no_sdp``; ``bad``: it breaks RFC 6849 or
    cannot be read, ``detail`` says how. RTP may be sent to a ``mirror`` only.
    """

    what: What
    address: str = ""
    port: int = 0
    loopback_type: str = ""
    payload_types: dict[int, str] = field(default_factory=dict)
    text: str = ""
    detail: str = ""
    location: bytes = b""
    """The PIDF-LO that came with it, which says where they think we are (RFC 6881 ED-78)."""
    key: bytes = field(default=b"", repr=False)
    """Master key and salt of what a secured mirror sends."""


def build_offer(
    address: str, port: int, session_id: int, *, loopback: bool = True, key: bytes = b""
) -> bytes:
    """Write an offer of one audio stream from ``address``, as loopback source by default.

    With ``key``, the master key and salt of what we send, secured media is offered (RFC 4568).
    """
    formats = (PCMU, PCMA, ENCAPRTP, RTPLOOPBACK) if loopback else (PCMU, PCMA)
    attributes = {"rtpmap": [f"{number} {_ENCODINGS[number]}/8000" for number in formats]}
    if loopback:
        attributes |= {"loopback": [" ".join(_TYPES)], "loopback-source": []}
    attributes["ptime"] = ["20"]
    crypto = Crypto(1, key) if key else None
    return _write(address, port, session_id, [str(each) for each in formats], attributes, crypto)


def build_answer(
    offer: bytes, address: str, port: int, session_id: int, *, key: bytes = b""
) -> bytes:
    """Answer a loopback offer as mirror: its first type, encaprtp before rtploopback.

    ``key`` is for what we send, where the offer is of secured media.

    Raises:
        ValueError: the offer is no loopback source that can be mirrored (RFC 6849 5.2).
    """
    media = parse_sdp(offer.decode(errors="replace")).audio
    if media is None or media.port == 0 or "loopback-source" not in media.attributes:
        raise ValueError("the offer has no audio stream that is a loopback source")
    offered = [kind for kind in _words(media, "loopback") if kind in _TYPES]
    codecs = {codec.encoding_name.lower(): codec for codec in media.codecs}
    chosen = [codecs[name] for name in ("pcmu", "pcma") if name in codecs][:1]
    if not offered or not chosen:
        raise ValueError("the offer has no loopback type or no G.711")
    if offered[0] == _TYPES[0]:
        echoes = [codecs[name] for name in _PACKET_FORMATS if name in codecs][:1]
        if not echoes:
            raise ValueError("packet loopback is offered without encaprtp or rtploopback")
        chosen += echoes
    attributes: dict[str, list[str]] = {
        "rtpmap": [f"{codec.payload_type} {codec.encoding_name}/8000" for codec in chosen],
        "loopback": [offered[0]],
        "loopback-mirror": [],
    }
    formats = [str(codec.payload_type) for codec in chosen]
    crypto = None
    if media.proto == SECURED:
        theirs = read_crypto(media.attributes.get("crypto", ()))
        if theirs is None or not key:
            raise ValueError("secured media is offered without a key that can be used")
        crypto = Crypto(theirs.tag, key)
    return _write(address, port, session_id, formats, attributes, crypto)


def key_offered(offer: bytes) -> tuple[str, bytes]:
    """The profile of an offer's audio, and the key that secures it; empty where there is none."""
    if b"SAVP" not in offer:
        return PLAIN if b"m=audio" in offer else "", b""
    try:
        media = parse_sdp(offer.decode(errors="replace")).audio
    except ValueError:
        media = None
    if media is None:
        return "", b""
    crypto = read_crypto(media.attributes.get("crypto", ()))
    return media.proto, crypto.key if crypto else b""


def read_answer(message_body: bytes, content_type: str, *, profile: str = PLAIN) -> Answer:
    """Say what the body of a 2xx answers to an offer of ``profile``; this never raises."""
    answer = _read_sdp(message_body, content_type, profile)
    for kind, part in _parts(message_body, content_type, _NESTING_MAX):
        if kind == "application/pidf+xml":
            return replace(answer, location=part[:LOCATION_MAX])
    return answer


def _read_sdp(message_body: bytes, content_type: str, profile: str) -> Answer:
    text, sdp = "", None
    for kind, part in _parts(message_body, content_type, _NESTING_MAX):
        if kind == "application/sdp" and sdp is None:
            sdp = part
        elif kind == "text/plain" and not text:
            text = part[: 4 * TEXT_MAX].decode(errors="replace")[:TEXT_MAX]
    if sdp is None:
        return Answer("no_sdp", text=text)
    try:
        session = parse_sdp(sdp.decode(errors="replace"))
    except ValueError as error:
        # unreadable for us, but perhaps not for the telephone that wrote it: never call it a mirror
        ordinary = _ACCEPTED.search(sdp) and not _ROLE.search(sdp)
        what: What = "no_loopback" if ordinary else "bad"
        return Answer(what, text=text, detail=f"SDP: {error}"[:_DETAIL_MAX])
    return _judge(session, text, profile)


def _judge(session: SdpMessage, text: str, profile: str) -> Answer:
    accepted = [media for media in session.media if media.port]
    if not session.media:
        return Answer("bad", text=text, detail="no media line")
    if not accepted:
        return Answer("refused", text=text, detail="port 0")
    media = accepted[0]
    connection = media.connection or session.connection
    names = {
        codec.payload_type: _KNOWN_NAMES.get(codec.encoding_name.lower(), codec.encoding_name)
        for codec in media.codecs
    }
    types = _words(media, "loopback")
    what, detail = _role(session, accepted)
    if what == "mirror":
        what, detail = _usable(media, types, names, connection, profile)
    crypto = read_crypto(media.attributes.get("crypto", ())) if media.proto == SECURED else None
    return Answer(
        what,
        connection.address[:_DETAIL_MAX] if connection else "",
        media.port,
        types[0][:_DETAIL_MAX] if types else "",
        names,
        text,
        detail[:_DETAIL_MAX],
        key=crypto.key if crypto else b"",
    )


def _role(session: SdpMessage, accepted: list[MediaDescription]) -> tuple[What, str]:
    """Which role the far side took; no role on any one accepted stream means an ordinary call."""
    roles: set[str] = set()
    for media in accepted:
        here = {
            role
            for role in ("mirror", "source")
            if f"loopback-{role}" in media.attributes or f"loopback-{role}" in session.attributes
        }
        if not here:
            return "no_loopback", f"m={media.media} without a loopback role"
        roles |= here
    if len(roles) > 1:
        return "bad", "both loopback roles"
    if len(session.media) > 1:
        return "bad", f"{len(session.media)} media lines for one offered"
    return ("mirror", "") if "mirror" in roles else ("source", "the answer says loopback-source")


def _usable(
    media: MediaDescription,
    types: list[str],
    names: dict[int, str],
    connection: ConnectionData | None,
    profile: str,
) -> tuple[What, str]:
    """Check what a mirror must keep to (RFC 6849 5.2) before any RTP is sent to it."""
    address = connection.address if connection else ""
    if media.direction == "inactive" or address in ("0.0.0.0", "::"):  # noqa: S104 - means "hold"
        return "refused", "inactive"
    faults = (
        (media.media != "audio", f"m={media.media} for m=audio"),
        (media.proto != profile, f"profile {media.proto} for {profile}"),
        (
            profile == SECURED and read_crypto(media.attributes.get("crypto", ())) is None,
            "secured media without a key that can be used",
        ),
        (not 0 < media.port <= _PORT_MAX, f"port {media.port}"),
        (media.direction != "sendrecv", media.direction),
        (len(types) != 1, f"{len(types)} loopback types"),
        (types[0:1] != [] and types[0] not in _TYPES, f"loopback type {' '.join(types)}"),
        (
            types == [_TYPES[0]] and not set(names.values()) & set(_PACKET_FORMATS),
            "packet loopback without encaprtp or rtploopback",
        ),
        (not _is_unicast(address), f"address {address!r}"),
        (not {"PCMU", "PCMA"} & set(names.values()), "no G.711 to send"),
    )
    for wrong, detail in faults:
        if wrong:
            return "bad", detail
    return "mirror", ""


def _is_unicast(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    special = parsed.is_multicast or parsed.is_unspecified or address == "255.255.255.255"
    return not special and "%" not in address  # a zone index means nothing to us


def _words(media: MediaDescription, attribute: str) -> list[str]:
    """Words of an attribute, whose value may begin with a space (the ABNF of RFC 6849 4.1)."""
    return " ".join(media.attributes.get(attribute, [])).split()


def _parts(body: bytes, content_type: str, levels: int) -> Iterator[tuple[str, bytes]]:
    """Yield (media type, octets) of each leaf of a body, multipart opened (RFC 2046 5.1)."""
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("multipart/"):
        if body:
            yield kind or ("application/sdp" if body.startswith(b"v=") else "text/plain"), body
        return
    boundary = _BOUNDARY.search(content_type)
    if boundary is None or levels == 0:
        return
    delimiter = b"--" + unquote(boundary[1]).encode(errors="replace")
    for number, piece in enumerate((b"\r\n" + body).split(b"\n" + delimiter, PARTS_MAX + 1)[1:]):
        if piece.startswith(b"--") or number >= PARTS_MAX:
            return
        octets = piece.partition(b"\n")[2].removesuffix(b"\r")
        none = _NO_HEADERS.match(octets)
        end = none or _PART_HEADERS_END.search(octets)
        if end is None:
            continue
        head = b"" if none else octets[: end.start()]
        found = _PART_TYPE.search(head)
        yield from _parts(
            octets[end.end() :],
            found[1].decode(errors="replace") if found else "text/plain",
            levels - 1,
        )


def _write(
    address: str,
    port: int,
    session_id: int,
    formats: list[str],
    attributes: dict[str, list[str]],
    crypto: Crypto | None,
) -> bytes:
    profile = PLAIN if crypto is None else SECURED
    if crypto is not None:
        attributes = {"crypto": [write_crypto(crypto)], **attributes}
    family = "IP6" if ":" in address else "IP4"
    session = SdpMessage(
        origin=Origin("-", str(session_id), str(session_id), "IN", family, address),
        session_name="-",
        connection=ConnectionData("IN", family, address),
        timing=TimingField(),
        media=[MediaDescription("audio", port, profile, formats, attributes=attributes)],
    )
    return serialize_sdp(session).encode()
