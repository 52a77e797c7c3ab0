"""``psapwatch demo``: 204 answering points on loopback, two firewalls, the daemon and its page."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from psapwatch import logs
from psapwatch.cli.doors import Failed
from psapwatch.cli.entry import INTERRUPTED
from psapwatch.config.words import parse_listen
from psapwatch.demo.lab import Lab
from psapwatch.demo.panel import panel
from psapwatch.demo.story import (
    FAST,
    FULL,
    NOTHING_LEFT,
    Plan,
    Record,
    compared,
    left_words,
    play,
    processor_s,
    wrong_with,
)
from psapwatch.demo.teller import Teller
from psapwatch.demo.towns import EAST, FIREWALLS, TOWNS, WEST
from psapwatch.endpoint import Address
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import raise_file_limit

DEFAULT_LISTEN: Final = "127.0.0.1:9911"


@click.command()
@click.option(
    "--fast", is_flag=True, help="The whole story in under 40 s; exit 1 if it went wrong."
)
@click.option("--endless", is_flag=True, help="No story: watch, and press the page's buttons.")
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where the page and /metrics are.",
)
@click.option("--log", "log_file", metavar="FILE", help="Write the daemon's log lines there.")
def demo(fast: bool, endless: bool, listen: str, log_file: str | None) -> None:
    """Show 18 June 2024 on loopback: a firewall stops calls and lets OPTIONS pass.

    204 answering points with the names of Massachusetts towns stand behind two firewalls in user
    space; the daemon watches them, and its page has buttons that block and lift. Needs no root and
    no network. Exit 0 only if exactly one page came in time, with the right scope and cause.

    \b
    Example:
      psapwatch demo --fast
      psapwatch demo --endless --listen 127.0.0.1:9911
    """
    if fast and endless:
        raise click.UsageError("--fast plays a story that ends; --endless has none")
    try:
        where = parse_listen(listen)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--listen") from None
    raise_file_limit()
    log = Path(log_file or os.devnull)
    try:
        stream = log.open("a", encoding="utf-8")
    except OSError as why:
        raise Failed(f"cannot write the log: {why}") from None
    logs.set_up(SystemClock().wall, form="json", stream=stream)
    try:
        code = asyncio.run(_show(where, FAST if fast else FULL, endless=endless))
    finally:
        with suppress(OSError):  # what could not be written is lost, as every line of a log
            stream.close()
    sys.exit(code)


async def _show(listen: Address, plan: Plan, *, endless: bool) -> int:
    """Open the lab, play the story or wait, close everything; returns the exit code."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    lab = Lab(plan.rhythm)
    try:
        page = await lab.open(listen, panel)
    except OSError as why:
        await lab.close()
        raise Failed(_no_start(listen, why)) from None
    _introduce(page, plan, endless=endless)
    began, used = loop.time(), processor_s()
    teller = Teller(lab)
    playing = loop.create_task(_no_story() if endless else play(lab, plan))
    tasks = (playing, loop.create_task(teller.run()), loop.create_task(ended.wait()))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    share = (processor_s() - used) / max(loop.time() - began, 0.001)
    record = playing.result() if playing.done() and not playing.exception() else None
    teller.look()
    click.echo("ending: every rule is lifted, every open test call is ended ...")
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    left = await lab.close()
    for ours in results:
        if isinstance(ours, Exception):
            raise ours
    click.echo(f"ended: {left_words(left)}; {100 * share:.0f} % of one core was used by all of it")
    if record is None:
        is_clean = left == NOTHING_LEFT
        return 0 if endless and is_clean else INTERRUPTED if is_clean else 1
    record.left = left
    return _conclude(record, plan)


async def _no_story() -> Record:
    """Wait for ever: whoever looks at the page is the story."""
    never: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
    return await never


def _introduce(page: Address, plan: Plan, *, endless: bool) -> None:
    rhythm = plan.rhythm
    behind = {name: sum(town.firewall == name for town in TOWNS) for name in FIREWALLS}
    click.echo(
        f"{len(TOWNS)} answering points on loopback, {behind[EAST]} behind {EAST} and "
        f"{behind[WEST]} behind {WEST}; OPTIONS every {rhythm.options_every_s:g} s and a test call "
        f"every {rhythm.calls_every_s:g} s to each"
    )
    click.echo(
        f"the page, with buttons to block and lift: {click.style(f'http://{page}', bold=True)}"
    )
    if endless:
        click.echo("press a button there and read the alert; Ctrl-C ends it\n")
    else:
        click.echo(f"in {plan.quiet_s:g} s {EAST} becomes too protective; Ctrl-C ends it\n")


def _conclude(record: Record, plan: Plan) -> int:
    click.echo("")
    for line in compared(record):
        click.echo(line)
    wrong = wrong_with(record, plan)
    if wrong:
        click.echo(click.style("\nnot as it must be:", fg="red", bold=True))
        for what in wrong:
            click.echo(f"  - {what}")
        return 1
    click.echo(click.style("\nas it must be: one page, in time, with the right cause", fg="green"))
    return 0


def _no_start(listen: Address, why: OSError) -> str:
    return f"cannot start on {listen}: {why.strerror or why}; choose another place with --listen"
