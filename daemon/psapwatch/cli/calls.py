"""``psapwatch calls``: the kill switch, and the supervised first call."""

from __future__ import annotations

import asyncio
import sys

import click

from psapwatch.baseline import Answerer, Baseline, to_json
from psapwatch.case import Case
from psapwatch.cli.doors import BY, CONFIG, TEXT, WHY, Failed, loaded, store_to_change, who
from psapwatch.cli.probe import one_attempt, show
from psapwatch.config.shape import Config
from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence
from psapwatch.net.clock import SystemClock
from psapwatch.remote_text import printable
from psapwatch.store.decisions import Commission, Stop
from psapwatch.store.ledger import EVERYWHERE
from psapwatch.store.store import Store

NO_GENERAL_STOP = "there is no stop of all test calls to lift"
PSAP = click.option("--psap", metavar="ID", help="This PSAP alone; by default all at once.")


@click.group()
def calls() -> None:
    """Stop and resume test calls, and commission a PSAP.

    \b
    Example:
      psapwatch calls stop --psap ma-boston --why "the PSAP asked"
    """


@calls.command()
@CONFIG
@PSAP
@WHY
@BY
def stop(file: str, psap: str | None, why: str, by: str | None) -> None:
    """Stop test calls at once, and keep them stopped over restarts.

    \b
    Example:
      psapwatch calls stop --why "storm, all lines are needed"
    """
    config = loaded(file)
    _known(config, psap)
    wall = SystemClock().wall()

    async def change() -> None:
        store = store_to_change(config)
        store.decisions.stop(Stop(psap or EVERYWHERE, "operator", why, who(by), wall))
        await store.close()

    asyncio.run(change())
    click.echo(f"test calls to {psap or 'every PSAP'} are stopped; OPTIONS go on")


@calls.command()
@CONFIG
@PSAP
@WHY
@BY
def resume(file: str, psap: str | None, why: str, by: str | None) -> None:
    """Lift the stop of one PSAP, also one after an unsafe answer; without --psap the general stop.

    Each stop is lifted by itself: a PSAP that was stopped by name stays stopped when the general
    stop is lifted, and the other way round. What stays is said.

    \b
    Example:
      psapwatch calls resume --psap ma-boston --why "line 3 is a mirror again"
    """
    config = loaded(file)
    wall = SystemClock().wall()

    async def change() -> tuple[bool, list[Stop]]:
        store = store_to_change(config)
        was = (psap or EVERYWHERE) in store.decisions.stops
        if was:  # also of our own responders, and of what the configuration no longer has
            store.decisions.resume(psap or EVERYWHERE, who(by), why, wall)
        left = [stop for _psap, stop in sorted(store.decisions.stops.items())]
        await store.close()
        return was, left

    was, left = asyncio.run(change())
    if was:
        click.echo(f"the stop of {f'test calls to {psap}' if psap else 'all test calls'} is lifted")
    else:
        _known(config, psap)
    for stop in left:
        if psap is None or stop.psap == EVERYWHERE:
            click.echo(_stays(stop), err=not was)
    if not was:
        raise Failed(f"test calls to {psap} were not stopped" if psap else NO_GENERAL_STOP)


@calls.command()
@CONFIG
@click.option("--psap", required=True, metavar="ID", help="The PSAP to commission.")
@click.option(
    "--with",
    "supervisor",
    type=TEXT,
    required=True,
    metavar="NAME",
    help="Who watches at the PSAP.",
)
@BY
def commission(file: str, psap: str, supervisor: str, by: str | None) -> None:
    """Place the supervised first call on each path of a PSAP; a good answer lets it be scheduled.

    Do this while somebody at the PSAP watches that no phone rings.

    \b
    Example:
      psapwatch calls commission --psap ma-boston --with "Sgt. Doe, 617 555 0100"
    """
    config = loaded(file)
    _known(config, psap)
    check = next((check for check in config.checks if check.is_call and check.on == "psaps"), None)
    if check is None:
        raise Failed(f"{config.file} has no check with probe: call on psaps")
    paths = [path for path in config.watched(check) if path.psap.id == psap]
    if not paths:
        raise Failed(f"{psap} has no recorded consent (test_calls) or is a legacy gateway")
    good = 0
    for nth, path in enumerate(paths):
        if nth:
            click.echo(f"{path.key} waits for the floor between two calls to one PSAP", err=True)
        good += asyncio.run(_supervised(config, path, check.name, supervisor, who(by)))
    sys.exit(0 if good == len(paths) else 1)


async def _supervised(
    config: Config, path: Path, check_name: str, supervisor: str, by: str
) -> bool:
    check = next(check for check in config.checks if check.name == check_name)
    store = store_to_change(config)
    evidence, verdict = await one_attempt(config, store, path, check, supervised=True, wait=True)
    show(evidence, verdict, as_json=False)
    if verdict.outcome.value == "pass":
        wall = SystemClock().wall()
        store.decisions.commission(Commission(path.key, path.target, supervisor, by, wall))
        _keep_baseline(store, path, evidence, supervisor, wall)
        click.echo(f"{path.key} is commissioned")
    else:
        click.echo(f"{path.key} is NOT commissioned: {verdict.why}", err=True)
    await store.close()
    return verdict.outcome.value == "pass"


def _keep_baseline(
    store: Store, path: Path, evidence: Evidence, supervisor: str, wall: float
) -> None:
    """Whoever answered under supervision is usual from the start ."""
    final = Case(evidence).final
    if final is None:
        return
    first = Baseline(target=path.target, accepted_by=supervisor, accepted_at=wall)
    learnt = first.learn(Answerer.of(evidence, final), int(final["code"] or 0))
    store.decisions.put_baseline(path.key, evidence.check, to_json(learnt), wall)


def _stays(stop: Stop) -> str:
    which = f" --psap {stop.psap}" if stop.psap else ""
    return (
        f"{stop.psap or 'every PSAP'} is still stopped, by {printable(stop.by)}: "
        f"{printable(stop.why)} (psapwatch calls resume{which} --why TEXT lifts that)"
    )


def _known(config: Config, psap: str | None) -> None:
    if psap is not None and psap not in {each.id for each in config.psaps}:
        near = ", ".join(sorted(each.id for each in config.psaps)[:8])
        raise Failed(f"{config.file} has no PSAP {psap!r}; it has {near}")
