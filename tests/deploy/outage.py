"""A simulated outage as Prometheus would have scraped it: the daemon's own exposition over time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from psapwatch.endpoint import Path
from psapwatch.metrics_names import SELF_TESTS
from psapwatch.replay.stage import Stage, configured, run
from psapwatch.simulator.rule import Drop, Rule
from psapwatch.simulator.topology import Outlook, Plan, topology
from psapwatch.simulator.world import EPOCH, simulated_world
from psapwatch.store.decisions import Stop

SEED: Final = 911
SCRAPE_S: Final = 15.0
QUIET_S: Final = 480.0
ALONE_S: Final = 120.0
"""One PSAP alone is silent for so long before the firewall follows."""
OUTAGE_S: Final = 480.0
ENDS_AT: Final = EPOCH + QUIET_S + ALONE_S + OUTAGE_S
PLAN: Final = Plan(
    psaps=6, firewalls=("fw-east", "fw-west"), transports=("udp", "tls"), calls_every_s=120.0
)
SILENT: Final = "psap-003"
STOPPED: Final = "psap-005"
TARGET: Final = 'job="psapwatch",instance="boston-a:9911"'
"""What Prometheus adds to every series."""


@dataclass(slots=True)
class History:
    """Scrapes, one family after another as OpenMetrics wants it."""

    heads: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)

    def take(self, text: str, at: float) -> None:
        """Add one scrape; exemplars are not kept in blocks."""
        for part in re.split(r"(?m)^(?=# HELP )", text.removesuffix("# EOF\n")):
            if not part:
                continue
            head, body = _parted(part)
            name = head.split(" ", 3)[2]
            self.heads[name] = head
            self.lines.setdefault(name, []).extend(_stamped(line, at) for line in body)

    def text(self) -> str:
        """Return all scrapes as one OpenMetrics file."""
        parts = [self.heads[name] + "".join(lines) for name, lines in self.lines.items()]
        return "".join(parts) + "# EOF\n"


def _parted(family: str) -> tuple[str, list[str]]:
    lines = family.splitlines(keepends=True)
    first = next((at for at, line in enumerate(lines) if line[0] != "#"), len(lines))
    return "".join(lines[:first]), lines[first:]


def _stamped(line: str, at: float) -> str:
    """Return a sample with the target's labels and the time of its scrape."""
    sample = line.partition(" # ")[0].rstrip()
    series, value = sample.rsplit(" ", 1)
    if series.endswith("}"):
        name, labels = series.split("{", 1)
        series = f"{name}{{{TARGET},{labels}"
    else:
        series = f"{series}{{{TARGET}}}"
    return f"{series} {value} {at:.3f}\n"


def exposed() -> str:
    """Play the outage and return what was scraped meanwhile, still in the middle of it."""
    return run(_play(), seed=SEED)


async def _play() -> str:
    built = topology(simulated_world(SEED), SEED, PLAN)
    stage = Stage(built, configured(_placed(built.outlooks[0])), ":memory:")
    await stage.start()
    history = History()
    stage.daemon.store.decisions.stop(Stop(STOPPED, "operator", "storm", "test", EPOCH))
    await _scrape(stage, history, QUIET_S)
    built.psaps[SILENT].script = replace(PLAN.script, invite=(), options=())
    await _scrape(stage, history, ALONE_S)
    built.firewalls["fw-east"].add(Rule(name="content update", action=Drop()))
    await _scrape(stage, history, OUTAGE_S)
    pages = stage.pages()
    await stage.stop()
    assert built.firewalls["fw-east"].hits["content update"] > 0
    assert "CallsBlocked firewall fw-east" in pages, pages
    return history.text()


async def _scrape(stage: Stage, history: History, for_s: float) -> None:
    clock = stage.topology.world.clock
    for _ in range(int(for_s / SCRAPE_S)):
        await asyncio.sleep(SCRAPE_S)
        for test in SELF_TESTS:  # the simulated world has no loopback of its own to test
            stage.daemon.metrics.self_test(test, clock.wall())
        text = "".join(stage.daemon.metrics.pieces(openmetrics=True))
        history.take(text, clock.wall())


def _placed(outlook: Outlook) -> Outlook:
    """Give the PSAPs a place on the map."""
    return replace(outlook, paths=tuple(_with_places(outlook)))


def _with_places(outlook: Outlook) -> Iterator[Path]:
    for path in outlook.paths:
        number = int(path.psap.id.removeprefix("psap-"))
        yield replace(path, psap=replace(path.psap, location=(42.0 + number / 10, -71.0)))
