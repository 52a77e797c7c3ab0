"""``psapwatch run``: the daemon, in the foreground (layer L5)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence

import click

from psapwatch import logs
from psapwatch.cli.doors import CONFIG, Failed, loaded
from psapwatch.config.shape import Config
from psapwatch.daemon import Daemon
from psapwatch.net.answering import open_targets
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import SystemEntropy, raise_file_limit, system_world
from psapwatch.self_test import GREEN, RED
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.store.opening import Unusable
from psapwatch.store.runner import WriterThread
from psapwatch.store.store import Store
from psapwatch.systemd import Systemd

SELF_TEST = {GREEN: SCRIPTS["mirror"], RED: SCRIPTS["silence"]}
"""What answers always, and what never does."""
SETTLED_AFTER_S = (0.0, 20.0, 330.0)
"""After the start, the first round of OPTIONS and that of calls. What was built by then stays, and
is kept from the garbage collector, which would hold the loop for 0.3 s to look at 2,000 paths."""


@click.command()
@CONFIG
@click.option("--listen", metavar="HOST:PORT", help="Serve the page and /metrics here instead.")
@click.option(
    "--log-format", type=click.Choice(["json", "console"]), help="Default: colours on a terminal."
)
@click.option(
    "--shard", default="1/1", show_default=True, metavar="I/N", help="Watch one part of N."
)
def run(file: str, listen: str | None, log_format: str | None, shard: str) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    SIGHUP reloads the configuration. Stopping ends every open test call first, within 5 s.

    \b
    Example:
      psapwatch run --config /etc/psapwatch/psapwatch.yml
    """
    part = _shard(shard)
    logs.set_up(SystemClock().wall, form=log_format)  # type: ignore[arg-type]  # click has checked it
    config = loaded(file)
    if listen:
        try:
            config = config.listening_on(listen)
        except ValueError as wrong:
            raise click.BadParameter(str(wrong), param_hint="--listen") from None
    raise_file_limit()
    left = asyncio.run(_serve(config, part))
    sys.exit(1 if left else 0)


async def _serve(config: Config, shard: tuple[int, int]) -> int:
    """Run until a signal; return how many test calls would not end."""
    loop = asyncio.get_running_loop()
    try:
        store = Store(config.store.path, WriterThread(), sole=True)
    except Unusable as why:
        raise Failed(str(why)) from None
    targets = await open_targets(SELF_TEST, SystemEntropy())
    daemon = Daemon(
        config,
        system_world(dns_servers=config.dns.servers),
        store,
        shard=shard,
        systemd=Systemd.of(os.environ, os.getpid()),
        self_test={name: target.where for name, target in targets.items()},
    )
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    reloads: set[asyncio.Task[Sequence[str]]] = set()

    def reload() -> None:
        task = loop.create_task(daemon.reload("SIGHUP"))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await daemon.start()
    except (OSError, ValueError) as why:
        await daemon.stop()
        raise Failed(f"cannot start: {why}") from None
    gc.collect()
    for after_s in SETTLED_AFTER_S:
        loop.call_later(after_s, gc.freeze)
    await ended.wait()
    return await daemon.stop()


def _shard(text: str) -> tuple[int, int]:
    nth, slash, of = text.partition("/")
    if slash and nth.isdecimal() and of.isdecimal() and 1 <= int(nth) <= int(of):
        return int(nth), int(of)
    raise click.BadParameter(f"{text!r}: write I/N with 1 <= I <= N", param_hint="--shard")
