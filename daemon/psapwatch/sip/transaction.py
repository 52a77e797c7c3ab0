"""Client transactions as tables: RFC 3261 17.1 with RFC 6026, and one state of our own.

``LISTENING`` is ours: at give-up, and after a transport error, nothing more is sent, but answers
are still heard until the RFC's own timer, because a call that was heard must be ended
(detection.md 1). Pure (layer L1): octets, errors and ``now`` go in; octets and events come out.
All times are loop seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from psapwatch.sip.wire import Request, Response, serialize

T1: Final = 0.5
T2: Final = 4.0
T4: Final = 5.0
"""RFC 3261 17.1.1.1, table 4; lowering T1 is NOT RECOMMENDED (17.1.1.2)."""


class State(Enum):
    """States of RFC 3261 figures 5 and 6, RFC 6026 7.2's ACCEPTED, and our LISTENING."""

    CALLING = "calling"  # "Trying" for non-INVITE
    PROCEEDING = "proceeding"
    LISTENING = "listening"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class Input(Enum):
    """What can happen to a transaction; anything not in its table changes nothing."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    RESEND = "timer A/E"
    EXPIRE = "timer B/F"
    FORGET = "timer D/K/M"
    GIVE_UP = "give up"


class Act(Enum):
    """What a transition does, in order."""

    SEND = "send the request once more"
    PASS = "pass the response to the user"
    ABSORB = "count a repeated final"
    ACK = "acknowledge a non-2xx final (17.1.1.3)"
    TIMEOUT = "tell the user that time ran out"


Row = tuple[State, tuple[Act, ...]]
Table = Mapping[tuple[State, Input], Row]

_PASS: Final = (Act.PASS,)
_ACK_PASS: Final = (Act.ACK, Act.PASS)

INVITE: Final[Table] = {
    (State.CALLING, Input.RESEND): (State.CALLING, (Act.SEND,)),
    (State.CALLING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, _PASS),
    (State.CALLING, Input.SUCCESS): (State.ACCEPTED, _PASS),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, _ACK_PASS),
    (State.CALLING, Input.GIVE_UP): (State.LISTENING, ()),
    # 17.1.1.2: once Proceeding, Timer B no longer runs; the call's own deadline must.
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, _PASS),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, _PASS),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, _ACK_PASS),
    (State.LISTENING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.LISTENING, Input.PROVISIONAL): (State.PROCEEDING, _PASS),
    (State.LISTENING, Input.SUCCESS): (State.ACCEPTED, _PASS),
    (State.LISTENING, Input.FAILURE): (State.COMPLETED, _ACK_PASS),
    # "any retransmissions of the final response ... MUST cause the ACK to be re-passed" 17.1.1.2
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, (Act.ACK, Act.ABSORB)),
    (State.COMPLETED, Input.FORGET): (State.TERMINATED, ()),
    # RFC 6026 7.2: every 2xx, repeated or forked, goes to the user, who sends the ACK
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, _PASS),
    (State.ACCEPTED, Input.FORGET): (State.TERMINATED, ()),
}

NON_INVITE: Final[Table] = {
    (State.CALLING, Input.RESEND): (State.CALLING, (Act.SEND,)),
    (State.CALLING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, _PASS),
    (State.CALLING, Input.SUCCESS): (State.COMPLETED, _PASS),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, _PASS),
    (State.CALLING, Input.GIVE_UP): (State.LISTENING, ()),
    (State.PROCEEDING, Input.RESEND): (State.PROCEEDING, (Act.SEND,)),
    (State.PROCEEDING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, _PASS),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, _PASS),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, _PASS),
    (State.PROCEEDING, Input.GIVE_UP): (State.LISTENING, ()),
    (State.LISTENING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.LISTENING, Input.PROVISIONAL): (State.LISTENING, _PASS),
    (State.LISTENING, Input.SUCCESS): (State.COMPLETED, _PASS),
    (State.LISTENING, Input.FAILURE): (State.COMPLETED, _PASS),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, (Act.ABSORB,)),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, (Act.ABSORB,)),
    (State.COMPLETED, Input.FORGET): (State.TERMINATED, ()),
}

_WAITING: Final = frozenset({State.CALLING, State.PROCEEDING, State.LISTENING})
_SENDING: Final = frozenset({State.CALLING, State.PROCEEDING})


@dataclass(frozen=True, slots=True)
class Happened:
    """An event for the transaction's user: PASS or ABSORB with the response, or TIMEOUT."""

    act: Act
    response: Response | None
    at: float
    arrived_at: float


class ClientTransaction:
    """One request and everything that belongs to it, for one branch and method.

    ``ack`` builds the ACK to a non-2xx final; only INVITE transactions are given one.
    ``octets`` overrides the serialized request: a ledger's INVITE is sent again to the letter.
    """

    def __init__(
        self,
        request: Request,
        *,
        reliable: bool,
        ack: Callable[[Response], bytes] | None = None,
        octets: bytes | None = None,
    ) -> None:
        self.request, self.method = request, request.method
        self.octets = serialize(request) if octets is None else octets
        self._via = request.vias[0]
        self.state = State.CALLING
        self.sends = 0
        self.repeats = 0
        self._reliable = reliable
        self._ack = ack
        self._table = INVITE if self.method == "INVITE" else NON_INVITE
        self._interval = T1
        self._timers: dict[Input, float] = {}
        self._out: list[bytes] = []
        self._events: list[Happened] = []

    def start(self, now: float) -> None:
        """Send the request and start Timer A or E, and B or F."""
        self._send()
        if not self._reliable:  # 17.1.1.2, 17.1.2.2: A and E run on unreliable transports only
            self._timers[Input.RESEND] = now + T1
        self._timers[Input.EXPIRE] = now + 64 * T1

    def resume(self, now: float, started_at: float) -> None:
        """Send the identical request once after a restart; Timer B counts from the first send."""
        self._send()
        self._timers[Input.EXPIRE] = max(now, started_at + 64 * T1)

    def owns(self, response: Response) -> bool:
        """17.1.3: a response belongs here if its top branch and its CSeq method are ours.

        18.1.2: its sent-by must be ours too, and 8.1.3.3: it has no second Via.
        """
        vias, ours = response.vias, self._via
        return (
            len(vias) == 1
            and vias[0].branch == ours.branch
            and response.cseq[1] == self.method
            and (vias[0].host, vias[0].port) == (ours.host, ours.port)
        )

    def receive(self, response: Response, now: float, arrived_at: float) -> None:
        """Take a response that this transaction ``owns``."""
        hundreds = response.code // 100
        happened = {1: Input.PROVISIONAL, 2: Input.SUCCESS}.get(hundreds, Input.FAILURE)
        self._step(happened, now, response, arrived_at)

    def give_up(self, now: float) -> None:
        """Stop sending and only listen; without effect once a final (or for INVITE a 1xx) came."""
        self._step(Input.GIVE_UP, now)

    def abandon(self) -> None:
        """Forget everything: the connection is gone and no answer can come any more."""
        self.state = State.TERMINATED
        self._timers.clear()

    def handle_timer(self, now: float) -> None:
        """Fire every timer that is due, in the order of their deadlines."""
        while self._timers:
            due, deadline = min(self._timers.items(), key=lambda timer: timer[1])
            if deadline > now:
                return
            del self._timers[due]
            if due is Input.RESEND:
                self._back_off(deadline, now)
            self._step(due, now)

    def next_timer(self) -> float | None:
        """Return the next deadline in loop seconds, or None when nothing is left to wait for."""
        return min(self._timers.values(), default=None)

    def data_to_send(self) -> list[bytes]:
        """Hand over what is to be sent now, and forget it."""
        out, self._out = self._out, []
        return out

    def events(self) -> list[Happened]:
        """Hand over what happened since the last call, and forget it."""
        events, self._events = self._events, []
        return events

    @property
    def is_waiting(self) -> bool:
        """Whether no final response has come and one still could."""
        return self.state in _WAITING

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen here any more."""
        return self.state is State.TERMINATED

    def _send(self) -> None:
        self.sends += 1
        self._out.append(self.octets)

    def _back_off(self, deadline: float, now: float) -> None:
        """Timer A doubles without limit; E doubles up to T2, and is T2 after a 1xx (17.1.2.2)."""
        self._interval *= 2
        if self.method != "INVITE":
            self._interval = T2 if self.state is State.PROCEEDING else min(self._interval, T2)
        self._timers[Input.RESEND] = max(deadline + self._interval, now)

    def _step(
        self, happened: Input, now: float, response: Response | None = None, arrived_at: float = 0.0
    ) -> None:
        row = self._table.get((self.state, happened))
        if row is None:
            return
        before, (self.state, acts) = self.state, row
        for act in acts:
            if act is Act.SEND:
                self._send()
            elif act is Act.ACK and self._ack and response:
                self._out.append(self._ack(response))
            else:
                self.repeats += act is Act.ABSORB
                self._events.append(Happened(act, response, now, arrived_at or now))
        if self.state is not before:
            self._enter(now)

    def _enter(self, now: float) -> None:
        """Keep the timers that the new state still needs, and start its own."""
        if self.state not in _SENDING or (self.method == "INVITE" and self.state is not State.CALLING):
            self._timers.pop(Input.RESEND, None)
        if not self.is_waiting or (self.method == "INVITE" and self.state is State.PROCEEDING):
            self._timers.pop(Input.EXPIRE, None)
        if self.state is State.ACCEPTED:
            self._timers[Input.FORGET] = now + 64 * T1  # Timer M, any transport (RFC 6026 7.2)
        elif self.state is State.COMPLETED:  # Timers D (at least 32 s) and K; zero when reliable
            linger = 64 * T1 if self.method == "INVITE" else T4
            self._timers[Input.FORGET] = now if self._reliable else now + linger
