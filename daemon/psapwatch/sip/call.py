"""One test call that always ends: RFC 3261 9, 13, 15 with RFC 6026, safe for a PSAP (layer L1).

Giving up is part of the machine: there is no task to cancel. Whatever is heard is ended: ACK for
every final, ACK and BYE for every 2xx (late, forked, crossing a CANCEL), CANCEL after a provisional
and never before one (9.1). ``ENDED`` is told once, when nothing that was heard is still open.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.location import Place, sameness
from psapwatch.sip.digest import Digest
from psapwatch.sip.incoming import Incoming
from psapwatch.sip.invitation import Invitation
from psapwatch.sip.legs import Legs
from psapwatch.sip.machine import (
    Output,
    Send,
    discarded,
    is_hard,
    is_loss,
    is_refusal,
    response_seen,
    soonest,
)
from psapwatch.sip.offer import Answer, read_answer
from psapwatch.sip.request import Caller, again
from psapwatch.sip.salvage import salvage
from psapwatch.sip.sdes import PLAIN
from psapwatch.sip.transaction import T1, Act, Happened
from psapwatch.sip.wire import Message, Request, Response

LIVE_URN: Final = re.compile(r"urn:service:sos\b(?!\.test\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Patience and permission of one test call; all times in seconds."""

    give_up_after_s: float = 8.0
    silent_after_s: float = 4.0
    """Without any answer the attempt is a failed sample here (RFC 3261 17.2.1 wants a 100)."""
    hold_s: float = 0.0
    """How long an answered call may stay up waiting for the far side's BYE; 0: our BYE at once."""
    provisionals_allowed: frozenset[int] = frozenset({100})
    """100, and what the supervised first call recorded; any other looks like a ringing phone."""
    place: Place | None = None
    """Where the INVITE says we are, to compare with what the answer reads back."""
    profile: str = PLAIN
    """Of the media that is offered."""


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
        self.mirror: Answer | None = None
        """The first answer that promises an echo, while its call is held: media may go there."""
        self.plan = plan
        self._peer, self._reliable, self._token, self._digest = peer, reliable, token, digest
        self._output = Output()
        self._incoming = Incoming(invite, peer, self._output, reliable=reliable, token=token)
        self._legs = Legs(
            caller, target_uri, self._output, reliable=reliable, token=token, digest=digest
        )
        self._invitations = [Invitation(invite, self._output, reliable=reliable)]
        self._give_up_at: float | None = None
        self._patience_until: float | None = None
        self._hold_until: float | None = None
        self._wants_end = False
        self._has_ended = False
        self._warnings: set[str] = set()

    # ---- what the pump drives

    @property
    def closed(self) -> bool:
        """Whether nothing can happen any more."""
        return (
            self._has_ended
            and self._legs.is_over
            and all(invitation.is_over for invitation in self._invitations)
        )

    def start(self, now: float) -> None:
        """Ask for the ledger row; the INVITE leaves in ``ledgered``."""
        del now
        self.ledger_due = self._invitation.octets

    def ledgered(self, now: float) -> None:
        """Send the INVITE (or its repetition with credentials), if it is still wanted."""
        if self.ledger_due is None:
            return
        self.ledger_due = None
        if self._wants_end:
            self._invitation.abandon()
        else:
            self._give_up_at = self._give_up_at or now + self.plan.give_up_after_s
            self._patience_until = min(now + self.plan.silent_after_s, self._give_up_at)
            self._invitation.start(now)
        self._settle(now)

    def resume(
        self, now: float, *, age_s: float, answer: Response | None, octets: bytes | None = None
    ) -> None:
        """End a call that a killed daemon left open (detection.md 7).

        With its 2xx on record: ACK and BYE. Within Timer B: the identical INVITE (``octets``) once
        more, to learn its state. Later: CANCEL. ``age_s`` is the time since the INVITE first left.
        """
        self._wants_end = self.over = True
        if octets is not None:
            self._invitation.octets = octets
        if answer is not None:
            self._invitation.listen(now)
            self._invitation.take(answer, now)
        elif age_s < 64 * T1:
            self._patience_until = now + min(self.plan.silent_after_s, 64 * T1 - age_s)
            self._invitation.start(now)
        else:
            self._invitation.cancel_unheard(now)
        self._settle(now)

    def receive(self, message: Message, now: float, arrived_at: float, source: Address) -> None:
        """Take a response to one of our requests, or a request of the far side."""
        if isinstance(message, Request):
            self._request_in(message, now, source)
        elif not (
            any(each.receive(message, now, arrived_at) for each in self._invitations)
            or self._legs.receive(message, now, arrived_at)
        ):
            return self._discard(message, now, source)
        return self._settle(now, source)

    def _discard(self, response: Response, now: float, source: Address) -> None:
        """18.1.2: it counts as no response; but whoever rings or has answered is ended."""
        self._output.tell(discarded(response, self._invitation.request, now, source))
        for each in self._invitations:
            each.take_discarded(response, now)
        self._legs.take_discarded(response, now)
        self._settle(now)

    def malformed(self, octets: bytes, seen: Observation, now: float, source: Address) -> None:
        """Note it; whoever rings or has answered is still ended."""
        del source
        self._output.tell(seen)
        for invitation in self._invitations:
            response = salvage(octets, invitation.request) if seen.kind is Kind.MALFORMED else None
            if response is not None:
                invitation.take(response, now)
        self._settle(now)

    def transport_error(self, seen: Observation, now: float) -> None:
        """Stop sending INVITEs; a call that was heard is ended, over a new flow if need be."""
        self._output.tell(seen)
        if self.ledger_due is not None and is_refusal(seen):
            self.ledger_due = None
            self._wants_end = True
            self._invitation.abandon()
        elif is_hard(seen):
            self.over = self.over or self.ledger_due is None
            if is_loss(seen):
                self._invitation.lost(now)
                self._legs.send_again(now)
            elif seen.kind is Kind.LOCAL_ERROR and self._invitation.has_not_left:
                self._invitation.abandon()
            self._wind_up(now)
        self._settle(now)

    def handle_timer(self, now: float) -> None:
        """Do whatever is due."""
        if self._patience_until is not None and now >= self._patience_until:
            self._give_up(now)
        if self._hold_until is not None and now >= self._hold_until:
            self._wind_up(now)
        for invitation in self._invitations:
            invitation.handle_timer(now)
        self._legs.handle_timer(now)
        self._settle(now)

    def end(self, now: float) -> None:
        """End as soon as the protocol allows; what was not heard yet is ended when it is."""
        self._wind_up(now)
        self._settle(now)

    def unsafe(self, why: str, detail: str, now: float) -> None:
        """End it at once: what was met outside the signalling may be a person."""
        self._unsafe(why, detail, now)
        self._settle(now)

    def data_to_send(self) -> list[Send]:
        """Hand over what is to be sent now."""
        return self._output.data_to_send()

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        return self._output.next_event()

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        ours = (self._patience_until, self._hold_until, self._legs.next_timer())
        return soonest((*ours, *(each.next_timer() for each in self._invitations)))

    # ---- inside

    @property
    def _invitation(self) -> Invitation:
        """The INVITE that counts: the last."""
        return self._invitations[-1]

    def _wind_up(self, now: float) -> None:
        self._wants_end = True
        self._hold_until = None
        self._legs.hang_up(now)
        if self._invitation.is_open:
            self._invitation.cancel(now)
            if not self._invitation.was_heard:
                self.over = True
                self._patience_until = None

    def _settle(self, now: float, source: Address | None = None) -> None:
        """Take what has happened, and tell ENDED once neither INVITE nor dialog is open."""
        for invitation in tuple(self._invitations):
            for happened in invitation.happened(now):
                self._happened(invitation, happened, source)
        if self._has_ended or self.ledger_due is not None:
            return
        if self._invitation.is_waiting or not self._legs.all_ended:
            return
        self._has_ended = self.over = True
        self._patience_until = self._hold_until = None
        last = next((each for each in reversed(self._invitations) if each.sends), self._invitation)
        confirmed = self._legs.all_confirmed and last.confirmed
        self._output.see(Kind.ENDED, now, how=self._legs.how or last.how, confirmed=confirmed)

    def _happened(self, invitation: Invitation, happened: Happened, source: Address | None) -> None:
        response, now = happened.response, happened.at
        if response is None:
            if self._patience_until is not None:  # Timer B came before our own patience ran out
                self._tell_silence(now)
        elif happened.act is Act.ABSORB:
            count = invitation.transaction.repeats
            self._output.see(Kind.REPEATED, now, code=response.code, count=count)
        else:
            if self._patience_until is not None:
                self._patience_until = self._give_up_at
            if source is not None and not self._legs.knows(response):
                self._output.tell(
                    response_seen(
                        happened, invitation.transaction, source, self._peer, late=self.over
                    )
                )
            self._answered(invitation, response, now)

    def _answered(self, invitation: Invitation, response: Response, now: float) -> None:
        if response.code < 200:
            invitation.was_heard = True
            if response.code not in self.plan.provisionals_allowed:
                self._unsafe("ringing", f"{response.code} {response.reason[:40]}", now)
            elif self._wants_end:
                invitation.cancel(now)
        elif response.code >= 300:
            invitation.refused(response.code)
            self._authenticate(invitation, response)
        elif self._legs.acknowledge(invitation.request, response, now):
            kind = response.header("Content-Type") or ""
            answer = read_answer(response.body, kind, profile=self.plan.profile)
            self._judge(answer, now)
            if answer.what == "mirror" and self.plan.hold_s and not self._wants_end:
                self._hold_until = self._hold_until or now + self.plan.hold_s
                self.mirror = self.mirror or answer
            else:
                self._legs.hang_up(now)

    def _judge(self, answer: Answer, now: float) -> None:
        """Say what the answer offers; whatever looks like a person is unsafe at once."""
        what, detail, text = answer.what, answer.detail, answer.text
        facts: dict[str, Fact] = {"what": what, "detail": detail, "text": text[:200]}
        if self.plan.place is not None:
            facts["location"] = sameness(self.plan.place, answer.location, text)
        self._output.see(Kind.ANSWER, now, **facts)
        if what == "no_loopback":
            self._unsafe("no_loopback", "audio accepted without a loopback attribute", now)
        if LIVE_URN.search(text):
            self._unsafe("live_urn", "the text names urn:service:sos", now)

    def _unsafe(self, why: str, detail: str, now: float) -> None:
        if why not in self._warnings:
            self._warnings.add(why)
            self._output.see(Kind.UNSAFE, now, why=why, detail=detail)
        self._wind_up(now)

    def _authenticate(self, invitation: Invitation, response: Response) -> None:
        """Answer one challenge, after a ledger row of its own (RFC 3261 22.2)."""
        if self._digest is None or self._wants_end or self.over or len(self._invitations) > 1:
            return
        first = invitation.request
        answer = self._digest.answer(response, "INVITE", first.uri, self._token(8))
        if answer is None:
            return
        try:
            request = again(first, f"z9hG4bK{self._token(16)}", answer)
            second = Invitation(request, self._output, reliable=self._reliable)
        except ValueError:  # the challenge holds what cannot be sent back
            return
        self._invitations.append(second)
        self.ledger_due = second.octets

    def _give_up(self, now: float) -> None:
        self._patience_until = None
        if self._invitation.is_open:
            self._tell_silence(now)
        self._legs.complain(now, self.plan.silent_after_s)
        self._wind_up(now)
        self.over = True

    def _tell_silence(self, now: float) -> None:
        after_s = now - self._invitation.transaction.started_at
        self._output.see(Kind.SILENT, now, method="INVITE", after_s=after_s)

    def _request_in(self, request: Request, now: float, source: Address) -> None:
        is_inside = self._legs.holds(request)
        if self._incoming.take(request, now, source, is_inside=is_inside):
            self._unsafe("callback", str(source), now)
        if is_inside and request.method == "BYE":
            self._legs.hung_up(request, now)
