"""Client transactions as tables: RFC 3261 17.1 with RFC 6026, and one state of our own.

``LISTENING`` is ours: at give-up, and after a transport error, nothing more is sent, but answers
are still heard, because a call that was heard must be ended: to Timer F, and for an INVITE to
64*T1 after its last transmission, as whoever heard that one may answer so late. Pure (layer L1):
octets, errors and ``now`` go in; octets and events come out. All times are loop seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from psapwatch.sip.wire import Request, Response, serialize

T1: Final = 0.5
T2: Final = 4.0
T4: Final = 5.0
"""RFC 3261 17.1.1.1, table 4; lowering T1 is NOT RECOMMENDED (17.1.1.2)."""


class State(Enum):
    """States of RFC 3261 figures 5 and 6, RFC 6026 7.2's ACCEPTED, and our LISTENING."""

    __hash__ = object.__hash__  # a member is itself: the tables are asked with every message

    CALLING = "calling"  # "Trying" for non-INVITE
    PROCEEDING = "proceeding"
    LISTENING = "listening"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class Input(Enum):
    """What can happen to a transaction; anything not in its table changes nothing."""

    __hash__ = object.__hash__

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
    DELIVER = "hand the response to the user"
    ABSORB = "count a repeated final"
    ACK = "acknowledge a non-2xx final (17.1.1.3)"
    TIMEOUT = "tell the user that time ran out"


Row = tuple[State, tuple[Act, ...]]
Table = Mapping[tuple[State, Input], Row]

_DELIVER: Final = (Act.DELIVER,)
_ACK_DELIVER: Final = (Act.ACK, Act.DELIVER)

INVITE: Final[Table] = {
    (State.CALLING, Input.RESEND): (State.CALLING, (Act.SEND,)),
    (State.CALLING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, _DELIVER),
    (State.CALLING, Input.SUCCESS): (State.ACCEPTED, _DELIVER),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, _ACK_DELIVER),
    (State.CALLING, Input.GIVE_UP): (State.LISTENING, ()),
    # 17.1.1.2: once Proceeding, Timer B no longer runs; the call's own deadline must.
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, _DELIVER),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, _DELIVER),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, _ACK_DELIVER),
    (State.LISTENING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.LISTENING, Input.PROVISIONAL): (State.PROCEEDING, _DELIVER),
    (State.LISTENING, Input.SUCCESS): (State.ACCEPTED, _DELIVER),
    (State.LISTENING, Input.FAILURE): (State.COMPLETED, _ACK_DELIVER),
    # "any retransmissions of the final response ... MUST cause the ACK to be re-passed" 17.1.1.2
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, (Act.ACK, Act.ABSORB)),
    (State.COMPLETED, Input.FORGET): (State.TERMINATED, ()),
    # A 2xx behind a refusal breaks 16.7, but somebody took the call, and it must be ended.
    (State.COMPLETED, Input.SUCCESS): (State.ACCEPTED, _DELIVER),
    # RFC 6026 7.2: every 2xx, repeated or forked, goes to the user, who sends the ACK
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, _DELIVER),
    (State.ACCEPTED, Input.FORGET): (State.TERMINATED, ()),
}

NON_INVITE: Final[Table] = {
    (State.CALLING, Input.RESEND): (State.CALLING, (Act.SEND,)),
    (State.CALLING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, _DELIVER),
    (State.CALLING, Input.SUCCESS): (State.COMPLETED, _DELIVER),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, _DELIVER),
    (State.CALLING, Input.GIVE_UP): (State.LISTENING, ()),
    (State.PROCEEDING, Input.RESEND): (State.PROCEEDING, (Act.SEND,)),
    (State.PROCEEDING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, _DELIVER),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, _DELIVER),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, _DELIVER),
    (State.PROCEEDING, Input.GIVE_UP): (State.LISTENING, ()),
    (State.LISTENING, Input.EXPIRE): (State.TERMINATED, (Act.TIMEOUT,)),
    (State.LISTENING, Input.PROVISIONAL): (State.LISTENING, _DELIVER),
    (State.LISTENING, Input.SUCCESS): (State.COMPLETED, _DELIVER),
    (State.LISTENING, Input.FAILURE): (State.COMPLETED, _DELIVER),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, (Act.ABSORB,)),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, (Act.ABSORB,)),
    (State.COMPLETED, Input.FORGET): (State.TERMINATED, ()),
}

_CLASSES: Final = {1: Input.PROVISIONAL, 2: Input.SUCCESS}
_WAITING: Final = frozenset({State.CALLING, State.PROCEEDING, State.LISTENING})
_KEPT: Final[Mapping[State, frozenset[Input]]] = {
    State.CALLING: frozenset({Input.RESEND, Input.EXPIRE}),
    State.PROCEEDING: frozenset({Input.RESEND, Input.EXPIRE}),  # of an INVITE: none
    State.LISTENING: frozenset({Input.EXPIRE}),
    State.COMPLETED: frozenset({Input.FORGET}),
    State.ACCEPTED: frozenset({Input.FORGET}),
    State.TERMINATED: frozenset(),
}
"""Timers that go on running in a state; entering it stops all others."""


class Happened(NamedTuple):
    """An event for the transaction's user: DELIVER or ABSORB with the response, or TIMEOUT."""

    act: Act
    response: Response | None
    at: float
    arrived_at: float


class ClientTransaction:
    """One request and everything that belongs to it, for one branch and method.

    ``ack`` builds the ACK to a non-2xx final; only INVITE transactions are given one.
    ``octets`` stand in for the serialized request: a ledger's INVITE is sent again to the letter.
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
        self.state = State.CALLING
        self.started_at = 0.0
        self.sends = 0
        self.repeats = 0
        self._via = request.vias[0]
        self._reliable = reliable
        self._ack = ack
        self._is_invite = self.method == "INVITE"
        self._table = INVITE if self._is_invite else NON_INVITE
        self._interval = T1
        self._sent_at = 0.0
        self._timers: dict[Input, float] = {}
        self._out: list[bytes] = []
        self._events: list[Happened] = []

    def start(self, now: float) -> None:
        """Send the request and start Timer A or E, and B or F."""
        self.started_at = now
        self._send(now)
        if not self._reliable:  # 17.1.1.2, 17.1.2.2: A and E run on unreliable transports only
            self._timers[Input.RESEND] = now + T1
        self._timers[Input.EXPIRE] = now + 64 * T1

    def listen(self, now: float) -> None:
        """Wait for responses to a request that was sent in an earlier life of ours."""
        self.started_at = self._sent_at = now
        self._step(Input.GIVE_UP, now)

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
            and not self.is_over
        )

    def receive(self, response: Response, now: float, arrived_at: float) -> None:
        """Take a response that this transaction ``owns``."""
        self._step(_CLASSES.get(response.code // 100, Input.FAILURE), now, response, arrived_at)

    def give_up(self, now: float) -> None:
        """Stop sending and only listen; without effect once a final (or for INVITE a 1xx) came."""
        self._step(Input.GIVE_UP, now)

    def send_again(self, now: float) -> None:
        """Send once more, outside of the timers: the connection that it went over was lost."""
        if self.is_waiting:
            self._send(now)

    def abandon(self) -> None:
        """Forget everything: no answer can come any more."""
        self.state = State.TERMINATED
        self._timers.clear()

    def handle_timer(self, now: float) -> None:
        """Fire what is due, each at most once: a late call must not send a burst.

        Nor a request whose time is over: nobody would be there to end what it starts.
        """
        for due in (Input.EXPIRE, Input.FORGET, Input.RESEND):
            deadline = self._timers.get(due)
            if deadline is None or deadline > now:
                continue
            del self._timers[due]
            if due is Input.RESEND:
                self._back_off(deadline, now)
            self._step(due, now)

    def next_timer(self) -> float | None:
        """Return the next deadline in loop seconds, or None when nothing is left to wait for."""
        return min(self._timers.values()) if self._timers else None

    def data_to_send(self) -> list[bytes]:
        """Hand over what is to be sent now, and forget it."""
        out, self._out = self._out, []
        return out

    def events(self) -> list[Happened]:
        """Hand over what happened since the last call, and forget it."""
        events, self._events = self._events, []
        return events

    @property
    def has_output(self) -> bool:
        """Whether there is anything to send or to tell."""
        return bool(self._out or self._events)

    @property
    def is_waiting(self) -> bool:
        """Whether no final response has come and one still could."""
        return self.state in _WAITING

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen here any more."""
        return self.state is State.TERMINATED

    def _send(self, now: float) -> None:
        self.sends += 1
        self._sent_at = now
        self._out.append(self.octets)

    def _back_off(self, deadline: float, now: float) -> None:
        """Timer A doubles without limit; E doubles up to T2, and is T2 after a 1xx (17.1.2.2)."""
        self._interval *= 2
        if not self._is_invite:
            self._interval = T2 if self.state is State.PROCEEDING else min(self._interval, T2)
        follows = deadline + self._interval
        self._timers[Input.RESEND] = follows if follows > now else now + self._interval

    def _step(
        self, happened: Input, now: float, response: Response | None = None, arrived_at: float = 0.0
    ) -> None:
        row = self._table.get((self.state, happened))
        if row is None:
            return
        before, (self.state, acts) = self.state, row
        for act in acts:
            if act is Act.SEND:
                self._send(now)
            elif act is Act.ACK and self._ack and response:
                self._out.append(self._ack(response))
            else:
                self.repeats += act is Act.ABSORB
                self._events.append(Happened(act, response, now, arrived_at or now))
        if self.state is not before:
            self._enter(now)

    def _enter(self, now: float) -> None:
        """Keep the timers that the new state still needs, and start its own."""
        kept = _KEPT[self.state]
        if self._is_invite and self.state is State.PROCEEDING:
            kept = frozenset()  # 17.1.1.2: neither A nor B runs any more
        self._timers = {timer: at for timer, at in self._timers.items() if timer in kept}
        if self._is_invite and self.state is State.LISTENING:
            # Whoever heard the last INVITE may answer for as long as it would repeat a final.
            self._timers[Input.EXPIRE] = self._sent_at + 64 * T1
        elif self.state is State.ACCEPTED:
            self._timers[Input.FORGET] = now + 64 * T1  # Timer M, any transport (RFC 6026 7.2)
        elif self.state is State.COMPLETED and self._reliable:
            self.state = State.TERMINATED  # Timers D and K are zero (17.1.1.2, 17.1.2.2)
        elif self.state is State.COMPLETED:  # Timer D (at least 32 s) or K
            self._timers[Input.FORGET] = now + (64 * T1 if self._is_invite else T4)
