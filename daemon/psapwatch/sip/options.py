"""One OPTIONS exchange: RFC 3261 11, with digest once, and a late answer still heard (layer L1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind, Observation
from psapwatch.sip.digest import Digest
from psapwatch.sip.incoming import Incoming
from psapwatch.sip.machine import (
    NO_ROOM,
    Output,
    Send,
    discarded,
    is_hard,
    response_seen,
    soonest,
)
from psapwatch.sip.request import again
from psapwatch.sip.transaction import Act, ClientTransaction, Happened
from psapwatch.sip.wire import Message, Request

SENT_IN_VAIN_MIN: Final = 3
"""Transmissions without an answer (0, 0.5 and 1.5 s) that are silence even when it is cut short."""


class OptionsExchange:
    """A machine (``sip.machine.Machine``) for one OPTIONS attempt.

    ``give_up_after_s`` ends the attempt; listening goes on to Timer F. ``token`` gives random hex.
    ``any_icmp_ends``: also what RFC 3261 18.4 has us ignore, where it is what was asked for.
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
        any_icmp_ends: bool = False,
    ) -> None:
        self.over = False
        self.ledger_due: bytes | None = None
        self._peer, self._reliable = peer, reliable
        self._token, self._digest = token, digest
        self._any_icmp_ends = any_icmp_ends
        self._give_up_after_s = give_up_after_s
        self._give_up_at: float | None = None
        self._output = Output()
        self._incoming = Incoming(request, peer, self._output, reliable=reliable, token=token)
        self._transactions = [ClientTransaction(request, reliable=reliable)]

    @property
    def closed(self) -> bool:
        """Whether nothing can happen any more."""
        if not self.over:
            return False
        for each in self._transactions:  # noqa: SIM110 - a loop costs half of what ``all`` does
            if not each.is_over:
                return False
        return True

    def start(self, now: float) -> None:
        """Send the OPTIONS."""
        self._give_up_at = now + self._give_up_after_s
        self._transactions[0].start(now)
        self._settle(now)

    def ledgered(self, now: float) -> None:
        """OPTIONS need no ledger row."""

    def receive(self, message: Message, now: float, arrived_at: float, source: Address) -> None:
        """Take a response, or answer a request from the far side."""
        if isinstance(message, Request):
            if self._incoming.take(message, now, source, is_inside=False):
                self._output.see(Kind.UNSAFE, now, why="callback", detail=str(source))
            return
        for owner in self._transactions:
            if owner.owns(message):
                owner.receive(message, now, arrived_at)
                self._settle(now, source)
                return
        self._output.tell(discarded(message, self._transactions[-1].request, now, source))

    def malformed(self, octets: bytes, seen: Observation, now: float, source: Address) -> None:
        """Note it; the verdict comes from what follows, or from silence."""
        del octets, now, source
        self._output.tell(seen)

    def transport_error(self, seen: Observation, now: float) -> None:
        """A hard error ends the attempt; after ICMP a late answer is still heard.

        In an outage of thousands silent flows give way to others: that is silence, not our fault.
        """
        gave_way = seen.kind is Kind.LOCAL_ERROR and seen.get("error") == NO_ROOM
        if not gave_way or (not self.over and self._transactions[-1].sends < SENT_IN_VAIN_MIN):
            self._output.tell(seen)
        elif not self.over:
            self._tell_silence(now)
        if not is_hard(seen) and not self._any_icmp_ends:
            return
        self._conclude()
        for transaction in self._transactions:
            if seen.kind is Kind.ICMP:
                transaction.give_up(now)
            else:
                transaction.abandon()

    def handle_timer(self, now: float) -> None:
        """Give up, retransmit, or forget."""
        if self._give_up_at is not None and now >= self._give_up_at:
            self._tell_silence(now)
            self._transactions[-1].give_up(now)
        for transaction in self._transactions:
            transaction.handle_timer(now)
        self._settle(now)

    def end(self, now: float) -> None:
        """Nothing is held open by an OPTIONS: forget it."""
        del now
        self._conclude()
        for transaction in self._transactions:
            transaction.abandon()

    def data_to_send(self) -> list[Send]:
        """Hand over what is to be sent now."""
        return self._output.data_to_send()

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        return self._output.next_event()

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        return soonest([self._give_up_at, *[each.next_timer() for each in self._transactions]])

    # ---- inside

    def _settle(self, now: float, source: Address | None = None) -> None:
        for transaction in tuple(self._transactions):
            if transaction.has_output:
                self._output.flush(transaction, now)
                for happened in transaction.events():
                    self._happened(transaction, happened, source or self._peer)

    def _happened(
        self, transaction: ClientTransaction, happened: Happened, source: Address
    ) -> None:
        response, now = happened.response, happened.at
        if response is None:
            if not self.over:  # Timer F came before our own patience ran out
                self._tell_silence(now)
        elif happened.act is Act.ABSORB:
            count = transaction.repeats
            self._output.see(Kind.REPEATED, now, code=response.code, count=count)
        else:
            self._output.tell(
                response_seen(happened, transaction, source, self._peer, late=self.over)
            )
            if response.code >= 200 and not self._authenticated(happened):
                self._conclude()

    def _authenticated(self, happened: Happened) -> bool:
        """Answer a challenge once (RFC 3261 22.2); a second one is the verdict."""
        response = happened.response
        if self._digest is None or self.over or response is None or len(self._transactions) > 1:
            return False
        first = self._transactions[0].request
        answer = self._digest.answer(response, "OPTIONS", first.uri, self._token(8))
        if answer is None:
            return False
        try:
            request = again(first, f"z9hG4bK{self._token(16)}", answer)
            second = ClientTransaction(request, reliable=self._reliable)
        except ValueError:  # the challenge holds what cannot be sent back
            return False
        self._transactions.append(second)
        second.start(happened.at)
        self._output.flush(second, happened.at)
        return True

    def _tell_silence(self, now: float) -> None:
        after_s = now - self._transactions[-1].started_at
        self._output.see(Kind.SILENT, now, method="OPTIONS", after_s=after_s)
        self._conclude()

    def _conclude(self) -> None:
        self.over, self._give_up_at = True, None
