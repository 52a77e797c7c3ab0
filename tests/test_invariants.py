"""The invariants notice: each is broken on purpose, in a daemon that is otherwise whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from psapwatch.endpoint import Address
from psapwatch.replay.invariants import (
    Tap,
    broken_at_rest,
    broken_while_running,
    counts_disagree,
)
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.simulator.topology import Plan
from psapwatch.verdict import PASSED
from psapwatch.world import Road
from samples import attempt
from simulator.outside import Ear

PLAN = Plan(psaps=2)
LIVE = b"INVITE urn:service:sos SIP/2.0\r\nCall-ID: %s\r\nContent-Length: 0\r\n\r\n"
TEST = LIVE.replace(b":sos", b":test.sos")


def _broken_by(breaking: Callable[[Stage], None]) -> list[str]:
    async def whole() -> list[str]:
        async with stage(1, PLAN) as scene:
            tap = Tap(scene)
            await asyncio.sleep(40)
            breaking(scene)
            await asyncio.sleep(1)
            incidents = await scene.daemon.store.incidents()
            found = await broken_while_running(scene, tap, incidents)
            found += await counts_disagree(scene)
        return found + broken_at_rest(scene)

    return run(whole())


def _send(octets: bytes) -> Callable[[Stage], None]:
    def breaking(scene: Stage) -> None:
        to = Address(scene.topology.psaps["psap-001"].hosts[0], 5060)
        ours = scene.config.firewalls[0].sources[0].address
        scene.topology.world.network.datagram(Address(ours, 20_000), to, octets)

    return breaking


def _twice(scene: Stage) -> None:
    _send(TEST % b"one")(scene)
    _send(TEST % b"two")(scene)


def _astray(times: int) -> Callable[[Stage], None]:
    """So many calls for psap-002 that reach psap-001, which the daemon has just called."""

    def breaking(scene: Stage) -> None:
        for nth in range(times):
            route = b"Route: <sip:psap-002.example.gov;lr>\r\nCall-ID: astray-%d" % nth
            _send(TEST.replace(b"Call-ID: %s", route))(scene)

    return breaking


def _three_at_once(scene: Stage) -> None:
    """The limit is two calls a second, and nobody has agreed to a burst."""
    to = Address(next(iter(scene.topology.references.values())).hosts[0], 5060)
    ours = Address(scene.config.firewalls[0].sources[0].address, 20_000)
    for nth in range(3):
        scene.topology.world.network.datagram(ours, to, TEST % b"burst-%d" % nth)


def _uncounted(scene: Stage) -> None:
    wall = scene.daemon.world.clock.wall()
    evidence = attempt(scene.config.paths[0], at=wall, attempt_id="never-counted")
    scene.daemon.store.record_attempt(evidence, PASSED)


def _leave_open(scene: Stage) -> None:
    network, source = scene.topology.world.network, scene.config.firewalls[0].sources[0]
    road = Road("udp", source, Address("10.30.0.1", 5060))
    opening = network.open(road, "forgotten", Ear(), patience_s=1.0)
    scene.scenery.add(asyncio.get_running_loop().create_task(_done(opening)))


async def _done(opening: Awaitable[object]) -> None:
    await opening


def test_a_whole_daemon_breaks_none() -> None:
    """What follows is noticed because of what was done, and for nothing else."""
    assert _broken_by(lambda _scene: None) == []


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (_send(LIVE % b"live"), "an INVITE that is no test call"),
        (_twice, "psap-001 called 0.0 s after the last call"),
        (_astray(2), "psap-001 called 0.0 s after the last call"),
        (_three_at_once, "3 calls at once from 10.100.0.10"),
        (_uncounted, "in the store"),
        (lambda scene: scene.daemon.metrics.internal_error(), "1 errors of our own"),
        (_leave_open, "1 sockets left open"),
    ],
)
def test_what_is_broken_is_named(breaking: Callable[[Stage], None], says: str) -> None:
    """Each invariant has its sentence."""
    assert any(says in problem for problem in _broken_by(breaking))


def test_nobody_can_know_that_a_call_goes_astray_before_it_does() -> None:
    """The first call that reaches another PSAP breaks nobody's floor; the second one does."""
    assert not [problem for problem in _broken_by(_astray(1)) if "after the last call" in problem]
