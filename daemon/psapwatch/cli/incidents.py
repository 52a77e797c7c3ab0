"""``psapwatch incidents``: from the store, also while the daemon is down."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from psapwatch.cli.doors import CONFIG, Failed, loaded, store_to_change, store_to_read
from psapwatch.incident import Incident, to_json
from psapwatch.net.system import SystemClock


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
    table = Table("id", "alert", "severity", "scope", "cause", "opened", "closed", "by")
    for each in found:
        scope = f"{each.scope} {each.member}"
        table.add_row(
            each.id, each.alertname, each.severity, scope, each.cause.value,
            _time(each.opened_at), _time(each.closed_at), each.acknowledged,
        )  # fmt: skip
    Console().print(table if found else "no incidents")


@incidents.command()
@click.argument("incident_id", metavar="ID")
@CONFIG
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown", "csv"]), default="text"
)
def show(incident_id: str, file: str, form: str) -> None:
    """Show one incident.

    \b
    Example:
      psapwatch incidents show 5f0c2a9be1d3 --format json
    """
    config = loaded(file)

    async def read() -> Incident | None:
        store = store_to_read(config)
        found = await store.incident(incident_id)
        await store.close()
        return found

    found = asyncio.run(read())
    if found is None:
        raise Failed(f"{config.store.path} has no incident {incident_id!r}")
    click.echo(_FORMS[form](found), nl=form != "csv")


@incidents.command()
@click.argument("incident_id", metavar="ID")
@CONFIG
@click.option("--by", required=True, metavar="NAME", help="Who has seen it.")
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


def _facts(incident: Incident) -> list[tuple[str, str]]:
    return [
        ("incident", incident.id),
        ("alert", f"{incident.alertname} ({incident.severity})"),
        ("what", f"{incident.scope} {incident.member}"),
        ("cause", incident.cause.value),
        ("summary", incident.summary),
        ("first failure", _time(incident.first_failure_at)),
        ("last good", _time(incident.last_pass_at)),
        ("opened", _time(incident.opened_at)),
        ("closed", _time(incident.closed_at) or "still open"),
        ("state changes", str(incident.changes)),
        ("acknowledged by", incident.acknowledged or "nobody"),
        ("merged into", incident.merged_into or "-"),
        ("affected", ", ".join(incident.affected) or "-"),
        ("unaffected", ", ".join(incident.unaffected) or "-"),
        ("untested", ", ".join(incident.untested) or "-"),
    ]


def _text(incident: Incident) -> str:
    return "\n".join(f"{name:16} {value}" for name, value in _facts(incident))


def _markdown(incident: Incident) -> str:
    rows = (f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in _facts(incident))
    return "\n".join((f"# Incident {incident.id}", "", "| | |", "|---|---|", *rows))


def _csv(incident: Incident) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([name for name, _value in _facts(incident)])
    writer.writerow([value for _name, value in _facts(incident)])
    return out.getvalue()


def _json(incident: Incident) -> str:
    return json.dumps(to_json(incident), indent=2)


_FORMS = {"text": _text, "json": _json, "markdown": _markdown, "csv": _csv}


def _time(wall: float | None) -> str:
    return "" if wall is None else datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
