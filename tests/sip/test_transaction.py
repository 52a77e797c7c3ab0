"""Client transactions: every row of both tables, and every timer to the millisecond."""

from __future__ import annotations

import pytest

from psapwatch.sip.request import ack_failure, invite, options
from psapwatch.sip.transaction import (
    INVITE,
    NON_INVITE,
    T1,
    T4,
    Act,
    ClientTransaction,
    Input,
    State,
)
from psapwatch.sip.wire import Request, Response, serialize
from sip.line import TARGET, answer_to, caller

INVITATION = invite(caller(), "z9hG4bK1", (TARGET,), b"v=0\r\n", "application/sdp")
QUESTION = options(caller(), "z9hG4bK2", TARGET)
INVITE_SENDS = [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
OPTIONS_SENDS = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]

CODES = {Input.PROVISIONAL: 180, Input.SUCCESS: 200, Input.FAILURE: 486}
FEEDS = ("PROVISIONAL", "SUCCESS", "FAILURE", "RESEND", "EXPIRE", "FORGET", "GIVE_UP")

# state and input -> next state, then S (sent again), D (delivered), A (absorbed), K (ACK),
# T (time out told); a pair that is not here changes nothing. Written from RFC 3261 figures 5 and 6
# and RFC 6026 figure 3, not from the tables under test.
EXPECTED_INVITE = {
    ("CALLING", "RESEND"): ("CALLING", "S"),
    ("CALLING", "EXPIRE"): ("TERMINATED", "T"),
    ("CALLING", "PROVISIONAL"): ("PROCEEDING", "D"),
    ("CALLING", "SUCCESS"): ("ACCEPTED", "D"),
    ("CALLING", "FAILURE"): ("COMPLETED", "KD"),
    ("CALLING", "GIVE_UP"): ("LISTENING", ""),
    ("PROCEEDING", "PROVISIONAL"): ("PROCEEDING", "D"),
    ("PROCEEDING", "SUCCESS"): ("ACCEPTED", "D"),
    ("PROCEEDING", "FAILURE"): ("COMPLETED", "KD"),
    ("LISTENING", "EXPIRE"): ("TERMINATED", "T"),
    ("LISTENING", "PROVISIONAL"): ("PROCEEDING", "D"),
    ("LISTENING", "SUCCESS"): ("ACCEPTED", "D"),
    ("LISTENING", "FAILURE"): ("COMPLETED", "KD"),
    ("COMPLETED", "FAILURE"): ("COMPLETED", "KA"),
    ("COMPLETED", "SUCCESS"): ("ACCEPTED", "D"),
    ("COMPLETED", "FORGET"): ("TERMINATED", ""),
    ("ACCEPTED", "SUCCESS"): ("ACCEPTED", "D"),
    ("ACCEPTED", "FORGET"): ("TERMINATED", ""),
}
EXPECTED_NON_INVITE = {
    ("CALLING", "RESEND"): ("CALLING", "S"),
    ("CALLING", "EXPIRE"): ("TERMINATED", "T"),
    ("CALLING", "PROVISIONAL"): ("PROCEEDING", "D"),
    ("CALLING", "SUCCESS"): ("COMPLETED", "D"),
    ("CALLING", "FAILURE"): ("COMPLETED", "D"),
    ("CALLING", "GIVE_UP"): ("LISTENING", ""),
    ("PROCEEDING", "RESEND"): ("PROCEEDING", "S"),
    ("PROCEEDING", "EXPIRE"): ("TERMINATED", "T"),
    ("PROCEEDING", "PROVISIONAL"): ("PROCEEDING", "D"),
    ("PROCEEDING", "SUCCESS"): ("COMPLETED", "D"),
    ("PROCEEDING", "FAILURE"): ("COMPLETED", "D"),
    ("PROCEEDING", "GIVE_UP"): ("LISTENING", ""),
    ("LISTENING", "EXPIRE"): ("TERMINATED", "T"),
    ("LISTENING", "PROVISIONAL"): ("LISTENING", "D"),
    ("LISTENING", "SUCCESS"): ("COMPLETED", "D"),
    ("LISTENING", "FAILURE"): ("COMPLETED", "D"),
    ("COMPLETED", "SUCCESS"): ("COMPLETED", "A"),
    ("COMPLETED", "FAILURE"): ("COMPLETED", "A"),
    ("COMPLETED", "FORGET"): ("TERMINATED", ""),
}
LEADING_TO = {
    "CALLING": (),
    "PROCEEDING": (Input.PROVISIONAL,),
    "LISTENING": (Input.GIVE_UP,),
    "COMPLETED": (Input.FAILURE,),
    "ACCEPTED": (Input.SUCCESS,),
    "TERMINATED": (Input.FAILURE, Input.FORGET),
}


def begun(request: Request, *, reliable: bool = False) -> ClientTransaction:
    """A transaction whose request has left at 0."""
    is_invite = request.method == "INVITE"
    transaction = ClientTransaction(
        request,
        reliable=reliable,
        ack=(lambda final: serialize(ack_failure(request, final))) if is_invite else None,
    )
    transaction.start(0.0)
    return transaction


def feed(transaction: ClientTransaction, what: Input, now: float) -> None:
    """Bring about one input by the public way, timers at the moment that they are due."""
    if what in CODES:
        transaction.receive(answer_to(transaction.request, CODES[what]), now, now)
    elif what is Input.GIVE_UP:
        transaction.give_up(now)
    else:
        transaction._step(what, now)


def what_came_out(transaction: ClientTransaction) -> str:
    """Letters for what a step did, as in the expected tables."""
    sent = [octets.split(b" ")[0] for octets in transaction.data_to_send()]
    letters = {Act.DELIVER: "D", Act.ABSORB: "A", Act.TIMEOUT: "T"}
    events = [letters[happened.act] for happened in transaction.events()]
    return "".join(["K" if method == b"ACK" else "S" for method in sent] + events)


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize(
    ("state", "is_invite"),
    [
        (state, is_invite)
        for state in LEADING_TO
        for is_invite in (True, False)
        if is_invite or state != "ACCEPTED"  # RFC 6026 gives this state to INVITE alone
    ],
)
def test_every_pair_of_state_and_input(state: str, name: str, *, is_invite: bool) -> None:
    """Each pair does what the RFC's figures draw, and a pair that they do not draw does nothing."""
    transaction = begun(INVITATION if is_invite else QUESTION)
    for what in LEADING_TO[state]:
        feed(transaction, what, 0.1)
    assert transaction.state is State[state]
    what_came_out(transaction)
    feed(transaction, Input[name], 0.2)
    expected = EXPECTED_INVITE if is_invite else EXPECTED_NON_INVITE
    assert (transaction.state.name, what_came_out(transaction)) == expected.get(
        (state, name), (state, "")
    )


def test_the_tables_have_no_rows_that_are_not_expected() -> None:
    """The tables and the figures speak of the same pairs."""
    for table, expected in ((INVITE, EXPECTED_INVITE), (NON_INVITE, EXPECTED_NON_INVITE)):
        assert {(state.name, what.name) for state, what in table} == set(expected)


def sends_of(transaction: ClientTransaction, until: float = 200.0) -> list[float]:
    """When the request leaves, each timer fired at its moment."""
    found = [0.0 for _octets in transaction.data_to_send()]
    while (due := transaction.next_timer()) is not None and due <= until:
        transaction.handle_timer(due)
        found += [due for _octets in transaction.data_to_send()]
    return found


def test_timer_a_doubles_without_limit_and_timer_b_ends_it() -> None:
    """An INVITE leaves seven times over UDP; at 32 s Timer B tells that time ran out."""
    transaction = begun(INVITATION)
    assert sends_of(transaction) == INVITE_SENDS
    (happened,) = transaction.events()
    assert (happened.act, happened.at) == (Act.TIMEOUT, 64 * T1)
    assert transaction.is_over


def test_timer_e_doubles_up_to_t2_and_timer_f_ends_it() -> None:
    """OPTIONS leave eleven times over UDP; at 32 s Timer F tells that time ran out."""
    transaction = begun(QUESTION)
    assert sends_of(transaction) == OPTIONS_SENDS
    (happened,) = transaction.events()
    assert (happened.act, happened.at) == (Act.TIMEOUT, 32.0)


@pytest.mark.parametrize("request_", [INVITATION, QUESTION], ids=["INVITE", "OPTIONS"])
def test_a_reliable_transport_sends_once(request_: Request) -> None:
    """Timers A and E never run over a stream; B and F do."""
    transaction = begun(request_, reliable=True)
    assert sends_of(transaction) == [0.0]
    assert [happened.at for happened in transaction.events()] == [32.0]


def test_after_a_provisional_timer_e_is_t2() -> None:
    """17.1.2.2: the running Timer E still fires, from then on every 4 s, to Timer F."""
    transaction = begun(QUESTION)
    transaction.receive(answer_to(QUESTION, 100), 0.2, 0.2)
    assert sends_of(transaction) == [0.0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert [happened.at for happened in transaction.events()] == [0.2, 32.0]


def test_after_a_provisional_an_invite_has_no_timer() -> None:
    """17.1.1.2: neither A nor B runs in Proceeding; the call's own deadline must."""
    transaction = begun(INVITATION)
    transaction.receive(answer_to(INVITATION, 100), 0.2, 0.2)
    assert transaction.next_timer() is None
    assert sends_of(transaction) == [0.0]


@pytest.mark.parametrize(
    ("request_", "code", "lingers_s"),
    [
        (INVITATION, 486, 64 * T1),  # Timer D: at least 32 s
        (INVITATION, 200, 64 * T1),  # Timer M
        (QUESTION, 200, T4),  # Timer K
        (QUESTION, 486, T4),
    ],
)
def test_how_long_a_final_is_remembered(request_: Request, code: int, lingers_s: float) -> None:
    """Timers D, M and K run from the final's arrival."""
    transaction = begun(request_)
    transaction.receive(answer_to(request_, code), 1.0, 1.0)
    assert transaction.next_timer() == 1.0 + lingers_s
    transaction.handle_timer(1.0 + lingers_s - 0.001)
    assert not transaction.is_over
    transaction.handle_timer(1.0 + lingers_s)
    assert transaction.is_over


@pytest.mark.parametrize(
    ("request_", "code", "is_over"),
    [(INVITATION, 486, True), (QUESTION, 200, True), (INVITATION, 200, False)],
)
def test_a_reliable_transport_forgets_at_once(
    request_: Request, code: int, *, is_over: bool
) -> None:
    """Timers D and K are zero over a stream; M is not (RFC 6026 7.2)."""
    transaction = begun(request_, reliable=True)
    transaction.receive(answer_to(request_, code), 1.0, 1.0)
    assert transaction.is_over is is_over
    assert transaction.next_timer() == (None if is_over else 33.0)


def test_each_repeated_refusal_is_acknowledged_again() -> None:
    """17.1.1.2: in Completed every repeat of the final gets the ACK, and the user hears it once."""
    transaction = begun(INVITATION)
    transaction.data_to_send()
    for repeat in range(5):
        transaction.receive(answer_to(INVITATION, 503), 1.0 + repeat, 1.0 + repeat)
    acks = transaction.data_to_send()
    assert len(acks) == 5
    assert len(set(acks)) == 1
    acts = [happened.act for happened in transaction.events()]
    assert acts == [Act.DELIVER] + [Act.ABSORB] * 4
    assert transaction.repeats == 4


def test_a_timer_called_early_does_nothing() -> None:
    """A loop may fire a tick too soon: nothing is sent before its moment."""
    transaction = begun(INVITATION)
    transaction.data_to_send()
    transaction.handle_timer(0.4999)
    assert transaction.data_to_send() == []
    assert transaction.next_timer() == 0.5


def test_a_timer_called_a_little_late_keeps_the_schedule() -> None:
    """Lateness does not add up: the next transmission is counted from the deadline."""
    transaction = begun(INVITATION)
    for due in INVITE_SENDS[1:]:
        assert transaction.next_timer() == due
        transaction.handle_timer(due + 0.02)
    assert transaction.sends == 7


def test_a_timer_called_very_late_sends_no_burst() -> None:
    """After a stall of ten seconds one copy leaves, and the next not before the interval."""
    transaction = begun(INVITATION)
    transaction.data_to_send()
    transaction.handle_timer(10.0)
    assert len(transaction.data_to_send()) == 1
    assert transaction.next_timer() == 11.0


def test_a_request_whose_time_is_over_does_not_leave() -> None:
    """A timer called after Timer B tells the timeout and sends nothing that nobody would end."""
    transaction = begun(INVITATION)
    transaction.data_to_send()
    transaction.handle_timer(40.0)
    assert transaction.data_to_send() == []
    assert transaction.is_over


def test_giving_up_an_invite_listens_for_64_t1_after_the_last_transmission() -> None:
    """Given up at 4 s, an INVITE last sent at 3.5 s is listened for until 35.5 s."""
    transaction = begun(INVITATION)
    for due in (0.5, 1.5, 3.5):
        transaction.handle_timer(due)
    transaction.give_up(4.0)
    assert transaction.sends == 4
    assert transaction.next_timer() == 35.5
    transaction.receive(answer_to(INVITATION, 200), 33.0, 33.0)
    assert transaction.state is State.ACCEPTED


def test_giving_up_options_listens_to_timer_f() -> None:
    """Nothing more leaves, and a late answer is still delivered."""
    transaction = begun(QUESTION)
    transaction.give_up(4.0)
    assert transaction.next_timer() == 32.0
    transaction.receive(answer_to(QUESTION, 200), 31.0, 31.0)
    assert [happened.act for happened in transaction.events()] == [Act.DELIVER]


def test_listening_for_an_earlier_life_sends_nothing() -> None:
    """After a restart too late to send again, answers are heard for 64*T1."""
    transaction = ClientTransaction(INVITATION, reliable=False)
    transaction.listen(100.0)
    assert transaction.data_to_send() == []
    assert transaction.next_timer() == 132.0


def test_the_arrival_is_kept_apart_from_the_moment_of_handling() -> None:
    """The kernel's receive time is evidence, the loop's time drives the timers."""
    transaction = begun(QUESTION)
    transaction.receive(answer_to(QUESTION, 200), 0.3, 0.1)
    (happened,) = transaction.events()
    assert (happened.at, happened.arrived_at) == (0.3, 0.1)


def changed(**parts: str) -> Response:
    """A 200 to the question with some headers changed."""
    response = answer_to(QUESTION, 200)
    return Response(200, "OK", tuple((n, parts.get(n, value)) for n, value in response.headers))


@pytest.mark.parametrize(
    ("response", "is_owned"),
    [
        (changed(), True),
        (changed(CSeq="7 OPTIONS"), True),  # 17.1.3 asks for the method only
        (changed(CSeq="1 INVITE"), False),
        (changed(Via="SIP/2.0/UDP 198.51.100.7:20000;branch=z9hG4bK9;rport"), False),
        (changed(Via="SIP/2.0/UDP 198.51.100.8:20000;branch=z9hG4bK2;rport"), False),
        (changed(Via="SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK2;rport"), False),
        (
            changed(
                Via="SIP/2.0/UDP 198.51.100.7:20000;branch=z9hG4bK2;rport=1;received=203.0.113.5"
            ),
            True,
        ),
        (
            changed(
                Via="SIP/2.0/UDP 198.51.100.7:20000;branch=z9hG4bK2,"
                "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK3"
            ),
            False,
        ),
    ],
)
def test_which_responses_belong_to_a_transaction(response: Response, *, is_owned: bool) -> None:
    """17.1.3: top branch and CSeq method; 18.1.2: our sent-by; 8.1.3.3: one Via."""
    assert begun(QUESTION).owns(response) is is_owned


def test_a_transaction_that_is_over_owns_nothing() -> None:
    """A response after the last timer is a stray, not silently swallowed."""
    transaction = begun(QUESTION)
    transaction.abandon()
    assert not transaction.owns(answer_to(QUESTION, 200))


def test_sending_again_is_for_those_who_wait() -> None:
    """A lost connection repeats a request without an answer, and no other."""
    transaction = begun(QUESTION, reliable=True)
    transaction.data_to_send()
    transaction.send_again(1.0)
    assert len(transaction.data_to_send()) == 1
    transaction.receive(answer_to(QUESTION, 200), 2.0, 2.0)
    transaction.send_again(3.0)
    assert transaction.data_to_send() == []
