"""``psapwatch explain``: what a cause means and what to do, and what a kept case comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, TextIO

import click
from rich.table import Table

from psapwatch.case import from_json
from psapwatch.causes import MEANINGS, NAMED_FROM, told_apart
from psapwatch.cli.doors import Failed, console
from psapwatch.diagnosis import diagnose
from psapwatch.report import case_lines
from psapwatch.verdict import Cause

CASE_CHARACTERS_MAX: Final = 16_000_000


@click.command()
@click.argument("cause", required=False, type=click.Choice([cause.value for cause in MEANINGS]))
@click.option(
    "--case",
    "file",
    type=click.File(encoding="utf-8"),
    help="Judge a kept case again: `psapwatch incidents show ID --format json`; - reads it here.",
)
def explain(cause: str | None, file: TextIO | None) -> None:
    """Say what CAUSE means, how it is told from others and what to look at first; or list them all.

    \b
    Example:
      psapwatch explain invite_blocked
      psapwatch incidents show 5f0c2a9be1d3 --format json | psapwatch explain --case -
    """
    if file is not None:
        cause = _judged_again(file)
    elif cause is None:
        table = Table("cause", "what was seen", "named from")
        for each, row in MEANINGS.items():
            table.add_row(each.value, row.seen, row.by)
        console().print(table)
        return
    for line in _about(Cause(cause)):
        click.echo(line)


def _about(cause: Cause) -> Iterator[str]:
    row = MEANINGS[cause]
    yield f"{cause.value}: {row.seen}"
    yield f"named from: {NAMED_FROM[row.by]}"
    for words in told_apart(cause):
        yield f"told from others by: {words}"
    yield f"look first at: {row.look_first}"


def _judged_again(file: TextIO) -> str:
    """Print what a kept case comes to by the rules of this program, and return the cause."""
    try:
        plain = json.loads(file.read(CASE_CHARACTERS_MAX))
        case = from_json(plain.get("case", plain))
    except (ValueError, AttributeError) as wrong:
        raise Failed(f"{file.name}: {wrong}") from None
    for line in case_lines(case):
        click.echo(line)
    verdict = diagnose(case)
    return Cause.UNKNOWN.value if verdict.cause is Cause.NONE else verdict.cause.value
