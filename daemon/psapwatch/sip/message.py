"""A SIP request and a SIP response as frozen data, and what can be asked of them (layer L1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from psapwatch.frozen import frozen
from psapwatch.sip.header_name import named
from psapwatch.sip.uri import BadUri, Via, parse_via, tag_of

Headers = tuple[tuple[str, str], ...]
"""Header fields in order: name and value. ``parse`` gives long names and one element each."""

Index = Mapping[str, tuple[str, ...]]
"""Header values by lower-case name, lists split."""

VIAS_MAX: Final = 70
"""As many as Max-Forwards lets a message collect (RFC 3261 8.1.1.6)."""
_CSEQ_MAX: Final = 2**32 - 1
_ONCE: Final = ("from", "to", "call-id", "cseq")

_CALL_ID: Final = re.compile(r"[^\s\x00-\x1f\x7f]++")
_CSEQ: Final = re.compile(r"([0-9]{1,10})\s+([!%'*+\-.0-9A-Z_`a-z~]++)")
_ELEMENT: Final = re.compile(r'(?:[^",<]++|"(?:[^"\\]++|\\.)*+"?+|<[^>]*+>?+)++', re.DOTALL)


class _Fields:
    """What can be asked of both; each answer is looked up once and kept in ``_known``."""

    __slots__ = ()
    headers: Headers
    _known: dict[str, Any]

    def header(self, name: str) -> str | None:
        """Return the first value of a header (of a list, its first element), or None."""
        index: Index | None = self._known.get("index")
        if index is None:
            index = self._indexed()
        values = index.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a header, lists split at their commas."""
        index: Index | None = self._known.get("index")
        if index is None:
            index = self._indexed()
        return index.get(name.lower(), ())

    def _indexed(self) -> Index:
        index: Index = _index_of(self.headers)
        self._known["index"] = index
        return index

    @property
    def call_id(self) -> str:
        """The Call-ID, or ``""``."""
        return self.header("call-id") or ""

    @property
    def cseq(self) -> tuple[int, str]:
        """The sequence number and the method; ``(0, "")`` where there is no such header."""
        known: tuple[int, str] | None = self._known.get("cseq")
        if known is None:
            match = _CSEQ.fullmatch(self.header("cseq") or "")
            known = self._known["cseq"] = (int(match[1]), match[2]) if match else (0, "")
        return known

    @property
    def vias(self) -> tuple[Via, ...]:
        """The Via values, topmost first.

        Raises:
            BadUri: one of them cannot be read; not in a message that came from ``parse``.
        """
        known: tuple[Via, ...] | None = self._known.get("vias")
        if known is None:
            known = self._known["vias"] = tuple(map(parse_via, self.all("via")))
        return known

    @property
    def from_tag(self) -> str:
        """The tag of From, or ``""``."""
        return self._tag("from")

    @property
    def to_tag(self) -> str:
        """The tag of To, or ``""``."""
        return self._tag("to")

    def _tag(self, name: str) -> str:
        known: str | None = self._known.get(name)
        if known is None:
            value = self.header(name)
            if value is None:
                raise BadUri(f"no {name} header")
            known = self._known[name] = tag_of(value)
        return known


def _nothing_known() -> dict[str, Any]:
    return {}


@frozen
class Request(_Fields):
    """A SIP request."""

    method: str
    uri: str
    headers: Headers
    body: bytes = b""
    _known: dict[str, Any] = field(
        default_factory=_nothing_known, init=False, repr=False, compare=False
    )


@frozen
class Response(_Fields):
    """A SIP response."""

    code: int
    reason: str
    headers: Headers
    body: bytes = b""
    _known: dict[str, Any] = field(
        default_factory=_nothing_known, init=False, repr=False, compare=False
    )


Message = Request | Response


def check(message: Message, index: Index) -> None:
    """Refuse what the transaction layer could not work with; what is read here stays known.

    Raises:
        ValueError: a required header is missing, doubled or cannot be read.
    """
    for name in _ONCE:
        values = index.get(name, ())
        if len(values) != 1:
            raise ValueError(f"{len(values)} {name} headers")
    if not _CALL_ID.fullmatch(index["call-id"][0]):
        raise ValueError("bad Call-ID")
    cseq = _CSEQ.fullmatch(index["cseq"][0])
    if cseq is None or int(cseq[1]) > _CSEQ_MAX:
        raise ValueError("bad CSeq")
    vias = index.get("via", ())
    if not 0 < len(vias) <= VIAS_MAX:
        raise ValueError(f"{len(vias)} Via values")
    message._known.update(  # noqa: SLF001 - within the module
        {
            "index": index,
            "cseq": (int(cseq[1]), cseq[2]),
            "vias": tuple([parse_via(via) for via in vias]),
            "from": tag_of(index["from"][0]),
            "to": tag_of(index["to"][0]),
        }
    )


def _index_of(headers: Headers) -> Index:
    """Gather values under lower-case names, lists split."""
    index: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        _shown, key, is_list = named(name)
        values = tuple(split_list(value)) if is_list and "," in value else (value,)
        index[key] = index[key] + values if key in index else values
    return index


def split_list(value: str) -> list[str]:
    """Split a header value at the commas outside quotes and angle brackets."""
    if '"' not in value and "<" not in value:
        return [item.strip() for item in value.split(",")]
    items: list[str] = []
    start = 0
    while True:
        match = _ELEMENT.match(value, start)
        end = match.end() if match else start
        items.append(value[start:end].strip())
        if end == len(value):
            return items
        start = end + 1
