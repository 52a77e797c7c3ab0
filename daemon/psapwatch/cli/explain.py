"""``psapwatch explain``: what a cause means and what to do."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from psapwatch.causes import MEANINGS
from psapwatch.verdict import Cause

_BY = {
    "attempt": "one attempt's evidence",
    "pattern": "a pattern over many attempts",
    "battery": "differential probes; without them it is not named",
}


@click.command()
@click.argument("cause", required=False, type=click.Choice([cause.value for cause in MEANINGS]))
def explain(cause: str | None) -> None:
    """Say what CAUSE means, what it takes to name it and what to look at first; or list them all.

    \b
    Example:
      psapwatch explain invite_blocked
    """
    if cause is None:
        table = Table("cause", "what was seen", "named from")
        for each, row in MEANINGS.items():
            table.add_row(each.value, row.seen, row.by)
        Console().print(table)
        return
    row = MEANINGS[Cause(cause)]
    click.echo(f"{cause}: {row.seen}")
    click.echo(f"named from: {_BY[row.by]}")
    click.echo(f"look first at: {row.look_first}")
