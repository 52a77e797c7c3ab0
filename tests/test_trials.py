"""The battery's runs: once for a firewall, bounded, and never a call to a PSAP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.battery import Row
from psapwatch.endpoint import REFERENCE, Check, Firewall, Path, Psap, Source
from psapwatch.simulator.loop import run
from psapwatch.trials import BURST_AGAIN_S, EPISODE_S, RUN_EVERY_S, RUNS_MAX, Ground, Trials

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


def _trials(
    sent: Sent,
    asks: Callable[[str], Row | None] = lambda _firewall: None,
    singles_pass: Callable[[str, float], bool] = lambda _firewall, _since: False,
) -> Trials:
    return Trials(sent, asks, singles_pass)


def test_only_our_own_responder_is_called_to_find_out() -> None:
    """Whatever fails, no PSAP gets an INVITE from the battery."""

    async def scene() -> Sent:
        sent = Sent()
        _trials(sent).failed(GROUND, 0.0)
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
        _trials(sent).failed(Ground(bare, None, None), 0.0)
        await asyncio.sleep(5.0)
        return sent

    sent = run(scene())
    assert not [each for each in sent.attempts if each[2].is_call]
    assert not {"witness", "second_source", "reference"} & {row for row, _p, _c in sent.attempts}


def test_two_hundred_failures_are_one_run() -> None:
    """One battery a firewall, however many paths fail, and only so many runs of an episode."""

    async def scene() -> tuple[int, int, bool]:
        trials = _trials(Sent())
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
        _trials(sent, lambda _firewall: "witness" if blind[0] else None).failed(GROUND, 0.0)
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
        trials = _trials(sent, lambda _firewall: "second_source" if matters[0] else None)
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


@dataclass(frozen=True)
class Failure:
    """Something fails, and how the single calls are by then."""

    after_s: float
    is_call: bool
    singles_pass: bool


failures = st.lists(
    st.builds(Failure, st.floats(0.0, 2 * BURST_AGAIN_S), st.booleans(), st.booleans()), max_size=20
)


def _bursts(
    ground: Ground, history: list[Failure]
) -> tuple[list[tuple[float, Path, Check]], list[float]]:
    """When and to whom bursts were sent, and since when the single calls were asked of."""

    async def scene() -> tuple[list[tuple[float, Path, Check]], list[float]]:
        loop, single = asyncio.get_running_loop(), [False]
        asked: list[float] = []
        bursts: list[tuple[float, Path, Check]] = []

        async def send(path: Path, check: Check, row: Row) -> None:
            if row == "burst_call" or check.settings.kind == "burst":
                bursts.append((loop.time(), path, check))

        def singles_pass(_firewall: str, since: float) -> bool:
            asked.append(since)
            return single[0]

        trials = Trials(send, lambda _firewall: None, singles_pass)
        for each in history:
            await asyncio.sleep(each.after_s)
            single[0] = each.singles_pass
            wall = 1e9 + loop.time() if each.is_call else None
            trials.failed(replace(ground, call_failed_at=wall), loop.time())
        await asyncio.sleep(10.0)
        trials.stop()
        return bursts, asked

    return run(scene())


AGREED = replace(FIREWALL, rate_burst=True)
AGREED_GROUND = Ground(
    replace(PATH, firewall=AGREED), replace(OUR_REFERENCE, firewall=AGREED), None
)


@given(failures, st.sampled_from([GROUND, replace(AGREED_GROUND, reference=None)]))
def test_without_consent_or_reference_no_burst_ever_leaves(
    history: list[Failure], ground: Ground
) -> None:
    """Whatever fails, however the single calls are: nobody has agreed to eight calls at once."""
    assert _bursts(ground, history) == ([], [])


@given(failures)
def test_a_burst_goes_to_our_responder_once_and_only_while_single_calls_pass(
    history: list[Failure],
) -> None:
    """Never to a PSAP, and not again until nothing has failed for long enough."""
    bursts, asked = _bursts(AGREED_GROUND, history)
    assert {path.psap.id for _at, path, _check in bursts} <= {REFERENCE}
    assert all(check.is_call for _at, _path, check in bursts), "the ledger knows of it"
    at, due, quiet_s, is_over = 0.0, [], 0.0, False
    for each in history:
        at, quiet_s = at + each.after_s, each.after_s
        is_over = is_over and quiet_s < BURST_AGAIN_S
        if each.is_call and each.singles_pass and not is_over:
            due.append(at)
            is_over = True
    assert [sent for sent, _path, _check in bursts] == pytest.approx(due)
    assert len(asked) >= len(due)
    assert all(since >= 1e9 for since in asked), "single calls count from when calls failed"


def test_single_calls_count_from_the_first_call_that_failed() -> None:
    """OPTIONS that failed before say nothing of calls; an episode later all begins anew."""
    history = [Failure(5.0, is_call, singles_pass=False) for is_call in (False, True, True)]
    later = Failure(BURST_AGAIN_S, is_call=True, singles_pass=False)
    _sent, asked = _bursts(AGREED_GROUND, [*history, later])
    assert asked == [1e9 + 10.0, 1e9 + 10.0, 1e9 + 15.0 + BURST_AGAIN_S]
