"""Random dialogs in virtual time: one call against one answering point, over a bad wire.

``python tests/random_dialogs.py --count 10000 --seed 1`` is the long run, the short one is
``test_random_dialogs.py``. A seed chooses the far side's script, the weather (delay, loss,
duplicates, reordering, a direction that dies, a connection that is cut), errors, a slow ledger, a
daemon that stops. Whatever it chooses, the dialog ends on both sides and no rule of ``_Rules`` is
broken. The same seed gives the same transcript; one that fails is printed, with the command that
replays it.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from psapwatch.endpoint import Address, Credentials, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.simulator.chance import Random, seeded
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import Body, Mangle, Script, Step
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.guard import permit
from psapwatch.sip.offer import build_offer
from psapwatch.sip.request import Caller, invite
from psapwatch.sip.transaction import State
from psapwatch.sip.wire import Malformed, Message, Request, Response, parse

CLIENT: Final = Address("198.51.100.7", 20_000)
CLIENT_AGAIN: Final = Address("198.51.100.7", 20_001)
"""The end of the connection that replaces a lost one."""
POINT: Final = Address("192.0.2.10", 5060)
POINT_ELSEWHERE: Final = Address("192.0.2.10", 5061)
USER: Final = Credentials("probe", "secret")
CHALLENGE: Final = 'Digest realm="psap", nonce="{}", qop="auth", algorithm=SHA-256'

OVER_WITHIN_S: Final = 8.0 + 1.0 + 3.0
"""A call's patience, behind a slow ledger, told by a loop that is late."""
CLOSED_WITHIN_S: Final = 145.0
"""8 s of patience, a CANCEL, a crossing 2xx, a fork at its end and a challenged BYE: 32 s each."""
FORGOTTEN_AFTER_S: Final = 400.0
STEPS_MAX: Final = 20_000

Way = Literal["out", "in"]


@dataclass(frozen=True, slots=True)
class Weather:
    """What the wire does to messages; moments are seconds since the call began."""

    delay_s: tuple[float, float]
    loss: float
    duplicate: float
    dead: Way | None
    dead_from: float
    cut_at: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """All that a seed has chosen."""

    transport: TransportName
    weather: Weather
    first: Script
    then: Script
    """Played from the second INVITE or BYE on: the one with credentials."""
    plan: CallPlan
    has_credentials: bool
    ledger_s: float
    ledger_refuses: bool
    stops_at: float | None
    error: tuple[float, Kind] | None
    lateness_s: float


@dataclass(slots=True)
class Result:
    """What came of one dialog."""

    lines: list[str] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)
    closed_after_s: float = 0.0
    messages: int = 0

    @property
    def digest(self) -> str:
        """Hash of the whole transcript."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()


# --- what a seed chooses


def plot_of(random: Random) -> Plot:
    """Choose everything about one dialog.

    Where we might not be heard, the far side is one that ends alone: by Expires, or by a final.
    """
    transport: TransportName = "udp" if random.random() < 0.8 else "tcp"
    weather = _weather(random, transport)
    is_rough = bool(weather.loss or weather.dead or weather.cut_at or weather.delay_s[1] > 0.3)
    first = _script(random, transport, is_rough=is_rough, dies=bool(weather.dead))
    then = first
    has_credentials = random.random() < 0.3
    if has_credentials and random.random() < 0.6:
        code = random.choice((401, 407))
        name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
        step = Step(code, headers=((name, CHALLENGE.format(random.randrange(1000))),))
        if random.random() < 0.5:
            first = Script(invite=(step,))
        else:
            first = Script(bye=(step,), hangs_up_after_s=None if not weather.dead else 0.5)
    hold_s = random.choice((0.0, 0.0, 1.0, 3.0))
    allowed = frozenset(random.choice(((100,), (100, 183), (100, 180, 183))))
    error = None
    if random.random() < 0.15:
        kinds = (Kind.ICMP, Kind.ICMP, Kind.LOCAL_ERROR) if transport == "udp" else (Kind.ICMP,)
        error = (random.uniform(0.0, 10.0), random.choice(kinds))
    return Plot(
        transport,
        weather,
        first,
        then,
        CallPlan(hold_s=hold_s, provisionals_allowed=allowed),
        has_credentials,
        ledger_s=random.choice((0.0, 0.001, 0.01, random.uniform(0.0, 1.0))),
        ledger_refuses=random.random() < 0.03,
        stops_at=random.uniform(0.0, 12.0) if random.random() < 0.2 else None,
        error=error,
        lateness_s=random.choice((0.0, 0.001, 0.02, 3.0)),
    )


def _weather(random: Random, transport: TransportName) -> Weather:
    low = random.choice((0.001, 0.01, 0.1))
    delay_s = (low, low + random.choice((0.0, 0.005, 0.1, 1.5)))
    if transport == "tcp":
        cut_at = random.uniform(0.0, 10.0) if random.random() < 0.4 else None
        return Weather(delay_s, 0.0, 0.0, None, 0.0, cut_at)
    dead: Way | None = random.choice(("out", "in")) if random.random() < 0.1 else None
    return Weather(
        delay_s,
        loss=random.choice((0.0, 0.0, 0.02, 0.1, 0.25)),
        duplicate=random.choice((0.0, 0.0, 0.05, 0.3)),
        dead=dead,
        dead_from=random.choice((0.0, random.uniform(0.0, 10.0))),
        cut_at=None,
    )


def _script(random: Random, transport: TransportName, *, is_rough: bool, dies: bool) -> Script:
    steps: list[Step] = []
    at_s = 0.0
    for code in random.choices((100, 100, 180, 181, 182, 183), k=random.choice((0, 1, 1, 2))):
        at_s += random.choice((0.0, 0.05, random.uniform(0.0, 9.0)))
        steps.append(Step(code, at_s, mangle=_mangle(random, transport, 0.02)))
    has_final = random.random() < 0.85
    if has_final:
        at_s += random.choice((0.0, 0.1, random.uniform(0.0, 3.0), random.uniform(0.0, 40.0)))
        for fork in range(random.choices((1, 2, 3), (12, 2, 1))[0]):
            code = random.choices((200, 202, 486, 503, 302, 404), (14, 1, 3, 1, 1, 1))[0]
            mangle = _mangle(random, transport, 0.12)
            elsewhere = transport == "udp" and random.random() < 0.05
            headers = _routes(random) if code < 300 else ()
            unruly = bool(fork) and random.random() < 0.3
            steps.append(
                Step(code, at_s, _body(random), headers, mangle, fork, elsewhere, unruly=unruly)
            )
            at_s += random.choice((0.0, 0.02, random.uniform(0.0, 35.0)))
    minds = random.random() < 0.7 or not has_final or (is_rough and not has_final)
    if not has_final and not is_rough:
        minds = random.random() < 0.5  # heard for certain, so that our CANCEL ends it
    return Script(
        invite=tuple(steps),
        bye=random.choice(((Step(200),), (Step(200),), (Step(200, 0.7),), (Step(481),), ())),
        cancel=(Step(200),) if not minds or random.random() < 0.9 else (),
        hangs_up_after_s=random.choice((0.0, 0.1, 0.5, 2.0) + ((None,) if not dies else ())),
        hangs_up_unacknowledged_s=random.choice((None, None, None, 0.0, 0.3)),
        repeats_max=random.choice((None, None, None, 0, 2, 7)) if transport == "udp" else None,
        minds_expires=minds,
        calls_back_after_s=random.uniform(0.0, 5.0) if random.random() < 0.03 else None,
    )


def _mangle(random: Random, transport: TransportName, share: float) -> Mangle:
    whole: tuple[Mangle, ...] = (
        "folded", "compact", "two_vias", "wrong_branch", "wrong_sent_by", "wrong_cseq", "no_cseq",
    )  # fmt: skip
    torn: tuple[Mangle, ...] = ("lf_only", "short_content_length", "truncated", "garbage")
    if random.random() >= share:
        return "none"
    return random.choice(whole + torn if transport == "udp" else whole)


def _body(random: Random) -> Body:
    bodies: tuple[Body, ...] = ("mirror", "multipart", "no_loopback", "live_text", "none", "source")
    return random.choices(bodies, (10, 3, 1, 1, 1, 1))[0]


def _routes(random: Random) -> tuple[tuple[str, str], ...]:
    """Record-Route as proxies would add it: loose, strict, or not to be read."""
    routes = random.choices(("", f"<sip:{POINT};lr>", f"<sip:{POINT}>", "garbage<<"), (8, 2, 1, 1))[
        0
    ]
    return (("Record-Route", routes),) if routes else ()


# --- one dialog


class Dialog:
    """Runs one seed to its end, event by event."""

    def __init__(self, seed: int) -> None:
        self.random = seeded(seed, "dialog")
        self.plot = plot_of(self.random)
        self.result = Result()
        self.now = 0.0
        self.local = CLIENT
        self.call = self._call()
        self.point = AnsweringPoint(
            self.plot.first, name="Town", tag=lambda: self.random.randbytes(8).hex(), address=POINT
        )
        self.rules = _Rules(self)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._armed: tuple[float, float] | None = None
        self._arrives_at: dict[Way, float] = {"out": 0.0, "in": 0.0}
        self._cuts = 0
        self._is_entering = False

    def run(self) -> Result:
        """Let it happen."""
        plot = self.plot
        self.call.start(self.now)
        self._take()
        if plot.stops_at is not None:
            self._at(plot.stops_at, self._stop, "stop")
        if plot.error is not None:
            self._at(plot.error[0], lambda: self._fail(plot.error[1] if plot.error else Kind.ICMP))
        if plot.weather.cut_at is not None:
            self._at(plot.weather.cut_at, self._cut, "cut")
        for _step in range(STEPS_MAX):
            if not self._next():
                break
        else:
            raise AssertionError("it never ends")
        self.rules.check_end()
        return self.result

    def _call(self) -> Call:
        plot = self.plot
        is_stream = plot.transport != "udp"
        token = "TCP" if is_stream else "UDP"
        caller = Caller(
            token, str(CLIENT), f"sip:path-test@{CLIENT}", "sip:probe@example.net", "us", "the-call"
        )
        branch = f"z9hG4bK{self._token(16)}"
        body = build_offer(CLIENT.host, 9, 1)
        return Call(
            invite(caller, branch, ("sip:psap.example.gov",), body, "application/sdp"),
            caller,
            peer=POINT,
            target_uri=f"sip:{POINT}",
            reliable=is_stream,
            plan=plot.plan,
            token=self._token,
            digest=Digest(USER) if plot.has_credentials else None,
        )

    def _token(self, octets: int) -> str:
        return self.random.randbytes(octets).hex()

    # --- time

    def _at(self, when: float, what: Callable[[], None], name: str = "") -> None:
        def happen() -> None:
            if name:
                self.write("--", name)
            what()
            self._take()

        heapq.heappush(self._events, (when, next(self._order), happen))

    def _next(self) -> bool:
        """Let the next thing happen, whoever's it is; False when nothing is left."""
        moments = [
            self._events[0][0] if self._events else None,
            self._call_due(),
            self.point.next_timer(),
        ]
        due = min((moment for moment in moments if moment is not None), default=None)
        if due is None or due > FORGOTTEN_AFTER_S:
            return False
        self.now = max(self.now, due)
        if due == moments[0]:
            heapq.heappop(self._events)[2]()
        elif due == moments[1]:
            self._armed = None
            self.call.handle_timer(self.now)
            self._take()
            left = self.call.next_timer()
            assert left is None or left > self.now, "a timer that fires for ever"
        else:
            self.point.handle_timer(self.now)
            self._point_sends()
        return True

    def _call_due(self) -> float | None:
        """When the loop calls the call's timer: at its moment, or late as a busy loop is."""
        deadline = self.call.next_timer()
        if deadline is None:
            self._armed = None
        elif self._armed is None or self._armed[0] != deadline:
            late = self.random.random() * self.plot.lateness_s if self.random.random() < 0.3 else 0
            self._armed = (deadline, max(self.now, deadline + late))
        return self._armed[1] if self._armed else None

    # --- our side

    def _take(self) -> None:
        """Collect what the call wants, as the pump does."""
        call = self.call
        while (seen := call.next_event()) is not None:
            self.rules.saw(seen)
        for send in call.data_to_send():
            message = parse(send.octets)
            self.write("->", _name(message))
            self.rules.sent(send.octets, message)
            self._carry("out", send.octets, self.local, POINT)
        if call.ledger_due is not None and not self._is_entering:
            self._is_entering = True
            due = call.ledger_due
            self._at(self.now + self.plot.ledger_s, lambda: self._ledgered(due))
        if call.closed and not self.rules.is_closed:
            self.rules.is_closed = True
            self.result.closed_after_s = self.now
        assert call.over or self.now <= OVER_WITHIN_S, "no verdict in time"

    def _ledgered(self, octets: bytes) -> None:
        self._is_entering = False
        if self.plot.ledger_refuses:
            self.write("--", "ledger refuses")
            self.call.transport_error(
                Observation(Kind.NOT_TRIED, self.now, {"why": "no"}), self.now
            )
        else:
            self.rules.ledgered.add(octets)
            self.call.ledgered(self.now)

    def _stop(self) -> None:
        self.rules.no_new_invite = True
        self.call.end(self.now)

    def _fail(self, kind: Kind) -> None:
        self.write("--", kind)
        self.rules.no_new_invite = True
        facts = (
            {"family": 4, "icmp_type": 3, "code": 3} if kind is Kind.ICMP else {"error": "EPERM"}
        )
        self.call.transport_error(Observation(kind, self.now, dict(facts)), self.now)

    def _cut(self) -> None:
        """The connection is gone with all that is on it; what follows takes another."""
        self._cuts += 1
        self.rules.no_new_invite = True
        self.local = CLIENT_AGAIN
        lost = Observation(Kind.CONNECTION_LOST, self.now, {"error": "reset"})
        self.call.transport_error(lost, self.now)

    def _hear(self, octets: bytes, source: Address) -> None:
        if self.rules.is_closed:
            return  # its socket is closed
        is_stream = self.plot.transport != "udp"
        try:
            message = parse(octets, stream=is_stream)
        except Malformed as bad:
            self.write("<-", f"malformed {bad.code} {bad.cseq_method}")
            is_ours = bad.branch in self.rules.branches and bad.why != "truncated"
            kind = Kind.MALFORMED if is_ours else Kind.DISCARDED
            seen = Observation(kind, self.now, {"code": bad.code, "why": bad.why})
            if is_ours:
                self.rules.malformed(bad)
            self.call.malformed(octets, seen, self.now, source)
        else:
            self.write("<-", _name(message))
            self.rules.hears(message)
            self.call.receive(message, self.now, self.now, source)
        self._take()
        self.rules.heard()

    # --- the far side and the wire

    def _point_hears(self, octets: bytes, source: Address) -> None:
        if octets.startswith((b"INVITE ", b"BYE ")) and b"uthorization: " in octets:
            self.point.script = self.plot.then
        self.point.receive(octets, source, self.now, self.plot.transport)
        self._point_sends()

    def _point_sends(self) -> None:
        for octets, to in self.point.data_to_send():
            self._carry("in", octets, POINT, to)
        for octets, to in self.point.data_to_send_elsewhere():
            self._carry("in", octets, POINT_ELSEWHERE, to)

    def _carry(self, way: Way, octets: bytes, source: Address, to: Address) -> None:
        self.result.messages += 1
        weather, random = self.plot.weather, self.random
        if self.plot.transport != "udp":
            self._carry_stream(way, octets, source, to)
            return
        if weather.dead == way and self.now >= weather.dead_from:
            return
        copies = 1 + (random.random() < weather.duplicate)
        for _copy in range(copies):
            if random.random() >= weather.loss:
                self._deliver(way, octets, source, self.now + random.uniform(*weather.delay_s))

    def _carry_stream(self, way: Way, octets: bytes, source: Address, to: Address) -> None:
        """In order and without loss, as long as the connection lives."""
        end = source if way == "out" else to
        if end != self.local:
            return
        arrives = self.now + self.random.uniform(*self.plot.weather.delay_s)
        self._arrives_at[way] = max(self._arrives_at[way], arrives)
        cuts = self._cuts
        self._deliver(way, octets, source, self._arrives_at[way], lambda: self._cuts == cuts)

    def _deliver(
        self,
        way: Way,
        octets: bytes,
        source: Address,
        when: float,
        is_up: Callable[[], bool] = lambda: True,
    ) -> None:
        hears = self._point_hears if way == "out" else self._hear

        def arrive() -> None:
            if is_up():
                hears(octets, source)

        heapq.heappush(self._events, (when, next(self._order), arrive))

    def write(self, way: str, what: str) -> None:
        """One line of the transcript."""
        self.result.lines.append(f"{self.now:11.6f} {way} {what}")


class _Rules:
    """What must hold whatever happens; each is checked at the moment it could break."""

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self.ledgered: set[bytes] = set()
        self.branches: set[str] = set()
        self._invites: dict[str, bytes] = {}
        self._branches: dict[int, str] = {}  # CSeq -> branch of its INVITE
        self._heard: Counter[str] = Counter()
        self._cancels: set[str] = set()
        self._byes: dict[str, set[str]] = {}
        self._acknowledged: set[str] = set()
        self._hung_up: set[str] = set()
        self._challenged: set[str] = set()
        self.is_closed = False
        self.no_new_invite = False
        """Whether the daemon stopped, or an error made the end of the call due."""
        self._number = 0
        self._warnings: set[str] = set()
        self._awaits_cancel: str | None = None
        self._ended = 0
        self._awaits_ack: str | None = None

    def sent(self, octets: bytes, message: Message) -> None:
        """Check one message of ours."""
        permit(octets)
        assert not self.is_closed, "something leaves a closed call"
        if isinstance(message, Response):
            return
        branch, tag = message.vias[0].branch, message.to_tag
        self.branches.add(branch)
        if message.method == "INVITE":
            assert octets in self.ledgered, "an INVITE without its ledger row"
            assert not self.no_new_invite, "an INVITE after the end was due"
            self._invites.setdefault(branch, octets)
            self._branches[message.cseq[0]] = branch
            self._number = message.cseq[0]
            assert len(self._invites) <= 1 + ("INVITE" in self._challenged)
        elif message.method == "CANCEL":
            assert branch in self._invites, "a CANCEL of nothing"
            assert self._heard[f"{branch} 1xx"], "a CANCEL before a 1xx (9.1)"
            if branch not in self._cancels:
                assert not self._heard[f"{branch} final"], "a CANCEL after the final (9.1)"
            self._cancels.add(branch)
        elif message.method == "BYE":
            byes = self._byes.setdefault(tag, set())
            assert branch in byes or tag not in self._hung_up, "BYE to who has hung up"
            byes.add(branch)
            assert message.cseq[0] == self._number + len(byes) or len(byes) == 2
            assert len(byes) <= 1 + ("BYE" in self._challenged), "one BYE a dialog"
            assert tag in self._acknowledged, "BYE before ACK"
        else:
            assert message.method == "ACK"
            assert message.cseq[0] <= self._number
            self._acknowledged.add(tag)
            if self._awaits_ack == tag:
                self._awaits_ack = None

    def hears(self, message: Message) -> None:
        """Note what is about to be heard, and what it demands."""
        if isinstance(message, Request):
            ours = message.to_tag == "us" and message.from_tag in self._acknowledged
            if message.method == "BYE" and ours:
                self._hung_up.add(message.from_tag)
            return
        method = message.cseq[1]
        if message.code in (401, 407):
            self._challenged.add(method)
        branch = self._branches.get(message.cseq[0])
        if method != "INVITE" or branch is None:
            return
        # Whatever became of its Via: who rings or has answered is to be ended.
        self._heard[f"{branch} {'1xx' if message.code < 200 else 'final'}"] += 1
        owners = [
            invitation.transaction
            for invitation in self.dialog.call._invitations
            if invitation.request.vias[0].branch == branch and not invitation.transaction.is_over
        ]
        if not owners or (message.code < 200 and not owners[0].is_waiting):
            return
        if message.code // 100 == 2 or (
            message.code >= 300 and owners[0].state is not State.ACCEPTED
        ):
            self._awaits_ack = message.to_tag
        elif (
            message.code not in self.dialog.plot.plan.provisionals_allowed and owners[0].is_waiting
        ):
            self._awaits_cancel = branch

    def malformed(self, bad: Malformed) -> None:
        """Note what could be salvaged."""
        if bad.branch in self._invites and bad.cseq_method in ("INVITE", ""):
            kind = "1xx" if bad.code < 200 else "final"
            self._heard[f"{bad.branch} {kind}"] += 1

    def heard(self) -> None:
        """Check that every final got its ACK in the same moment."""
        assert self._awaits_ack is None, f"no ACK for the final of {self._awaits_ack!r}"
        assert self._awaits_cancel in (None, *self._cancels), "no CANCEL for what rings"

    def saw(self, seen: Observation) -> None:
        """Check one observation."""
        result = self.dialog.result
        detail = seen.get("how") or seen.get("why") or seen.get("code") or ""
        self.dialog.write("  ", f"{seen.kind} {detail}")
        result.facts[str(seen.kind)] += 1
        if seen.kind is Kind.UNSAFE:
            assert seen["why"] not in self._warnings, "an alarm is told once"
            self._warnings.add(str(seen["why"]))
        if seen.kind is Kind.ENDED:
            self._ended += 1
            assert self._ended == 1, "ENDED is told once"
            result.facts[f"ended {seen['how']}"] += 1

    def check_end(self) -> None:
        """Check that both sides have ended, and how."""
        dialog = self.dialog
        call, point = dialog.call, dialog.point
        assert call.closed, "our side is still open"
        assert call.next_timer() is None
        assert dialog.result.closed_after_s <= CLOSED_WITHIN_S, dialog.result.closed_after_s
        assert self._ended == 1, "ENDED is told"
        for tag in call._legs._legs:
            assert tag in self._byes or tag in self._hung_up, f"{tag!r} has had no BYE"
        assert point.open_calls == 0, f"{point.open_calls} open over there"


def _name(message: Message) -> str:
    branch = message.vias[0].branch[-6:]
    if isinstance(message, Request):
        return f"{message.method} {branch} {message.from_tag[:6]} {message.to_tag[:6]}"
    return f"{message.code} {message.cseq[1]} {branch} {message.to_tag[:6]}"


def run(seed: int) -> Result:
    """Run one seed.

    Raises:
        Exception: a rule was broken, with the transcript and the command that replays it as notes.
    """
    dialog = Dialog(seed)
    try:
        return dialog.run()
    except Exception as broken:
        broken.add_note("\n".join(dialog.result.lines))
        broken.add_note(f"{dialog.plot}")
        broken.add_note(f"python tests/random_dialogs.py --seed {seed} --count 1 --show")
        raise


def main() -> int:
    """Run many seeds, say what they met, and stop at the first that breaks a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print the transcripts")
    chosen = parser.parse_args()
    facts: Counter[str] = Counter()
    longest, messages = 0.0, 0
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        try:
            result = run(seed)
        except Exception:
            print(f"seed {seed} breaks a rule", file=sys.stderr)  # noqa: T201 - a program
            raise
        if chosen.show:
            print("\n".join(result.lines))  # noqa: T201 - a program
        facts.update(dict.fromkeys(result.facts, 1))
        longest = max(longest, result.closed_after_s)
        messages += result.messages
        done = seed - chosen.seed + 1
        if done % 1000 == 0:
            print(f"{done} dialogs, {messages} messages", file=sys.stderr)  # noqa: T201 - a program
    print(f"{chosen.count} dialogs from seed {chosen.seed}: all ended, the longest after "  # noqa: T201 - a program
          f"{longest:.1f} s; {messages} messages")  # fmt: skip
    for name, count in sorted(facts.items()):
        print(f"  {count:6} with {name}")  # noqa: T201 - a program
    return 0


if __name__ == "__main__":
    sys.exit(main())
