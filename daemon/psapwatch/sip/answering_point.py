"""An automatic answering point: the UAS of a test call (RFC 6881 15), without any I/O (layer L1).

Octets and ``now`` go in, octets and a deadline come out. It plays any ``Script``: the simulator's
PSAPs, ``psapwatch respond`` and the demo's 204 towns are all this class. An INVITE that is not to
a test URN is answered 404 whatever the script says: this can never take a real call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from psapwatch.endpoint import Address, TransportName
from psapwatch.rtp.mirror import Packet
from psapwatch.sip import answering_message as say
from psapwatch.sip.answering_asks import Asks
from psapwatch.sip.answering_dialog import Dialog, Kept, Seen, Timers
from psapwatch.sip.answering_media import Door, Mirrors
from psapwatch.sip.answering_script import Script, Step
from psapwatch.sip.guard import TEST_URN
from psapwatch.sip.sdes import MakeCipher
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

_REFUSED, _NO_DIALOG, _EXPIRED = Step(404), Step(481), Step(487)
_NO_REINVITE, _NO_METHOD = Step(488), Step(405)


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
        self.answerer = say.Answerer(
            name, address, media or Address(address.host, 30_000), location
        )
        self.log: deque[Seen] = deque(maxlen=LOG_MAX)
        self.unreadable = 0
        self.tells_what_it_saw = False
        """Adds a header with what arrived: whoever changed it on the way is found by it."""
        self._tag = tag
        self._kept = Kept()
        self._transactions, self._dialogs = self._kept.transactions, self._kept.dialogs
        self._out: list[tuple[bytes, Address]] = []
        self._out_elsewhere: list[tuple[bytes, Address]] = []
        self._timers = Timers()
        self._later = self._timers.later
        self._asks = Asks(self._put, self._later)
        self._mirrors = Mirrors(tag)

    # --- what the owner calls

    @property
    def open_calls(self) -> int:
        """INVITEs that got a 1xx and no final yet, and calls that nobody ended."""
        return self._kept.open_calls

    def mirror_through(self, door: Door, secure: MakeCipher | None) -> None:
        """Mirror media from now on, on ports of this door; ``secure``: secured media as well."""
        self._mirrors.door, self._mirrors.secure = door, secure

    def receive(
        self,
        octets: bytes,
        source: Address,
        now: float,
        transport: TransportName = "udp",
        dscp: int | None = None,
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
        self._kept.forget(now)
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
        if self.tells_what_it_saw:
            transaction.note = say.seen_as(request, len(octets), source, transport, dscp)
        self._transactions[request.key] = transaction
        self._serve(transaction, transport, now)
        if not transaction.is_answered:
            self._kept.unanswered.append((now + UNANSWERED_S, request.key))
            if request.method == "INVITE":
                self._later(now + UNANSWERED_S, self._kept.forget)

    def receive_media(
        self, local: Address, octets: bytes, source: Address, now: float, arrived_at: float
    ) -> None:
        """Take one datagram at a mirror's port."""
        key = self._mirrors.receive(local, octets, source, now, arrived_at)
        if key is not None and self._dialogs[key].acknowledged:
            self._fall_silent(self._dialogs[key], now)

    def media_to_send(self) -> list[tuple[Address, Packet]]:
        """RTP and RTCP, each with the RTP address of the pair that it leaves from."""
        return self._mirrors.data_to_send()

    def hang_up(self, now: float) -> None:
        """End every call with BYE: whoever closes lets no caller wait."""
        for dialog in tuple(self._dialogs.values()):
            self._hang_up(dialog, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._timers.run(now)

    def next_timer(self) -> float | None:
        """Loop seconds at which ``handle_timer`` wants to be called."""
        return self._timers.next()

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
        refusal = self._mirrors.refusal(request.body, secured_only=script.secured_only)
        if refusal is not None:
            self._respond(transaction, refusal, transport, now)
            return
        self._play(transaction, say.delayed(script.invite, request), transport, now)
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
        if self._mirrors.is_done(dialog.key):
            self._fall_silent(dialog, now)
        elif self.script.hangs_up_after_s is not None:
            self._later(now + self.script.hangs_up_after_s, partial(self._fall_silent, dialog))

    def _fall_silent(self, dialog: Dialog, now: float) -> None:
        """BYE once the mirror is done, or has heard nothing for a while."""
        patience_s = self.script.hangs_up_after_s
        since = self._mirrors.silent_since(dialog.key)
        if patience_s is None or dialog.ended:
            return
        if since is not None and since + patience_s > now:
            self._later(since + patience_s, partial(self._fall_silent, dialog))
        else:
            self._hang_up(dialog, now)

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
        is_accepted = (transaction.request.method, what) == ("INVITE", Input.SUCCESS)
        has_media = is_accepted and step.body not in ("none", "text")
        offer, source = transaction.request.body, transaction.source
        opened = self._mirrors.open(self.answerer, offer) if has_media else None
        octets = say.response(opened or self.answerer, transaction, step, tag)
        out = octets if step.unruly else transaction.take(what, octets)
        self._put(out, transaction.source, elsewhere=step.elsewhere)
        if what is not Input.PROVISIONAL and not was_answered:
            self._kept.answered.append((now + LIFETIME_S, transaction.request.key))
        if transaction.request.method != "INVITE" or not out:
            return
        if what is Input.SUCCESS:
            dialog = Dialog(transaction, tag, out, step.elsewhere, transport, accepted_at=now)
            if opened is not None:
                manner = self.script.manner
                self._mirrors.begin(dialog.key, opened.media, out, offer, source, manner)
            self._accept(dialog, now)
        elif what is Input.FAILURE and not transaction.reliable:
            again = partial(self._resend, transaction, T1_S, now + LIFETIME_S)
            self._later(now + T1_S, again)

    def _accept(self, dialog: Dialog, now: float) -> None:
        self._dialogs[dialog.key] = dialog
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

    def _repeat(self, dialog: Dialog, every_s: float, now: float) -> None:
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

    def _hang_up(self, dialog: Dialog, now: float) -> None:
        if dialog.ended:
            return
        media = self._mirrors.counts(dialog.key) if self.tells_what_it_saw else None
        self._end(dialog, now)
        invite, transport = dialog.transaction.request, dialog.transport
        octets = say.bye(self.answerer, invite, dialog.tag, transport, self._branch(), media)
        to = say.next_hop(invite, dialog.transaction.source, transport)
        self._asks.ask(octets, to, reliable=dialog.transaction.reliable, now=now)

    def _call_back(
        self, transaction: ServerTransaction, transport: TransportName, now: float
    ) -> None:
        invite = transaction.request
        octets = say.callback(
            self.answerer, invite, self._tag(), self._tag(), transport, self._branch()
        )
        to = say.next_hop(invite, transaction.source, transport)
        self._asks.ask(octets, to, reliable=transaction.reliable, now=now)

    def _branch(self) -> str:
        return f"z9hG4bK{self._tag()}"

    def _end(self, dialog: Dialog, now: float) -> None:
        dialog.ended = True
        self._kept.ended.append((now + LIFETIME_S, dialog.key))
        self._mirrors.end(dialog.key)

    def _put(self, octets: bytes, to: Address, *, elsewhere: bool = False) -> None:
        if octets:
            (self._out_elsewhere if elsewhere else self._out).append((octets, to))
