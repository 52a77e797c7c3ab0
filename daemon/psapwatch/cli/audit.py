"""``psapwatch audit``: who changed what, when and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.table import Table

from psapwatch.cli.doors import CONFIG, console, loaded, store_to_read
from psapwatch.remote_text import printable
from psapwatch.store.decisions import Audited


@click.command()
@CONFIG
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def audit(file: str, limit: int, as_json: bool) -> None:
    """Show every change that a command or HTTP made, newest first: who, when and why.

    \b
    Example:
      psapwatch audit --limit 20
    """
    config = loaded(file)

    async def read() -> Sequence[Audited]:
        store = store_to_read(config)
        found = await store.decisions.audited(limit)
        await store.close()
        return found

    found = asyncio.run(read())
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    table = Table("when", "who", "what", "why")
    for each in found:
        when = datetime.fromtimestamp(each.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        table.add_row(when, printable(each.who), printable(each.what), printable(each.why))
    console().print(table if found else "nothing was changed yet")
