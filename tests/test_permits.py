"""Who may be called and when: each rule, and attempts to get round it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from psapwatch.endpoint import Agreement, Firewall, Path, Psap, Source
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.permits import BACK_OFF_MAX_S, HOLD_PACE_S, HOLD_S, Permits, spacing_of
from psapwatch.replay import CHECKS, stage
from psapwatch.simulator.loop import run
from psapwatch.simulator.rule import Rule
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS, Script, Step
from psapwatch.store.decisions import Commission, Stop
from psapwatch.store.ledger import EVERYWHERE
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store
from psapwatch.verdict import Cause, Outcome, Plane, Verdict

WALL = 1_750_267_000.0
_AGREED = Agreement("MoU", every_s=300.0, commissioned=True)
_UNSAFE = Verdict(Outcome.DEGRADED, Cause.UNSAFE_ANSWER, Plane.SIGNALLING, "180 Ringing")
_BUSY = Verdict(Outcome.DEGRADED, Cause.TEST_CALL_REFUSED, Plane.SIGNALLING, "486")
_NO_OPTIONS = Rule(name="block", methods=frozenset({"OPTIONS"}))
_SILENT = Verdict(Outcome.FAIL, Cause.CALLS_BLOCKED, Plane.PATH, "no answer")
_GOOD = Verdict(Outcome.PASS, Cause.NONE, Plane.SIGNALLING, "200")


def _path(psap: str = "ma-boston", agreement: Agreement | None = _AGREED) -> Path:
    firewall = Firewall("fw-east", (Source("192.0.2.10"),))
    return Path(Psap(psap, psap, agreement=agreement), "east", "v", firewall, "sip:p@h", "udp")


def _permits() -> Permits:
    return Permits(Store(":memory:", Inline()))


def _evidence(code: int = 200, **facts: str) -> Evidence:
    seen = Observation(Kind.RESPONSE, 0.1, {"code": code, "method": "INVITE", **facts})
    return Evidence("a", "p", "e", "f", "udp", "c", "call", "l", "s", "id", WALL, 1.0, (seen,))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (_path(agreement=None), "no recorded consent"),
        (_path(agreement=Agreement("MoU")), "not commissioned"),
        (replace(_path(), kind="legacy_gateway"), "legacy_gateway"),
    ],
)
def test_never_without_consent_and_commissioning(path: Path, why: str) -> None:
    """No consent, no supervised first call, or a trunk behind it: waiting is no help."""
    permit = _permits().ask(path, WALL)
    assert not permit.granted
    assert permit.wait_s == 0
    assert why in permit.reason


def test_commissioning_holds_for_one_target_only() -> None:
    """Another URI or next hop needs another supervised call."""
    permits = _permits()
    path = _path(agreement=Agreement("MoU"))
    done = Commission(path.key, path.target, "Sgt. Doe", "me", WALL)
    permits._store.decisions.commission(done)
    assert permits.ask(path, WALL).granted
    assert not permits.ask(replace(path, uri="sip:other@h"), WALL).granted
    assert not permits.ask(replace(path, next_hop="sip:bcf@h"), WALL).granted


def test_supervision_lifts_one_rule_only() -> None:
    """A supervised first call still needs consent, and a stop still stops it."""
    permits = _permits()
    permits.supervised = True
    assert permits.ask(_path(agreement=Agreement("MoU")), WALL).granted
    assert not permits.ask(_path(agreement=None), WALL).granted
    permits._store.decisions.stop(Stop(EVERYWHERE, "operator", "storm", "me", WALL))
    assert not permits.ask(_path(agreement=Agreement("MoU")), WALL).granted


def test_the_kill_switch_stops_one_or_all() -> None:
    """A stop for a PSAP stops that one; a stop for everywhere stops every PSAP."""
    permits = _permits()
    decisions = permits._store.decisions
    decisions.stop(Stop("ma-boston", "operator", "asked", "me", WALL))
    assert not permits.ask(_path("ma-boston"), WALL).granted
    assert permits.ask(_path("ma-salem"), WALL).granted
    decisions.stop(Stop(EVERYWHERE, "operator", "storm", "me", WALL))
    assert not permits.ask(_path("ma-salem"), WALL).granted


def test_one_call_at_a_time_over_all_paths() -> None:
    """While one path of a PSAP is called, its other path waits."""
    permits = _permits()
    first, second = _path(), replace(_path(), id="west")
    permits.enter(first, WALL)
    assert permits.ask(second, WALL).wait_s > 0
    permits.leave(first)
    assert permits.ask(second, WALL).granted


def test_the_floor_is_charged_to_the_psap() -> None:
    """After a call the PSAP is left alone for its agreed interval, on every path."""
    permits = _permits()
    permits._store.charge("ma-boston", WALL)
    for path in (_path(), replace(_path(), id="west")):
        assert permits.ask(path, WALL + 299.0).wait_s == pytest.approx(1.0)
        assert permits.ask(path, WALL + 300.0).granted


def test_a_short_interval_must_be_agreed() -> None:
    """Two minutes are the floor whatever the file says, unless it says that it was agreed."""
    assert spacing_of(_path(agreement=replace(_AGREED, every_s=5.0))) == 120.0
    agreed = replace(_AGREED, every_s=5.0, short_interval_agreed=True)
    assert spacing_of(_path(agreement=agreed)) == 5.0


def test_an_unsafe_answer_stops_the_psap_and_holds_the_firewall() -> None:
    """That PSAP until a human resumes; all behind the firewall for ten minutes, then slowly."""
    permits = _permits()
    stops = permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL)
    assert [(stop.psap, stop.reason) for stop in stops] == [("a", "unsafe")]
    assert not permits.ask(_path("a"), WALL + 1e6).granted
    other = _path("b")
    assert not permits.ask(other, WALL + HOLD_S - 1).granted
    assert permits.ask(other, WALL + HOLD_S + 1).granted
    permits.enter(other, WALL + HOLD_S + 1)
    permits.leave(other)
    assert not permits.ask(_path("c"), WALL + HOLD_S + HOLD_PACE_S - 1).granted


def test_the_slower_pace_ends_when_a_human_resumes() -> None:
    """Not before the hold is over, and not while another who answered so is still stopped."""
    permits = _permits()
    decisions = permits._store.decisions

    def is_paced(wall: float) -> bool:
        permits.enter(_path("b"), wall)
        permits.leave(_path("b"))
        return not permits.ask(_path("c"), wall + 1).granted

    permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL)
    permits.learn(_path("d"), _evidence(180), _UNSAFE, WALL)
    decisions.resume(EVERYWHERE, "me", "both are machines", WALL + 1)
    decisions.resume("a", "me", "a machine", WALL + 1)
    assert is_paced(WALL + HOLD_S)
    decisions.resume("d", "me", "a machine", WALL + 2)
    assert not permits.ask(_path("c"), WALL + HOLD_S - 1).granted
    assert not is_paced(WALL + HOLD_S + 2)
    permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL + 2 * 86_400.0)
    assert is_paced(WALL + 2 * 86_400.0 + HOLD_S), "another unsafe answer begins it anew"


def test_the_hold_goes_on_after_a_restart_and_begins_by_a_commands_call() -> None:
    """The stops on record say behind which firewall and when; the newest counts."""
    store = Store(":memory:", Inline())
    running, command = Permits(store), Permits(store)
    assert running.ask(_path("b"), WALL).granted
    store.decisions.stop(Stop("old", "unsafe", "180", "psapwatch", WALL - 864_000, "fw-east"))
    command.learn(_path("a"), _evidence(180), _UNSAFE, WALL)
    store.decisions.resume(EVERYWHERE, "me", "the old one is long gone", WALL)
    for permits in (running, Permits(store)):
        assert not permits.ask(_path("b"), WALL + HOLD_S - 1).granted
        elsewhere = replace(_path("b"), firewall=Firewall("fw-west", (Source("192.0.2.10"),)))
        assert permits.ask(elsewhere, WALL + 1).granted, "nothing was met behind this one"
        assert permits.ask(_path("b"), WALL + HOLD_S + 1).granted
        permits.enter(_path("b"), WALL + HOLD_S + 1)
        permits.leave(_path("b"))
        assert not permits.ask(_path("c"), WALL + HOLD_S + HOLD_PACE_S - 1).granted, "the pace"


def test_a_hold_from_the_future_lasts_its_time_and_ends() -> None:
    """The clock was six hours ahead when somebody was met: who resumes is called again."""
    permits = _permits()
    permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL + 21_600)
    again = Permits(permits._store)
    assert not again.ask(_path("b"), WALL).granted
    permits._store.decisions.resume("a", "me", "a machine", WALL + 1)
    assert not again.ask(_path("b"), WALL + HOLD_S - 1).granted
    assert again.ask(_path("b"), WALL + HOLD_S + 1).granted


def test_a_second_unsafe_psap_within_a_day_stops_everything() -> None:
    """Two people's phones: the vantage calls nobody until a human resumes."""
    permits = _permits()
    permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL)
    permits.learn(_path("b"), _evidence(180), _UNSAFE, WALL + 3_600)
    assert not permits.ask(_path("z"), WALL + 1e7).granted
    assert EVERYWHERE in permits._store.decisions.stops


def test_a_second_unsafe_psap_counts_over_a_restart() -> None:
    """The first one's stop says when it was; an operator's stop, or an old one, is no such."""
    for reason, at, stops_all in (
        ("unsafe", WALL - 86_399.0, True),
        ("unsafe", WALL - 86_401.0, False),
        ("operator", WALL - 60.0, False),
    ):
        permits = _permits()
        permits._store.decisions.stop(Stop("a", reason, "180", "psapwatch", at))  # type: ignore[arg-type]
        Permits(permits._store).learn(_path("b"), _evidence(180), _UNSAFE, WALL)
        assert (EVERYWHERE in permits._store.decisions.stops) is stops_all


def test_the_same_psap_twice_is_not_a_second_one() -> None:
    """One PSAP answering unsafely again does not stop the vantage."""
    permits = _permits()
    permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL)
    permits.learn(_path("a"), _evidence(180), _UNSAFE, WALL + 60)
    assert EVERYWHERE not in permits._store.decisions.stops


def _answered_by(name: str) -> Evidence:
    seen = Observation(Kind.ANSWER, 0.1, {"what": "mirror", "text": f"{name}\r\nurn:x\r\n"})
    return replace(_evidence(), observations=(seen,))


def _neighbours(*, agreed: bool = True) -> tuple[Permits, Path, Path]:
    permits = _permits()
    boston, lynn = _path(), _path("lynn", _AGREED if agreed else None)
    permits.know((boston.psap, lynn.psap))
    return permits, boston, lynn


def test_the_floor_is_charged_to_whoever_answered() -> None:
    """A call for Boston that Lynn answers counts as Lynn's, on every path that leads there."""
    permits, boston, lynn = _neighbours()
    permits.learn(boston, _answered_by("Lynn"), _GOOD, WALL)
    assert permits.ask(lynn, WALL + 299.0).wait_s == pytest.approx(1.0)
    assert permits.ask(boston, WALL + 299.0).wait_s == pytest.approx(1.0)
    permits.enter(boston, WALL + 300.0)
    assert permits.ask(lynn, WALL + 300.0).reason == "one call at a time"
    permits.leave(boston)
    assert permits.ask(lynn, WALL + 303.0).granted
    permits.learn(boston, _answered_by("ma-boston"), _GOOD, WALL + 301.0)
    permits.enter(lynn, WALL + 303.0)
    assert permits.ask(boston, WALL + 303.0).granted, "Boston answers for itself again"


def test_who_answers_instead_stays_known_over_a_reload() -> None:
    """With what the new configuration says of them; who has left it is charged no longer."""
    permits, boston, lynn = _neighbours()
    permits.learn(boston, _answered_by("Lynn"), _GOOD, WALL)
    slower = replace(lynn.psap, agreement=replace(_AGREED, every_s=900.0))
    permits.know((boston.psap, slower))
    assert permits.ask(boston, WALL + 310.0).wait_s == pytest.approx(590.0)
    permits.know((boston.psap,))
    assert permits.ask(boston, WALL + 310.0).granted


def test_who_answers_instead_and_loses_consent_in_a_reload_is_not_called_again() -> None:
    """As if the next call had shown it, without that call: until a human resumes the path."""
    permits, boston, lynn = _neighbours()
    permits.learn(boston, _answered_by("Lynn"), _GOOD, WALL)
    permits.know((boston.psap, replace(lynn.psap, agreement=None)))
    permit = permits.ask(boston, WALL + 600.0)
    assert (permit.granted, permit.wait_s) == (False, 0.0)
    assert "lynn, without consent" in permit.reason
    assert permits._store.decisions.stops["ma-boston"].reason == "misrouted"
    permits._store.decisions.resume("ma-boston", "me", "routed anew", WALL + 601.0)
    assert permits.ask(boston, WALL + 602.0).granted


def test_what_holds_for_whoever_answered_holds_for_the_call() -> None:
    """A stop and a back-off of Lynn also end the calls for Boston that Lynn answers."""
    permits, boston, lynn = _neighbours()
    permits.learn(boston, _answered_by("Lynn"), _GOOD, WALL)
    permits.learn(lynn, _evidence(486), _BUSY, WALL)
    assert permits.ask(boston, WALL + 599.0).reason == "backing off as the PSAP asked"
    permits._store.decisions.stop(Stop("lynn", "operator", "storm", "me", WALL))
    assert "storm" in permits.ask(boston, WALL + 1e6).reason


def test_who_has_not_agreed_is_called_once_by_mistake_and_not_again() -> None:
    """Lynn gave no consent: Boston's calls stop until a human resumes them."""
    permits, boston, _lynn = _neighbours(agreed=False)
    assert permits.learn(boston, _answered_by("Lynn"), _GOOD, WALL) == []
    permit = permits.ask(boston, WALL + 1e6)
    assert (permit.granted, permit.wait_s) == (False, 0.0)
    assert "lynn, without consent" in permit.reason
    assert permits._store.decisions.stops["ma-boston"].reason == "misrouted"


def test_paths_to_one_psap_are_called_in_turn() -> None:
    """Whoever waits goes before the one that was called last, however punctual that one is."""
    permits = _permits()
    east, west = _path(), replace(_path(), id="west")

    def call(path: Path, wall: float) -> None:
        permits.enter(path, wall)
        permits._store.charge("ma-boston", wall)
        permits.leave(path)

    call(east, WALL)
    assert permits.ask(west, WALL + 150.0).wait_s == pytest.approx(150.0)
    assert permits.ask(east, WALL + 300.0).reason == "another path's turn"
    assert permits.ask(west, WALL + 300.1).granted
    call(west, WALL + 300.1)
    assert permits.ask(east, WALL + 301.0).wait_s == pytest.approx(299.1)
    assert not permits.ask(west, WALL + 450.0).granted
    assert permits.ask(east, WALL + 600.2).granted, "east has waited since 300 s, west since 450"


def test_a_claim_that_is_not_used_is_soon_forgotten() -> None:
    """A path that has left the configuration holds nobody up, nor does a stepped clock."""
    permits = _permits()
    east, west = _path(), replace(_path(), id="west")
    permits._store.charge("ma-boston", WALL)
    permits.ask(west, WALL + 150.0)
    assert not permits.ask(east, WALL + 300.0).granted
    assert permits.ask(east, WALL + 302.1).granted
    assert permits.ask(east, WALL - 3_600.0).reason == "called too recently"
    assert permits.ask(east, WALL - 3_300.0).granted


def test_a_clock_that_is_stepped_back_ends_no_floor(tmp_path: FilePath) -> None:
    """After a new start of the machine nobody knows how long ago: the floor is waited for once."""

    async def scene() -> list[bool]:
        granted = []
        store = Store(tmp_path / "db", Inline(), boot="before")
        store.charge("ma-boston", WALL)
        await store.close()
        for passed_s in (0.0, 1.0, 299.0, 300.1):
            store = Store(tmp_path / "db", Inline(), boot="after")
            granted.append(Permits(store).ask(_path(), WALL - 3_600.0 + passed_s).granted)
            await store.close()
        return granted

    assert run(scene(), seed=1) == [False, False, False, True]


@pytest.mark.parametrize("step_s", [-3_600.0, 10.0, 3_600.0])
def test_within_one_process_no_step_of_the_clock_changes_a_floor(step_s: float) -> None:
    """The loop knows when the call was: it is neither forgotten nor waited for twice."""

    async def scene() -> list[bool]:
        permits = _permits()
        permits._store.charge("ma-boston", WALL)
        await asyncio.sleep(100.0)
        granted = [permits.ask(_path(), WALL + 100.0 + step_s).granted]
        await asyncio.sleep(199.9)
        granted.append(permits.ask(_path(), WALL + 299.9 + step_s).granted)
        await asyncio.sleep(0.2)
        granted.append(permits.ask(_path(), WALL + 300.1 + step_s).granted)
        return granted

    assert run(scene(), seed=1) == [False, False, True]


def test_a_503_is_left_alone_only_as_long_as_it_asks() -> None:
    """Without Retry-After it is a 500, and says nothing of how often we may call."""
    permits, path = _permits(), _path()
    permits.learn(path, _evidence(503), _BUSY, WALL)
    assert permits.ask(path, WALL).granted
    permits.learn(path, _evidence(503, retry_after="1800"), _BUSY, WALL)
    assert permits.ask(path, WALL).wait_s == 1800


@pytest.mark.parametrize("code", [404, 480, 500, 603])
def test_any_refusal_may_say_when_to_come_again(code: int) -> None:
    """RFC 3261 20.33; without it such a code says nothing of how often we may call."""
    permits, path = _permits(), _path()
    permits.learn(path, _evidence(code), _BUSY, WALL)
    assert permits.ask(path, WALL).granted
    for asked in ("1800", "5", "5"):
        permits.learn(path, _evidence(code, retry_after=asked), _BUSY, WALL)
        assert permits.ask(path, WALL).wait_s == float(asked), "nothing is doubled"


@pytest.mark.parametrize("code", [486, 488, 600])
def test_a_refusal_is_honoured_with_back_off(code: int) -> None:
    """Each refusal doubles the distance, up to an hour; a pass ends it; Retry-After counts."""
    permits, path = _permits(), _path()
    lengths = []
    for _ in range(6):
        permits.learn(path, _evidence(code), _BUSY, WALL)
        lengths.append(permits.ask(path, WALL).wait_s)
    assert lengths == [600, 1200, 2400, 3600, 3600, BACK_OFF_MAX_S]
    permits.learn(path, _evidence(200), _GOOD, WALL)
    assert permits.ask(path, WALL).granted
    permits.learn(path, _evidence(code, retry_after="1800;duration=5"), _BUSY, WALL)
    assert permits.ask(path, WALL).wait_s == 1800


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        ("7200", 7_200.0),
        ("7200(I'm in a meeting);duration=5", 7_200.0),
        ("86401", 86_400.0),
        ("9999999999", 86_400.0),
        ("\u00b2", 600.0),
        ("\u0661\u0662\u0663\u0664", 600.0),
        ("-7200", 600.0),
        ("9" * 5_000, 600.0),
        ("soon", 600.0),
    ],
)
def test_what_is_asked_for_is_honoured_up_to_a_day(asked: str, wait_s: float) -> None:
    """Only our own doubling ends at an hour; what is no number leaves our own back-off."""
    permits, path = _permits(), _path()
    permits.learn(path, _evidence(486, retry_after=asked), _BUSY, WALL)
    assert permits.ask(path, WALL).wait_s == wait_s
    permits.learn(path, _evidence(486), _BUSY, WALL)
    assert permits.ask(path, WALL).wait_s <= BACK_OFF_MAX_S, "our own doubling goes no further"


def test_a_clock_that_is_stepped_back_prolongs_no_back_off() -> None:
    """It lasts once more from then, and not until its old end is here again."""
    permits, path = _permits(), _path()
    permits.learn(path, _evidence(486, retry_after="1800"), _BUSY, WALL)
    back = WALL - 40_000.0
    assert permits.ask(path, back).wait_s == 1800
    assert permits.ask(path, back + 1_000.0).wait_s == 800
    assert permits.ask(path, back + 1_800.0).granted


def _recalled(*calls: tuple[float, int, str]) -> float:
    """What is left of a back-off after a restart: calls so long ago, their answer, what it asks."""
    store = Store(":memory:", Inline())
    for nth, (ago_s, code, asked) in enumerate(calls):
        facts = {"retry_after": asked} if asked else {}
        seen = replace(_evidence(code, **facts), started_at=WALL - ago_s, psap="ma-boston")
        verdict = {0: _SILENT, 200: _GOOD}.get(code, _BUSY)
        store.record_attempt(replace(seen, attempt_id=str(nth), duration_s=0.0), verdict)
    permits, path = Permits(store), _path()
    asyncio.run(permits.recall([path.psap], WALL))
    return permits.ask(path, WALL).wait_s


@pytest.mark.parametrize(
    ("calls", "left_s"),
    [
        ([(1_000.0, 486, "3600")], 2_600.0),
        ([(1_000.0, 486, "3600"), (500.0, 0, "")], 2_600.0),  # silence takes nothing back
        ([(1_000.0, 486, "3600"), (500.0, 200, "")], 0.0),
        ([(700.0, 486, ""), (100.0, 486, "")], 1_100.0),  # doubled, as without the restart
        ([(90_000.0, 486, "86400")], 0.0),
        ([(-1_000.0, 486, "86400")], 0.0),  # written by a clock that ran ahead
        ([(-1_000.0, 200, ""), (600.0, 486, "3600")], 3_000.0),
    ],
)
def test_what_the_last_calls_say_of_a_back_off(
    calls: list[tuple[float, int, str]], left_s: float
) -> None:
    """A pass ends it, and nothing else does but its time."""
    assert _recalled(*calls) == left_s


@pytest.mark.parametrize("is_killed", [True, False])
def test_what_a_psap_asked_for_holds_over_a_restart(tmp_path: FilePath, *, is_killed: bool) -> None:
    """Retry-After: an hour. A daemon that begins anew meanwhile calls all but this PSAP."""
    busy = Script(invite=(Step(486, headers=(("Retry-After", "3600"),)),))
    asking, other = "psap-001", "psap-002"

    async def scene() -> dict[str, list[float]]:
        database, called = str(tmp_path / "psapwatch.db"), dict[str, list[float]]()
        async with stage(3, Plan(psaps=2), CHECKS, database=database) as on:
            name_of = {psap.hosts[0]: name for name, psap in on.topology.psaps.items()}
            loop = asyncio.get_running_loop()
            on.topology.world.network.taps.append(
                lambda packet: (
                    called.setdefault(name_of[packet.destination.host], []).append(loop.time())
                    if packet.octets.startswith(b"INVITE") and packet.destination.host in name_of
                    else None
                )
            )
            on.topology.psaps[asking].script = busy
            await asyncio.sleep(310)
            await (on.kill() if is_killed else on.stop())
            on.topology.psaps[asking].script = SCRIPTS["multipart"]
            await on.start()
            await asyncio.sleep(3_900)
        return called

    called = run(scene(), seed=3)
    assert len(called[other]) >= 13
    refused, after = called[asking][0], called[asking][1]
    assert after - refused >= 3_600


@pytest.mark.timeout(180)
def test_no_psap_is_called_more_often_than_agreed_in_the_whole_daemon() -> None:
    """Two paths, an outage that makes everybody suspicious, and recovery: the floor holds."""

    async def scene() -> tuple[dict[str, list[float]], dict[str, set[str]]]:
        plan = Plan(psaps=12, firewalls=("fw-east", "fw-west"), calls_every_s=150.0)
        async with stage(7, plan, CHECKS) as running:
            sources: dict[str, set[str]] = {}
            running.topology.world.network.taps.append(
                lambda packet: (
                    sources.setdefault(packet.destination.host, set()).add(packet.source.host)
                    if packet.octets.startswith(b"INVITE")
                    else None
                )
            )
            await asyncio.sleep(700)
            running.topology.firewalls["fw-east"].add(_NO_OPTIONS)
            await asyncio.sleep(400)
            running.topology.firewalls["fw-east"].remove("block")
            await asyncio.sleep(700)
            assert running.topology.firewalls["fw-east"].hits["block"] > 0
            heard = {
                name: sorted(
                    {seen.call_id: seen.at for point in psap.points for seen in point.log
                     if seen.method == "INVITE"}.values()
                )
                for name, psap in running.topology.psaps.items()
            }  # fmt: skip
            hosts = {name: psap.hosts[0] for name, psap in running.topology.psaps.items()}
            return heard, {name: sources[host] for name, host in hosts.items()}

    heard, sources = run(scene(), seed=7)
    assert all(len(hosts) == 2 for hosts in sources.values()), "calls went over both paths"
    assert all(len(times) >= 3 for times in heard.values())
    for times in heard.values():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(gaps) >= 150.0 - 0.5  # the wire's own delay
