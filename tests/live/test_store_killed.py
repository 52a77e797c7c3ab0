"""A daemon killed with SIGKILL leaves in its store what it said was there."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

from components.process import Bench
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store, reading

TESTS = Path(__file__).parents[1]
PROGRAM = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from store.material import FAILED, attempt, call, incident, notice
from psapwatch.store.runner import WriterThread
from psapwatch.store.store import Store

async def main():
    store = Store(Path({database!r}), WriterThread(), sole=True)
    {scene}
    print("READY", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def killed(bench: Bench, database: Path, scene: str) -> None:
    """Run a program on a store up to READY, and kill it."""
    text = PROGRAM.format(tests=str(TESTS), database=str(database), scene=scene)
    running = bench.start("store", [sys.executable, "-c", text])
    running.wait_until(lambda: "READY" in running.output, "has said that it is committed")
    running.kill()
    assert running.exit_code == -9


def test_a_call_is_in_the_ledger_after_kill_9(bench: Bench, tmp_path: Path) -> None:
    """Between opening a call and its end the process is killed: the next one finds the row."""
    database = tmp_path / "psapwatch.db"
    killed(bench, database, "await store.open_call(call())")

    async def scene() -> None:
        reader = reading(database)
        assert [row.call_id for row in await reader.open_calls()] == ["c1"]
        await reader.close()
        store = Store(database, Inline(), sole=True)  # the claim went with the killed process
        [row] = await store.open_calls()
        assert row.octets.startswith(b"INVITE urn:service:test.sos")
        assert row.local.port == 20001
        store.close_call("c1", "bye_sent", row.invited_at + 9)
        assert await store.open_calls() == []
        await store.close()

    asyncio.run(scene())


def test_an_incident_and_its_notice_survive_kill_9(bench: Bench, tmp_path: Path) -> None:
    """What was flushed is whole afterwards: incident, pending notice, failed attempt."""
    database = tmp_path / "psapwatch.db"
    killed(
        bench,
        database,
        'store.save_incident(incident(), [("webhook/a", notice())])\n'
        "    store.record_attempt(attempt(), FAILED)\n"
        "    await store.flushed()",
    )

    async def scene() -> None:
        store = Store(database, Inline())
        assert [each.id for each in store.open_now()] == ["incident-1"]
        assert [row.notice.status for row in store.pending("webhook/a")] == ["open"]
        assert await store.attempt("attempt-1") is not None
        await store.close()

    asyncio.run(scene())


def test_kill_9_in_the_middle_of_writing_leaves_a_sound_file(bench: Bench, tmp_path: Path) -> None:
    """Killed while it writes thousands of rows a second, the file is sound."""
    database = tmp_path / "psapwatch.db"
    killed(
        bench,
        database,
        "async def on():\n"
        "        number = 0\n"
        "        while True:\n"
        "            for _ in range(100):\n"
        "                number += 1\n"
        "                store.record_attempt(attempt(number), FAILED)\n"
        "            await asyncio.sleep(0.001)\n"
        "    writing = asyncio.create_task(on())\n"
        "    await asyncio.sleep(0.5)",
    )
    asyncio.run(Store(database, Inline()).close())
    beside = sqlite3.connect(database)
    assert beside.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert beside.execute("SELECT count(*) FROM attempts").fetchone()[0] > 100
    beside.close()
