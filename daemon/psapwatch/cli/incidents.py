"""``psapwatch incidents``: from the store, also while the daemon is down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.table import Column, Table

from psapwatch.cli.doors import (
    CONFIG,
    TEXT,
    Failed,
    console,
    loaded,
    store_to_change,
    store_to_read,
)
from psapwatch.config.shape import Config
from psapwatch.endpoint import Psap
from psapwatch.incident import Incident, to_json
from psapwatch.net.clock import SystemClock
from psapwatch.notice_forms import FORMS, Dossier
from psapwatch.store.attempts import Attempt
from psapwatch.store.store import Store

ID_CHARACTERS: Final = 12
PATHS_LOOKED_AT: Final = 20
"""Affected paths that are searched for a failing attempt to show."""
ATTEMPTS_READ: Final = 20
SLACK_S: Final = 60.0
"""An attempt begins before its failure is seen: that long before is still the incident's."""


@click.group()
def incidents() -> None:
    """List, show and acknowledge incidents.

    \b
    Example:
      psapwatch incidents list --config /etc/psapwatch/psapwatch.yml
    """


@incidents.command("list")
@CONFIG
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_(file: str, limit: int, as_json: bool) -> None:
    """List the newest incidents, newest first.

    \b
    Example:
      psapwatch incidents list --limit 10
    """
    config = loaded(file)

    async def read() -> Sequence[Incident]:
        store = store_to_read(config)
        found = await store.incidents(limit)
        await store.close()
        return found

    found = asyncio.run(read())
    if as_json:
        click.echo(json.dumps([to_json(incident) for incident in found], indent=2))
        return
    number = Column("id", no_wrap=True, min_width=ID_CHARACTERS)  # what `show` and `ack` ask for
    table = Table(number, "alert", "severity", "scope", "cause", "opened", "closed", "by")
    for each in found:
        scope = f"{each.scope} {each.member}"
        table.add_row(
            each.id, each.alertname, each.severity, scope, each.cause.value,
            _time(each.opened_at), _time(each.closed_at), each.acknowledged,
        )  # fmt: skip
    console().print(table if found else "no incidents")


@incidents.command()
@click.argument("incident_id", metavar="ID")
@CONFIG
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="text")
@click.option(
    "--time-zone",
    "zone",
    default="UTC",
    show_default=True,
    metavar="NAME",
    help="Local time of those who read it, such as America/New_York.",
)
def show(incident_id: str, file: str, form: str, zone: str) -> None:
    """Show one incident, or write it as a form.

    fcc is a draft of the notification of 47 CFR 4.9(h)(2), public one for the public; markdown is
    the whole report. A human checks and sends them.

    \b
    Example:
      psapwatch incidents show 5f0c2a9be1d3 --format fcc --time-zone America/New_York
    """
    config = loaded(file)
    there = _zone(zone)
    found = asyncio.run(_dossier(config, incident_id, there))
    if found is None:
        raise Failed(f"{config.store.path} has no incident {incident_id!r}")
    click.echo(FORMS[form](found))


@incidents.command()
@click.argument("incident_id", metavar="ID")
@CONFIG
@click.option("--by", type=TEXT, required=True, metavar="NAME", help="Who has seen it.")
def ack(incident_id: str, file: str, by: str) -> None:
    """Acknowledge an incident: say who works on it.

    \b
    Example:
      psapwatch incidents ack 5f0c2a9be1d3 --by "J. Doe"
    """
    config = loaded(file)
    wall = SystemClock().wall()

    async def change() -> bool:
        store = store_to_change(config)
        done = await store.acknowledge(incident_id, by, wall)
        await store.close()
        return done

    if not asyncio.run(change()):
        raise Failed(f"{config.store.path} has no incident {incident_id!r}")
    click.echo(f"{incident_id} is acknowledged by {by}")


async def _dossier(config: Config, incident_id: str, zone: tzinfo) -> Dossier | None:
    """Everything that the store and the configuration say about an incident."""
    store = store_to_read(config)
    try:
        incident = await store.incident(incident_id)
        if incident is None:
            return None
        paths = [path for path in config.all_paths if path.key in incident.affected]
        psaps = {psap: Psap(psap, psap) for psap in map(_psap_of, incident.affected)}
        psaps |= {path.psap.id: path.psap for path in paths}
        failing = await _failing(store, incident)
        return Dossier(
            incident,
            SystemClock().wall(),
            config.identity,
            psaps=tuple(psaps.values()),
            transports=tuple(sorted({path.transport for path in paths})),
            told=await store.told(incident_id),
            case=await store.case(incident_id),
            failing=failing,
            passing=await _last_pass(store, failing),
            zone=zone,
        )
    finally:
        await store.close()


async def _failing(store: Store, incident: Incident) -> Attempt | None:
    """A failing attempt of the incident: a call rather than OPTIONS, the first rather than later.

    At most ``PATHS_LOOKED_AT`` of the affected paths are asked.
    """
    until = incident.closed_at or float("inf")
    found = [
        attempt
        for key in incident.affected[:PATHS_LOOKED_AT]
        for attempt in await store.attempts(*key.split("/", 1), failed=True, limit=ATTEMPTS_READ)
        if incident.first_failure_at - SLACK_S <= attempt[0].started_at <= until
    ]
    found.sort(key=lambda attempt: (attempt[0].probe != "call", attempt[0].started_at))
    return found[0] if found else None


async def _last_pass(store: Store, failing: Attempt | None) -> Attempt | None:
    if failing is None:
        return None
    seen = failing[0]
    kept = await store.last_pass(seen.psap, seen.path, seen.check)
    if kept is not None:
        return kept
    passes = await store.attempts(seen.psap, seen.path, failed=False, limit=1)
    return passes[0] if passes else None


def _psap_of(key: str) -> str:
    return key.partition("/")[0]


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(
            f"{name!r} is no time zone known here; write UTC or America/New_York",
            param_hint="--time-zone",
        ) from None


def _time(wall: float | None) -> str:
    return "" if wall is None else datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
