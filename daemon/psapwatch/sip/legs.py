"""The dialogs of one call, each with its ACK and its BYE (RFC 3261 12, 13.2.2.4, 15; layer L1).

Whoever answers makes a dialog, however late and however many they are. Each 2xx is acknowledged as
often as it comes, and each dialog is ended exactly once: by our BYE, or by the far side's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from psapwatch.evidence import Kind
from psapwatch.sip.digest import Digest
from psapwatch.sip.machine import Output, answers
from psapwatch.sip.request import Caller, Dialog, credentials, dialog_of, in_dialog
from psapwatch.sip.transaction import Act, ClientTransaction, Happened
from psapwatch.sip.wire import Headers, Request, Response, serialize

FORKS_MAX: Final = 64
"""Dialogs of one call that are ended one by one; i3 forbids forking at all (3.1.18)."""
_CHALLENGES: Final = frozenset({401, 407})

How = Literal["", "bye_sent", "bye_received"]


@dataclass(slots=True)
class Leg:
    """One dialog and how far its end has come."""

    dialog: Dialog
    ack: bytes
    cseq: int
    byes: list[ClientTransaction] = field(default_factory=list)
    """The second is the first with credentials."""
    how: How = ""
    is_told: bool = False
    repeats: int = 0


class Legs:
    """Acknowledges and ends whatever answers. ``target_uri`` stands in for a missing Contact."""

    def __init__(
        self,
        caller: Caller,
        target_uri: str,
        output: Output,
        *,
        reliable: bool,
        token: Callable[[int], str],
        digest: Digest | None,
    ) -> None:
        self.all_confirmed = True
        """Whether everybody we know of is known to have ended."""
        self._caller, self._target_uri, self._output = caller, target_uri, output
        self._reliable, self._token, self._digest = reliable, token, digest
        self._legs: dict[str, Leg] = {}

    @property
    def how(self) -> How:
        """How the first dialog ended."""
        return next((leg.how for leg in self._legs.values()), "")

    @property
    def all_ended(self) -> bool:
        """Whether no dialog is open."""
        return all(leg.how for leg in self._legs.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen here any more."""
        return self.all_ended and all(bye.is_over for _leg, bye in self._byes())

    def knows(self, response: Response) -> bool:
        """Whether a 2xx is one more of a dialog that we have."""
        return response.to_tag in self._legs

    def holds(self, request: Request) -> bool:
        """Whether a request of the far side is inside one of the dialogs (12.2.2)."""
        ours = (self._caller.call_id, self._caller.from_tag)
        return (request.call_id, request.to_tag) == ours and request.from_tag in self._legs

    def acknowledge(self, invite: Request, response: Response, now: float) -> bool:
        """ACK a 2xx to ``invite`` (13.2.2.4); returns whether it is the first of its dialog."""
        leg = self._legs.get(response.to_tag)
        if leg is not None:
            leg.repeats += 1
            self._output.see(Kind.REPEATED, now, code=response.code, count=leg.repeats)
            self._output.send(leg.ack, leg.dialog.next_hop)
            return False
        if self._legs:
            self._output.see(Kind.FORKED, now, to_tag=response.to_tag[:40])
        if len(self._legs) >= FORKS_MAX:
            self._failed(f"more than {FORKS_MAX} forks", now)
            return False
        dialog, number = dialog_of(response, invite, self._target_uri), invite.cseq[0]
        try:
            ack = serialize(self._request(dialog, "ACK", number, credentials(invite)))
        except ValueError:
            self._failed("the 2xx cannot be acknowledged: its To cannot be sent", now)
            return False
        self._legs[response.to_tag] = Leg(dialog, ack, number)
        self._output.send(ack, dialog.next_hop)
        return True

    def hang_up(self, now: float) -> None:
        """BYE to every dialog that is open and has had none."""
        for leg in self._legs.values():
            if not leg.how and not leg.byes:
                self._bye(leg, now)

    def hung_up(self, request: Request, now: float) -> None:
        """Take the far side's BYE inside a dialog; ours, if it crossed, is not repeated."""
        leg = self._legs[request.from_tag]
        for bye in leg.byes:
            bye.give_up(now)
        self._end(leg, "bye_received", now)

    def receive(self, response: Response, now: float, arrived_at: float) -> bool:
        """Take a response; returns whether it is one to a BYE of ours."""
        for leg, bye in self._byes():
            if bye.owns(response):
                bye.receive(response, now, arrived_at)
                self._drain(leg, bye, now)
                return True
        return False

    def take_discarded(self, response: Response, now: float) -> None:
        """Take a response that would be one to a BYE but for its Via: the far side has heard it."""
        for leg, bye in self._byes():
            if answers(response, bye.request):
                bye.receive(response, now, now)
                self._drain(leg, bye, now)

    def send_again(self, now: float) -> None:
        """Repeat every BYE without an answer: the connection that it went over was lost."""
        for leg, bye in self._byes():
            if not leg.how:
                bye.send_again(now)
                self._drain(leg, bye, now)

    def complain(self, now: float, patience_s: float) -> None:
        """Tell the BYEs that have had no answer for ``patience_s``: the attempt ends here."""
        for leg in self._legs.values():
            if not leg.how and leg.byes and now - leg.byes[0].started_at >= patience_s:
                self._tell_failure(leg, f"no answer for {now - leg.byes[0].started_at:.1f} s", now)

    def handle_timer(self, now: float) -> None:
        """Repeat and forget what is due."""
        for leg, bye in self._byes():
            bye.handle_timer(now)
            self._drain(leg, bye, now)

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        deadlines = (bye.next_timer() for _leg, bye in self._byes())
        return min((at for at in deadlines if at is not None), default=None)

    def _byes(self) -> Iterator[tuple[Leg, ClientTransaction]]:
        return iter([(leg, bye) for leg in self._legs.values() for bye in leg.byes])

    def _request(self, dialog: Dialog, method: str, cseq: int, extra: Headers) -> Request:
        branch = f"z9hG4bK{self._token(16)}"
        return in_dialog(self._caller, dialog, branch, method, cseq, extra)[0]

    def _bye(self, leg: Leg, now: float, extra: Headers = ()) -> None:
        """Send BYE; its number follows the last one of this dialog (12.2.1.1).

        Raises:
            ValueError: ``extra`` cannot be sent.
        """
        bye = ClientTransaction(
            self._request(leg.dialog, "BYE", leg.cseq + 1, extra), reliable=self._reliable
        )
        leg.cseq += 1
        leg.byes.append(bye)
        bye.start(now)
        self._drain(leg, bye, now)

    def _drain(self, leg: Leg, bye: ClientTransaction, now: float) -> None:
        self._output.flush(bye, now, leg.dialog.next_hop)
        for happened in bye.events():
            self._happened(leg, bye, happened)

    def _happened(self, leg: Leg, bye: ClientTransaction, happened: Happened) -> None:
        response, now = happened.response, happened.at
        if response is None:
            self._end(leg, "bye_sent", now, "no answer")
        elif happened.act is not Act.DELIVER or response.code < 200 or leg.how:
            return
        elif not self._authenticated(leg, bye, response, now):
            # 15.1.1: 481 says that the dialog is gone; anything else leaves it open over there.
            is_gone = response.code < 300 or response.code == 481
            self._end(leg, "bye_sent", now, "" if is_gone else f"answered {response.code}")

    def _authenticated(
        self, leg: Leg, bye: ClientTransaction, response: Response, now: float
    ) -> bool:
        """Answer one challenge (RFC 3261 22.2)."""
        if self._digest is None or response.code not in _CHALLENGES or bye is not leg.byes[0]:
            return False
        answer = self._digest.answer(response, "BYE", bye.request.uri, self._token(8))
        if answer is None:
            return False
        try:
            self._bye(leg, now, (answer,))
        except ValueError:  # the challenge holds what cannot be sent back
            return False
        return True

    def _end(self, leg: Leg, how: How, now: float, failure: str = "") -> None:
        if leg.how:
            return
        leg.how = how
        if failure:
            self.all_confirmed = False
            self._tell_failure(leg, failure, now)

    def _tell_failure(self, leg: Leg, why: str, now: float) -> None:
        if not leg.is_told:
            leg.is_told = True
            self._output.see(Kind.TEARDOWN_FAILED, now, method="BYE", why=why)

    def _failed(self, why: str, now: float) -> None:
        """Somebody answered whom we cannot end."""
        self.all_confirmed = False
        self._output.see(Kind.TEARDOWN_FAILED, now, method="BYE", why=why)
