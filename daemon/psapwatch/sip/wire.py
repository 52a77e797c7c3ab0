"""Octets to SIP messages and back, and the framing of streams (RFC 3261 7, 18.3; layer L1).

aiosipua splits the headers; what it would let pass (a negative Content-Length, two Call-IDs, a bare
CR that begins a header, ...) is refused by the guard around it, so that all the messages of
RFC 4475 behave. Whatever comes in, ``parse`` and ``StreamFramer`` raise ``Malformed`` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from aiosipua import SipMessage

from psapwatch.sip.message import (
    LISTS,
    Headers,
    Index,
    Message,
    Request,
    Response,
    check,
    split_list,
)
from psapwatch.sip.uri import parse_uri

__all__ = [
    "Headers",
    "Malformed",
    "Message",
    "Request",
    "Response",
    "StreamFramer",
    "call_id_of",
    "parse",
    "serialize",
]

HEADER_OCTETS_MAX: Final = 16_384
BODY_OCTETS_MAX: Final = 65_535
STREAM_OCTETS_MAX: Final = 524_288
"""What a framer holds: a read of 256 KiB behind the largest unfinished message, and room."""
_DIGITS_MAX: Final = 10
_WHY_MAX: Final = 120
_PEEK_MAX: Final = 128

_IS_TOKEN: Final = re.compile(r"[!%'*+\-.0-9A-Z_`a-z~]++")
_IS_URI: Final = re.compile(r"[!#-;=?-~]++")
_STATUS_LINE: Final = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2})(?: ([^\r\n]*+))?", re.IGNORECASE)
_REQUEST_LINE: Final = re.compile(
    rb"([!%'*+\-.0-9A-Z_`a-z~]++) ([!#-;=?-~]++) SIP/2\.0", re.IGNORECASE
)
_HEADER_LINES: Final = re.compile(
    rb"(?:\r\n[!%'*+\-.0-9A-Z_`a-z~]++[ \t]*+:[^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)++"
)
_LENGTHS: Final = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*+:((?:[^\r\n]|\r\n[ \t])*+)", re.IGNORECASE
)

_PEEK_CALL_ID: Final = re.compile(
    rb"\n(?:call-id|i)[ \t]*+:(?:\r?\n)?[ \t]*+([^\s]++)", re.IGNORECASE
)
_PEEK_BRANCH: Final = re.compile(
    rb"\n(?:via|v)[ \t]*+:[^,\n]*?;[ \t]*branch[ \t]*=[ \t]*([^\s;,\"]++)", re.IGNORECASE
)
_PEEK_CSEQ: Final = re.compile(
    rb"\ncseq[ \t]*+:\s*[0-9]++\s+([!%'*+\-.0-9A-Z_`a-z~]++)", re.IGNORECASE
)
_PEEK_CODE: Final = re.compile(rb"SIP/[0-9.]+ +([1-6][0-9]{2})(?![0-9])", re.IGNORECASE)

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
    # and what aiosipua makes of those that it knows
    "call-id": "Call-ID",
    "contact": "Contact",
    "content-encoding": "Content-Encoding",
    "content-length": "Content-Length",
    "content-type": "Content-Type",
    "from": "From",
    "subject": "Subject",
    "supported": "Supported",
    "to": "To",
    "via": "Via",
}
"""The IANA table of compact forms (RFC 3261 7.3.3 and the RFCs that added to it)."""


class Malformed(ValueError):
    """Octets that are not one well-formed SIP message, and what could still be read of them.

    ``branch`` (of the top Via), ``cseq_method`` and ``code`` tell "malformed, but the answer to
    ours" from garbage; they are ``""`` and 0 where they could not be read.
    """

    def __init__(self, why: str, octets: bytes = b"") -> None:
        super().__init__(why[:_WHY_MAX])
        self.why = why[:_WHY_MAX]
        head = octets[:HEADER_OCTETS_MAX]
        self.branch = _peek(_PEEK_BRANCH, head)
        self.cseq_method = _peek(_PEEK_CSEQ, head)
        code = _PEEK_CODE.match(head)
        self.code = int(code[1]) if code else 0


def parse(octets: bytes, *, stream: bool = False) -> Message:
    """Read one datagram, or one framed message of a stream.

    In a datagram octets behind the body are dropped, and without Content-Length the body is all
    that follows the headers (RFC 3261 18.3); in a stream Content-Length is required.

    Raises:
        Malformed: anything else than one well-formed message; ``why`` is ``truncated`` where the
            body is shorter than Content-Length.
    """
    octets = bytes(octets).lstrip(b"\r\n")
    try:
        return _read(octets, stream=stream)
    except Malformed:
        raise
    except ValueError as error:  # aiosipua's, and BadUri
        raise Malformed(str(error), octets) from None


def serialize(message: Message) -> bytes:
    """Write a message of ours, Content-Length included.

    Raises:
        ValueError: a CR, LF or NUL, or a name, method or URI that would not be read back.
    """
    if isinstance(message, Request):
        if not (_IS_TOKEN.fullmatch(message.method) and _IS_URI.fullmatch(message.uri)):
            raise ValueError(f"not a request line: {message.method[:20]!r} {message.uri[:80]!r}")
        lines = [f"{message.method} {message.uri} SIP/2.0"]
    else:
        if not 100 <= message.code <= 699:
            raise ValueError(f"not a status code: {message.code}")
        lines = [f"SIP/2.0 {message.code} {message.reason}"]
    for name, value in message.headers:
        if name.lower() in ("content-length", "l"):
            continue
        if not _IS_TOKEN.fullmatch(name):
            raise ValueError(f"not a header name: {name[:40]!r}")
        lines.append(f"{name}: {value}")
    lines.append(f"Content-Length: {len(message.body)}\r\n\r\n")
    text = "\r\n".join(lines)
    breaks = len(lines) + 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a CR, LF or NUL in a header")
    return text.encode() + message.body


def call_id_of(octets: bytes) -> str:
    """Return the Call-ID without reading the rest; ``""`` where there is none."""
    return _peek(_PEEK_CALL_ID, octets[:HEADER_OCTETS_MAX])


class StreamFramer:
    """Cuts a byte stream into messages by Content-Length (RFC 3261 18.3).

    CRLF keep-alives between messages (RFC 5626 4.4.1) are swallowed and counted. Once framing is
    lost it stays lost: every further ``next`` raises again.
    """

    __slots__ = ("_buffer", "_is_over", "_searched", "_whole", "keepalives")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._whole = 0
        self._is_over = False
        self.keepalives = 0

    def feed(self, octets: bytes) -> None:
        """Take what the connection brought; drain ``next`` after each, or it will raise."""
        if len(self._buffer) + len(octets) > STREAM_OCTETS_MAX:
            self._is_over = True
        else:
            self._buffer += octets

    def next(self) -> bytes | None:
        """Return the octets of the next whole message, or None until there is one.

        Raises:
            Malformed: where the next message ends cannot be known; close the connection.
        """
        buffer = self._buffer
        if self._is_over:
            raise Malformed("stream buffer full", bytes(buffer[:HEADER_OCTETS_MAX]))
        if not self._whole:
            self._whole = self._length_of_next()
        if not self._whole or len(buffer) < self._whole:
            return None
        message = bytes(buffer[: self._whole])
        del buffer[: self._whole]
        self._whole = 0
        return message

    def _length_of_next(self) -> int:
        """Return the octets of the message that the buffer begins with, 0 while unknown."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self.keepalives += 1
            self._searched = 0
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end > HEADER_OCTETS_MAX or (end < 0 and len(buffer) > HEADER_OCTETS_MAX):
            raise Malformed("header section too long", bytes(buffer[:HEADER_OCTETS_MAX]))
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return 0
        self._searched = 0
        head = bytes(buffer[:end])
        length = _body_length(head)
        if length is None:
            raise Malformed("no Content-Length in a stream", head)
        return end + 4 + length


def _read(octets: bytes, *, stream: bool) -> Message:
    end = octets.find(b"\r\n\r\n", 0, HEADER_OCTETS_MAX + 4)
    if end < 0:
        too_long = len(octets) > HEADER_OCTETS_MAX
        raise Malformed("header section too long" if too_long else "no end of headers", octets)
    line_end = octets.find(b"\r\n")
    status = _STATUS_LINE.fullmatch(octets, 0, line_end)
    request = None if status else _REQUEST_LINE.fullmatch(octets, 0, line_end)
    if status is None and request is None:
        raise Malformed(_why_start_line(octets[:line_end]), octets)
    if not _HEADER_LINES.fullmatch(octets, line_end, end):
        raise Malformed("not a header line", octets)
    length = _body_length(octets[:end])
    if length is None:
        if stream:
            raise Malformed("no Content-Length in a stream", octets)
        length = len(octets) - end - 4
    elif end + 4 + length > len(octets):
        raise Malformed("truncated", octets)
    if status and not octets.startswith(b"SIP"):
        octets = b"SIP" + octets[3:]  # any case is legal (RFC 3261 7.1), aiosipua knows one
    codec = SipMessage.parse(octets[: end + 4 + length])
    headers, index = _fields_of(codec.headers.items(), rejoin=b"\\" in octets[:end])
    if status:
        reason = (status[2] or b"").decode(errors="replace")
        response = Response(int(status[1]), reason, headers, codec.body)
        check(response, index)
        return response
    assert request is not None
    method, uri = request[1].decode(), request[2].decode()
    if parse_uri(uri).headers:
        raise Malformed("headers in the Request-URI", octets)
    received = Request(method, uri, headers, codec.body)
    check(received, index)
    if received.cseq[1] != method:
        raise Malformed("CSeq is of another method", octets)
    return received


def _fields_of(grouped: Iterable[tuple[str, list[str]]], *, rejoin: bool) -> tuple[Headers, Index]:
    """Flatten aiosipua's headers; ``rejoin`` undoes its split, which escaped quotes confuse."""
    flat: list[tuple[str, str]] = []
    index: dict[str, tuple[str, ...]] = {}
    for written, values in grouped:
        name = _LONG_NAME.get(written.lower(), written)
        key = name.lower()
        if rejoin and len(values) > 1 and key in LISTS:
            values = split_list(", ".join(values))  # noqa: PLW2901 - the same values, cut rightly
        index[key] = index[key] + tuple(values) if key in index else tuple(values)
        for value in values:
            flat.append((name, value))  # noqa: PERF401 - extend with a generator is slower here
    return tuple(flat), index


def _body_length(head: bytes) -> int | None:
    """Return what Content-Length says, None where it does not say.

    Raises:
        Malformed: it says no number, an absurd one, or two.
    """
    found = _LENGTHS.findall(head)
    if not found:
        return None
    values = {value.strip() for value in found}
    value = values.pop()
    digits = value.lstrip(b"0")[:_DIGITS_MAX]
    if values or not value.isdigit() or int(digits or b"0") > BODY_OCTETS_MAX:
        shown = ", ".join(str(each.strip()[:20]) for each in found[:4])
        raise Malformed(f"Content-Length {shown}", head)
    return int(digits or b"0")


def _why_start_line(line: bytes) -> str:
    shown = line[:40].decode("ascii", errors="replace")
    return f"not a SIP/2.0 start line: {shown!r}"


def _peek(pattern: re.Pattern[bytes], octets: bytes) -> str:
    found = pattern.search(octets)
    return found[1][:_PEEK_MAX].decode(errors="replace") if found else ""
