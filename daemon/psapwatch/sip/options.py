"""One OPTIONS exchange: RFC 3261 11, with digest once, and a late answer still heard (layer L1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind, Observation
from psapwatch.sip.digest import Digest
from psapwatch.sip.machine import Send, is_hard, refusal, reply_to, response_seen, sent
from psapwatch.sip.request import ALLOW, again, respond
from psapwatch.sip.transaction import Act, ClientTransaction, Happened
from psapwatch.sip.wire import Message, Request, serialize


class OptionsExchange:
    """A machine (``sip.machine.Machine``) for one OPTIONS attempt.

    ``give_up_after_s`` ends the attempt; listening goes on to Timer F. ``token`` gives random hex.
    """

    def __init__(
        self,
        request: Request,
        *,
        peer: Address,
        reliable: bool,
        give_up_after_s: float,
        token: Callable[[int], str],
        digest: Digest | None = None,
    ) -> None:
        self.over = False
        self.ledger_due: bytes | None = None
        self._request, self._peer, self._reliable = request, peer, reliable
        self._give_up_after_s = give_up_after_s
        self._token, self._digest = token, digest
        self._transaction = ClientTransaction(request, reliable=reliable)
        self._retired: list[ClientTransaction] = []
        self._give_up_at: float | None = None
        self._first_sent_at = 0.0
        self._out: list[Send] = []
        self._events: deque[Observation] = deque()

    @property
    def closed(self) -> bool:
        """Whether nothing can happen any more."""
        return self.over and all(each.is_over for each in (self._transaction, *self._retired))

    def start(self, now: float) -> None:
        """Send the OPTIONS."""
        self._first_sent_at = now
        self._give_up_at = now + self._give_up_after_s
        self._transaction.start(now)
        self._drain(self._transaction, now)

    def ledgered(self, now: float) -> None:
        """OPTIONS need no ledger row."""

    def receive(self, message: Message, now: float, arrived_at: float, source: Address) -> None:
        """Take a response, or answer a request from the far side."""
        if isinstance(message, Request):
            self._request_in(message, now, source)
            return
        for transaction in (self._transaction, *self._retired):
            if transaction.owns(message):
                transaction.receive(message, now, arrived_at)
                self._drain(transaction, now, source)
                return
        why = refusal(message, self._request.vias[0])
        self._see(Kind.DISCARDED, now, why=why, source=str(source))

    def malformed(self, octets: bytes, seen: Observation, now: float, source: Address) -> None:
        """Note it; the verdict comes from what follows, or from silence."""
        del octets, now, source
        self._events.append(seen)

    def transport_error(self, seen: Observation, now: float) -> None:
        """A hard error ends the attempt; on UDP a late answer is still heard."""
        self._events.append(seen)
        if not is_hard(seen):
            return
        self._transaction.give_up(now)
        if seen.kind is not Kind.ICMP:
            self._transaction.abandon()
        self.over = True

    def handle_timer(self, now: float) -> None:
        """Retransmit, expire, or give up."""
        for transaction in (self._transaction, *self._retired):
            transaction.handle_timer(now)
            self._drain(transaction, now)
        if self._give_up_at is not None and now >= self._give_up_at:
            self._give_up(now)

    def end(self, now: float) -> None:
        """Nothing is held open by an OPTIONS: forget it."""
        del now
        self.over = True
        for transaction in (self._transaction, *self._retired):
            transaction.abandon()

    def data_to_send(self) -> list[Send]:
        """Hand over what is to be sent now."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        deadlines = [each.next_timer() for each in (self._transaction, *self._retired)]
        return min((at for at in (*deadlines, self._give_up_at) if at is not None), default=None)

    def _drain(self, transaction: ClientTransaction, now: float, source: Address | None = None) -> None:
        for octets in transaction.data_to_send():
            self._events.append(sent("OPTIONS", transaction.sends, len(octets), now))
            self._out.append(Send(octets))
        for happened in transaction.events():
            self._happened(happened, now, source or self._peer)

    def _happened(self, happened: Happened, now: float, source: Address) -> None:
        response = happened.response
        if response is None:
            self._see(Kind.SILENT, now, method="OPTIONS", after_s=now - self._first_sent_at)
            self.over, self._give_up_at = True, None
        elif happened.act is Act.ABSORB:
            self._see(Kind.REPEATED, now, code=response.code, count=1)
        else:
            self._events.append(
                response_seen(
                    happened, "OPTIONS", self._first_sent_at, source, self._peer, late=self.over
                )
            )
            if response.code >= 200 and not self._authenticated(happened, now):  # noqa: PLR2004
                self.over, self._give_up_at = True, None

    def _authenticated(self, happened: Happened, now: float) -> bool:
        """Answer a challenge once (RFC 3261 22.2); a second one is the verdict."""
        response = happened.response
        if self._digest is None or self.over or self._retired or response is None:
            return False
        answer = self._digest.answer(response, "OPTIONS", self._request.uri, self._token(8))
        if answer is None:
            return False
        self._retired.append(self._transaction)
        request = again(self._request, f"z9hG4bK{self._token(16)}", answer)
        self._transaction = ClientTransaction(request, reliable=self._reliable)
        self._transaction.start(now)
        self._drain(self._transaction, now)
        return True

    def _give_up(self, now: float) -> None:
        self._give_up_at = None
        if self.over:
            return
        self.over = True
        self._see(Kind.SILENT, now, method="OPTIONS", after_s=now - self._first_sent_at)
        self._transaction.give_up(now)

    def _request_in(self, request: Request, now: float, source: Address) -> None:
        """OPTIONS are answered, anything else is refused: nobody calls an OPTIONS probe."""
        self._see(Kind.REQUEST_IN, now, method=request.method[:32], source=str(source))
        if request.method == "ACK":
            return
        code, reason = (200, "OK") if request.method == "OPTIONS" else (603, "Decline")
        if request.method == "INVITE":
            self._see(Kind.UNSAFE, now, why="callback", detail=str(source))
        response = respond(request, code, reason, self._token(8), (("Allow", ALLOW),))
        self._out.append(Send(serialize(response), reply_to(request, source, reliable=self._reliable)))

    def _see(self, kind: Kind, now: float, **facts: str | float | bool) -> None:
        self._events.append(Observation(kind, now, facts))
