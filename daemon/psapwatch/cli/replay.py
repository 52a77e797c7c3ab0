"""``psapwatch replay``: outages in simulated time, and what the daemon would have told of them."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor  # noqa: TID251 - processes, no threads
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from psapwatch import logs
from psapwatch.cli.doors import Failed, console
from psapwatch.config.errors import BadConfig
from psapwatch.replay.confusion import as_markdown, is_good, rows_of
from psapwatch.replay.judge import Judged, judge
from psapwatch.replay.play import play, play_alike
from psapwatch.replay.random_world import NAME, random_world, random_yaml
from psapwatch.replay.scenario import NEEDS, Scenario, read, shipped
from psapwatch.simulator.world import EPOCH

SEEDS_MAX: Final = 10_000
PROBLEMS_SHOWN: Final = 8

Run = tuple[str, int]
"""A scenario's file, and a seed."""
ALIKE_MAX: Final = 16
"""So many runs share what they begin with at most, lest one core have nothing to do in the end."""


@click.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO|FILE]...")
@click.option("--all", "everything", is_flag=True, help="Every scenario that can be run.")
@click.option("--list", "listing", is_flag=True, help="Name the scenarios, and what they wait for.")
@click.option("--seed", default=1, show_default=True, help="Of the simulated world.")
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1, SEEDS_MAX),
    help="So many seeds of each, from --seed on.",
)
@click.option("--try", "trying", is_flag=True, help="Also those whose parts are still missing.")
@click.option(
    "--causes",
    is_flag=True,
    help="Print the confusion table; exit 1 where too many causes are false or unknown.",
)
@click.option("--print", "printing", is_flag=True, help="Print the file, to write one's own from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a run.")
@click.option(
    "--jobs",
    default=os.cpu_count() or 1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Runs at once.",
)
def replay(
    scenarios: Sequence[str],
    everything: bool,
    listing: bool,
    seed: int,
    seeds: int,
    trying: bool,
    causes: bool,
    printing: bool,
    as_json: bool,
    jobs: int,
) -> None:
    """Replay outages in simulated time: what is told, how soon, of what cause, in how many pages.

    A SCENARIO is one of --list, a YAML FILE of your own, or `random`: a world by chance, in which
    only the invariants are asked for. Exits 0 when all came out as expected.

    \b
    Example:
      psapwatch replay massachusetts-2024-invite
      psapwatch replay --all
      psapwatch replay worst-day.yml --seeds 20
      psapwatch replay random --seed 4711
    """
    known = shipped()
    if listing:
        _list([_read(str(path)) for path in known.values()])
        return
    if not scenarios and not everything:
        raise click.UsageError("name a scenario, or --all, or --list")
    chosen = dict.fromkeys([*scenarios, *(known if everything else ())])
    files = [str(known.get(name, name)) for name in chosen]
    if printing:
        for file in files:
            click.echo(random_yaml(seed) if file == NAME else Path(file).read_text("utf-8"))
        return
    waiting = {file: told.needs for file in files if (told := _read(file, seed)).needs}
    ready = [file for file in files if trying or file not in waiting]
    runs = [(file, seed + nth) for file in ready for nth in range(seeds)]
    found: dict[Run, Judged] = {}
    for run, each in _shown(_played(runs, jobs), len(runs), quiet=as_json):
        found[run] = each
        if as_json:
            click.echo(json.dumps(_plain(each)))
    judged = [found[run] for run in runs]
    if not as_json:
        _print(judged, seeds, causes=causes)
        for file, needs in waiting.items():
            if not trying:
                click.echo(f"{Path(file).stem}: not run, needs {', '.join(needs)}")
    passed = is_good(rows_of(judged)) if causes else all(each.passed for each in judged)
    sys.exit(0 if passed else 1)


def _print(judged: Sequence[Judged], seeds: int, *, causes: bool) -> None:
    _table(judged, seeds)
    if causes:
        for line in as_markdown(rows_of(judged)):
            click.echo(line)
    _problems(judged)


@cache
def _read(file: str, seed: int = 1) -> Scenario:
    if file == NAME:
        return random_world(seed)
    try:
        return read(file)
    except BadConfig as bad:
        for error in bad.errors:
            click.echo(str(error), err=True)
        raise Failed(f"{file}: {len(bad.errors)} errors") from None
    except OSError as wrong:
        raise Failed(
            f"{file} is neither a scenario of `psapwatch replay --list` nor a file"
            f" ({wrong.strerror})"
        ) from None


def _played(runs: Sequence[Run], jobs: int) -> Iterator[tuple[Run, Judged]]:
    """Play every run, several at once; those that begin alike come together."""
    groups = _groups(runs)
    if len(runs) == 1:
        yield from zip(runs, _play(runs), strict=True)
        return
    with ProcessPoolExecutor(min(jobs, len(groups))) as pool:
        for group, judged in zip(groups, pool.map(_play, groups), strict=True):
            yield from zip(group, judged, strict=True)


def _groups(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Runs that begin alike, a few at a time; the longest first, lest all wait for one."""
    alike: dict[Hashable, list[Run]] = {}
    for file, seed in runs:
        key = (file, seed) if file == NAME else (_read(file).beginning, seed)
        alike.setdefault(key, []).append((file, seed))
    groups = [
        tuple(each[first : first + ALIKE_MAX])
        for each in alike.values()
        for first in range(0, len(each), ALIKE_MAX)
    ]
    return sorted(groups, key=_length, reverse=True)


def _length(group: Sequence[Run]) -> float:
    """Attempts that are made in a group, more or less."""
    scenarios = [_read(file, seed) for file, seed in group]
    plan = scenarios[0].plan
    seconds = scenarios[0].quiet_s + sum(each.runs_s for each in scenarios)
    return plan.psaps * len(plan.firewalls) * seconds


def _play(group: Sequence[Run]) -> list[Judged]:
    logs.set_up(lambda: EPOCH, level=logs.NOTHING)
    file, seed = group[0]
    if file == NAME:
        return [judge(play(random_world(seed), seed, thorough=True))]
    return [judge(each) for each in play_alike([read(file) for file, _seed in group], seed)]


def _shown(
    judged: Iterator[tuple[Run, Judged]], total: int, *, quiet: bool
) -> Iterator[tuple[Run, Judged]]:
    """Show how far it is, and at once, above the bar, which run failed and how to see it again."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or total == 1) as progress:
        task = progress.add_task("replaying", total=total)
        for (file, seed), each in judged:
            progress.update(task, advance=1, description=each.played.scenario.name)
            if not each.passed:
                name = Path(file).stem if shipped().get(Path(file).stem) == Path(file) else file
                again = f"failed; again with: psapwatch replay {shlex.quote(name)} --seed {seed}"
                console.print(again, highlight=False, markup=False, soft_wrap=True)
            yield (file, seed), each


def _list(scenarios: Sequence[Scenario]) -> None:
    width = max(len(each.name) for each in scenarios)
    for each in scenarios:
        waits = f" [needs {', '.join(each.needs)}]" if each.needs else ""
        click.echo(f"{each.name:{width}}  {each.title} ({each.facts}){waits}")
    for need in sorted({need for each in scenarios for need in each.needs}):
        click.echo(f"needs {need}: {NEEDS[need]}")


def _table(judged: Sequence[Judged], seeds: int) -> None:
    """One row a scenario; of several seeds the slowest in twenty, and how many passed."""
    table = Table(box=None)
    for heading in ("scenario", "opened after", "paged after", "cause", "pages", "ok"):
        table.add_column(heading, no_wrap=True)
    by_name: dict[str, list[Judged]] = {}
    for each in judged:
        by_name.setdefault(each.played.scenario.name, []).append(each)
    for name, found in by_name.items():
        passed = sum(each.passed for each in found)
        ok = ("ok" if passed else "NO") if seeds == 1 else f"{passed}/{len(found)}"
        named = Counter(str(each.cause or "-") for each in found)
        pages = sorted({each.pages for each in found})
        table.add_row(
            name,
            _seconds([each.opened_s for each in found]),
            _seconds([each.paged_s for each in found]),
            named.most_common(1)[0][0],
            "-".join(map(str, dict.fromkeys((pages[0], pages[-1])))),
            ok if passed == len(found) else Text(ok, "red"),
        )
    console().print(table)


def _seconds(found: Sequence[float | None]) -> str:
    """The time that 95 % stay under; ``-`` where nothing was told."""
    times = sorted(each for each in found if each is not None)
    return f"{times[min(len(times) - 1, round(0.95 * len(times)))]:.1f} s" if times else "-"


def _problems(judged: Sequence[Judged]) -> None:
    for each in judged:
        for problem in each.problems[:PROBLEMS_SHOWN]:
            click.echo(f"{each.played.scenario.name} (seed {each.played.seed}): {problem}")
        more = len(each.problems) - PROBLEMS_SHOWN
        if more > 0:
            click.echo(f"{each.played.scenario.name} (seed {each.played.seed}): and {more} more")


def _plain(judged: Judged) -> dict[str, Any]:
    played = judged.played
    return {
        "scenario": played.scenario.name,
        "seed": played.seed,
        "ok": judged.passed,
        "opened_after_s": judged.opened_s,
        "paged_after_s": judged.paged_s,
        "cause": judged.cause,
        "pages": judged.pages,
        "problems": list(judged.problems),
        "incidents": [
            {
                "alertname": told.incident.alertname,
                "severity": told.incident.severity,
                "scope": told.incident.scope,
                "member": told.incident.member,
                "cause": told.incident.cause,
                "opened_s": told.opened_s,
                "told_s": told.paged_s,
                "closed_s": told.closed_s,
                "changes": told.incident.changes,
                "summary": told.incident.summary,
            }
            for told in played.told
        ],
        "digest": played.digest,
    }
