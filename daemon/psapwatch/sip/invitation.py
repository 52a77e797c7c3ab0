"""One INVITE and its CANCEL (RFC 3261 9.1, 17.1.1; layer L1).

CANCEL must not leave before the INVITE was heard. Until then the wish to cancel only stops its
transmissions; a late 1xx lets the CANCEL leave, and if nothing ever comes, nothing rings.
"""

from __future__ import annotations

from typing import Final, Literal

from psapwatch.evidence import Kind
from psapwatch.sip.machine import Output, answers
from psapwatch.sip.request import ack_failure, cancel
from psapwatch.sip.transaction import T1, Act, ClientTransaction, Happened
from psapwatch.sip.wire import Request, Response, serialize

How = Literal["no_answer", "rejected", "cancelled"]

CANCEL_PATIENCE_S: Final = 64 * T1
"""After a CANCEL the final is awaited for so long; then the INVITE counts as cancelled (9.1)."""


class Invitation:
    """An INVITE until its final; a 2xx goes on to ``legs``. ``octets`` are what is sent."""

    def __init__(self, request: Request, output: Output, *, reliable: bool) -> None:
        self.request = request
        self.was_heard = False
        """Whether a 1xx has come, so that CANCEL may leave."""
        self.how: How = "no_answer"
        self.confirmed = True
        self._output, self._reliable = output, reliable
        self._invite = ClientTransaction(
            request, reliable=reliable, ack=lambda final: serialize(ack_failure(request, final))
        )
        self._cancel: ClientTransaction | None = None
        self._cancelled_until: float | None = None
        self._begun = False

    @property
    def octets(self) -> bytes:
        """The INVITE as it is sent; set to send a ledger's to the letter."""
        return self._invite.octets

    @octets.setter
    def octets(self, octets: bytes) -> None:
        self._invite.octets = octets

    @property
    def transaction(self) -> ClientTransaction:
        """The INVITE's, for what a response says of it."""
        return self._invite

    @property
    def sends(self) -> int:
        """How often the INVITE has left."""
        return self._invite.sends

    @property
    def has_not_left(self) -> bool:
        """Whether the one transmission there was is the one that failed."""
        return self.sends == 1 and not self.was_heard

    @property
    def is_waiting(self) -> bool:
        """Whether a final could still come, or the INVITE has not even left."""
        return self._invite.is_waiting

    @property
    def is_open(self) -> bool:
        """Whether it was sent and its final could still come."""
        return self._begun and self._invite.is_waiting

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen here any more."""
        return self._invite.is_over and (self._cancel is None or self._cancel.is_over)

    def start(self, now: float) -> None:
        """Send the INVITE."""
        self._begun = True
        self._invite.start(now)

    def listen(self, now: float) -> None:
        """Wait for what an INVITE of an earlier life still brings."""
        self._begun = True
        self._invite.listen(now)

    def receive(self, response: Response, now: float, arrived_at: float) -> bool:
        """Take a response; returns whether it belongs to the INVITE or its CANCEL."""
        for transaction in (self._invite, self._cancel):
            if transaction is not None and transaction.owns(response):
                transaction.receive(response, now, arrived_at)
                return True
        return False

    def take(self, response: Response, now: float) -> None:
        """Take a response to the INVITE that does not say so itself: it was salvaged, or kept."""
        self._invite.receive(response, now, now)

    def take_discarded(self, response: Response, now: float) -> None:
        """Take a response that would be one to the INVITE or its CANCEL but for its Via."""
        for transaction in (self._invite, self._cancel):
            if transaction is not None and answers(response, transaction.request):
                transaction.receive(response, now, now)

    def happened(self, now: float) -> list[Happened]:
        """Send what is to be sent, and hand over what happened to the INVITE."""
        self._output.flush(self._invite, now)
        if self._cancel is not None:
            self._output.flush(self._cancel, now)
            for each in self._cancel.events():
                self._cancel_answered(each)
        return self._invite.events()

    def refused(self, code: int) -> None:
        """A final other than 2xx has come."""
        self.how = "cancelled" if self._cancel is not None and code == 487 else "rejected"

    def cancel(self, now: float) -> None:
        """Send CANCEL if the INVITE was heard; otherwise send it no more."""
        if not self.was_heard:
            self._invite.give_up(now)
        elif self.is_open and self._cancel is None:
            self._send_cancel(now)

    def cancel_unheard(self, now: float) -> None:
        """End an INVITE of an earlier life, of which nobody knows any more whether it was heard."""
        self.listen(now)
        self._send_cancel(now)

    def lost(self, now: float) -> None:
        """Its connection is gone: no answer comes over it, and unheard it cannot be cancelled."""
        if self._cancel is not None:
            self._cancel.send_again(now)
            self._output.flush(self._cancel, now)
        elif self._invite.is_waiting and not self.was_heard:
            self._invite.abandon()

    def abandon(self) -> None:
        """Forget it: it has never left."""
        self._invite.abandon()

    def handle_timer(self, now: float) -> None:
        """Repeat and give up what is due."""
        if self._cancelled_until is not None and now >= self._cancelled_until:
            self._cancelled_until = None
            if self._invite.is_waiting:
                self._end_in_vain(now)
        for transaction in (self._invite, self._cancel):
            if transaction is not None:
                transaction.handle_timer(now)

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        deadlines = [self._cancelled_until, self._invite.next_timer()]
        if self._cancel is not None:
            deadlines.append(self._cancel.next_timer())
        return min((at for at in deadlines if at is not None), default=None)

    def _send_cancel(self, now: float) -> None:
        self._cancel = ClientTransaction(cancel(self.request), reliable=self._reliable)
        self._cancelled_until = now + CANCEL_PATIENCE_S
        self._cancel.start(now)
        self._output.flush(self._cancel, now)

    def _cancel_answered(self, happened: Happened) -> None:
        """Only the INVITE's own final ends it; but 481 says that one of an earlier life is gone."""
        response = happened.response
        if happened.act is Act.DELIVER and response and response.code == 481 and not self.sends:
            self.how = "cancelled"
            self._invite.abandon()

    def _end_in_vain(self, now: float) -> None:
        self.how, self.confirmed = "cancelled", False
        self._invite.abandon()
        why = "no final response"
        self._output.see(Kind.TEARDOWN_FAILED, now, method="CANCEL", why=why)
