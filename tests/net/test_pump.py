"""The pump over the simulated network: what it hears, sends, waits for, and lets go of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from psapwatch.endpoint import Address, Credentials, FlowKind, Source, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.net.pump import BROKEN_S, OBSERVATIONS_MAX, TRANSCRIPT_MAX, Pump
from psapwatch.net.ways import WAITING_MAX, WAYS_MAX
from psapwatch.simulator.certificate import Certificate
from psapwatch.simulator.link import Link
from psapwatch.simulator.loop import run
from psapwatch.simulator.psap import SimulatedPsap
from psapwatch.simulator.world import EPOCH, simulated_world
from psapwatch.sip.answering_script import MANGLES, SCRIPTS, Script, Step
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.machine import Send
from psapwatch.sip.offer import build_offer
from psapwatch.sip.options import OptionsExchange
from psapwatch.sip.request import Caller, invite, options
from psapwatch.sip.wire import Request, Response, parse, serialize
from psapwatch.world import (
    Arrival,
    CallForbidden,
    Flow,
    Listener,
    MediaFlow,
    MediaListener,
    Resolved,
    Road,
)
from sip.line import answer_to

_T = TypeVar("_T")

HOST = "10.1.0.1"
PEER = Address("10.2.0.1", 5060)
OTHER = Address("10.2.0.2", 5070)
TARGET = f"sip:{PEER}"
USER = Credentials("probe", "secret")


class Desk:
    """A far side written by hand; ``answers`` says what a request gets."""

    certificate: Certificate | None = None

    def __init__(
        self,
        stage: Stage,
        address: Address,
        transport: TransportName = "udp",
        answers: Callable[[Request], list[Response]] = lambda _request: [],
    ) -> None:
        self.heard: list[tuple[float, Request]] = []
        self.sources: list[Address] = []
        self._network, self._address, self._transport = stage.world.network, address, transport
        self._answers = answers
        self._network.place(address.host, "them")
        if transport == "udp":
            self._network.bind(address, self.stream_arrived)
        else:
            self._network.serve(address, transport, self)

    @property
    def methods(self) -> list[str]:
        """Methods heard, in order."""
        return [request.method for _at, request in self.heard]

    def stream_arrived(self, octets: bytes, source: Address) -> None:
        """Take one message and answer it."""
        message = parse(octets)
        if isinstance(message, Request):
            self.heard.append((asyncio.get_running_loop().time(), message))
            self.sources.append(source)
            for response in self._answers(message):
                self.say(serialize(response), source)

    def say(self, octets: bytes, to: Address) -> None:
        """Send a message, over the connection from ``to`` if it is a stream."""
        if self._transport == "udp":
            self._network.datagram(self._address, to, octets)
        else:
            self._network.answer(self._address, to, octets)

    def cut(self) -> None:
        """Close every connection and accept new ones."""
        self._network.unserve(self._address, self._transport)
        self._network.serve(self._address, self._transport, self)


class Stage:
    """A world with one prober's host, and the pumps that run on it."""

    def __init__(self) -> None:
        self.world = simulated_world(7)
        self.world.network.place(HOST, "us")
        self.world.network.join("us", "them", Link(delay_s=0.01, jitter_s=0.0))
        self.crowd: dict[Pump, None] = {}
        self.late: list[Observation] = []
        self.rows: list[bytes] = []
        self.ledger_s = 0.0

    def psap(self, script: Script, *transports: TransportName) -> SimulatedPsap:
        """An answering point at PEER's host."""
        self.world.network.place(PEER.host, "them")
        tag = lambda: self.world.entropy.token(8)  # noqa: E731 - as short as it is
        return SimulatedPsap(
            self.world.network, "Town", (PEER.host,), tag=tag, script=script,
            transports=transports or ("udp",),
        )  # fmt: skip

    async def pump(
        self,
        transport: TransportName = "udp",
        *,
        is_call: bool = True,
        ledger: Callable[[bytes, Flow], Awaitable[None]] | None = None,
        kept: bool = False,
        call_id: str = "",
        road: Road | None = None,
    ) -> Pump:
        """A pump whose flow is up."""
        flow: FlowKind = "kept" if kept else "fresh"
        road = road or Road(transport, Source(HOST), PEER, flow=flow)
        pump = Pump(
            self.world.network,
            self.world.resolver,
            road,
            call_id or "the-call",
            crowd=self.crowd,
            ledger=(ledger or self.enter) if is_call else None,
            heard=self.late.append,
        )
        assert await pump.open(4.0) is not None
        return pump

    async def enter(self, octets: bytes, _flow: Flow) -> None:
        """Keep the row."""
        await asyncio.sleep(self.ledger_s)
        self.rows.append(octets)

    def caller(self, pump: Pump, call_id: str = "") -> Caller:
        """Who calls over a pump's flow."""
        flow = pump.flow
        assert flow is not None
        return Caller(
            flow.transport.upper(),
            str(flow.local),
            f"sip:path-test@{flow.local}",
            "sip:probe@example.net",
            "us",
            call_id or "the-call",
        )

    def call(
        self,
        pump: Pump,
        plan: CallPlan | None = None,
        *,
        kind: type[Call] = Call,
        user: Credentials | None = None,
    ) -> Call:
        """A call for a pump."""
        caller = self.caller(pump)
        body = build_offer(HOST, 9, 1)
        branch = f"z9hG4bK{self.world.entropy.token(16)}"
        return kind(
            invite(caller, branch, (TARGET,), body, "application/sdp"),
            caller,
            peer=pump.road.peer,
            target_uri=TARGET,
            reliable=caller.via_token != "UDP",
            plan=plan or CallPlan(),
            token=self.world.entropy.token,
            digest=Digest(user) if user else None,
        )

    def question(self, pump: Pump, call_id: str = "") -> OptionsExchange:
        """An OPTIONS exchange for a pump."""
        caller = self.caller(pump, call_id)
        return OptionsExchange(
            options(caller, f"z9hG4bK{self.world.entropy.token(16)}", TARGET),
            peer=PEER,
            reliable=caller.via_token != "UDP",
            give_up_after_s=4.0,
            token=self.world.entropy.token,
        )

    async def gone(self, after_s: float = 150.0) -> None:
        """Wait until nothing can happen any more: no pump, no flow, no task is left."""
        await asyncio.sleep(after_s)
        assert not self.crowd
        assert self.world.network.open_flows == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


def staged(play: Callable[[Stage], Coroutine[Any, Any, _T]]) -> _T:
    """Run a play on a fresh stage, in virtual time."""

    async def whole() -> _T:
        return await play(Stage())

    return run(whole())


def now() -> float:
    """Loop seconds."""
    return asyncio.get_running_loop().time()


def accepts(*headers: tuple[str, str]) -> Callable[[Request], list[Response]]:
    """A far side that takes the call, with these headers in its 2xx, and answers BYE."""

    def answers(request: Request) -> list[Response]:
        if request.method == "ACK":
            return []
        return [answer_to(request, 200, headers=headers if request.method == "INVITE" else ())]

    return answers


def kinds(observations: list[Observation]) -> list[Kind]:
    """The kinds, in order."""
    return [seen.kind for seen in observations]


# --- hearing


def test_a_call_from_its_first_to_its_last_packet() -> None:
    """The transcript has every packet in order, and moments count from the attempt's begin."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["mirror"])
        await asyncio.sleep(100.0)
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        lines = [f"{one.way} {one.octets.split(b' ')[0].decode()}" for one in pump.transcript]
        assert lines == ["out INVITE", "in SIP/2.0", "out ACK", "out BYE", "in SIP/2.0"]
        assert [round(one.at_s, 6) for one in pump.transcript] == [0.0, 0.02, 0.02, 0.02, 0.04]
        assert {one.peer for one in pump.transcript} == {str(PEER)}
        assert kinds(pump.observations) == [
            Kind.SENT, Kind.RESPONSE, Kind.ANSWER, Kind.SENT, Kind.ENDED,
        ]  # fmt: skip
        assert pump.observations[-1].at_s == pytest.approx(0.04)
        assert stage.late == pump.observations
        assert pump in stage.crowd, "it listens for forks and repeats"
        await asyncio.sleep(31.9)
        assert pump in stage.crowd
        await stage.gone(0.2)
        assert psap.open_calls == 0

    staged(play)


def test_an_answer_after_the_attempt_is_still_ended() -> None:
    """``drive`` returns at 4 s; the 200 of 33 s is told, acknowledged and ended all the same."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["late_200"])
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        assert now() == 4.0
        assert kinds(stage.late)[-1] is Kind.SILENT
        await asyncio.sleep(30.0)
        assert [seen.kind for seen in stage.late if seen.at_s > 4.0] == [
            Kind.RESPONSE, Kind.ANSWER, Kind.SENT, Kind.ENDED,
        ]  # fmt: skip
        assert pump.last_arrival.startswith(b"SIP/2.0 200")
        assert psap.open_calls == 0
        await stage.gone()

    staged(play)


def test_options_let_go_of_their_socket_after_timer_k() -> None:
    """Answered at once, the socket listens 5 s for repeats and is released."""

    async def play(stage: Stage) -> None:
        stage.psap(SCRIPTS["mirror"])
        pump = await stage.pump(is_call=False)
        await pump.drive(stage.question(pump))
        assert now() == pytest.approx(0.02)
        await asyncio.sleep(4.99)
        assert stage.world.network.open_flows == 1
        await stage.gone(0.1)

    staged(play)


def test_a_callback_is_heard_although_its_call_id_is_new() -> None:
    """A fresh datagram socket is the attempt's alone: whatever comes to it is heard."""

    async def play(stage: Stage) -> None:
        stage.psap(SCRIPTS["callback"])
        pump = await stage.pump()
        await pump.drive(stage.call(pump, CallPlan(hold_s=3.0)))
        await stage.gone()
        unsafe = [seen for seen in stage.late if seen.kind is Kind.UNSAFE]
        assert [seen["why"] for seen in unsafe] == ["callback"]

    staged(play)


def test_attempts_that_share_a_flow_hear_each_their_own() -> None:
    """On a kept flow messages go by Call-ID, and the flow outlives the attempts."""

    async def play(stage: Stage) -> None:
        stage.psap(SCRIPTS["mirror"])
        pumps = [await stage.pump(is_call=False, kept=True, call_id=name) for name in ("a", "b")]
        await asyncio.gather(
            *(
                pump.drive(stage.question(pump, name))
                for pump, name in zip(pumps, "ab", strict=True)
            )
        )
        for pump, name in zip(pumps, "ab", strict=True):
            calls = {parse(one.octets).call_id for one in pump.transcript}
            assert calls == {name}
        await stage.gone()

    staged(play)


@pytest.mark.parametrize(
    ("mangle", "kind", "why"),
    [
        ("lf_only", Kind.MALFORMED, None),
        ("no_cseq", Kind.MALFORMED, None),
        ("truncated", Kind.DISCARDED, "truncated"),
        ("garbage", Kind.DISCARDED, "malformed"),
    ],
)
def test_octets_that_are_no_message(mangle: str, kind: Kind, why: str | None) -> None:
    """18.3: truncated is discarded; ours by its branch is malformed; garbage is discarded."""

    async def play(stage: Stage) -> None:
        pump = await stage.pump(is_call=False)
        machine = stage.question(pump)
        desk = Desk(stage, PEER)
        driving = asyncio.ensure_future(pump.drive(machine))
        await asyncio.sleep(0.1)
        answer = serialize(answer_to(desk.heard[0][1], 200))
        desk.say(MANGLES[mangle](answer), desk.sources[0])  # type: ignore[index]  # names from above
        await asyncio.sleep(0.1)
        (seen,) = [seen for seen in pump.observations if seen.kind is not Kind.SENT]
        assert seen.kind is kind
        assert seen.get("why") == why or why is None
        assert seen["source"] == str(PEER)
        await driving
        await stage.gone()

    staged(play)


def test_what_is_kept_of_an_attempt_is_bounded() -> None:
    """A flood of strays fills neither observations nor transcript beyond their bounds."""

    async def play(stage: Stage) -> None:
        pump = await stage.pump(is_call=False)
        desk = Desk(stage, PEER)
        driving = asyncio.ensure_future(pump.drive(stage.question(pump)))
        await asyncio.sleep(0.1)
        for _copy in range(OBSERVATIONS_MAX + 50):
            desk.say(b"garbage", desk.sources[0])
        await driving
        assert len(pump.observations) == OBSERVATIONS_MAX
        assert len(pump.transcript) == TRANSCRIPT_MAX
        assert len(stage.late) > OBSERVATIONS_MAX, "each was told"
        await stage.gone()

    staged(play)


# --- the ledger


def test_the_invite_leaves_when_its_row_is_written() -> None:
    """With a ledger that takes 0.7 s it leaves at 0.7 s, with the octets of the row."""

    async def play(stage: Stage) -> None:
        stage.ledger_s = 0.7
        stage.psap(SCRIPTS["mirror"])
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        assert pump.transcript[0].at_s == 0.7
        assert [pump.transcript[0].octets] == stage.rows
        await stage.gone()

    staged(play)


@pytest.mark.parametrize(
    ("error", "kind", "fact"),
    [
        (CallForbidden("too soon"), Kind.NOT_TRIED, ("why", "too soon")),
        (OSError("disk full"), Kind.LOCAL_ERROR, ("error", "ledger")),
    ],
)
def test_a_ledger_that_refuses(error: Exception, kind: Kind, fact: tuple[str, str]) -> None:
    """The attempt ends at once, nothing has left, and the flow is free."""

    async def play(stage: Stage) -> None:
        async def refuse(_octets: bytes, _flow: Flow) -> None:
            raise error

        desk = Desk(stage, PEER)
        pump = await stage.pump(ledger=refuse)
        await pump.drive(stage.call(pump))
        assert now() == 0.0
        assert kinds(pump.observations) == [kind, Kind.ENDED]
        assert pump.observations[0][fact[0]] == fact[1]
        await stage.gone()
        assert desk.heard == []

    staged(play)


def test_a_connection_lost_while_the_row_is_written() -> None:
    """The INVITE does not take another connection, and ENDED comes after the row."""

    async def play(stage: Stage) -> None:
        stage.ledger_s = 0.5
        desk = Desk(stage, PEER, "tcp")
        pump = await stage.pump("tcp")
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(0.1)
        desk.cut()
        await asyncio.sleep(0.2)
        assert Kind.ENDED not in kinds(pump.observations)
        await driving
        assert len(stage.rows) == 1
        assert kinds(pump.observations)[-2:] == [Kind.CONNECTION_LOST, Kind.ENDED]
        await stage.gone()
        assert desk.heard == []

    staged(play)


def test_a_challenged_invite_asks_for_a_second_row() -> None:
    """Each INVITE has its row before it leaves, and its octets are the row's."""

    async def play(stage: Stage) -> None:
        stage.ledger_s = 0.3
        challenge = 'Digest realm="town", nonce="n", qop="auth"'
        psap = stage.psap(Script(invite=(Step(401, headers=(("WWW-Authenticate", challenge),)),)))
        pump = await stage.pump()
        driving = asyncio.ensure_future(pump.drive(stage.call(pump, user=USER)))
        await asyncio.sleep(0.4)
        psap.script = SCRIPTS["mirror"]
        await driving
        invites = [one for one in pump.transcript if one.octets.startswith(b"INVITE ")]
        assert [one.octets for one in invites] == stage.rows
        assert [one.at_s for one in invites] == pytest.approx([0.3, 0.62])
        assert pump.observations[-1]["how"] == "bye_sent"
        await stage.gone()

    staged(play)


# --- next hops


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_ack_and_bye_follow_the_contact(transport: TransportName) -> None:
    """They leave for its address, in order, over one further connection where that is needed."""

    async def play(stage: Stage) -> None:
        desk = Desk(stage, PEER, transport, accepts(("Contact", f"<sip:desk@{OTHER}>")))
        other = Desk(stage, OTHER, transport, accepts())
        pump = await stage.pump(transport)
        await pump.drive(stage.call(pump))
        assert desk.methods == ["INVITE"]
        assert other.methods == ["ACK", "BYE"]
        assert len(set(other.sources)) == 1
        assert pump.observations[-1]["confirmed"] is True
        assert [one.peer for one in pump.transcript if one.way == "out"] == [
            str(PEER), str(OTHER), str(OTHER),
        ]  # fmt: skip
        await stage.gone()

    staged(play)


def test_a_hostname_is_looked_up_once_and_order_is_kept() -> None:
    """ACK and BYE wait together for a slow resolver; repeats find the address known."""

    async def play(stage: Stage) -> None:
        asked: list[str] = []
        resolver = stage.world.resolver
        resolve = resolver.resolve
        resolver.names["desk.example.gov"] = (OTHER,)
        resolver.delay_s = 0.3

        async def counted(uri: str, transport: TransportName) -> Resolved:
            asked.append(uri)
            return await resolve(uri, transport)

        resolver.resolve = counted  # type: ignore[method-assign]  # the real one, counted
        Desk(stage, PEER, answers=accepts(("Contact", "<sip:desk@desk.example.gov>")))
        other = Desk(stage, OTHER)
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        assert other.methods[:3] == ["ACK", "BYE", "BYE"]
        assert other.heard[0][0] == pytest.approx(0.33)
        assert other.heard[0][0] == other.heard[1][0]
        assert asked == ["sip:desk@desk.example.gov"]
        await stage.gone()

    staged(play)


def test_a_hostname_that_does_not_resolve_goes_along_the_road() -> None:
    """A call must be ended even when its Contact's name is dead."""

    async def play(stage: Stage) -> None:
        desk = Desk(stage, PEER, answers=accepts(("Contact", "<sip:desk@nowhere.example>")))
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        assert desk.methods == ["INVITE", "ACK", "BYE"]
        assert pump.observations[-1]["confirmed"] is True
        await stage.gone()

    staged(play)


def test_a_contact_that_cannot_be_reached_is_ended_over_the_road() -> None:
    """Nobody listens at the Contact: better over the connection there is than not at all."""

    async def play(stage: Stage) -> None:
        desk = Desk(stage, PEER, "tcp", accepts(("Contact", f"<sip:desk@{OTHER}>")))
        stage.world.network.place(OTHER.host, "them")
        pump = await stage.pump("tcp")
        await pump.drive(stage.call(pump))
        assert desk.methods == ["INVITE", "ACK", "BYE"]
        assert Kind.CONNECT_FAILED in kinds(pump.observations)
        assert pump.observations[-1].kind is Kind.ENDED
        await stage.gone()

    staged(play)


def test_a_next_hop_of_tls_is_held_to_its_own_name() -> None:
    """RFC 5922 7.1: the certificate must name the domain of the URI that led there."""

    async def play(stage: Stage) -> None:
        stage.world.resolver.names["desk.example.gov"] = (Address(OTHER.host, 5061),)
        peer = Address(PEER.host, 5061)
        desk = Desk(stage, peer, "tls", accepts(("Contact", "<sip:desk@desk.example.gov>")))
        other = Desk(stage, Address(OTHER.host, 5061), "tls", accepts())
        desk.certificate = Certificate(names=("psap.example.gov",), not_after=EPOCH + 1e6)
        other.certificate = Certificate(names=("desk.example.gov",), not_after=EPOCH + 1e6)
        road = Road("tls", Source(HOST), peer, server_name="psap.example.gov")
        pump = await stage.pump("tls", road=road)
        await pump.drive(stage.call(pump))
        assert desk.methods == ["INVITE"]
        assert other.methods == ["ACK", "BYE"]
        await stage.gone()

    staged(play)


def test_a_further_connection_that_is_lost_is_replaced() -> None:
    """The ACK went over it; the BYE of a held call opens another one."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["no_bye"], "tcp")
        psap.script = Script(
            invite=(Step(200, body="mirror", headers=(("Record-Route", f"<sip:{OTHER};lr>"),)),)
        )
        other = Desk(stage, OTHER, "tcp", accepts())
        pump = await stage.pump("tcp")
        driving = asyncio.ensure_future(pump.drive(stage.call(pump, CallPlan(hold_s=2.0))))
        await asyncio.sleep(1.0)
        assert other.methods[0] == "ACK"
        other.cut()
        await driving
        assert other.methods[-1] == "BYE"
        assert other.sources[0] != other.sources[-1]
        assert Kind.CONNECTION_LOST in kinds(pump.observations)
        await stage.gone()

    staged(play)


def test_the_next_hops_of_an_attempt_are_bounded() -> None:
    """Nobody makes one attempt look up names without end."""

    async def play(stage: Stage) -> None:
        asked: list[str] = []

        async def never(uri: str, transport: TransportName) -> Resolved:
            asked.append(uri)
            await asyncio.sleep(10.0)
            return Resolved(uri, (), transport)

        stage.world.resolver.resolve = never  # type: ignore[method-assign]  # a dead resolver
        Desk(stage, PEER)
        pump = await stage.pump()
        ack = Request("ACK", "sip:x", stage.question(pump)._transactions[0].request.headers)
        for number in range(WAYS_MAX + 3):
            pump._ways.send(Send(serialize(ack), f"sip:host-{number}.example"))
        await asyncio.sleep(0.0)
        assert len(asked) == WAYS_MAX
        pump.abandon()
        await asyncio.sleep(20.0)
        assert stage.world.network.open_flows == 0

    staged(play)


def test_what_waits_for_a_next_hop_is_bounded() -> None:
    """Repeats of a BYE whose look-up hangs are dropped beyond the bound."""

    async def play(stage: Stage) -> None:
        stage.world.resolver.names["slow.example"] = (OTHER,)
        stage.world.resolver.delay_s = 31.0
        Desk(stage, PEER, answers=accepts(("Contact", "<sip:desk@slow.example>")))
        other = Desk(stage, OTHER, answers=accepts())
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        await stage.gone()
        assert len(other.heard) == WAITING_MAX

    staged(play)


def test_a_response_to_a_request_goes_where_it_came_from() -> None:
    """The far side's BYE from another port gets its 200 there (RFC 3581)."""

    async def play(stage: Stage) -> None:
        desk = Desk(stage, PEER, answers=accepts(("Contact", f"<sip:desk@{OTHER}>")))
        other = Desk(stage, OTHER, answers=accepts())
        replies: list[bytes] = []
        elsewhere = Address(OTHER.host, 6000)
        stage.world.network.bind(elsewhere, lambda octets, _source: replies.append(octets))
        pump = await stage.pump()
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(0.1)
        invitation = desk.heard[0][1]
        bye = Request(
            "BYE",
            str(invitation.header("Contact")).strip("<>"),
            (
                ("Via", f"SIP/2.0/UDP {OTHER};branch=z9hG4bKbye;rport"),
                ("From", f"{invitation.header('To')};tag=far"),
                ("To", str(invitation.header("From"))),
                ("Call-ID", invitation.call_id),
                ("CSeq", "1 BYE"),
            ),
        )
        stage.world.network.datagram(elsewhere, desk.sources[0], serialize(bye))
        await driving
        await asyncio.sleep(0.1)
        assert [octets[:11] for octets in replies] == [b"SIP/2.0 200"]
        assert other.methods == ["ACK", "BYE"]
        await stage.gone()

    staged(play)


# --- errors


def test_a_connection_lost_in_mid_call_is_replaced_for_the_cancel() -> None:
    """CANCEL leaves over a new connection; its 200 comes back over that."""

    async def play(stage: Stage) -> None:
        def answers(request: Request) -> list[Response]:
            return [answer_to(request, 100 if request.method == "INVITE" else 200)]

        desk = Desk(stage, PEER, "tcp", answers)
        pump = await stage.pump("tcp")
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(0.5)
        desk.cut()
        await driving
        await asyncio.sleep(1.0)
        assert desk.methods == ["INVITE", "CANCEL"]
        assert desk.sources[0] != desk.sources[1]
        await stage.gone()
        ended = stage.late[-1]
        assert (ended["how"], ended["confirmed"]) == ("cancelled", False)

    staged(play)


@pytest.mark.parametrize("kind", [Kind.CONNECTION_LOST, Kind.TLS_FAILED])
def test_a_connection_lost_in_a_held_call_is_replaced_for_the_bye(kind: Kind) -> None:
    """However the connection failed, BYE leaves over another one and is answered."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["no_bye"], "tcp")
        pump = await stage.pump("tcp")
        driving = asyncio.ensure_future(pump.drive(stage.call(pump, CallPlan(hold_s=5.0))))
        await asyncio.sleep(0.5)
        assert psap.open_calls == 1
        pump.failed(Observation(kind, now(), {"error": "reset"}))
        assert pump.flow is None
        await driving
        await asyncio.sleep(1.0)
        ended = [seen for seen in stage.late if seen.kind is Kind.ENDED]
        assert [(seen["how"], seen["confirmed"]) for seen in ended] == [("bye_sent", True)]
        assert psap.open_calls == 0
        await stage.gone()

    staged(play)


def test_icmp_ends_the_attempt_and_leaves_the_socket_listening() -> None:
    """Port unreachable at 20 ms: over at once; the socket stays for 64*T1."""

    async def play(stage: Stage) -> None:
        stage.world.network.place(PEER.host, "them")
        pump = await stage.pump()
        await pump.drive(stage.call(pump))
        assert now() == pytest.approx(0.02)
        assert kinds(pump.observations) == [Kind.SENT, Kind.ICMP]
        await asyncio.sleep(31.9)
        assert stage.world.network.open_flows == 1
        await stage.gone()

    staged(play)


class BrokenFlow:
    """A flow that fails in the middle of ``send``, as the listener contract allows."""

    transport: TransportName = "udp"

    def __init__(self, listener: Listener, fails: int) -> None:
        self.local, self.peer = Address(HOST, 1), PEER
        self.sent: list[bytes] = []
        self.released = 0
        self._listener, self._fails = listener, fails

    def send(self, octets: bytes, to: Address | None = None) -> None:
        """Fail for the first few messages."""
        del to
        self.sent.append(octets)
        if len(self.sent) <= self._fails:
            facts = {"error": "ENETUNREACH", "detail": "sending"}
            self._listener.failed(Observation(Kind.LOCAL_ERROR, now(), facts))

    def release(self) -> None:
        """Count it."""
        self.released += 1


class BrokenNetwork:
    """Opens one broken flow."""

    def __init__(self, fails: int) -> None:
        self.flow: BrokenFlow | None = None
        self._fails = fails

    async def open(
        self,
        road: Road,
        call_id: str,
        listener: Listener,
        *,
        patience_s: float,
        local_port: int = 0,
        is_call: bool = False,
    ) -> Flow | None:
        """As ``world.Network.open``."""
        del road, call_id, patience_s, local_port, is_call
        self.flow = BrokenFlow(listener, self._fails)
        return self.flow

    def open_media(
        self, source: Source, local_host: str, listener: MediaListener
    ) -> MediaFlow | None:
        """As ``world.Network.open_media``: nobody here asks for it."""
        raise NotImplementedError


def test_an_error_inside_a_send_is_handled_after_it() -> None:
    """The first INVITE fails inside ``send``: told, over, closed, released once, no recursion."""

    async def play(stage: Stage) -> None:
        network = BrokenNetwork(fails=1)
        road = Road("udp", Source(HOST), PEER)
        pump = Pump(
            network, stage.world.resolver, road, "the-call", crowd=stage.crowd, ledger=stage.enter
        )
        await pump.open(4.0)
        await pump.drive(stage.call(pump))
        assert kinds(pump.observations) == [Kind.SENT, Kind.LOCAL_ERROR, Kind.ENDED]
        assert network.flow is not None
        assert len(network.flow.sent) == 1
        assert network.flow.released == 1
        await stage.gone(0.0)

    staged(play)


def test_a_receive_time_ahead_of_the_loop_is_not_believed() -> None:
    """The kernel's clock is mapped with an error: no phase is longer than the loop has seen."""

    async def play(stage: Stage) -> None:
        desk = Desk(stage, PEER)
        pump = await stage.pump(is_call=False)
        driving = asyncio.ensure_future(pump.drive(stage.question(pump)))
        await asyncio.sleep(0.1)
        answer = serialize(answer_to(desk.heard[0][1], 200))
        pump.arrived(Arrival(answer, PEER, now() + 0.004))
        await driving
        assert pump.observations[-1]["phase_s"] == pytest.approx(0.1)
        await stage.gone()

    staged(play)


def test_every_send_of_a_call_may_fail() -> None:
    """ACK and BYE fail as well: it still comes to its end in bounded time."""

    async def play(stage: Stage) -> None:
        network = BrokenNetwork(fails=0)
        road = Road("udp", Source(HOST), PEER)
        pump = Pump(
            network, stage.world.resolver, road, "the-call", crowd=stage.crowd, ledger=stage.enter
        )
        await pump.open(4.0)
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(0.1)
        assert network.flow is not None
        network.flow._fails = 1_000
        answer = serialize(answer_to(_request(network.flow.sent[0]), 200))
        pump.arrived(Arrival(answer, PEER, now()))
        await driving
        await stage.gone()
        assert len(network.flow.sent) < 20

    staged(play)


def _request(octets: bytes) -> Request:
    message = parse(octets)
    assert isinstance(message, Request)
    return message


def test_a_live_call_is_stopped_before_the_socket_and_told() -> None:
    """Our own bug made an INVITE to a person: the guard refuses, the attempt is our fault."""

    async def play(stage: Stage) -> None:
        desk = Desk(stage, PEER)
        pump = await stage.pump()
        caller = stage.caller(pump)
        test = invite(caller, "z9hG4bKlive", (TARGET,), b"", "application/sdp")
        live = Request("INVITE", "urn:service:sos", test.headers, test.body)
        call = Call(
            live, caller, peer=PEER, target_uri=TARGET, reliable=False, plan=CallPlan(),
            token=stage.world.entropy.token,
        )  # fmt: skip
        await pump.drive(call)
        assert kinds(pump.observations) == [Kind.SENT, Kind.LOCAL_ERROR, Kind.ENDED]
        assert pump.observations[1]["error"] == "guard"
        await stage.gone()
        assert desk.heard == []

    staged(play)


# --- bugs of our own


class JudgesBadly(Call):
    """A call with a bug behind its ACK."""

    def _judge(self, *_all: object) -> None:
        raise ZeroDivisionError("a bug")


def test_a_bug_surfaces_in_drive_and_the_call_can_still_be_ended() -> None:
    """The attempt does not hang; the ACK has left, ``end`` sends BYE, and it closes in time."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["no_bye"])
        pump = await stage.pump()
        with pytest.raises(ZeroDivisionError):
            await pump.drive(stage.call(pump, kind=JudgesBadly))
        assert now() == pytest.approx(0.02)
        pump.end()
        await asyncio.sleep(0.1)
        assert [seen.method for seen in psap.log] == ["INVITE", "ACK", "BYE"]
        assert psap.open_calls == 0
        await stage.gone()

    staged(play)


class NeverDone(OptionsExchange):
    """A machine whose timers raise and stay due."""

    def handle_timer(self, now: float) -> None:
        """Break."""
        raise ZeroDivisionError(now)


def test_a_deadline_that_a_bug_leaves_standing_does_not_spin() -> None:
    """It is tried once a second, and let go of after a bounded time."""

    async def play(stage: Stage) -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, what: told.append(what["exception"])
        )
        pump = await stage.pump(is_call=False)
        caller = stage.caller(pump)
        machine = NeverDone(
            options(caller, "z9hG4bKx", TARGET), peer=PEER, reliable=False, give_up_after_s=4.0,
            token=stage.world.entropy.token,
        )  # fmt: skip
        with pytest.raises(ZeroDivisionError):
            await pump.drive(machine)
        await stage.gone(BROKEN_S + 1.0)
        assert 100 < len(told) <= BROKEN_S + 1

    staged(play)


def test_a_bug_in_the_listener_does_not_keep_the_bye_from_leaving() -> None:
    """Whoever is told raises; the messages of the same moment leave all the same."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["no_bye"])
        pump = await stage.pump()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _what: None)

        def raises(_seen: Observation) -> None:
            raise ZeroDivisionError

        pump._heard = raises
        with pytest.raises(ZeroDivisionError):
            await pump.drive(stage.call(pump))
        await asyncio.sleep(1.0)
        assert [seen.method for seen in psap.log] == ["INVITE", "ACK", "BYE"]
        await stage.gone()

    staged(play)


def test_a_timer_that_fires_early_still_counts() -> None:
    """The machine is given its deadline, not the earlier time that the loop says."""

    async def play(stage: Stage) -> None:
        Desk(stage, PEER)
        pump = await stage.pump(is_call=False)
        machine = stage.question(pump)
        driving = asyncio.ensure_future(pump.drive(machine))
        await asyncio.sleep(0.499_999)
        pump._ring(0.5)
        assert len(pump.transcript) == 2
        assert machine.next_timer() == 1.5
        await driving
        await stage.gone()

    staged(play)


# --- letting go


def test_end_cancels_what_was_heard() -> None:
    """The daemon stops in mid-call: CANCEL leaves at once, and the call ends in time."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(Script(invite=(Step(100), Step(200, 30.0, "mirror"))))
        pump = await stage.pump()
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(1.0)
        pump.end()
        await asyncio.sleep(0.1)
        assert [seen.method for seen in psap.log] == ["INVITE", "CANCEL", "ACK"]
        assert driving.done()
        assert psap.open_calls == 0
        await stage.gone()

    staged(play)


def test_abandon_lets_go_at_once() -> None:
    """No socket, no alarm, no pump is left, ``drive`` returns, and nothing more leaves."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["trying_then_silence"])
        pump = await stage.pump()
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(1.0)
        pump.abandon()
        await driving
        await stage.gone(0.0)
        assert pump._alarm is None
        await asyncio.sleep(60.0)
        pump.end()
        pump.failed(Observation(Kind.ICMP, now(), {}))
        pump.arrived(Arrival(b"late", PEER, now()))
        assert [seen.method for seen in psap.log] == ["INVITE"]

    staged(play)


def test_a_connection_that_comes_up_after_abandon_is_released() -> None:
    """An errand in flight does not leave a flow behind."""

    async def play(stage: Stage) -> None:
        Desk(stage, PEER, "tcp", accepts(("Contact", f"<sip:desk@{OTHER}>")))
        other = Desk(stage, OTHER, "tcp", accepts())
        pump = await stage.pump("tcp")
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(0.03)  # 20 ms of call: the next hop's SYN is out
        assert len(stage.world.network.transcript) > 2
        pump.abandon()
        await driving
        await stage.gone(5.0)
        assert other.heard == []

    staged(play)


def test_an_attempt_that_is_cancelled_leaves_its_call_to_the_pump() -> None:
    """The task that drove it is gone; the call is given up and ended on its own deadlines."""

    async def play(stage: Stage) -> None:
        psap = stage.psap(SCRIPTS["trying_then_silence"])
        pump = await stage.pump()
        driving = asyncio.ensure_future(pump.drive(stage.call(pump)))
        await asyncio.sleep(1.0)
        driving.cancel()
        await asyncio.sleep(10.0)
        assert [seen.method for seen in psap.log] == ["INVITE", "CANCEL", "ACK"]
        assert psap.open_calls == 0
        await stage.gone()

    staged(play)


def test_a_flow_that_does_not_come_up_is_told() -> None:
    """Refused: None, and the failure is an observation before any machine was driven."""

    async def play(stage: Stage) -> None:
        stage.world.network.place(PEER.host, "them")
        road = Road("tcp", Source(HOST), PEER)
        pump = Pump(stage.world.network, stage.world.resolver, road, "the-call", crowd=stage.crowd)
        assert await pump.open(4.0) is None
        assert kinds(pump.observations) == [Kind.CONNECT_FAILED]
        pump.end()
        pump.abandon()
        await stage.gone(0.0)

    staged(play)
