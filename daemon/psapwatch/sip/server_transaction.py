"""Server transactions as tables: RFC 3261 17.2 with RFC 6026 7.1 (layer L1).

A repeat of a request gets the same octets again, whatever a script made of them. Pure: ``now``
goes in, octets come out; the user of a transaction sends what the methods return.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.frozen import frozen
from psapwatch.sip.header_name import named

T1_S: Final = 0.5
T2_S: Final = 4.0
"""RFC 3261 table 4."""
LIFETIME_S: Final = 64 * T1_S
"""Timers H, J and L (17.2.1, 17.2.2, RFC 6026 7.1)."""


class State(Enum):
    """States of RFC 3261 figures 7 and 8, and RFC 6026's ACCEPTED."""

    __hash__ = object.__hash__  # a member is itself: the tables are asked with every message

    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"


class Input(Enum):
    """What can happen; what is not in the table changes nothing and sends nothing."""

    __hash__ = object.__hash__

    REPEAT = "the request again"
    PROVISIONAL = "1xx from the user"
    SUCCESS = "2xx from the user"
    FAILURE = "300-699 from the user"
    ACKNOWLEDGED = "ACK"
    RESEND = "timer G"


class Act(Enum):
    """What a transition does."""

    NOTHING = "nothing"
    SEND = "send the new response"
    AGAIN = "send the last response once more"


Table = Mapping[tuple[State, Input], tuple[State, Act]]

INVITE: Final[Table] = {
    (State.PROCEEDING, Input.REPEAT): (State.PROCEEDING, Act.AGAIN),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Act.SEND),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, Act.SEND),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Act.SEND),
    (State.COMPLETED, Input.REPEAT): (State.COMPLETED, Act.AGAIN),
    (State.COMPLETED, Input.RESEND): (State.COMPLETED, Act.AGAIN),
    (State.COMPLETED, Input.ACKNOWLEDGED): (State.CONFIRMED, Act.NOTHING),
    # RFC 6026 7.1: repeats are absorbed, the user repeats its 2xx until the ACK; forks pass.
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, Act.SEND),
}
OTHER: Final[Table] = {
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, Act.SEND),
    (State.TRYING, Input.SUCCESS): (State.COMPLETED, Act.SEND),
    (State.TRYING, Input.FAILURE): (State.COMPLETED, Act.SEND),
    (State.PROCEEDING, Input.REPEAT): (State.PROCEEDING, Act.AGAIN),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Act.SEND),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, Act.SEND),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Act.SEND),
    (State.COMPLETED, Input.REPEAT): (State.COMPLETED, Act.AGAIN),
}


_FOLD: Final = re.compile(r"\r\n[ \t]+")
_BRANCH: Final = re.compile(r";\s*branch\s*=\s*([^;,\s]+)", re.IGNORECASE)
_TAG: Final = re.compile(r";\s*tag\s*=\s*([^;,\s>]+)", re.IGNORECASE)
_FIELD: Final = re.compile(r"([^:\r\n]++):[ \t]*+([^\r\n]*+)")
_NEEDED: Final = frozenset({"via", "from", "to", "call-id", "cseq"})
HEADER_OCTETS_MAX: Final = 16_384


@frozen
class Heard:
    """A request as far as an answer needs it: the headers that are copied, as written.

    Not ``wire.Request``: strict reading costs more than all else that an answering point does,
    and a simulated hour asks it a hundred thousand times.
    """

    method: str
    uri: str
    fields: Mapping[str, list[str]]
    body: bytes
    call_id: str
    branch: str
    from_tag: str
    to_tag: str
    key: str
    """What RFC 3261 17.2.3 matches by."""

    def first(self, name: str) -> str:
        """First value of a header by its long name in lower case; ``""`` where there is none."""
        values = self.fields.get(name)
        return values[0] if values else ""

    @property
    def invite_key(self) -> str:
        """Key of the INVITE that this ACK or CANCEL speaks of."""
        return f"{self.branch} {self.call_id} INVITE"


def hear(octets: bytes) -> Heard | None:
    """Read a request; None for a response, a keep-alive, or what cannot be answered."""
    head, blank, body = octets.partition(b"\r\n\r\n")
    if not blank or len(head) > HEADER_OCTETS_MAX:
        return None
    text = head.decode(errors="replace")
    if "\r\n " in text or "\r\n\t" in text:
        text = _FOLD.sub(" ", text)
    start, _end, lines = text.partition("\r\n")
    words = start.split(" ")
    if len(words) != 3 or words[2] != "SIP/2.0":
        return None
    fields: dict[str, list[str]] = {}
    for written, value in _FIELD.findall(lines):
        name = named(written).key
        if name in fields:
            fields[name].append(value.rstrip())
        else:
            fields[name] = [value.rstrip()]
    if not fields.keys() >= _NEEDED:
        return None
    method, uri, _version = words
    found = _BRANCH.search(fields["via"][0])
    ours, theirs = _TAG.search(fields["to"][0]), _TAG.search(fields["from"][0])
    branch, call_id = found[1] if found else "", fields["call-id"][0]
    return Heard(
        *(method, uri, fields, body, call_id, branch),
        theirs[1] if theirs else "",
        ours[1] if ours else "",
        f"{branch} {call_id} {method}",
    )


def input_of(code: int) -> Input:
    """Class of a response that the user wants sent."""
    if code < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if code < 300 else Input.FAILURE


class ServerTransaction:
    """One request that came in, and the last thing that was said to it."""

    __slots__ = ("last", "note", "reliable", "request", "source", "state", "table", "tags")

    def __init__(self, request: Heard, source: Address, *, reliable: bool) -> None:
        self.request = request
        self.source = source
        self.reliable = reliable
        self.last = b""
        self.note = ""
        self.tags: dict[int, str] = {}
        self.table = INVITE if request.method == "INVITE" else OTHER
        # 17.2.1 enters INVITE at Proceeding: the 100 is the script's business.
        self.state = State.PROCEEDING if self.table is INVITE else State.TRYING

    @property
    def is_answered(self) -> bool:
        """Whether a final response was given."""
        return self.state not in (State.TRYING, State.PROCEEDING)

    def take(self, what: Input, octets: bytes = b"") -> bytes:
        """Apply one input; ``octets`` is the new response. Returns what to send, maybe nothing."""
        self.state, act = self.table.get((self.state, what), (self.state, Act.NOTHING))
        if act is Act.SEND:
            self.last = octets
        return b"" if act is Act.NOTHING else self.last
