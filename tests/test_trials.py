"""The battery's runs: once for a firewall, bounded, and never a call to a PSAP."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from psapwatch.battery import Row
from psapwatch.endpoint import REFERENCE, Check, Firewall, Path, Psap, Source
from psapwatch.simulator.loop import run
from psapwatch.trials import EPISODE_S, RUN_EVERY_S, RUNS_MAX, Ground, Trials

SOURCES = (Source("192.0.2.1", witness="sip:w@192.0.2.9"), Source("192.0.2.2"))
FIREWALL = Firewall("fw-east", SOURCES, reference="sip:ref.example.net")
PATH = Path(Psap("p1", ""), "fw-east", "v", FIREWALL, "sip:p1.example.net", "udp")
OUR_REFERENCE = replace(PATH, psap=Psap(REFERENCE, ""), uri="sip:ref.example.net")
GROUND = Ground(PATH, OUR_REFERENCE, None)


class Sent:
    """What the battery sent."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Row, Path, Check]] = []

    async def __call__(self, path: Path, check: Check, row: Row) -> None:
        """Take one attempt."""
        self.attempts.append((row, path, check))


def test_only_our_own_responder_is_called_to_find_out() -> None:
    """Whatever fails, no PSAP gets an INVITE from the battery."""

    async def scene() -> Sent:
        sent = Sent()
        Trials(sent, lambda _firewall: None).failed(GROUND, 0.0)
        await asyncio.sleep(5.0)
        return sent

    sent = run(scene())
    calls = {path.psap.id for _row, path, check in sent.attempts if check.is_call}
    assert calls == {REFERENCE}
    rows = {row for row, _path, _check in sent.attempts}
    assert {"witness", "second_source", "reference", "small_call", "large_call"} <= rows
    (second,) = {path.leaves_from for row, path, _check in sent.attempts if row == "second_source"}
    assert second == SOURCES[1]


def test_without_reference_or_second_source_those_rows_are_not_tried() -> None:
    """What the configuration does not have is left out, and proves nothing."""

    async def scene() -> Sent:
        sent = Sent()
        bare = replace(PATH, firewall=Firewall("fw-east", (Source("192.0.2.1"),)))
        Trials(sent, lambda _firewall: None).failed(Ground(bare, None, None), 0.0)
        await asyncio.sleep(5.0)
        return sent

    sent = run(scene())
    assert not [each for each in sent.attempts if each[2].is_call]
    assert not {"witness", "second_source", "reference"} & {row for row, _p, _c in sent.attempts}


def test_two_hundred_failures_are_one_run() -> None:
    """One battery a firewall, however many paths fail, and only so many runs of an episode."""

    async def scene() -> tuple[int, int, bool]:
        trials = Trials(Sent(), lambda _firewall: None)
        at_once = sum(trials.failed(GROUND, nth * 0.01) for nth in range(200))
        await asyncio.sleep(5.0)
        later = 0
        for nth in range(1, 100):
            later += trials.failed(GROUND, nth * RUN_EVERY_S)
            await asyncio.sleep(5.0)
        return at_once, later, trials.failed(GROUND, 100 * RUN_EVERY_S + EPISODE_S)

    at_once, later, anew = run(scene())
    assert at_once == 1
    assert later == RUNS_MAX - 1
    assert anew, "a new episode has a battery of its own"


def test_a_silent_witness_is_asked_until_it_answers() -> None:
    """Otherwise nobody would notice that the prober sees again."""

    async def scene() -> tuple[int, int]:
        sent, blind = Sent(), [True]
        Trials(sent, lambda _firewall: "witness" if blind[0] else None).failed(GROUND, 0.0)
        await asyncio.sleep(61.0)
        asked = sum(row == "witness" for row, _path, _check in sent.attempts)
        blind[0] = False
        await asyncio.sleep(60.0)
        return asked, sum(row == "witness" for row, _path, _check in sent.attempts)

    asked, in_the_end = run(scene())
    assert asked > 10
    assert in_the_end <= asked + 1


def test_another_address_of_ours_is_asked_as_long_as_it_matters() -> None:
    """Along the way to our own responder: the path that failed may have a reason of its own."""

    async def scene() -> list[Path]:
        sent, matters = Sent(), [True]
        trials = Trials(sent, lambda _firewall: "second_source" if matters[0] else None)
        trials.failed(GROUND, 0.0)
        await asyncio.sleep(60.0)
        matters[0] = False
        await asyncio.sleep(6.0)
        asked = [path for row, path, _check in sent.attempts if row == "second_source"]
        await asyncio.sleep(60.0)
        assert len(asked) == sum(row == "second_source" for row, _path, _check in sent.attempts)
        trials.stop()
        return asked

    asked = run(scene())
    ours = [path for path in asked if path.psap.id == REFERENCE]
    assert len(ours) > 30
    assert {path.leaves_from for path in asked} == {SOURCES[1]}
