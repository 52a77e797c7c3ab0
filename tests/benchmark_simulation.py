"""What simulated time costs: an hour of 204 PSAPs and a day of 20, the whole daemon on one core.

    python tests/benchmark_simulation.py [--runs 3] [--only hour]      (make pace ARGS=...)

OPTIONS every 15 s, calls every 5 min, the reference every 15 s. Each run is a process of its own
and is measured in its CPU seconds, world included, interpreter and imports not. Printed are the
median and the spread; the exit code is 1 when a target is missed.

``probe`` is what no daemon can go below: OPTIONS sent, carried, answered and read in the same
world, and nothing planned, judged, shown or stored.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import click

from psapwatch import logs
from psapwatch.evidence import Kind
from psapwatch.probes.base import Errand
from psapwatch.replay.stage import CHECKS, configured, run, stage
from psapwatch.simulator.topology import Plan, topology
from psapwatch.simulator.world import EPOCH, simulated_world

_Given = TypeVar("_Given")
_Measured = TypeVar("_Measured")


class Load(NamedTuple):
    """What is simulated, and in how many CPU seconds at most."""

    psaps: int
    simulated_s: float
    target_s: float
    attempts_min: int


LOADS: Final = {
    "hour": Load(204, 3_600.0, 20.0, 51_000),
    "day": Load(20, 86_400.0, 30.0, 126_000),
}
SEED: Final = 1
PROBE: Final = "probe"
PROBES: Final = 20_000


class Cost(NamedTuple):
    """One run."""

    cpu_s: float
    attempts: int
    digest: str
    """Of all that crossed the network: the same in each run."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=sorted((*LOADS, PROBE)))
    asked = parser.parse_args(words)
    click.echo(f"{platform.platform()}, Python {platform.python_version()}, {asked.runs} runs")
    if asked.only in (None, PROBE):
        each = sorted(1e6 * cost_s / PROBES for cost_s in _each_alone(_probed, PROBES, asked.runs))
        spread = f"{statistics.median(each):.0f} us ({each[0]:.0f} to {each[-1]:.0f})"
        click.echo(f"a probe alone, without a daemon: {spread}")
    missed = 0
    for name, load in LOADS.items():
        if asked.only in (None, name):
            missed += not _is_met(name, load, asked.runs)
    return 1 if missed else 0


def _is_met(name: str, load: Load, runs: int) -> bool:
    costs = _each_alone(measured, load, runs)
    assert len({cost.digest for cost in costs}) == 1, "the same seed gave another run"
    assert min(cost.attempts for cost in costs) >= load.attempts_min, costs
    seconds = sorted(cost.cpu_s for cost in costs)
    middle = statistics.median(seconds)
    each_us = 1e6 * middle / costs[0].attempts
    is_met = middle < load.target_s
    click.echo(
        f"a simulated {name} of {load.psaps} PSAPs: {middle:.1f} s"
        f" ({seconds[0]:.1f} to {seconds[-1]:.1f}), {costs[0].attempts} attempts,"
        f" {each_us:.0f} us each; under {load.target_s:g} s: {'yes' if is_met else 'MISSED'}"
    )
    return is_met


def _each_alone(
    measure: Callable[[_Given], _Measured], given: _Given, runs: int
) -> list[_Measured]:
    """Measure so often, each time in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found = []
    for _nth in range(runs):
        with context.Pool(1) as pool:
            found.append(pool.apply(measure, (given,)))
    return found


def measured(load: Load) -> Cost:
    """Simulate one load in this process."""
    logs.set_up(lambda: EPOCH, level=logs.NOTHING)
    began = time.process_time()
    attempts, digest = run(_simulated(load), seed=SEED)
    return Cost(time.process_time() - began, attempts, digest)


async def _simulated(load: Load) -> tuple[int, str]:
    async with stage(SEED, Plan(psaps=load.psaps)) as scene:
        await asyncio.sleep(load.simulated_s)
        metrics = scene.daemon.metrics.registry
        families = [each for each in metrics.collect() if each.name == "psapwatch_attempts"]
        attempts = int(sum(sample.value for each in families for sample in each.samples))
        assert not scene.pages(), "nothing is broken in this world"
        return attempts, scene.topology.world.network.digest


def _probed(count: int) -> float:
    """CPU seconds of so many OPTIONS to PSAPs that answer."""
    return run(_probing(count), seed=SEED)


async def _probing(count: int) -> float:
    world = simulated_world(SEED)
    outlook = topology(world, SEED, Plan(psaps=LOADS["day"].psaps)).outlooks[0]
    identity, check = configured(outlook).identity, CHECKS[0]
    errands = []
    for path in outlook.paths:
        resolved = await world.resolver.resolve(path.uri, path.transport)
        leg = resolved.legs[0]
        source = path.source_for(leg)
        assert source is not None
        errand = Errand(check, leg, resolved, source, identity, crowd={})
        errands.append((path, errand))
    began = time.process_time()
    for path, errand in itertools.islice(itertools.cycle(errands), count):
        evidence = await check.settings.run(world, path, errand)
        assert any(seen.kind is Kind.RESPONSE for seen in evidence.observations), evidence
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
