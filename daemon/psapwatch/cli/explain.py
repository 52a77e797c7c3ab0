"""``psapwatch explain``: what a cause means and what to do, and what a kept case comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import click
from rich.table import Table

from psapwatch.case import Case, from_json
from psapwatch.causes import MEANINGS, NAMED_FROM, told_apart
from psapwatch.cli.doors import Failed, Written, console
from psapwatch.config.explain import did_you_mean
from psapwatch.config.files import octets_of
from psapwatch.diagnosis import diagnose
from psapwatch.report import case_lines
from psapwatch.verdict import Cause

CASE_OCTETS_MAX: Final = 16_000_000
_HOW_TO_WRITE: Final = "write it with `psapwatch incidents show ID --format json`"


def _cause(text: str) -> Cause:
    if text not in MEANINGS:
        close = did_you_mean(text, [cause.value for cause in MEANINGS])
        raise ValueError(f"{text[:40]!r} is no cause{close}; `psapwatch explain` lists them")
    return Cause(text)


@click.command()
@click.argument("cause", required=False, metavar="[CAUSE]", type=Written("CAUSE", _cause))
@click.option(
    "--case",
    "file",
    metavar="FILE",
    help="Judge a kept case again: `psapwatch incidents show ID --format json`; - reads it here.",
)
def explain(cause: Cause | None, file: str | None) -> None:
    """Say what CAUSE means, how it is told from others and what to look at first; or list them all.

    \b
    Example:
      psapwatch explain invite_blocked
      psapwatch incidents show 5f0c2a9be1d3 --format json | psapwatch explain --case -
    """
    if cause is not None and file is not None:
        raise click.UsageError("either CAUSE or --case FILE: a kept case says its cause itself")
    if file is not None:
        cause = _judged_again(file)
    elif cause is None:
        table = Table("cause", "what was seen", "named from")
        for each, row in MEANINGS.items():
            table.add_row(each.value, row.seen, row.by)
        console().print(table)
        return
    for line in _about(cause):
        click.echo(line)


def _about(cause: Cause) -> Iterator[str]:
    row = MEANINGS[cause]
    yield f"{cause.value}: {row.seen}"
    yield f"named from: {NAMED_FROM[row.by]}"
    for words in told_apart(cause):
        yield f"told from others by: {words}"
    yield f"look first at: {row.look_first}"


def _judged_again(file: str) -> Cause:
    """Print what a kept case comes to by the rules of this program, and return the cause."""
    case = _read(file)
    try:
        lines, verdict = tuple(case_lines(case)), diagnose(case)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as wrong:
        said = f"{file}: a value in the case is not of its kind ({type(wrong).__name__}: {wrong})"
        raise Failed(f"{said}; {_HOW_TO_WRITE}") from None
    for line in lines:
        click.echo(line)
    return Cause.UNKNOWN if verdict.cause is Cause.NONE else verdict.cause


def _read(file: str) -> Case:
    try:
        plain = json.loads(octets_of(file, CASE_OCTETS_MAX))
        return from_json(plain.get("case", plain))
    except OSError as why:
        raise Failed(f"{file}: cannot be read: {why.strerror}") from None
    except json.JSONDecodeError as wrong:
        said = f"{file}:{wrong.lineno}: no JSON from column {wrong.colno} on"
    except (UnicodeDecodeError, AttributeError, TypeError, RecursionError):
        said = f"{file}: no JSON object of a case"
    except ValueError as wrong:  # in the words of ``from_json``
        said = f"{file}: {wrong}"
    raise Failed(f"{said}; {_HOW_TO_WRITE}")
