"""What probing costs: 2,000 paths, OPTIONS every 15 s, 7 test calls a second, scraped every 15 s.

    python tests/benchmark.py [--runs 5] [--seconds 30] [--paths 2000]     (make bench ARGS=...)

The real daemon (``psapwatch run``: store, page and metrics included) watches answering points in
another process on loopback. Each run measures it twice: with the test calls, for the targets, and
with OPTIONS alone, for the CPU of one attempt. Printed are the median and the spread of the runs;
the exit code is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from prometheus_client.parser import text_string_to_metric_families

from components.answering import start_answering
from components.daemon import Daemon, start_daemon
from components.inbox import fetch
from components.peer import Peer
from components.process import Bench
from components.watching import CALL, CONSENT, OPTIONS, outcomes, watching

OPTIONS_EVERY_S: Final = 15
CALLS_A_SECOND: Final = 7
SCRAPE_EVERY_S: Final = 15.0
WARM_UP_S: Final = 6.0
"""Imports, first connections and the first round of the store are not what is measured."""
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")

TARGETS: Final[Mapping[str, float]] = {
    "CPU, % of one core": 25.0,
    "RSS, MiB": 200.0,
    "schedule delay p99, ms": 20.0,
}
"""Each is to stay below."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The daemon's clocks and counters at one moment."""

    at: float
    cpu_s: float
    attempts: Mapping[str, float]
    delays: Mapping[str, Mapping[float, float]]
    """By metric, how many were at most so many seconds late."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="measured time of each phase")
    parser.add_argument("--paths", type=int, default=2_000)
    asked = parser.parse_args(words)
    click.echo(f"{platform.platform()}, {_processor()}, Python {platform.python_version()}")
    rates = f"OPTIONS every {OPTIONS_EVERY_S} s, {CALLS_A_SECOND} test calls a second"
    click.echo(f"{asked.paths} paths, {rates}, {asked.runs} runs of {asked.seconds:g} s")
    runs = []
    for number in range(1, asked.runs + 1):
        runs.append(_run(asked.paths, asked.seconds))
        said = ", ".join(f"{name} {value:.3g}" for name, value in runs[-1].items())
        click.echo(f"run {number}: {said}")
    return _print_table(runs)


def _run(paths: int, seconds: float) -> dict[str, float]:
    """Return one run's numbers by their names."""
    mixed = _measured(paths, seconds, with_calls=True)
    alone = _measured(paths, seconds, with_calls=False)
    each_us = 1e6 * alone["cpu_s"] / alone["options"]
    return {
        "CPU, % of one core": 100 * mixed["cpu_s"] / mixed["seconds"],
        "RSS, MiB": mixed["rss_mib"],
        "schedule delay p50, ms": mixed["schedule_p50_ms"],
        "schedule delay p99, ms": mixed["schedule_p99_ms"],
        "loop delay p50, ms": mixed["loop_p50_ms"],
        "loop delay p99, ms": mixed["loop_p99_ms"],
        "OPTIONS a second": mixed["options"] / mixed["seconds"],
        "test calls a second": mixed["calls"] / mixed["seconds"],
        "CPU of an OPTIONS attempt, all included, us": each_us,
    }


def _measured(paths: int, seconds: float, *, with_calls: bool) -> dict[str, float]:
    """Run daemon and answering points once, and return the raw numbers."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack)
        peer = start_answering(bench, "multipart")
        daemon = start_daemon(bench, _config(peer, paths, with_calls=with_calls))
        time.sleep(WARM_UP_S)  # noqa: TID251 - a benchmark lasts as long as it says
        before = _reading(daemon)
        for until in _scrapes(before.at, seconds):
            time.sleep(max(0.0, until - time.monotonic()))  # noqa: TID251 - as above
            after = _reading(daemon)
        rss_mib = _rss_mib(daemon.running.pid)
        _must_be_clean(daemon)
        daemon.end()
    numbers = {
        "seconds": after.at - before.at,
        "cpu_s": after.cpu_s - before.cpu_s,
        "options": after.attempts["keepalive"] - before.attempts["keepalive"],
        "calls": after.attempts.get("test-call", 0.0) - before.attempts.get("test-call", 0.0),
        "rss_mib": rss_mib,
    }
    for name in ("schedule", "loop"):
        counts = {
            bound: count - before.delays[name][bound] for bound, count in after.delays[name].items()
        }
        for share in (50, 99):
            numbers[f"{name}_p{share}_ms"] = 1_000 * _quantile(counts, share / 100)
    return numbers


def _config(peer: Peer, paths: int, *, with_calls: bool) -> str:
    every = {"every": f"{round(paths / CALLS_A_SECOND)}s", "give_up_after": "8s"}
    return watching(
        {f"psap-{number}": peer.uri for number in range(paths)},
        options=OPTIONS | {"every": f"{OPTIONS_EVERY_S}s", "give_up_after": "4s"},
        call=CALL | every if with_calls else None,
        consent=CONSENT | {"every": every["every"]},
    )


def _scrapes(began: float, seconds: float) -> Iterator[float]:
    """When to scrape: as often as Prometheus would, and at the end."""
    at = began + SCRAPE_EVERY_S
    while at < began + seconds:
        yield at
        at += SCRAPE_EVERY_S
    yield began + seconds


def _reading(daemon: Daemon) -> Reading:
    attempts: dict[str, float] = {}
    delays: dict[str, dict[float, float]] = {"schedule": {}, "loop": {}}
    text = fetch(f"{daemon.base_url}/metrics").text
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    for sample in samples:
        if sample.name == "psapwatch_attempts_total":
            check = sample.labels["check"]
            attempts[check] = attempts.get(check, 0.0) + sample.value
        for name, counts in delays.items():
            if sample.name == f"psapwatch_{name}_delay_seconds_bucket":
                counts[float(sample.labels["le"])] = sample.value
    now = time.monotonic()  # noqa: TID251 - a benchmark reads the clock
    return Reading(now, _cpu_s(daemon.running.pid), attempts, delays)


def _quantile(counts: Mapping[float, float], share: float) -> float:
    """Return the quantile of a cumulative histogram, linear within its bucket as PromQL does."""
    wanted = share * max(counts.values())
    below, below_count = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted and count > below_count:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (wanted - below_count) / (count - below_count)
        below, below_count = bound, count
    return below


def _cpu_s(pid: int) -> float:
    """User and system time of all threads so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def _must_be_clean(daemon: Daemon) -> None:
    """A benchmark of failures would measure something else."""
    found = outcomes(daemon)
    assert set(found) == {"pass"}, found
    assert daemon.total("psapwatch_internal_errors_total") == 0


def _print_table(runs: Sequence[Mapping[str, float]]) -> int:
    missed = 0
    click.echo(f"\n{'':44}  median  spread")
    for name in runs[0]:
        values = [run[name] for run in runs]
        middle, target = statistics.median(values), TARGETS.get(name)
        verdict = ""
        if target is not None:
            is_met = middle < target
            missed += not is_met
            verdict = f"   under {target:g}: {'yes' if is_met else 'MISSED'}"
        spread = f"{min(values):.3g} to {max(values):.3g}"
        click.echo(f"{name:44}  {middle:6.3g}  {spread:16}{verdict}")
    return 1 if missed else 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
