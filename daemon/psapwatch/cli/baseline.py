"""``psapwatch baseline``: who answers on a path, and taking a new answerer as right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

import click
from rich.table import Table

from psapwatch import baseline as baselines
from psapwatch.baseline import Answerer, Baseline
from psapwatch.case import Case
from psapwatch.cli.doors import (
    BY,
    CONFIG,
    Failed,
    console,
    loaded,
    store_to_change,
    store_to_read,
    who,
)
from psapwatch.config.shape import Config
from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence
from psapwatch.net.clock import SystemClock
from psapwatch.recorder import baselines_in
from psapwatch.remote_text import printable
from psapwatch.store.store import Store

ATTEMPTS_READ: Final = 200
"""How far back an answer is looked for, in attempts of all checks of a path."""
CERTIFICATE_SHOWN: Final = 16

PATH = "PSAP/PATH"


@click.group()
def baseline() -> None:
    """Show who usually answers on a path, and take a new answerer as right.

    \b
    Example:
      psapwatch baseline show ma-boston/east
    """


@baseline.command()
@click.argument("key", metavar=f"[{PATH}]", required=False)
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def show(key: str | None, file: str, as_json: bool) -> None:
    """Show who answers on one path or on all, by check; newcomers are not usual yet.

    \b
    Example:
      psapwatch baseline show ma-boston/east --json
    """
    config = loaded(file)
    wanted = {path.key for path in config.all_paths} if key is None else {_path(config, key).key}

    async def read() -> Mapping[tuple[str, str], Baseline]:
        store = store_to_read(config)
        found = baselines_in(store)
        await store.close()
        return found

    found = {at: each for at, each in sorted(asyncio.run(read()).items()) if at[0] in wanted}
    if as_json:
        rows = [
            {"path": path, "check": check, **baselines.to_json(each)}
            for (path, check), each in found.items()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(
        "path", "check", "answers", "Server", "Contact", "from", "certificate", "standing"
    )
    for (path, check), each in found.items():
        for answerer in each.answerers:
            accepted = f"accepted by {each.accepted_by}" if each.accepted_by else "usual"
            standing = accepted if each.is_learnt else "being learnt"
            table.add_row(path, check, str(each.usual_code), *_cells(answerer), standing)
        if each.newcomer:
            code, answerer = str(each.newcomer.code), each.newcomer.answerer
            table.add_row(path, check, code, *_cells(answerer), "newcomer")
    console().print(table if found else "nothing has answered there yet")


@baseline.command()
@click.argument("key", metavar=PATH)
@CONFIG
@BY
def accept(key: str, file: str, by: str | None) -> None:
    """Take whoever answered last on a path as right, for each of its checks.

    Do this when you know why the answer changed: a new SBC, a PSAP that moved, or one that
    refuses test calls from now on.

    \b
    Example:
      psapwatch baseline accept ma-boston/east --by ann
    """
    config = loaded(file)
    path = _path(config, key)
    done = asyncio.run(_accept(config, path, who(by), SystemClock().wall()))
    if not done:
        raise Failed(f"nothing has answered on {key} lately; there is nothing to accept")
    for check, answerer, code in done:
        click.echo(f"{key} {check}: {code} by {_said(answerer)} is the usual answer from now on")


async def _accept(
    config: Config, path: Path, by: str, wall: float
) -> list[tuple[str, Answerer, int]]:
    store = store_to_change(config)
    done = []
    for check, evidence in (await _last_answers(store, path)).items():
        final = Case(evidence).final
        assert final is not None, "only answered attempts are looked at"
        answerer, code = Answerer.of(evidence, final), int(final["code"] or 0)
        accepted = Baseline(target=path.target).accept(answerer, code, by, wall)
        store.decisions.put_baseline(path.key, check, baselines.to_json(accepted), wall)
        done.append((check, answerer, code))
    if done:
        said = ", ".join(f"{check}: {code} by {_said(each)}" for check, each, code in done)
        store.decisions.audit(by, f"baseline accept {path.key}", said, wall)
    await store.close()
    return done


async def _last_answers(store: Store, path: Path) -> dict[str, Evidence]:
    """The newest answered attempt of each check."""
    found: dict[str, Evidence] = {}
    for evidence, _verdict in await store.attempts(path.psap.id, path.id, limit=ATTEMPTS_READ):
        if evidence.check not in found and Case(evidence).final is not None:
            found[evidence.check] = evidence
    return found


def _path(config: Config, key: str) -> Path:
    found = next((path for path in config.all_paths if path.key == key), None)
    if found is None:
        psap = key.partition("/")[0]
        near = [path.key for path in config.all_paths if path.psap.id == psap]
        keys = near or sorted(path.key for path in config.all_paths)
        raise Failed(f"{config.file} has no path {key!r}; it has {', '.join(keys[:8])}")
    return found


def _cells(answerer: Answerer) -> tuple[str, str, str, str]:
    return (
        printable(answerer.server) or "-",
        printable(answerer.contact) or "-",
        answerer.source or "as asked",
        answerer.certificate[:CERTIFICATE_SHOWN] or "-",
    )


def _said(answerer: Answerer) -> str:
    named = (("Server", answerer.server), ("Contact", answerer.contact), ("from", answerer.source))
    return (
        ", ".join(f"{what} {printable(told)}" for what, told in named if told) or "an unnamed one"
    )
