"""The ``psapwatch`` command: the daemon, and the tools beside it (layer L5)."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from psapwatch import logs
from psapwatch.cli.entry import INTERRUPTED, TERMINATED
from psapwatch.net.clock import SystemClock

COMMANDS: Final[Mapping[str, str]] = {
    "audit": "psapwatch.cli.audit",
    "baseline": "psapwatch.cli.baseline",
    "calls": "psapwatch.cli.calls",
    "check-config": "psapwatch.cli.check_config",
    "demo": "psapwatch.cli.demo",
    "explain": "psapwatch.cli.explain",
    "incidents": "psapwatch.cli.incidents",
    "maintenance": "psapwatch.cli.maintenance",
    "probe": "psapwatch.cli.probe",
    "replay": "psapwatch.cli.replay",
    "respond": "psapwatch.cli.respond",
    "run": "psapwatch.cli.run",
    "status": "psapwatch.cli.status",
}
"""Each command and the module that has it under its own name, imported when it is asked for: the
daemon carries no simulator, and ``status`` no daemon."""
USAGE_ERROR: Final = 64
"""EX_USAGE of sysexits.h."""
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Why an answer cannot be written where it was sent; a reader who is gone (EPIPE) is click's."""


class _Commands(click.Group):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click asks
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as click asks
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="psapwatch")
def cli() -> None:
    """Know, before anyone dials, whether a 911 call will get through.

    \b
    Example:
      psapwatch check-config --config config/psapwatch.yml
      psapwatch run --config config/psapwatch.yml
    """
    logs.set_up(SystemClock().wall, level=logs.ERRORS_ONLY)


def main() -> None:
    """Run the command line; a usage error exits 64."""
    try:
        code = cli.main(standalone_mode=False)
    except click.UsageError as wrong:
        wrong.show()
        sys.exit(USAGE_ERROR)
    except click.ClickException as failed:
        failed.show()
        sys.exit(failed.exit_code)
    except click.Abort:
        click.echo("aborted", err=True)
        sys.exit(INTERRUPTED)
    except asyncio.CancelledError:  # a probe that got SIGTERM has ended its call
        click.echo("terminated", err=True)
        sys.exit(TERMINATED)
    except OSError as why:
        if why.errno not in NO_ROOM or why.filename is not None:
            raise
        _give_up_output()
        click.echo(f"Error: the answer cannot be written: {why.strerror}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _give_up_output() -> None:
    """Let what is still buffered go nowhere, lest Python try again when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    main()
