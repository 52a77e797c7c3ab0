"""One machine on the line: what it sends and tells, by the moment, and answers written by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from psapwatch.endpoint import Address, Credentials
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.guard import permit
from psapwatch.sip.machine import Machine
from psapwatch.sip.offer import build_answer, build_offer
from psapwatch.sip.options import OptionsExchange
from psapwatch.sip.request import Caller, invite, options
from psapwatch.sip.wire import Headers, Request, Response, parse, serialize

PEER = Address("192.0.2.10", 5060)
STRANGER = Address("203.0.113.99", 40_000)
TARGET = "sip:psap.example.gov"
CONTACT = "<sip:desk@192.0.2.20:5070>"
CHALLENGE = 'Digest realm="psap", nonce="n1", qop="auth", algorithm=MD5'


class Sent(NamedTuple):
    """One message that left: when, what, and the next hop's URI (None: the road's)."""

    at: float
    message: Request | Response
    uri: str | None
    octets: bytes

    @property
    def name(self) -> str:
        """Method, or code as text."""
        message = self.message
        return message.method if isinstance(message, Request) else str(message.code)


def tokens() -> Callable[[int], str]:
    """Tokens that count up: long enough, never the same, always the same ones."""
    numbers = itertools.count(1)
    return lambda octets: f"{next(numbers):0{2 * octets}x}"


def caller(transport: str = "UDP") -> Caller:
    """Who calls in these tests."""
    return Caller(
        transport,
        "198.51.100.7:20000",
        "sip:path-test@198.51.100.7:20000",
        "sip:911-path-test@example.net",
        "ourtag",
        "the-call",
    )


class Line:
    """Drives one machine by hand; ``sent`` and ``seen`` are all that came out of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now = 0.0
        self.sent: list[Sent] = []
        self.seen: list[Observation] = []

    # --- what came out

    def is_over(self) -> bool:
        """Whether a verdict is due."""
        return self.machine.over

    def is_closed(self) -> bool:
        """Whether nothing can happen any more."""
        return self.machine.closed

    def names(self, since: float = 0.0) -> list[str]:
        """Methods and codes that left, in order."""
        return [one.name for one in self.sent if one.at >= since]

    def times(self, name: str) -> list[float]:
        """When messages of a name left."""
        return [one.at for one in self.sent if one.name == name]

    def all(self, method: str) -> list[Request]:
        """The requests of a method that left."""
        messages = [one.message for one in self.sent if one.name == method]
        return [message for message in messages if isinstance(message, Request)]

    def last(self, method: str) -> Request:
        """The last request of a method that left."""
        return self.all(method)[-1]

    def hop(self, name: str) -> str | None:
        """Where the last message of a name went."""
        return [one.uri for one in self.sent if one.name == name][-1]

    def told(self, kind: Kind) -> list[Observation]:
        """Observations of a kind."""
        return [seen for seen in self.seen if seen.kind is kind]

    def facts(self, kind: Kind) -> dict[str, Fact]:
        """The facts of the one observation of a kind."""
        (only,) = self.told(kind)
        return dict(only.facts)

    # --- what goes in

    def take(self) -> None:
        """Collect what the machine wants sent and told; nothing that leaves may be refused."""
        while (seen := self.machine.next_event()) is not None:
            self.seen.append(seen)
        for send in self.machine.data_to_send():
            permit(send.octets)
            self.sent.append(Sent(self.now, parse(send.octets), send.uri, send.octets))

    def until(self, now: float) -> None:
        """Let the timers fire, each at its own moment, up to ``now``."""
        while (due := self.machine.next_timer()) is not None and due <= now:
            self.now = max(due, self.now)
            self.machine.handle_timer(self.now)
            self.take()
            left = self.machine.next_timer()
            assert left is None or left > due, "a timer that fires for ever"
        self.now = now

    def start(self, now: float = 0.0) -> None:
        """Begin, without a ledger row yet."""
        self.now = now
        self.machine.start(now)
        self.take()

    def ledgered(self) -> None:
        """The row is on disk."""
        self.machine.ledgered(self.now)
        self.take()

    def end(self) -> None:
        """The daemon stops."""
        self.machine.end(self.now)
        self.take()

    def receive(self, message: Request | Response, source: Address = PEER) -> None:
        """Bring a message, as it is on the wire."""
        self.machine.receive(parse(serialize(message)), self.now, self.now, source)
        self.take()

    def malformed(self, octets: bytes, kind: Kind = Kind.MALFORMED, **facts: Fact) -> None:
        """Bring octets that are no message, with what the pump says of them."""
        self.machine.malformed(octets, Observation(kind, self.now, facts), self.now, PEER)
        self.take()

    def fail(self, kind: Kind, **facts: Fact) -> None:
        """Bring an error."""
        self.machine.transport_error(Observation(kind, self.now, facts), self.now)
        self.take()

    def icmp(self, icmp_type: int = 3, code: int = 13, family: int = 4) -> None:
        """Bring an ICMP error."""
        self.fail(Kind.ICMP, family=family, icmp_type=icmp_type, code=code, offender="192.0.2.1")

    def answer(
        self,
        code: int,
        method: str = "INVITE",
        *,
        tag: str = "far",
        headers: Headers = (("Contact", CONTACT),),
        body: bytes = b"",
        kind: str = "application/sdp",
        source: Address = PEER,
    ) -> Response:
        """Answer the last request of a method, and return what was answered."""
        response = answer_to(self.last(method), code, tag=tag, headers=headers)
        if body:
            more = (*response.headers, ("Content-Type", kind))
            response = Response(code, response.reason, more, body)
        self.receive(response, source)
        return response

    def accept(self, *, tag: str = "far", headers: Headers = (("Contact", CONTACT),)) -> Response:
        """Answer the INVITE with 200 and a mirror."""
        sdp = build_answer(self.last("INVITE").body, "192.0.2.20", 30_000, 1)
        return self.answer(200, tag=tag, headers=headers, body=sdp)

    def ask(self, method: str, *, tag: str = "far", source: Address = PEER) -> Request:
        """Bring a request of the far side inside the dialog of ``tag``."""
        first = self.last("INVITE")
        request = Request(
            method,
            str(first.header("Contact")).strip("<>"),
            (
                ("Via", f"SIP/2.0/UDP 192.0.2.20:5070;branch=z9hG4bKfar{method};rport"),
                ("Max-Forwards", "70"),
                ("From", f"{first.header('To')};tag={tag}"),
                ("To", str(first.header("From"))),
                ("Call-ID", first.call_id),
                ("CSeq", f"1 {method}"),
            ),
        )
        self.receive(request, source)
        return request


class CallLine(Line):
    """A ``Call`` on the line; unless told otherwise its INVITE has left at 0."""

    machine: Call

    def __init__(
        self,
        plan: CallPlan | None = None,
        *,
        reliable: bool = False,
        credentials: Credentials | None = None,
        starts: bool = True,
    ) -> None:
        token = tokens()
        who = caller("TCP" if reliable else "UDP")
        body = build_offer("198.51.100.7", 9, 1)
        self.invite = invite(who, f"z9hG4bK{token(16)}", (TARGET,), body, "application/sdp")
        super().__init__(
            Call(
                self.invite,
                who,
                peer=PEER,
                target_uri=TARGET,
                reliable=reliable,
                plan=plan or CallPlan(),
                token=token,
                digest=Digest(credentials) if credentials else None,
            )
        )
        if starts:
            self.start()
            self.ledgered()

    def ended(self) -> tuple[str, bool]:
        """How ENDED says that the call ended, and whether that is certain."""
        facts = self.facts(Kind.ENDED)
        return str(facts["how"]), bool(facts["confirmed"])

    def answer_to_unsent_invite(self, code: int) -> None:
        """Answer the INVITE of an earlier life."""
        self.receive(answer_to(self.invite, code, headers=(("Contact", CONTACT),)))

    def settle(self, within_s: float = 110.0) -> None:
        """Run to the end: it is closed in bounded time, with ENDED told once."""
        self.until(self.now + within_s)
        assert self.machine.closed, f"not closed after {within_s} s"
        assert self.machine.next_timer() is None
        assert len(self.told(Kind.ENDED)) == 1


class OptionsLine(Line):
    """An ``OptionsExchange`` on the line, begun at 0."""

    def __init__(
        self,
        *,
        reliable: bool = False,
        give_up_after_s: float = 4.0,
        credentials: Credentials | None = None,
    ) -> None:
        token = tokens()
        request = options(caller("TCP" if reliable else "UDP"), f"z9hG4bK{token(16)}", TARGET)
        super().__init__(
            OptionsExchange(
                request,
                peer=PEER,
                reliable=reliable,
                give_up_after_s=give_up_after_s,
                token=token,
                digest=Digest(credentials) if credentials else None,
            )
        )
        self.start()


def answer_to(request: Request, code: int, *, tag: str = "far", headers: Headers = ()) -> Response:
    """A response with the headers copied that RFC 3261 8.2.6 copies."""
    to = str(request.header("To"))
    if code > 100 and tag and not request.to_tag:
        to = f"{to};tag={tag}"
    copied = (
        ("Via", str(request.header("Via"))),
        ("From", str(request.header("From"))),
        ("To", to),
        ("Call-ID", request.call_id),
        ("CSeq", str(request.header("CSeq"))),
    )
    return Response(code, "Said", (*copied, *headers))
