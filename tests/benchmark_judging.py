"""What judging costs: the diagnosis of one attempt, of a case with its battery, and pooled samples.

    make bench-judging ARGS="--runs 9"

Not a test: a table of medians with their spread, for ``docs/pooled-detection.md``. The evidence is
that of ``golden/evidence``: what the daemon kept in simulated outages. CPU time of one process.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from psapwatch.case import Case, from_json
from psapwatch.diagnosis import diagnose
from psapwatch.pooled import Pools

GOLDEN: Final = Path(__file__).parent / "golden" / "evidence"
SAMPLES: Final = 20_000
SCOPES: Final = (("firewall", "fw-east"), ("vantage", "boston-a"), ("county", "county-03"))
"""The domains that one attempt of a path with one attribute is a sample of."""
PATHS: Final = tuple(f"psap-{number:03d}/east" for number in range(204))
TARGETS: Final[Mapping[str, float]] = {"one attempt, diagnosed": 50.0, "one sample, pooled": 20.0}
"""Microseconds; the median is to stay below."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    asked = parser.parse_args(words)
    cases = [from_json(json.loads(file.read_text("utf-8"))) for file in sorted(GOLDEN.iterdir())]
    click.echo(f"{platform.platform()}, Python {platform.python_version()}, {asked.runs} runs")
    click.echo(f"{len(cases)} golden cases, {SAMPLES} times; microseconds of CPU\n")
    click.echo(f"{'':32}  median  spread")
    missed = 0
    for name, measure in MEASURES.items():
        found = [measure(cases) for _run in range(asked.runs)]
        middle, target = statistics.median(found), TARGETS.get(name)
        verdict = (
            "" if target is None else f"under {target:g}: {'yes' if middle < target else 'NO'}"
        )
        missed += target is not None and middle >= target
        spread = f"{min(found):.1f} to {max(found):.1f}"
        click.echo(f"{name:32}  {middle:6.1f}  {spread:14}  {verdict}".rstrip())
    return 1 if missed else 0


def _each_us(count: int, work: Callable[[int], object]) -> float:
    began = time.process_time()
    for number in range(count):
        work(number)
    return 1e6 * (time.process_time() - began) / count


def _attempt(cases: Sequence[Case]) -> float:
    """As the desk does it: a case is made of the evidence, and judged."""

    def judge(number: int) -> None:
        case = cases[number % len(cases)]
        diagnose(Case(case.evidence, case.baseline, case.expected_name, case.alternates))

    return _each_us(SAMPLES, judge)


def _case(cases: Sequence[Case]) -> float:
    """As ``explain --case`` does it: the rows of the battery as well."""
    return _each_us(SAMPLES // 10, lambda number: diagnose(cases[number % len(cases)]))


def _pooled(_cases: Sequence[Case]) -> float:
    """An attempt's outcome, given to all of its domains; two in a hundred fail."""
    pools = Pools()

    def take(number: int) -> None:
        key = PATHS[number % len(PATHS)]
        pools.take(SCOPES, "options", key, 1.7e9 + number * 0.07, failed=number % 50 == 0)

    return _each_us(SAMPLES, take)


MEASURES: Final[Mapping[str, Callable[[Sequence[Case]], float]]] = {
    "one attempt, diagnosed": _attempt,
    "a case with its battery": _case,
    "one sample, pooled": _pooled,
}


if __name__ == "__main__":
    sys.exit(main())
