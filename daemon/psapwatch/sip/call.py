"""One test call that always ends: RFC 3261 9, 13, 15 with RFC 6026, made safe for a PSAP (layer L1).

Giving up is part of the machine: there is no task to cancel. Whatever is heard is ended: ACK for
every final, ACK and BYE for every 2xx (late, forked, crossing a CANCEL), CANCEL after a provisional
and never before one (9.1). ``ENDED`` is told once, when nothing that was heard is still open.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind, Observation
from psapwatch.sip.digest import Digest
from psapwatch.sip.machine import Send, is_hard, refusal, reply_to, response_seen, sent
from psapwatch.sip.offer import Answer, read_answer
from psapwatch.sip.request import (
    ALLOW,
    Caller,
    Dialog,
    ack_failure,
    again,
    cancel,
    dialog_of,
    in_dialog,
    respond,
)
from psapwatch.sip.transaction import T1, Act, ClientTransaction, Happened
from psapwatch.sip.wire import Message, Request, Response, serialize

FORKS_MAX: Final = 8
"""Dialogs of one INVITE that are ended one by one; i3 forbids forking at all (3.1.18)."""

LIVE_URN: Final = re.compile(r"urn:service:sos\b(?!\.test)", re.IGNORECASE)
_TO_TAG: Final = re.compile(rb"^(?:To|t)[ \t]*:.*;[ \t]*tag=([^;,\s>]{1,200})", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Patience and permission of one test call; all times in seconds."""

    give_up_after_s: float = 8.0
    silent_after_s: float = 4.0
    """Without any answer the attempt is a failed sample here (RFC 4320 4.1 wants a 100 by 3.5 s)."""
    hold_s: float = 0.0
    """How long an answered call may stay up waiting for the far side's BYE; 0: our BYE at once."""
    provisionals_allowed: frozenset[int] = frozenset({100})
    """100, and what the supervised first call recorded; any other one looks like a ringing phone."""


@dataclass(slots=True)
class _Leg:
    """One dialog of the call and how far its end has come."""

    dialog: Dialog
    ack: Send
    bye: ClientTransaction | None = None
    ended: bool = False
    repeats: int = 0


@dataclass(slots=True)
class _Deadlines:
    """The call's own timers, loop seconds; the transactions have theirs."""

    silent: float | None = None
    give_up: float | None = None
    hold: float | None = None
    cancel: float | None = None

    def soonest(self) -> Iterable[float]:
        return (at for at in (self.silent, self.give_up, self.hold, self.cancel) if at is not None)


@dataclass(slots=True)
class _Call:
    """What the call has come to, apart from its transactions."""

    provisional: bool = False
    answered: bool = False
    wants_end: bool = False
    how: str = ""
    legs: dict[str, _Leg] = field(default_factory=dict)


class Call:
    """A machine (``sip.machine.Machine``) for one test INVITE.

    ``peer`` is where the INVITE goes, ``target_uri`` what a 2xx without Contact is ended at.
    ``ledger_due`` holds the INVITE's octets until ``ledgered`` says that its row is on disk.
    """

    def __init__(
        self,
        invite: Request,
        caller: Caller,
        *,
        peer: Address,
        target_uri: str,
        reliable: bool,
        plan: CallPlan,
        token: Callable[[int], str],
        digest: Digest | None = None,
    ) -> None:
        self.over = False
        self.ledger_due: bytes | None = None
        self.plan = plan
        self._caller, self._peer, self._target_uri = caller, peer, target_uri
        self._reliable, self._token, self._digest = reliable, token, digest
        self._invite = self._invite_transaction(invite)
        self._others: list[ClientTransaction] = []  # CANCEL, BYEs, challenged INVITEs
        self._cancel: ClientTransaction | None = None
        self._call = _Call()
        self._due = _Deadlines()
        self._first_sent_at = 0.0
        self._cseq = invite.cseq[0]
        self._out: list[Send] = []
        self._events: deque[Observation] = deque()

    # ---- what the pump drives

    @property
    def closed(self) -> bool:
        """Whether nothing can happen any more."""
        return self.over and self.ledger_due is None and all(t.is_over for t in self._transactions)

    def start(self, now: float) -> None:
        """Ask for the ledger row; the INVITE leaves in ``ledgered``."""
        del now
        self.ledger_due = self._invite.octets

    def ledgered(self, now: float) -> None:
        """Send the INVITE (or its repetition with credentials)."""
        self.ledger_due = None
        if self._call.wants_end:  # the end was asked for before anything left
            self._invite.abandon()
            self._finish("no_answer", now)
            return
        if self._due.give_up is None:
            self._first_sent_at = now
            self._due.silent = now + self.plan.silent_after_s
            self._due.give_up = now + self.plan.give_up_after_s
        self._invite.start(now)
        self._drain(self._invite, now)

    def resume(self, now: float, *, age_s: float, answer: Response | None) -> None:
        """End a call that a killed daemon left open (detection.md 7).

        With its 2xx on record: ACK and BYE. Within Timer B: the identical INVITE once more, to learn
        its state. Later: CANCEL. ``age_s`` is the time since the INVITE first left.
        """
        self._call.wants_end, self.over = True, True
        self._first_sent_at = now - age_s
        if answer is not None:
            self._invite.abandon()
            self._answered(answer, now, self._peer)
        elif age_s < 64 * T1:
            self._invite.resume(now, now - age_s)
            self._drain(self._invite, now)
        else:
            self._invite.resume(now, now)  # only to listen: what it would send is dropped
            self._invite.data_to_send()
            self._send_cancel(now)

    def receive(self, message: Message, now: float, arrived_at: float, source: Address) -> None:
        """Take a response to one of our requests, or a request of the far side."""
        if isinstance(message, Request):
            self._request_in(message, now, source)
            return
        owner = next((each for each in self._transactions if each.owns(message)), None)
        if owner is None:
            why = refusal(message, self._invite.request.vias[0])
            self._see(Kind.DISCARDED, now, why=why, source=str(source))
            return
        owner.receive(message, now, arrived_at)
        self._drain(owner, now, source)

    def malformed(self, octets: bytes, seen: Observation, now: float, source: Address) -> None:
        """Note it; a 2xx that can be made out at all is still acknowledged and ended."""
        self._events.append(seen)
        code = seen.get("code")
        found = _TO_TAG.search(octets)
        if seen.kind is Kind.MALFORMED and isinstance(code, int) and code // 100 == 2 and found:  # noqa: PLR2004
            tag = found.group(1).decode("ascii", "replace")
            self._answered(_bare_success(self._invite.request, tag), now, source)

    def transport_error(self, seen: Observation, now: float) -> None:
        """Stop sending INVITEs; a call that was heard is ended, over a new flow if need be."""
        self._events.append(seen)
        if not is_hard(seen):
            return
        self.over = True
        if self.ledger_due is not None:  # the row could not be written: nothing has left
            self.ledger_due = None
            self._invite.abandon()
            self._finish("no_answer", now)
            return
        self._invite.give_up(now)
        if seen.kind is not Kind.ICMP and self._invite.is_waiting and not self._call.provisional:
            self._invite.abandon()  # a lost connection brings no answer, and 9.1 forbids CANCEL
            self._finish("no_answer", now)
        else:
            self.end(now)

    def handle_timer(self, now: float) -> None:
        """Do whatever is due."""
        due = self._due
        if due.silent is not None and now >= due.silent:
            self._silent(now)
        if due.give_up is not None and now >= due.give_up:
            self._give_up(now)
        if due.hold is not None and now >= due.hold:
            due.hold = None
            self.end(now)
        if due.cancel is not None and now >= due.cancel:
            self._cancel_in_vain(now)
        for transaction in self._transactions:
            transaction.handle_timer(now)
            self._drain(transaction, now)

    def end(self, now: float) -> None:
        """End as soon as the protocol allows; what was not heard yet is ended when it is."""
        self._call.wants_end = True
        self._due.hold = None
        for leg in self._call.legs.values():
            self._send_bye(leg, now)
        if self._invite.is_waiting and self._invite.sends:
            if self._call.provisional:
                self._send_cancel(now)
            else:
                self._invite.give_up(now)
                self.over = True

    def data_to_send(self) -> list[Send]:
        """Hand over what is to be sent now."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        theirs = (each.next_timer() for each in self._transactions)
        return min((*self._due.soonest(), *(at for at in theirs if at is not None)), default=None)

    # ---- inside

    @property
    def _transactions(self) -> tuple[ClientTransaction, ...]:
        return (self._invite, *self._others)

    def _invite_transaction(self, invite: Request) -> ClientTransaction:
        return ClientTransaction(
            invite,
            reliable=self._reliable,
            ack=lambda final: serialize(ack_failure(invite, final)),
        )

    def _drain(self, transaction: ClientTransaction, now: float, source: Address | None = None) -> None:
        to = next((leg.ack.uri for leg in self._call.legs.values() if leg.bye is transaction), None)
        for octets in transaction.data_to_send():
            if octets is transaction.octets:
                self._events.append(sent(transaction.method, transaction.sends, len(octets), now))
            self._out.append(Send(octets, to))
        for happened in transaction.events():
            self._happened(transaction, happened, source or self._peer)

    def _happened(self, transaction: ClientTransaction, happened: Happened, source: Address) -> None:
        now, response = happened.at, happened.response
        if response is None:
            self._timed_out(transaction, now)
        elif happened.act is Act.ABSORB:
            self._see(Kind.REPEATED, now, code=response.code, count=transaction.repeats)
        elif transaction.method != "INVITE":
            self._teardown_answered(transaction, response, now)
        else:
            self._invite_answered(happened, response, source)

    def _invite_answered(self, happened: Happened, response: Response, source: Address) -> None:
        now, hundreds = happened.at, response.code // 100
        self._due.silent = None
        if hundreds != 2 or response.to_tag not in self._call.legs:  # noqa: PLR2004
            self._events.append(
                response_seen(
                    happened, "INVITE", self._first_sent_at, source, self._peer, late=self.over
                )
            )
        if hundreds == 1:
            self._progressed(response, now)
        elif hundreds == 2:  # noqa: PLR2004
            self._answered(response, now, source)
        elif not self._authenticated(response, now):
            cancelled = self._cancel is not None and response.code == 487  # noqa: PLR2004
            self._finish("cancelled" if cancelled else "rejected", now)

    def _progressed(self, response: Response, now: float) -> None:
        self._call.provisional = True
        if response.code not in self.plan.provisionals_allowed:
            self._unsafe("ringing", f"{response.code} {response.reason[:40]}", now)
        elif self._call.wants_end:
            self._send_cancel(now)

    def _answered(self, response: Response, now: float, source: Address) -> None:
        """ACK every 2xx (13.2.2.4), end every one that is not to be held."""
        legs = self._call.legs
        known = legs.get(response.to_tag)
        if known is not None:
            known.repeats += 1
            self._see(Kind.REPEATED, now, code=response.code, count=known.repeats)
            self._out.append(known.ack)
            return
        if len(legs) >= FORKS_MAX:
            self._see(Kind.TEARDOWN_FAILED, now, method="BYE", why=f"more than {FORKS_MAX} forks")
            return
        if legs:
            self._see(Kind.FORKED, now, to_tag=response.to_tag[:40])
        self._call.answered = True
        leg = self._leg(response)
        legs[response.to_tag] = leg
        self._out.append(leg.ack)
        answer = read_answer(response.body, response.header("Content-Type") or "")
        self._judge(answer, now)
        if answer.what == "mirror" and len(legs) == 1 and self.plan.hold_s and not self._call.wants_end:
            self._due.hold = now + self.plan.hold_s
        else:
            self._send_bye(leg, now)

    def _leg(self, response: Response) -> _Leg:
        dialog = dialog_of(response, self._invite.request, self._target_uri)
        number = self._invite.request.cseq[0]
        request, hop = in_dialog(self._caller, dialog, self._branch(), "ACK", number)
        return _Leg(dialog, Send(serialize(request), hop))

    def _judge(self, answer: Answer, now: float) -> None:
        """Say what the answer offers; whatever looks like a person is unsafe at once."""
        self._see(Kind.ANSWER, now, what=answer.what, detail=answer.detail, text=answer.text[:200])
        if answer.what == "no_loopback":
            self._unsafe("no_loopback", "audio accepted without a loopback attribute", now)
        if LIVE_URN.search(answer.text):
            self._unsafe("live_urn", "the text names urn:service:sos", now)

    def _unsafe(self, why: str, detail: str, now: float) -> None:
        self._see(Kind.UNSAFE, now, why=why, detail=detail)
        self.end(now)

    def _authenticated(self, response: Response, now: float) -> bool:
        """Answer one challenge, after a ledger row of its own (RFC 3261 22.2)."""
        retired = any(each.method == "INVITE" for each in self._others)
        if self._digest is None or retired or self._call.wants_end or self.over:
            return False
        invite = self._invite.request
        answer = self._digest.answer(response, "INVITE", invite.uri, self._token(8))
        if answer is None:
            return False
        self._others.append(self._invite)
        self._call.provisional = False
        self._cseq += 1
        self._invite = self._invite_transaction(again(invite, self._branch(), answer))
        self.ledger_due = self._invite.octets
        return True

    def _send_cancel(self, now: float) -> None:
        if self._cancel is not None:
            return
        self._cancel = ClientTransaction(cancel(self._invite.request), reliable=self._reliable)
        self._due.cancel = now + 64 * T1  # 9.1: then the INVITE counts as cancelled
        self._begin(self._cancel, now)

    def _send_bye(self, leg: _Leg, now: float, authorization: tuple[str, str] | None = None) -> None:
        if leg.ended or (leg.bye is not None and authorization is None):
            return
        self._cseq += 1
        request, _hop = in_dialog(self._caller, leg.dialog, self._branch(), "BYE", self._cseq)
        if authorization:
            request = Request("BYE", request.uri, (*request.headers, authorization))
        leg.bye = ClientTransaction(request, reliable=self._reliable)
        self._begin(leg.bye, now)

    def _begin(self, transaction: ClientTransaction, now: float) -> None:
        self._others.append(transaction)
        transaction.start(now)
        self._drain(transaction, now)

    def _teardown_answered(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Any final to BYE ends the dialog (15.1.1); the INVITE's own final ends a CANCEL."""
        if response.code < 200 or transaction is self._cancel:  # noqa: PLR2004
            return
        leg = self._leg_of(transaction)
        if leg is None:
            return
        challenged = response.code in (401, 407) and self._digest is not None
        if challenged and self._digest and transaction.request.header("Authorization") is None:
            uri = transaction.request.uri
            answer = self._digest.answer(response, "BYE", uri, self._token(8))
            if answer and transaction.request.header(answer[0]) is None:
                self._send_bye(leg, now, answer)
                return
        leg.ended = True
        self._finish("bye_sent", now)

    def _leg_of(self, transaction: ClientTransaction) -> _Leg | None:
        return next((leg for leg in self._call.legs.values() if leg.bye is transaction), None)

    def _timed_out(self, transaction: ClientTransaction, now: float) -> None:
        leg = self._leg_of(transaction)
        if transaction is self._invite:
            self._finish("no_answer", now)
        elif leg is not None:
            leg.ended = True
            self._see(Kind.TEARDOWN_FAILED, now, method="BYE", why="no answer")
            self._finish("bye_sent", now, confirmed=False)

    def _cancel_in_vain(self, now: float) -> None:
        self._due.cancel = None
        if self._invite.is_waiting:
            self._invite.abandon()
            self._see(Kind.TEARDOWN_FAILED, now, method="CANCEL", why="no final response")
            self._finish("cancelled", now, confirmed=False)

    def _silent(self, now: float) -> None:
        self._due.silent = None
        if self._call.provisional or self._call.answered or not self._invite.is_waiting:
            return
        self._due.give_up = None
        self._see(Kind.SILENT, now, method="INVITE", after_s=now - self._first_sent_at)
        self._invite.give_up(now)
        self._call.wants_end, self.over = True, True

    def _give_up(self, now: float) -> None:
        self._due.give_up = None
        if self._invite.is_waiting and not self._call.answered:
            self._see(Kind.SILENT, now, method="INVITE", after_s=now - self._first_sent_at)
        if not self.over:
            self.end(now)
        self.over = True

    def _finish(self, how: str, now: float, *, confirmed: bool = True) -> None:
        """Tell ENDED once, when neither the INVITE nor any dialog is open any more."""
        call = self._call
        call.how = call.how or how
        if self._invite.is_waiting or not all(leg.ended for leg in call.legs.values()):
            return
        self._due.give_up = self._due.silent = self._due.cancel = None
        self.over = True
        if call.how != "told":
            self._see(Kind.ENDED, now, how=call.how, confirmed=confirmed)
            call.how = "told"

    def _request_in(self, request: Request, now: float, source: Address) -> None:
        self._see(Kind.REQUEST_IN, now, method=request.method[:32], source=str(source))
        if request.method == "ACK":
            return
        leg = self._call.legs.get(request.from_tag) if request.to_tag else None
        code, reason = _REPLIES.get(request.method, (405, "Method Not Allowed"))
        if request.method in ("BYE", "CANCEL") and leg is None:
            code, reason = 481, "Call/Transaction Does Not Exist"
        callback = request.method == "INVITE" and leg is None
        if callback:
            code, reason = 603, "Decline"
        response = respond(request, code, reason, self._token(8), (("Allow", ALLOW),))
        self._out.append(Send(serialize(response), reply_to(request, source, reliable=self._reliable)))
        if callback:
            self._unsafe("callback", str(source), now)
        if request.method == "BYE" and leg is not None and not leg.ended:
            leg.ended = True
            self._due.hold = None
            if leg.bye is not None:
                leg.bye.give_up(now)
            self._finish("bye_received", now)

    def _branch(self) -> str:
        return f"z9hG4bK{self._token(16)}"

    def _see(self, kind: Kind, now: float, **facts: str | float | bool) -> None:
        self._events.append(Observation(kind, now, facts))


_REPLIES: Final = {
    "BYE": (200, "OK"),
    "OPTIONS": (200, "OK"),
    "INVITE": (488, "Not Acceptable Here"),
    "UPDATE": (488, "Not Acceptable Here"),
}


def _bare_success(invite: Request, to_tag: str) -> Response:
    """A 2xx reduced to what ACK and BYE need, when the real one could not be read."""
    return Response(200, "unreadable", (("To", f"{invite.header('To')};tag={to_tag}"),))
