"""What keeping an attempt costs, and how long a call waits for its ledger row.

Run it: ``python tests/store/benchmark_store.py``. CPU is that of the whole process, so it holds
the encoding, the writer's thread and SQLite. The store is a file in a temporary folder.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from psapwatch.store.runner import Inline, Runner, WriterThread
from psapwatch.store.store import Store
from store.material import NOON, PASSED, attempt, call

ROWS: Final = 20_000
CALLS: Final = 200
RUNS: Final = 5
A_BATCH: Final = 50


def cpu_s() -> float:
    """Return the CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def one_run(run: Runner, folder: Path) -> tuple[float, list[float]]:
    """Return microseconds of CPU a row, and the milliseconds that each call waited."""
    store = Store(folder / "psapwatch.db", run)
    attempts = [
        attempt(number, at=NOON + number * 0.07, psap=f"ma-{number % 204}")
        for number in range(ROWS)
    ]
    before = cpu_s()
    for number, seen in enumerate(attempts):
        store.record_attempt(seen, PASSED)
        if number % A_BATCH == 0:
            await asyncio.sleep(0)
        if number % 2_000 == 0:
            await store.flushed()
    await store.flushed()
    a_row_us = (cpu_s() - before) / ROWS * 1e6
    loop, waits_ms = asyncio.get_running_loop(), []
    for number in range(CALLS):
        began = loop.time()
        await store.open_call(call(f"call-{number}"))
        waits_ms.append((loop.time() - began) * 1e3)
    assert not store.losses
    await store.close()
    return a_row_us, waits_ms


def main() -> None:
    """Print median and spread of several runs, for both runners."""
    makers: tuple[tuple[str, Callable[[], Runner]], ...] = (
        ("writer thread", WriterThread),
        ("inline", Inline),
    )
    for name, make in makers:
        rows, waits = [], []
        for _ in range(RUNS):
            with tempfile.TemporaryDirectory() as folder:
                a_row_us, waits_ms = asyncio.run(one_run(make(), Path(folder)))
            rows.append(a_row_us)
            waits += waits_ms
        waits.sort()
        sys.stdout.write(
            f"{name}: {statistics.median(rows):.1f} us of CPU a row"
            f" ({min(rows):.1f} to {max(rows):.1f} in {RUNS} runs of {ROWS} rows);"
            f" a call waits {statistics.median(waits):.2f} ms for its ledger row,"
            f" p99 {waits[int(len(waits) * 0.99)]:.2f} ms\n"
        )


if __name__ == "__main__":
    main()
