"""What the two SIP machines (``options`` and ``call``) share: their output and their observations.

A machine takes messages, errors and ``now``, and gives back octets, observations and a deadline
(layer L1). ``Observation.at_s`` is loop time here; ``net.pump`` makes it relative to the attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from psapwatch.endpoint import Address
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.sip.saw import HEADER_MAX, SAW
from psapwatch.sip.transaction import ClientTransaction, Happened
from psapwatch.sip.uri import Via
from psapwatch.sip.wire import Message, Request, Response

REMOTE_TEXT_MAX: Final = 120
"""Octets of far-end text kept in a fact; the transcript has the rest."""

LEDGER: Final = "ledger"
"""``error`` of the LOCAL_ERROR that says: the row of ``ledger_due`` could not be written."""

NO_ROOM: Final = "sockets_max"
"""``error`` of the LOCAL_ERROR that says: this silent flow gave way, all sockets are in use."""

_ICMP_IGNORED: Final = frozenset(
    {(4, 11, None), (4, 4, None), (6, 3, None), (4, 3, 4), (6, 2, None)}
)
"""RFC 3261 18.4: TTL exceeded and source quench SHOULD be ignored; "too big" is only noted."""
_TOLD: Final = (
    ("retry-after", "retry_after"),
    ("warning", "warning"),
    ("geolocation-error", "geolocation_error"),
)
"""Headers of a response that become facts."""
_LOSSES: Final = frozenset({Kind.CONNECTION_LOST, Kind.TLS_FAILED, Kind.CONNECT_FAILED})


class Send(NamedTuple):
    """One message to send: to ``uri``, or along the road that the attempt was opened on."""

    octets: bytes
    uri: str | None = None


class Machine(Protocol):
    """What the pump drives. ``over``: a verdict is due; ``closed``: nothing left to listen for."""

    over: bool
    ledger_due: bytes | None
    """An INVITE that may start only after its ledger row is committed (then ``ledgered``)."""

    @property
    def closed(self) -> bool:
        """Whether nothing can happen any more."""
        ...

    def start(self, now: float) -> None:
        """Begin."""
        ...

    def ledgered(self, now: float) -> None:
        """The row of ``ledger_due`` is on disk."""
        ...

    def receive(self, message: Message, now: float, arrived_at: float, source: Address) -> None:
        """Take one well-formed message."""
        ...

    def malformed(self, octets: bytes, seen: Observation, now: float, source: Address) -> None:
        """Take octets that are no well-formed message."""
        ...

    def transport_error(self, seen: Observation, now: float) -> None:
        """Take an ICMP error, a lost connection or an error of our own."""
        ...

    def handle_timer(self, now: float) -> None:
        """Do whatever is due."""
        ...

    def end(self, now: float) -> None:
        """End as soon as the protocol allows: the daemon stops."""
        ...

    def data_to_send(self) -> list[Send]:
        """Hand over what is to be sent now."""
        ...

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        ...

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        ...


class Output:
    """What a machine wants sent and told, in order, until the pump takes it."""

    def __init__(self) -> None:
        self._sends: list[Send] = []
        self._events: deque[Observation] = deque()

    def see(self, kind: Kind, now: float, **facts: Fact) -> None:
        """Tell an observation."""
        self._events.append(Observation(kind, now, facts))

    def tell(self, seen: Observation) -> None:
        """Tell an observation that somebody else made."""
        self._events.append(seen)

    def send(self, octets: bytes, uri: str | None = None) -> None:
        """Send one message."""
        self._sends.append(Send(octets, uri))

    def flush(self, transaction: ClientTransaction, now: float, uri: str | None = None) -> None:
        """Send what a transaction has to send, and tell each transmission of its request."""
        for octets in transaction.data_to_send():
            if octets is transaction.octets:
                method, nth = transaction.method, transaction.sends
                self.see(Kind.SENT, now, method=method, nth=nth, size=len(octets))
            self.send(octets, uri)

    def data_to_send(self) -> list[Send]:
        """Hand over what is to be sent now."""
        sends, self._sends = self._sends, []
        return sends

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        return self._events.popleft() if self._events else None


def soonest(deadlines: Iterable[float | None]) -> float | None:
    """The first of these deadlines, None where there is none."""
    found: float | None = None
    for at in deadlines:
        if at is not None and (found is None or at < found):
            found = at
    return found


def is_hard(seen: Observation) -> bool:
    """Whether a transport error ends the hope for an answer (RFC 3261 18.4)."""
    if seen.kind is not Kind.ICMP:
        return True
    family, kind, code = seen["family"], seen["icmp_type"], seen["code"]
    return not {(family, kind, None), (family, kind, code)} & _ICMP_IGNORED


def is_loss(seen: Observation) -> bool:
    """Whether the way that the request went is gone, so that no answer can come back over it."""
    return seen.kind in _LOSSES


def is_refusal(seen: Observation) -> bool:
    """Whether the ledger said no to ``ledger_due``: its INVITE must not leave."""
    return seen.kind is Kind.NOT_TRIED or (
        seen.kind is Kind.LOCAL_ERROR and seen.get("error") == LEDGER
    )


def response_seen(
    happened: Happened,
    transaction: ClientTransaction,
    source: Address,
    peer: Address,
    *,
    late: bool,
) -> Observation:
    """What a response said and who seems to have said it; never what that means."""
    response = happened.response
    assert response is not None, "only a response is delivered"
    facts: dict[str, Fact] = {
        "code": response.code,
        "method": transaction.method,
        "source": str(source),
        "from_peer": source == peer,
        "server": _text(response.header("Server") or response.header("User-Agent")),
        "contact": _text(response.header("Contact")),
        "to_tag": _text(response.to_tag),
        "phase_s": max(0.0, happened.arrived_at - transaction.started_at),
        "late": late,
    }
    for name, fact in _TOLD:
        if value := response.header(name):
            facts[fact] = _text(value)
    if saw := response.header(SAW):
        facts["saw"] = saw[:HEADER_MAX]
    return Observation(Kind.RESPONSE, happened.at, facts)


def answers(response: Response, request: Request) -> bool:
    """Whether a response is one to our request by all that it says, whatever became of its Via."""
    said = (response.call_id, response.from_tag, response.cseq)
    return said == (request.call_id, request.from_tag, request.cseq)


def discarded(response: Response, request: Request, now: float, source: Address) -> Observation:
    """A response that no transaction owns; with its code where it ``answers`` our request."""
    why = _refusal(response, request.vias[0])
    facts: dict[str, Fact] = {"why": why, "source": str(source)}
    if answers(response, request):
        facts["code"] = response.code
    return Observation(Kind.DISCARDED, now, facts)


def _refusal(response: Response, ours: Via) -> str:
    """Why a response that no transaction owns must be discarded (RFC 3261 8.1.3.3, 18.1.2)."""
    if len(response.vias) > 1:
        return "many_vias"
    claimed = {(via.host, via.port) for via in response.vias}
    return "no_match" if claimed == {(ours.host, ours.port)} else "sent_by"


def _text(value: str | None) -> str:
    return (value or "")[:REMOTE_TEXT_MAX]
