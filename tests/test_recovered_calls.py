"""The whole daemon in simulated time: calls that a killed daemon left open, after its restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from psapwatch.daemon import Daemon
from psapwatch.endpoint import Check, Credentials, TransportName
from psapwatch.left_open import LEFT_AFTER_S, LOOK_EVERY_S
from psapwatch.probes.call import CallSettings
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.simulator.rule import Rule
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS, Script, Step
from psapwatch.store.decisions import Stop
from psapwatch.store.ledger import EVERYWHERE
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store
from psapwatch.world import REUSE_MAX_S, CallForbidden

PSAP: Final = "psap-001"
CALL: Final = (Check("test-call", 300.0, 8.0, CallSettings()),)
SWALLOWED: Final = Rule(name="swallow", methods=frozenset({"INVITE"}))
TIMER_B_S: Final = 32.0
Change = Callable[[Stage], None]


def _played(folder: Path, plan: Plan, acts: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        database = str(folder / "psapwatch.db")
        async with stage(1, plan, CALL, database=database) as scene:
            await acts(scene)

    run(whole())


def _asked(scene: Stage) -> list[str]:
    """The methods that the PSAP has got, in order."""
    return [seen.method for seen in scene.topology.psaps[PSAP].log]


async def _until_swallowed(scene: Stage) -> None:
    """Until a call is open whose INVITE the firewall has dropped; then the firewall lets all by."""
    firewall = scene.topology.firewalls["fw-east"]
    firewall.add(SWALLOWED)
    while not await scene.daemon.store.open_calls():  # noqa: ASYNC110 - in simulated time
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    await scene.kill()
    firewall.remove(SWALLOWED.name)


async def _until_heard(scene: Stage) -> None:
    """Until the PSAP has an INVITE; a second later the daemon is killed."""
    while not _asked(scene):  # noqa: ASYNC110 - in simulated time
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    await scene.kill()


def _nothing(scene: Stage) -> None:
    """Everything is as it was."""


def _without_consent(scene: Stage) -> None:
    paths = tuple(
        replace(path, psap=replace(path.psap, agreement=None)) for path in scene.config.paths
    )
    scene.config = replace(scene.config, paths=paths, psaps=tuple(path.psap for path in paths))


def _without_the_path(scene: Stage) -> None:
    scene.config = replace(scene.config, paths=(), psaps=())


def _clock_back(scene: Stage) -> None:
    scene.step_clock(-3600.0)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (_nothing, "INVITE"),
        (_without_consent, "CANCEL"),
        (_without_the_path, "CANCEL"),
        (_clock_back, "CANCEL"),
    ],
)
def test_an_invite_is_sent_again_only_where_a_call_may_be_placed(
    tmp_path: Path, change: Change, first: str
) -> None:
    """It never arrived, so that for the PSAP it would be a new call: else only CANCEL leaves."""

    async def acts(scene: Stage) -> None:
        await _until_swallowed(scene)
        change(scene)
        await scene.start()
        await asyncio.sleep(TIMER_B_S + 8)
        asked = _asked(scene)
        assert asked[0] == first
        assert asked.count("INVITE") == (first == "INVITE")
        assert await scene.daemon.store.open_calls() == []

    _played(tmp_path, Plan(psaps=1, script=SCRIPTS["ringing"]), acts)


@pytest.mark.parametrize("psap", [PSAP, EVERYWHERE])
def test_a_stop_holds_for_the_invite_of_an_open_call(tmp_path: Path, psap: str) -> None:
    """Stopped while nobody was running: nothing rings after the start."""

    async def acts(scene: Stage) -> None:
        await _until_swallowed(scene)
        store = Store(tmp_path / "psapwatch.db", Inline())
        store.decisions.stop(Stop(psap, "operator", "storm", "ann", 0.0))
        await store.close()
        await scene.start()
        await asyncio.sleep(TIMER_B_S + 8)
        assert set(_asked(scene)) == {"CANCEL"}

    _played(tmp_path, Plan(psaps=1, script=SCRIPTS["ringing"]), acts)


RINGS: Final = Script(invite=(Step(100), Step(180, 1.5)), minds_expires=False)
"""Begins to ring while no daemon is running."""
PICKED_UP: Final = Script(
    invite=(Step(200, 3.0, "no_loopback"),), cancel=(), hangs_up_after_s=None, minds_expires=False
)
"""A telephone that is answered in spite of a CANCEL."""


@pytest.mark.parametrize(
    ("script", "change", "why", "pages"),
    [
        (RINGS, _nothing, "ringing: 180", 1),
        (PICKED_UP, _nothing, "no_loopback: audio", 1),
        (PICKED_UP, _without_the_path, "no_loopback: audio", 0),
    ],
)
def test_a_person_met_by_an_open_call_stops_the_calls(
    tmp_path: Path, script: Script, change: Change, why: str, pages: int
) -> None:
    """As in any attempt: the stop is written, a page goes out, and no second call is placed."""

    async def acts(scene: Stage) -> None:
        await _until_heard(scene)
        await asyncio.sleep(1)
        change(scene)
        await scene.start()
        await asyncio.sleep(TIMER_B_S + 8)
        stops = scene.daemon.store.decisions.stops
        assert {psap: stop.reason for psap, stop in stops.items()} == {PSAP: "unsafe"}
        assert stops[PSAP].why.startswith(why)
        assert len(scene.pages()) == pages
        before = _asked(scene)
        await asyncio.sleep(CALL[0].every_s * 2)
        assert _asked(scene) == before

    _played(tmp_path, Plan(psaps=1, script=script), acts)


def test_an_answer_that_comes_after_the_restart_is_on_record(tmp_path: Path) -> None:
    """Killed a second time before its BYE is answered, the call can still be ended with BYE."""

    async def acts(scene: Stage) -> None:
        await _until_heard(scene)
        await scene.start()
        await asyncio.sleep(5)
        [row] = await scene.daemon.store.open_calls()
        assert row.answer.startswith(b"SIP/2.0 200")
        await scene.kill()
        asked = len(_asked(scene))
        await scene.start()
        await asyncio.sleep(1)
        assert sorted(set(_asked(scene)[asked:])) == ["ACK", "BYE"]

    answers = Script(invite=(Step(200, 3.0, "mirror"),), bye=(), hangs_up_after_s=None)
    _played(tmp_path, Plan(psaps=1, script=answers), acts)


SILENT: Final = Script(invite=(Step(100),), hangs_up_after_s=None, minds_expires=False)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_an_open_call_is_ended_over_its_transport(tmp_path: Path, transport: TransportName) -> None:
    """Over TLS as well: the certificate names the domain of the URI, not the address."""

    async def acts(scene: Stage) -> None:
        await _until_heard(scene)
        await asyncio.sleep(REUSE_MAX_S)  # no connection of the killed one is given out again
        await scene.start()
        await asyncio.sleep(TIMER_B_S + 8)
        assert "CANCEL" in _asked(scene)
        assert await scene.daemon.store.open_calls() == []

    _played(tmp_path, Plan(psaps=1, transports=(transport,), script=SILENT), acts)


def test_an_open_call_is_ended_from_the_address_that_it_left_from(tmp_path: Path) -> None:
    """The IPv6 leg of a path whose usual source is an IPv4 address."""

    async def acts(scene: Stage) -> None:
        store = scene.daemon.store
        while not any(row.peer.is_v6 for row in await store.open_calls()):  # noqa: ASYNC110 - above
            await asyncio.sleep(0.05)
        assert ":" not in scene.config.paths[0].leaves_from.address
        await asyncio.sleep(1)
        await scene.kill()
        asked = len(_asked(scene))
        await scene.start()
        await asyncio.sleep(TIMER_B_S)
        assert _asked(scene)[asked:] == ["INVITE", "CANCEL", "ACK"]
        assert await scene.daemon.store.open_calls() == []

    _played(tmp_path, Plan(psaps=1, with_v6=True, script=SILENT), acts)


CHALLENGE: Final = (("WWW-Authenticate", 'Digest realm="psap", nonce="n", qop="auth"'),)


@pytest.mark.parametrize("of_firewall", [False, True])
def test_a_challenge_to_the_bye_of_an_open_call_is_answered(
    tmp_path: Path, of_firewall: bool
) -> None:
    """With the credentials of the path or its firewall, as in any call."""

    async def acts(scene: Stage) -> None:
        await _until_heard(scene)
        auth, [path] = Credentials("probe", "secret"), scene.config.paths
        firewall = replace(path.firewall, auth=auth if of_firewall else None)
        path = replace(path, firewall=firewall, auth=None if of_firewall else auth)
        scene.config = replace(scene.config, paths=(path,))
        await scene.start()
        await asyncio.sleep(TIMER_B_S)
        assert _asked(scene).count("BYE") == 2

    answers = Script(
        invite=(Step(200, 3.0, "mirror"),),
        bye=(Step(401, headers=CHALLENGE),),
        hangs_up_after_s=None,
    )
    _played(tmp_path, Plan(psaps=1, script=answers), acts)


def test_an_open_call_is_ended_from_another_address_of_the_firewall(tmp_path: Path) -> None:
    """The order of a firewall's addresses has changed since: the call's own still is the one."""

    async def acts(scene: Stage) -> None:
        await _until_heard(scene)
        [path] = scene.config.paths
        turned = replace(path.firewall, sources=path.firewall.sources[::-1])
        scene.config = replace(scene.config, paths=(replace(path, firewall=turned),))
        await scene.start()
        await asyncio.sleep(TIMER_B_S)
        asked = scene.topology.psaps[PSAP].log
        assert [seen.method for seen in asked] == ["INVITE", "INVITE", "CANCEL", "ACK"]
        assert len({seen.source for seen in asked}) == 1

    _played(tmp_path, Plan(psaps=1, script=SILENT), acts)


COMMAND_WAITS_S: Final = 4.0


def test_a_call_that_a_command_left_is_ended_by_the_running_daemon(tmp_path: Path) -> None:
    """Nobody waits for a restart: CANCEL leaves, the row ends, and the PSAP can be called again."""

    async def acts(scene: Stage) -> None:
        store = Store(tmp_path / "psapwatch.db", Inline())
        command = Daemon(scene.config, scene.topology.world, store)
        command.watch.run((), scene.config.firewalls)
        [path] = scene.config.paths
        _evidence, verdict = await command.watch.probe(path, CALL[0])
        assert verdict.failed
        await command.watch.stop(COMMAND_WAITS_S)
        await store.close()
        [row] = await scene.daemon.store.open_calls()
        assert row.answer == b""
        with pytest.raises(CallForbidden, match="another call to psap-001 is open"):
            await scene.daemon.watch.calls.enter(replace(row, call_id="next"), 120.0)
        assert set(_asked(scene)) == {"INVITE"}
        asked = len(_asked(scene))
        await asyncio.sleep(LEFT_AFTER_S + 8 + 2 * LOOK_EVERY_S + TIMER_B_S)
        assert _asked(scene)[asked:] == ["CANCEL", "ACK"]
        assert await scene.daemon.store.open_calls() == []

    async def whole() -> None:
        plan = Plan(psaps=1, script=Script(invite=()))
        async with stage(1, plan, (), database=str(tmp_path / "psapwatch.db")) as scene:
            await acts(scene)

    run(whole())


STOPS_WITHIN_S: Final = 5.0
"""What README and the systemd unit count on; in simulated time no busy machine decides it."""
DEAF: Final = Script(
    invite=(Step(200, body="mirror"),), bye=(), hangs_up_after_s=None, minds_expires=False
)


@pytest.mark.parametrize("script", [SILENT, DEAF, SCRIPTS["ringing"]])
def test_a_stop_in_mid_call_takes_less_than_five_seconds(tmp_path: Path, script: Script) -> None:
    """Also where neither CANCEL nor BYE is answered: what stays open is ended by the next start."""

    async def acts(scene: Stage) -> None:
        while not _asked(scene):  # noqa: ASYNC110 - in simulated time
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await scene.stop()
        assert asyncio.get_running_loop().time() - began < STOPS_WITHIN_S
        assert {"CANCEL", "BYE"} & set(_asked(scene))
        await scene.start()

    _played(tmp_path, Plan(psaps=1, script=script), acts)
