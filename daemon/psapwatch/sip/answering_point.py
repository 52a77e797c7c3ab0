"""An automatic answering point: the UAS of a test call (RFC 6881 15), without any I/O (layer L1).

Octets and ``now`` go in, octets and a deadline come out. It plays any ``Script``: the simulator's
PSAPs, ``psapwatch respond`` and the demo's 204 towns are all this class. An INVITE that is not to
a test URN is answered 404 whatever the script says: this can never take a real call.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from psapwatch.endpoint import Address, TransportName
from psapwatch.sip.answering_asks import Asks
from psapwatch.sip.answering_message import Answerer, bye, callback, next_hop, response
from psapwatch.sip.answering_script import Script, Step
from psapwatch.sip.guard import TEST_URN
from psapwatch.sip.server_transaction import (
    LIFETIME_S,
    T1_S,
    T2_S,
    Heard,
    Input,
    ServerTransaction,
    State,
    hear,
    input_of,
)

LOG_MAX: Final = 256
TRANSACTIONS_MAX: Final = 10_000
"""Beyond it requests go unanswered: a peer's flood must not take the memory."""
UNANSWERED_S: Final = 180.0
"""A request that the script never answers is forgotten after this (timer C)."""

_REFUSED: Final = Step(404)
_NO_DIALOG: Final = Step(481)
_EXPIRED: Final = Step(487)
_NO_REINVITE: Final = Step(488)
_NO_METHOD: Final = Step(405)


class Seen(NamedTuple):
    """One request that came in, for the log."""

    at: float
    method: str
    uri: str
    call_id: str
    source: Address
    transport: TransportName
    size: int


@dataclass(slots=True)
class _Dialog:
    """Our side of one call; a script that forks has one for each To tag."""

    transaction: ServerTransaction
    tag: str
    answer: bytes
    elsewhere: bool
    transport: TransportName
    accepted_at: float
    repeats: int = 0
    acknowledged: bool = False
    ended: bool = False


class AnsweringPoint:
    """Plays a script. ``script`` may be changed at any time; what comes next follows it."""

    def __init__(
        self,
        script: Script,
        *,
        name: str,
        tag: Callable[[], str],
        address: Address,
        media: Address | None = None,
        location: str = "",
    ) -> None:
        self.script = script
        self.answerer = Answerer(name, address, media or Address(address.host, 30_000), location)
        self.log: deque[Seen] = deque(maxlen=LOG_MAX)
        self.unreadable = 0
        self._tag = tag
        self._transactions: dict[str, ServerTransaction] = {}
        self._dialogs: dict[tuple[str, str], _Dialog] = {}
        self._ended: deque[tuple[float, tuple[str, str]]] = deque()
        self._asks = Asks(self._put, self._later)
        self._out: list[tuple[bytes, Address]] = []
        self._out_elsewhere: list[tuple[bytes, Address]] = []
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._answered: deque[tuple[float, str]] = deque()
        self._unanswered: deque[tuple[float, str]] = deque()

    # --- what the owner calls

    @property
    def open_calls(self) -> int:
        """INVITEs that got a 1xx and no final yet, and calls that nobody ended."""
        pending = sum(
            1
            for transaction in self._transactions.values()
            if transaction.request.method == "INVITE"
            and transaction.last
            and not transaction.is_answered
        )
        return pending + sum(1 for dialog in self._dialogs.values() if not dialog.ended)

    def receive(
        self, octets: bytes, source: Address, now: float, transport: TransportName = "udp"
    ) -> None:
        """Take one datagram, or one framed message of a stream."""
        if octets.startswith(b"SIP/2.0 "):
            self._asks.answered(octets)
            return
        request = hear(octets)
        if request is None:
            self.unreadable += 1
            return
        self.log.append(
            Seen(now, request.method, request.uri, request.call_id, source, transport, len(octets))
        )
        self._forget(now)
        if request.method == "ACK":
            self._acknowledge(request, now)
            return
        known = self._transactions.get(request.key)
        if known is not None:
            self._put(known.take(Input.REPEAT), known.source)
            return
        if len(self._transactions) >= TRANSACTIONS_MAX:
            return
        transaction = ServerTransaction(request, source, reliable=transport != "udp")
        self._transactions[request.key] = transaction
        self._serve(transaction, transport, now)
        if not transaction.is_answered:
            self._unanswered.append((now + UNANSWERED_S, request.key))
            if request.method == "INVITE":
                self._later(now + UNANSWERED_S, self._forget)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        while self._timers and self._timers[0][0] <= now:
            _due, _order, action = heapq.heappop(self._timers)
            action(now)

    def next_timer(self) -> float | None:
        """Loop seconds at which ``handle_timer`` wants to be called."""
        return self._timers[0][0] if self._timers else None

    def data_to_send(self) -> list[tuple[bytes, Address]]:
        """Octets and where they go, from the address that the request came to."""
        out, self._out = self._out, []
        return out

    def data_to_send_elsewhere(self) -> list[tuple[bytes, Address]]:
        """Octets that the script sends from another local port."""
        out, self._out_elsewhere = self._out_elsewhere, []
        return out

    # --- requests

    def _serve(self, transaction: ServerTransaction, transport: TransportName, now: float) -> None:
        request = transaction.request
        if request.method == "OPTIONS":
            self._play(transaction, self.script.options, transport, now)
        elif request.method == "INVITE":
            self._invite(transaction, transport, now)
        elif request.method == "BYE":
            self._bye(transaction, transport, now)
        elif request.method == "CANCEL":
            self._cancel(transaction, transport, now)
        else:
            self._respond(transaction, _NO_METHOD, transport, now)

    def _invite(self, transaction: ServerTransaction, transport: TransportName, now: float) -> None:
        request, script = transaction.request, self.script
        if request.to_tag:
            inside = (request.call_id, request.to_tag) in self._dialogs
            self._respond(transaction, _NO_REINVITE if inside else _NO_DIALOG, transport, now)
            return
        if not TEST_URN.fullmatch(request.uri.encode()):
            self._respond(transaction, _REFUSED, transport, now)
            return
        self._play(transaction, script.invite, transport, now)
        expires = request.first("expires")
        if script.minds_expires and script.invite and expires.isdecimal():
            self._later(
                now + int(expires), partial(self._respond, transaction, _EXPIRED, transport)
            )
        if script.calls_back_after_s is not None:
            self._later(
                now + script.calls_back_after_s, partial(self._call_back, transaction, transport)
            )

    def _bye(self, transaction: ServerTransaction, transport: TransportName, now: float) -> None:
        request = transaction.request
        dialog = self._dialogs.get((request.call_id, request.to_tag))
        if dialog is None:
            self._respond(transaction, _NO_DIALOG, transport, now)
            return
        if not dialog.ended:
            self._end(dialog, now)
        self._play(transaction, self.script.bye, transport, now)

    def _cancel(self, transaction: ServerTransaction, transport: TransportName, now: float) -> None:
        invite = self._transactions.get(transaction.request.invite_key)
        if invite is None:
            self._respond(transaction, _NO_DIALOG, transport, now)
            return
        self._play(transaction, self.script.cancel, transport, now)
        if self.script.cancel:  # 9.2: 200 to the CANCEL, 487 to what it cancels
            self._respond(invite, _EXPIRED, transport, now)

    def _acknowledge(self, request: Heard, now: float) -> None:
        refused = self._transactions.get(request.invite_key)
        if refused is not None:
            refused.take(Input.ACKNOWLEDGED)
        dialog = self._dialogs.get((request.call_id, request.to_tag))
        if dialog is None or dialog.acknowledged:
            return
        dialog.acknowledged = True
        if self.script.hangs_up_after_s is not None:
            self._later(now + self.script.hangs_up_after_s, partial(self._hang_up, dialog))

    # --- responses

    def _play(
        self,
        transaction: ServerTransaction,
        steps: tuple[Step, ...],
        transport: TransportName,
        now: float,
    ) -> None:
        for step in steps:
            if step.at_s <= 0.0:
                self._respond(transaction, step, transport, now)
            else:
                self._later(now + step.at_s, partial(self._respond, transaction, step, transport))

    def _respond(
        self, transaction: ServerTransaction, step: Step, transport: TransportName, now: float
    ) -> None:
        what = input_of(step.code)
        was_answered = transaction.is_answered
        if was_answered and what is not Input.SUCCESS and not step.unruly:
            return
        tag = transaction.tags.get(step.fork) or transaction.tags.setdefault(step.fork, self._tag())
        octets = response(self.answerer, transaction.request, transaction.source, step, tag)
        out = octets if step.unruly else transaction.take(what, octets)
        self._put(out, transaction.source, elsewhere=step.elsewhere)
        if what is not Input.PROVISIONAL and not was_answered:
            self._answered.append((now + LIFETIME_S, transaction.request.key))
        if transaction.request.method != "INVITE" or not out:
            return
        if what is Input.SUCCESS:
            self._accept(
                _Dialog(transaction, tag, out, step.elsewhere, transport, accepted_at=now), now
            )
        elif what is Input.FAILURE and not transaction.reliable:
            again = partial(self._resend, transaction, T1_S, now + LIFETIME_S)
            self._later(now + T1_S, again)

    def _accept(self, dialog: _Dialog, now: float) -> None:
        self._dialogs[dialog.transaction.request.call_id, dialog.tag] = dialog
        self._later(now + T1_S, partial(self._repeat, dialog, T1_S))
        if self.script.hangs_up_unacknowledged_s is not None:
            self._later(now + self.script.hangs_up_unacknowledged_s, partial(self._hang_up, dialog))

    def _resend(
        self, transaction: ServerTransaction, every_s: float, until: float, now: float
    ) -> None:
        """Timer G: a final that was not acknowledged, until timer H (17.2.1)."""
        if transaction.state is not State.COMPLETED or now >= until:
            return
        self._put(transaction.take(Input.RESEND), transaction.source)
        every_s = min(2 * every_s, T2_S)
        self._later(now + every_s, partial(self._resend, transaction, every_s, until))

    def _repeat(self, dialog: _Dialog, every_s: float, now: float) -> None:
        """A 2xx is repeated until its ACK comes; without one the call is ended (13.3.1.4)."""
        repeats_max = self.script.repeats_max
        if dialog.ended or (dialog.acknowledged and repeats_max is None):
            return
        if now >= dialog.accepted_at + LIFETIME_S or dialog.repeats == repeats_max:
            self._hang_up(dialog, now)
            return
        dialog.repeats += 1
        self._put(dialog.answer, dialog.transaction.source, elsewhere=dialog.elsewhere)
        every_s = min(2 * every_s, T2_S)
        self._later(now + every_s, partial(self._repeat, dialog, every_s))

    # --- requests of our own

    def _hang_up(self, dialog: _Dialog, now: float) -> None:
        if dialog.ended:
            return
        self._end(dialog, now)
        invite, transport = dialog.transaction.request, dialog.transport
        octets = bye(self.answerer, invite, dialog.tag, transport, self._branch())
        to = next_hop(invite, dialog.transaction.source, transport)
        self._asks.ask(octets, to, reliable=dialog.transaction.reliable, now=now)

    def _call_back(
        self, transaction: ServerTransaction, transport: TransportName, now: float
    ) -> None:
        invite = transaction.request
        octets = callback(
            self.answerer, invite, self._tag(), self._tag(), transport, self._branch()
        )
        to = next_hop(invite, transaction.source, transport)
        self._asks.ask(octets, to, reliable=transaction.reliable, now=now)

    # --- small things

    def _branch(self) -> str:
        return f"z9hG4bK{self._tag()}"

    def _end(self, dialog: _Dialog, now: float) -> None:
        dialog.ended = True
        key = (dialog.transaction.request.call_id, dialog.tag)
        self._ended.append((now + LIFETIME_S, key))

    def _put(self, octets: bytes, to: Address, *, elsewhere: bool = False) -> None:
        if octets:
            (self._out_elsewhere if elsewhere else self._out).append((octets, to))

    def _later(self, due: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._timers, (due, next(self._order), action))

    def _forget(self, now: float) -> None:
        """Drop what is older than the RFC asks to be remembered, without timers of its own."""
        while self._answered and self._answered[0][0] <= now:
            self._transactions.pop(self._answered.popleft()[1], None)
        while self._ended and self._ended[0][0] <= now:
            self._dialogs.pop(self._ended.popleft()[1], None)
        while self._unanswered and self._unanswered[0][0] <= now:
            key = self._unanswered.popleft()[1]
            stale = self._transactions.get(key)
            if stale is not None and not stale.is_answered:
                del self._transactions[key]
