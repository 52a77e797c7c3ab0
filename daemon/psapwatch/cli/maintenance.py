"""``psapwatch maintenance``: windows like the configuration's, at once and over restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final, NamedTuple

import click
from rich.table import Column, Table

from psapwatch.announced import TOO_LONG, WINDOW_S_MAX, Window
from psapwatch.cli.doors import (
    BY,
    CONFIG,
    WHY,
    Failed,
    Written,
    console,
    loaded,
    store_to_change,
    store_to_read,
    who,
)
from psapwatch.config.explain import did_you_mean
from psapwatch.config.shape import Config
from psapwatch.config.words import parse_moment
from psapwatch.duration import parse_duration
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import SystemEntropy

ID_OCTETS: Final = 4


MOMENT: Final = Written("TIME", parse_moment)
DURATION: Final = Written("DURATION", parse_duration)


class Named(NamedTuple):
    """What may be down."""

    scope: str
    member: str


@click.group()
def maintenance() -> None:
    """Announce what may be down, like the configuration's windows, at once.

    A window names what may fail without an alert; whatever else fails still pages. When it ends,
    all that it named has to pass within one round, or it pages.

    \b
    Example:
      psapwatch maintenance add --firewall fw-west --for 2h --why CHG-123
    """


@maintenance.command()
@CONFIG
@click.option("--firewall", metavar="ID", help="Everything behind this firewall may be down.")
@click.option("--psap", metavar="ID", help="Every path of this PSAP may be down.")
@click.option("--path", metavar="PSAP/PATH", help="This path may be down.")
@click.option("--attribute", metavar="NAME=VALUE", help="All that has it may be down.")
@click.option("--from", "from_at", type=MOMENT, help="Begin, with zone; now by default.")
@click.option("--until", "until_at", type=MOMENT, help="End, with zone.")
@click.option("--for", "for_s", type=DURATION, help="How long instead: 30m, 2h, 1d.")
@WHY
@BY
def add(
    file: str,
    from_at: float | None,
    until_at: float | None,
    for_s: float | None,
    why: str,
    by: str | None,
    **named: str | None,
) -> None:
    """Add a window: exactly one of --firewall, --psap, --path and --attribute.

    \b
    Example:
      psapwatch maintenance add --firewall fw-west --for 2h --why CHG-123
      psapwatch maintenance add --attribute county=Suffolk --why CHG-124 \\
        --from 2026-12-01T02:00:00-05:00 --until 2026-12-01T04:00:00-05:00
    """
    scope, member = _named(named)
    wall = SystemClock().wall()
    begin, end = _span(wall, from_at, until_at, for_s)
    config = loaded(file)
    _known(config, scope, member)
    number = SystemEntropy().token(ID_OCTETS)
    window = Window(scope, member, begin, end, why, number, who(by))

    async def change() -> None:
        store = store_to_change(config)
        store.decisions.add_window(window, wall)
        await store.close()

    asyncio.run(change())
    click.echo(
        f"{number}: {scope} {member} may be down from {_time(begin)} until {_time(end)}; "
        f"psapwatch maintenance end {number} ends it sooner"
    )


@maintenance.command()
@click.argument("number", metavar="ID")
@CONFIG
@BY
def end(number: str, file: str, by: str | None) -> None:
    """End a window now, or call off one that is still to begin.

    \b
    Example:
      psapwatch maintenance end 5f2c09ab --by ann
    """
    config, wall = loaded(file), SystemClock().wall()

    async def change() -> Window | None:
        store = store_to_change(config)
        known = {window.id: window for window in store.decisions.windows}
        found = known.get(number)
        if found is not None and found.until_at > wall:
            store.decisions.end_window(found, who(by), wall)
        await store.close()
        return found

    found = asyncio.run(change())
    if found is None:
        raise Failed(
            f"no window {number!r} was added by a command; see psapwatch maintenance list. "
            "The configuration's windows are ended there"
        )
    if found.until_at <= wall:
        raise Failed(f"window {number} has ended at {_time(found.until_at)}")
    click.echo(f"{number}: the maintenance of {found.scope} {found.member} has ended")


@maintenance.command("list")
@CONFIG
@click.option("--all", "everything", is_flag=True, help="Windows that are over, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_(file: str, everything: bool, as_json: bool) -> None:
    """List the windows of the configuration and of commands, the next to end first.

    \b
    Example:
      psapwatch maintenance list --all
    """
    config, wall = loaded(file), SystemClock().wall()

    async def read() -> Sequence[Window]:
        store = store_to_read(config)
        found = store.decisions.windows
        await store.close()
        return found

    found = sorted((*config.maintenance, *asyncio.run(read())), key=lambda each: each.until_at)
    shown = [window for window in found if everything or window.until_at > wall]
    if as_json:
        rows = [{**asdict(window), "state": _state(window, wall)} for window in shown]
        click.echo(json.dumps(rows, indent=2))
        return
    number = Column("id", no_wrap=True)  # what `end` asks for
    table = Table(number, "state", "may be down", "from", "until", "why", "by")
    for each in shown:
        table.add_row(
            each.id or "-", _state(each, wall), f"{each.scope} {each.member}",
            _time(each.from_at), _time(each.until_at), each.why, each.by or "config",
        )  # fmt: skip
    console().print(table if shown else "no maintenance is announced")


def _named(given: dict[str, str | None]) -> Named:
    found = [(scope, member) for scope, member in given.items() if member is not None]
    if len(found) != 1:
        raise click.UsageError("name exactly one of --firewall, --psap, --path and --attribute")
    scope, member = found[0]
    if scope != "attribute":
        return Named(scope, member)
    name, sign, value = member.partition("=")
    if not (name and sign and value):
        raise click.BadParameter(f"{member!r}: write NAME=VALUE", param_hint="--attribute")
    return Named(name, value)


def _span(
    wall: float, from_at: float | None, until_at: float | None, for_s: float | None
) -> tuple[float, float]:
    if (until_at is None) == (for_s is None):
        raise click.UsageError("say when it ends: --until TIME or --for DURATION")
    begin = wall if from_at is None else from_at
    end = until_at if until_at is not None else begin + (for_s or 0.0)
    if end - begin > WINDOW_S_MAX:
        raise click.UsageError(TOO_LONG)
    if end <= max(begin, wall):
        what = "is over already" if end <= wall else "must be later than its begin"
        raise click.UsageError(f"the window ends at {_time(end)}: that {what}")
    return begin, end


def _known(config: Config, scope: str, member: str) -> None:
    known = {
        "firewall": {each.id for each in config.firewalls},
        "psap": {each.id for each in config.psaps},
        "path": {path.key for path in config.paths},
    }
    if scope in known:
        if member not in known[scope]:
            close = did_you_mean(member, known[scope])
            raise Failed(f"{config.file} has no {scope} {member!r}{close}")
        return
    values = {
        f"{name}={value}"
        for path in config.paths
        for name, value in (*path.psap.attributes, *path.attributes)
    }
    if f"{scope}={member}" not in values:
        close = did_you_mean(f"{scope}={member}", values)
        raise Failed(f"{config.file} has nothing with the attribute {scope}={member}{close}")


def _state(window: Window, wall: float) -> str:
    return "open" if window.covers(wall) else "over" if window.until_at <= wall else "planned"


def _time(wall: float) -> str:
    try:
        return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # kept by a version that had no longest window
        return "beyond all dates"
