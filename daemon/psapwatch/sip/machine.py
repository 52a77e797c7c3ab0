"""What the two SIP machines (``options`` and ``call``) share: their output and their observations.

A machine takes messages, errors and ``now``, and gives back octets, observations and a deadline
(layer L1). ``Observation.at_s`` is loop time here; ``net.pump`` makes it relative to the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from psapwatch.endpoint import Address
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.sip.transaction import Happened
from psapwatch.sip.uri import Via
from psapwatch.sip.wire import Message, Request, Response

REMOTE_TEXT_MAX: Final = 120
"""Octets of far-end text kept in a fact; the transcript has the rest."""

_ICMP_IGNORED: Final = frozenset({(4, 11, None), (4, 4, None), (6, 3, None), (4, 3, 4), (6, 2, None)})
"""RFC 3261 18.4: TTL exceeded and source quench SHOULD be ignored; "too big" is only noted."""


@dataclass(frozen=True, slots=True)
class Send:
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


def is_hard(seen: Observation) -> bool:
    """Whether a transport error ends the hope for an answer (RFC 3261 18.4)."""
    if seen.kind is not Kind.ICMP:
        return True
    family, kind, code = seen["family"], seen["icmp_type"], seen["code"]
    return not {(family, kind, None), (family, kind, code)} & _ICMP_IGNORED


def sent(method: str, nth: int, size: int, now: float) -> Observation:
    """One transmission of a request."""
    return Observation(Kind.SENT, now, {"method": method, "nth": nth, "size": size})


def response_seen(
    happened: Happened, method: str, first_sent_at: float, source: Address, peer: Address, *, late: bool
) -> Observation:
    """What a response said and who seems to have said it; never what that means."""
    response = happened.response
    assert response is not None  # noqa: S101 - PASS always carries one
    facts: dict[str, Fact] = {
        "code": response.code,
        "method": method,
        "source": str(source),
        "from_peer": source == peer,
        "server": _text(response.header("Server") or response.header("User-Agent")),
        "contact": _text(response.header("Contact")),
        "to_tag": response.to_tag[:REMOTE_TEXT_MAX],
        "phase_s": max(0.0, happened.arrived_at - first_sent_at),
        "late": late,
    }
    for name in ("Retry-After", "Warning", "Geolocation-Error"):
        if value := response.header(name):
            facts[name.lower().replace("-", "_")] = _text(value)
    return Observation(Kind.RESPONSE, happened.at, facts)


def refusal(response: Response, ours: Via) -> str:
    """Why a response that no transaction owns must be discarded (RFC 3261 8.1.3.3, 18.1.2)."""
    if len(response.vias) > 1:
        return "many_vias"
    claimed = {(via.host, via.port) for via in response.vias}
    return "no_match" if claimed == {(ours.host, ours.port)} else "sent_by"


def reply_to(request: Request, source: Address, *, reliable: bool) -> str:
    """The URI that a response to ``request`` goes to (RFC 3261 18.2.2, RFC 3581 4)."""
    via = request.vias[0]
    has_rport = any(name == "rport" for name, _value in via.params)
    port = source.port if reliable or has_rport else via.port or 5060
    return f"sip:{Address(source.host, port)}"


def _text(value: str | None) -> str:
    return (value or "")[:REMOTE_TEXT_MAX]
