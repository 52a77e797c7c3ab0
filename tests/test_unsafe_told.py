"""An unsafe answer stops the calls there, also where no verdict was left to tell it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from psapwatch.endpoint import REFERENCE, Check
from psapwatch.probes.call import CallSettings
from psapwatch.replay.stage import CHECKS, Stage, run, stage
from psapwatch.simulator.topology import Plan
from psapwatch.simulator.world import SimulatedResolver
from psapwatch.sip.answering_script import SCRIPTS, Script, Step
from psapwatch.trials import _SMALL

OPTIONS: Final = CHECKS[:1]
CALL: Final = Check("test-call", 300.0, 8.0, CallSettings())
RINGS: Final = Script(
    invite=(Step(100), Step(180, 3.0), Step(200, 6.0, "no_loopback")), minds_expires=False
)


def methods(scene: Stage) -> list[str]:
    """What came to the only PSAP, OPTIONS left out."""
    log = scene.topology.psaps["psap-001"].log
    return [seen.method for seen in log if seen.method != "OPTIONS"]


async def called(scene: Stage) -> None:
    """Wait for the first INVITE."""
    while "INVITE" not in methods(scene):  # noqa: ASYNC110 - simulated time
        await asyncio.sleep(0.05)


def stopped(scene: Stage) -> set[str]:
    """Whose test calls are stopped."""
    return set(scene.daemon.store.decisions.stops)


def test_a_reload_in_mid_call() -> None:
    """The check changes 1 s after the INVITE, the phone rings 2 s later: it rings once."""

    async def scenario() -> None:
        async with stage(1, Plan(psaps=1, script=RINGS), (CALL,)) as scene:
            await called(scene)
            await asyncio.sleep(1.0)
            changed = replace(scene.daemon.config, checks=(replace(CALL, every_s=310.0),))
            scene.daemon._take_over(changed)
            await asyncio.sleep(1_000.0)
            assert stopped(scene) == {"psap-001"}
            assert methods(scene) == ["INVITE", "CANCEL", "ACK"]
            assert [page.split()[0] for page in scene.pages()] == ["TestCallUnsafe"]

    run(scenario())


def test_who_asked_went_away() -> None:
    """A call by hand is cancelled before the phone rings: what rings then is heard all the same."""

    async def scenario() -> None:
        async with stage(1, Plan(psaps=1, script=RINGS), OPTIONS) as scene:
            by_hand = asyncio.create_task(scene.daemon.watch.probe(scene.config.paths[0], CALL))
            await called(scene)
            by_hand.cancel()
            await asyncio.sleep(60.0)
            assert stopped(scene) == {"psap-001"}

    run(scenario())


def test_a_call_of_the_battery() -> None:
    """Our own responder rings while the battery asks it: it is called once."""

    async def scenario() -> None:
        async with stage(1, Plan(psaps=1, script=SCRIPTS["multipart"]), OPTIONS) as scene:
            await asyncio.sleep(30.0)
            responder = scene.topology.references["fw-east"]
            responder.script = RINGS
            for _nth in range(3):
                await scene.daemon.watch._try_out(scene.config.references[0], _SMALL, "small_call")
            rang = [seen.method for seen in responder.log if seen.method == "INVITE"]
            assert rang == ["INVITE"]
            assert stopped(scene) == {REFERENCE}

    run(scenario())


def test_no_call_begins_while_the_daemon_stops() -> None:
    """A call waits for its name while the daemon is stopped: its INVITE never leaves."""

    async def scenario() -> None:
        async with stage(1, Plan(psaps=1, script=RINGS), OPTIONS) as scene:
            resolver = scene.topology.world.resolver
            assert isinstance(resolver, SimulatedResolver)
            asked = asyncio.Event()
            real = resolver.resolve

            async def slow(uri: str, transport: str) -> object:
                asked.set()
                await asyncio.sleep(0.8)
                return await real(uri, transport)  # type: ignore[arg-type]

            resolver.resolve = slow  # type: ignore[assignment,method-assign]
            by_hand = asyncio.create_task(scene.daemon.watch.probe(scene.config.paths[0], CALL))
            await asked.wait()
            assert await scene.daemon.watch.stop() == 0
            await asyncio.wait([by_hand])
            await asyncio.sleep(20.0)
            assert methods(scene) == []

    run(scenario())
