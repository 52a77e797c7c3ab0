"""``psapwatch status``: the running daemon's paths and open incidents."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import click
from rich.table import Table
from rich.text import Text

from psapwatch.cli.doors import Failed, console
from psapwatch.remote_text import printable

PATIENCE_S: Final = 5.0
OCTETS_MAX: Final = 64 * 1024 * 1024
SAID_CHARACTERS_MAX: Final = 2_000
_WORST_FIRST: Final = ("down", "suspect", "muted", "degraded", "unknown", "up")


@click.command()
@click.option(
    "--url", default="http://127.0.0.1:9911", show_default=True, help="Where the daemon serves."
)
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")
@click.option("--all", "everything", is_flag=True, help="Healthy paths too.")
def status(url: str, as_json: bool, everything: bool) -> None:
    """Show what the daemon says now; exit 0 when calls get through, 2 when they do not.

    \b
    Example:
      psapwatch status --url http://127.0.0.1:9911
    """
    answer = _ask(f"{url.rstrip('/')}/api/v1/status")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        _print(answer, everything=everything)
    sys.exit(2 if answer.get("level") == "bad" else 0)


def _ask(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter(f"{url!r} is no http or https URL", param_hint="--url")
    try:
        with urlopen(url, timeout=PATIENCE_S) as reply:  # noqa: S310 - the scheme is checked above
            found: dict[str, Any] = json.loads(reply.read(OCTETS_MAX))
    except (URLError, OSError, ValueError) as why:
        raise Failed(f"no daemon answers at {url}: {getattr(why, 'reason', why)}") from None
    return found


def _print(answer: dict[str, Any], *, everything: bool) -> None:
    out = console()
    headline = Text(_text(answer.get("headline", "")), "bold")
    out.print(headline, _text(answer.get("counts", "")), sep="  ")
    rows = sorted(
        answer.get("paths", ()), key=lambda row: (_WORST_FIRST.index(row["state"]), row["psap"])
    )
    shown = rows if everything else [row for row in rows if row["state"] != "up"]
    if shown:
        table = Table("psap", "path", "firewall", "transport", "state", "since", "why")
        for row in shown:
            why = next(
                (check["why"] for check in row.get("checks", ()) if check["state"] == row["state"]),
                "",
            )
            table.add_row(
                row["psap"],
                row["path"],
                row["firewall"],
                row["transport"],
                row["state"],
                _time(row.get("since")),
                _text(why),
            )
        out.print(table)
    for note in answer.get("notes", ()):  # maintenance, stopped test calls
        out.print(_text(note))
    for incident in answer.get("incidents", ()):
        alert = Text(_text(incident.get("alertname")), "bold")
        out.print(alert, _text(f"{incident.get('id')}: {incident.get('summary')}"))


def _text(said: object) -> str:
    """What another host says, which may be no daemon of ours."""
    return printable(str(said), SAID_CHARACTERS_MAX)


def _time(since: object) -> str:
    if isinstance(since, int | float):
        return datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return str(since or "")
