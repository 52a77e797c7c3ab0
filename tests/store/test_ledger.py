"""A call's row is on disk before its INVITE may leave."""

from __future__ import annotations

import asyncio
import math
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from psapwatch.store.decisions import Stop
from psapwatch.store.ledger import (
    EVERYWHERE,
    LEDGER_S,
    NOT_SENT,
    CallsStopped,
    LedgerUnavailable,
    Moment,
    TooSoon,
    boot_id,
)
from psapwatch.store.runner import Inline, WriterThread
from store.material import FAILED, INVITE, NOON, attempt, call, opened

RUNNERS = pytest.mark.parametrize("run", [Inline, WriterThread])
STOP = Stop("ma-boston", "operator", "kitchen fire", "ann", NOON)


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    """Read the file as another program would."""
    beside = sqlite3.connect(database)
    found = beside.execute(query).fetchall()
    beside.close()
    return found


@RUNNERS
def test_the_row_is_committed_when_open_call_returns(
    database: Path, run: type[Inline | WriterThread]
) -> None:
    """Another process sees the row, with the INVITE as it is sent, before the caller goes on."""

    async def scene() -> None:
        async with opened(database, run()) as store:
            await store.open_call(call())
            assert rows(database, "SELECT call_id, octets, ended_at FROM calls") == [
                ("c1", INVITE, None)
            ]
            assert await store.open_calls() == [call()]
            assert store.last_call_at("ma-boston") == NOON

    asyncio.run(scene())


@RUNNERS
def test_an_ended_call_is_kept_without_its_credentials(
    database: Path, run: type[Inline | WriterThread]
) -> None:
    """Once a call has ended it is not open any more, and its INVITE is redacted."""

    async def scene() -> None:
        async with opened(database, run()) as store:
            await store.open_call(call())
            store.close_call("c1", "bye_sent", NOON + 2)
            store.close_call("never-opened", "bye_sent", NOON + 2)
            assert await store.open_calls() == []

    asyncio.run(scene())
    [(call_id, how, ended_at, octets)] = rows(
        database, "SELECT call_id, how, ended_at, octets FROM calls"
    )
    assert (call_id, how, ended_at) == ("c1", "bye_sent", NOON + 2)
    assert isinstance(octets, bytes)
    assert b"5ecre7" not in octets


def test_open_calls_and_the_floor_survive_a_restart(database: Path) -> None:
    """The next process finds the calls that are open and when each PSAP was last called."""

    async def scene() -> None:
        async with opened(database) as store:
            await store.open_call(call("c2", at=NOON + 1))
            await store.open_call(call("c1"))
            store.charge("ma-quincy", NOON + 7)
            store.charge("ma-quincy", NOON + 3)
        async with opened(database) as store:
            assert await store.open_calls() == [call("c1"), call("c2", at=NOON + 1)]
            assert store.last_call_at("ma-boston") == NOON + 1
            assert store.last_call_at("ma-quincy") == NOON + 7
            assert store.last_call_at("ma-lynn") is None

    asyncio.run(scene())


def test_the_floor_holds_between_processes(database: Path) -> None:
    """With a floor a second call is refused while one is open, and until the floor has passed."""

    async def scene() -> None:
        async with opened(database) as daemon, opened(database) as command:
            await daemon.open_call(call("c1"), floor_s=120)
            with pytest.raises(TooSoon, match="another call to ma-boston is open"):
                await command.open_call(call("c2", at=NOON + 600), floor_s=120)
            daemon.close_call("c1", "bye_sent", NOON + 2)
            await daemon.flushed()
            with pytest.raises(TooSoon, match="was called 119 s ago, its floor is 120 s"):
                await command.open_call(call("c2", at=NOON + 119), floor_s=120)
            await command.open_call(call("c3", psap="ma-lynn", at=NOON + 119), floor_s=120)
            await command.open_call(call("c2", at=NOON + 120), floor_s=120)

    asyncio.run(scene())


def test_a_last_call_in_the_future_refuses_until_it_is_put_right(database: Path) -> None:
    """The clock was stepped back: one floor is waited for, and what is put right stays so."""

    async def scene() -> None:
        async with opened(database) as store:
            await store.open_call(call("c1", at=NOON + 3_600), floor_s=120)
            store.close_call("c1", "bye_sent", NOON + 3_601)
        async with opened(database) as store:
            with pytest.raises(TooSoon, match="was called 0 s ago"):
                await store.open_call(call("c2"), floor_s=120)
            assert store.called_ago_s("ma-boston", NOON) == 0
            assert store.called_ago_s("ma-boston", NOON + 1) == 1
        async with opened(database) as daemon, opened(database) as command:
            assert command.called_ago_s("ma-boston", NOON + 2) == 2
            with pytest.raises(TooSoon, match="was called 119 s ago"):
                await command.open_call(call("c2", at=NOON + 119), floor_s=120)
            await command.open_call(call("c2", at=NOON + 120), floor_s=120)
            await daemon.refresh()
            assert daemon.called_ago_s("ma-boston", NOON + 121) == 1

    asyncio.run(scene())


def test_a_clock_stepped_forward_lifts_no_floor_over_a_restart(database: Path) -> None:
    """The loop's clock goes on from process to process; only a new run of the machine ends it."""

    async def scene() -> None:
        async with opened(database, boot="first") as store:
            await store.open_call(call("c1"), floor_s=120)
            store.close_call("c1", "bye_sent", NOON + 2)
        async with opened(database, boot="first") as store:
            ago_s = store.called_ago_s("ma-boston", NOON + 3_600)
            assert ago_s is not None
            assert ago_s < 60
            with pytest.raises(TooSoon, match="its floor is 120 s"):
                await store.open_call(call("c2", at=NOON + 3_600), floor_s=120)
        async with opened(database, boot="second") as store:
            assert store.called_ago_s("ma-boston", NOON + 3_600) == 3_600
            await store.open_call(call("c2", at=NOON + 3_600), floor_s=120)

    asyncio.run(scene())


def test_a_clock_stepped_forward_lifts_no_floor_of_another_process(database: Path) -> None:
    """A command finds the daemon's call by the loop's clock, at the commit and when it asks."""

    async def scene() -> None:
        async with opened(database, boot="one") as daemon, opened(database, boot="one") as command:
            await daemon.open_call(call("c1"), floor_s=120)
            daemon.close_call("c1", "bye_sent", NOON + 2)
            await daemon.flushed()
            with pytest.raises(TooSoon, match="its floor is 120 s"):
                await command.open_call(call("c2", at=NOON + 3_600), floor_s=120)
            await command.refresh()
            ago_s = command.called_ago_s("ma-boston", NOON + 3_600)
            assert ago_s is not None
            assert ago_s < 60

    asyncio.run(scene())


def test_the_run_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandboxed service is told what a shell reads; one word stands for not knowing."""
    monkeypatch.delenv("PSAPWATCH_BOOT_ID", raising=False)
    of_a_shell = boot_id()
    assert re.fullmatch(r"[0-9a-f]{32}", of_a_shell)
    monkeypatch.setenv("PSAPWATCH_BOOT_ID", of_a_shell)
    monkeypatch.setattr(Path, "read_text", _hidden)
    assert boot_id() == of_a_shell
    monkeypatch.delenv("PSAPWATCH_BOOT_ID")
    assert boot_id() == "unknown"
    now = Moment(NOON + 3_600, "unknown", 112.0)
    assert now.since(Moment(NOON, "unknown", 100.0)) == 12
    assert now.since(Moment(NOON, "unknown", 9_000.0)) == 3_600, "the machine was started anew"


def _hidden(*_arguments: object, **_more: object) -> str:
    raise FileNotFoundError


def test_how_old_an_open_call_is_by_the_clock_that_says_more(database: Path) -> None:
    """Its INVITE leaves once more only while it is surely young, whatever the clock says."""

    async def scene() -> None:
        async with opened(database, boot="one") as store:
            row = call("c1")
            await store.open_call(row)
            assert store.call_age_s(row, NOON + 31) == 31
            assert store.call_age_s(row, NOON - 1) == math.inf
            store.charge("ma-boston", NOON + 5)
            assert store.call_age_s(row, NOON + 6) == math.inf, "another call was after it"

    asyncio.run(scene())
    [boot, loop_s] = rows(database, "SELECT boot, loop_s FROM floor")[0]
    assert boot == "one"
    earlier = Moment(NOON, "one", float(str(loop_s)))
    assert Moment(NOON + 5, "one", earlier.loop_s + 60).steadily_since(earlier) == 60


def test_who_puts_a_floor_right_lowers_no_call_placed_since(database: Path) -> None:
    """Two processes find one last call in the future; one calls before the other looks."""

    async def scene() -> None:
        async with opened(database) as store:
            store.charge("ma-boston", NOON + 3_600)
        async with opened(database) as daemon, opened(database) as command:
            assert command.called_ago_s("ma-boston", NOON) == 0
            await command.open_call(call("c1", at=NOON + 120), floor_s=120)
            command.close_call("c1", "bye_sent", NOON + 121)
            await command.flushed()
            assert daemon.called_ago_s("ma-boston", NOON + 130) == 0
            await daemon.flushed()
        assert rows(database, "SELECT at FROM floor") == [(NOON + 120,)]

    asyncio.run(scene())


@pytest.mark.parametrize("psap", ["ma-boston", EVERYWHERE])
def test_a_stop_by_another_process_holds_at_once(database: Path, psap: str) -> None:
    """A stop that a command has just written refuses the daemon's next call, unread as it is."""

    async def scene() -> None:
        async with opened(database) as daemon, opened(database) as command:
            command.decisions.stop(Stop(psap, "operator", "kitchen fire", "ann", NOON))
            with pytest.raises(CallsStopped, match=r"stopped .operator.: kitchen fire"):
                await daemon.open_call(call())
            assert await daemon.open_calls() == []
            command.decisions.resume(psap, "ann", "it was toast", NOON + 60)
            await daemon.open_call(call())

    asyncio.run(scene())


def test_a_locked_store_lets_no_invite_leave(database: Path) -> None:
    """While another program holds the lock, no call is placed, and the loop is not held up."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with opened(database, WriterThread()) as store:
            beside = sqlite3.connect(database, isolation_level=None)
            beside.execute("BEGIN EXCLUSIVE")
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            began = loop.time()
            with pytest.raises(LedgerUnavailable, match="no commit within 1 s"):
                await store.open_call(call())
            assert LEDGER_S <= loop.time() - began < LEDGER_S + 0.5
            assert ticks > 50
            ticking.cancel()
            beside.execute("ROLLBACK")
            beside.close()
            await store.open_call(call("c2"))
            assert await store.open_calls() == [call("c2")]

    asyncio.run(scene())
    assert {row[0] for row in rows(database, "SELECT how FROM calls")} <= {None, NOT_SENT}


def test_a_busy_loop_does_not_starve_the_ledger(database: Path) -> None:
    """A loop that always has work, a millisecond at a time, still gets its row in good time."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with opened(database, WriterThread()) as store:
            placing = asyncio.create_task(store.open_call(call()))
            give_up_at = loop.time() + LEDGER_S
            while not placing.done():
                store.record_attempt(attempt(), FAILED)
                busy_until = loop.time() + 0.001
                while loop.time() < busy_until:
                    pass
                await asyncio.sleep(0)
            assert loop.time() < give_up_at
            await placing

    asyncio.run(scene())


def test_a_row_that_comes_too_late_ends_by_itself(database: Path) -> None:
    """When the caller has given up, a row that is written after all is closed as never sent."""

    class Late(Inline):  # type: ignore[misc] # final for everybody but this test
        async def submit(self, job, *, writes=False):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            result = await super().submit(job, writes=writes)
            await asyncio.sleep(60)  # the answer is lost for long
            return result

    async def scene() -> None:
        async with opened(database, Late()) as store:
            placing = asyncio.create_task(store.open_call(call()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            placing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await placing

    asyncio.run(scene())
    assert rows(database, "SELECT call_id, how FROM calls") == [("c1", NOT_SENT)]


def test_a_closed_store_lets_no_invite_leave(database: Path) -> None:
    """After the store was closed, opening a call says so and does not hang."""

    async def scene(run: Inline | WriterThread) -> None:
        async with opened(database, run) as store:
            pass
        with pytest.raises(LedgerUnavailable, match="closed"):
            await store.open_call(call())

    asyncio.run(scene(Inline()))
    asyncio.run(scene(WriterThread()))


def test_a_call_that_is_sent_again_with_credentials_stays_one_call(database: Path) -> None:
    """The row takes the INVITE that left last; the floor does not refuse it, nor is it charged."""

    async def scene() -> None:
        async with opened(database) as store:
            await store.open_call(call(), floor_s=120)
            await store.open_call(replace(call(at=NOON + 1), octets=b"again"), floor_s=120)
            assert await store.open_calls() == [replace(call(), octets=b"again")]

    asyncio.run(scene())


def test_an_ended_call_cannot_be_opened_again(database: Path) -> None:
    """A Call-ID that was used up is refused, and its row stays ended."""

    async def scene() -> None:
        async with opened(database) as store:
            await store.open_call(call())
            store.close_call("c1", "bye_sent", NOON + 2)
            with pytest.raises(LedgerUnavailable, match="UNIQUE"):
                await store.open_call(call(at=NOON + 9))
            assert await store.open_calls() == []

    asyncio.run(scene())


def test_the_answer_is_kept_while_the_call_is_open(database: Path) -> None:
    """The 2xx from which ACK and BYE are built is there after a restart, and gone at the end."""

    async def scene() -> None:
        async with opened(database) as store:
            await store.open_call(call())
            store.note_answer("c1", b"SIP/2.0 200 OK")
        async with opened(database) as store:
            assert [row.answer for row in await store.open_calls()] == [b"SIP/2.0 200 OK"]
            store.close_call("c1", "bye_sent", NOON + 2)
            store.note_answer("c1", b"late")

    asyncio.run(scene())
    assert rows(database, "SELECT answer FROM calls") == [(b"",)]


def test_a_killed_command_leaves_what_ends_its_call(database: Path) -> None:
    """The 2xx is on disk at once: who finds the row sends BYE, and no CANCEL that ends nothing."""

    async def scene() -> None:
        async with opened(database) as command:
            await command.open_call(call("c1"))
            command.note_answer("c1", b"SIP/2.0 200 OK\r\n\r\n")
            [(answer,)] = rows(database, "SELECT answer FROM calls")
            assert answer == b"SIP/2.0 200 OK\r\n\r\n"
            command.close_call("c1", "bye_sent", NOON + 2)
            assert rows(database, "SELECT how FROM calls") == [("bye_sent",)]
            command.charge("ma-quincy", NOON + 2)
            assert len(rows(database, "SELECT psap FROM floor")) == 2

    asyncio.run(scene())
