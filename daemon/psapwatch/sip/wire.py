"""Octets to SIP messages and back, and the framing of streams (RFC 3261 7, 18.3; layer L1).

The shape of a message is checked octet by octet before its headers are split, so that all the
messages of RFC 4475 behave. Whatever comes in, ``parse`` and ``StreamFramer`` raise ``Malformed``
only. (aiosipua, which does offers and digests, lets too much pass, and takes twice as long.)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from psapwatch.sip.header_name import named
from psapwatch.sip.message import (
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
HEADERS_MAX: Final = 256
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
_FIELD: Final = re.compile(r"([^:\r\n]++):([^\r\n]*+)")
_FOLD: Final = re.compile(r"\r\n[ \t]([^\r\n]*)")
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
    lines += [f"{name}: {value}" for name, value in message.headers if _is_sent(name)]
    lines.append(f"Content-Length: {len(message.body)}\r\n\r\n")
    text = "\r\n".join(lines)
    breaks = len(lines) + 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a CR, LF or NUL in a header")
    return text.encode() + message.body


@lru_cache(maxsize=512)
def _is_sent(name: str) -> bool:
    """Whether a header is written as it stands; Content-Length is counted anew.

    Raises:
        ValueError: no header can have this name.
    """
    if not _IS_TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name[:40]!r}")
    return name.lower() not in ("content-length", "l")


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
    headers, index = _fields_of(octets[line_end + 2 : end].decode(errors="replace"))
    body = octets[end + 4 : end + 4 + length]
    if status:
        reason = (status[2] or b"").decode(errors="replace")
        response = Response(int(status[1]), reason, headers, body)
        check(response, index)
        return response
    assert request is not None
    method, uri = request[1].decode(), request[2].decode()
    if parse_uri(uri).headers:
        raise Malformed("headers in the Request-URI", octets)
    received = Request(method, uri, headers, body)
    check(received, index)
    if received.cseq[1] != method:
        raise Malformed("CSeq is of another method", octets)
    return received


def _fields_of(section: str) -> tuple[Headers, Index]:
    """Split a header section that has the right shape; folds become a space (RFC 3261 7.3.1).

    Raises:
        ValueError: too many headers.
    """
    if "\r\n " in section or "\r\n\t" in section:
        section = _FOLD.sub(_unfolded, section)
    fields = _FIELD.findall(section)
    if len(fields) > HEADERS_MAX:
        raise ValueError(f"Too many headers ({len(fields)} > {HEADERS_MAX})")
    flat: list[tuple[str, str]] = []
    index: dict[str, tuple[str, ...]] = {}
    for written, text in fields:
        name, key, is_list = named(written)
        value = text.strip()
        if is_list and ("," in value or not value):
            values = _elements(value)
            flat += [(name, each) for each in values]
        else:
            values = (value,)
            flat.append((name, value))
        index[key] = index[key] + values if key in index else values
    return tuple(flat), index


def _elements(value: str) -> tuple[str, ...]:
    """The elements of a list; nothing behind its last comma is none."""
    elements = split_list(value)
    return tuple(elements if elements[-1] else elements[:-1])


def _unfolded(found: re.Match[str]) -> str:
    return f" {found[1].strip()}"


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
