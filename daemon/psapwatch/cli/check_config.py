"""``psapwatch check-config``: every mistake with its line, or the load it comes to (layer L5)."""

from __future__ import annotations

import click

from psapwatch.cli.doors import CONFIG, loaded
from psapwatch.config.budget import print_load


@click.command("check-config")
@CONFIG
def check_config(file: str) -> None:
    """Check a configuration and print the load that it comes to.

    \b
    Example:
      psapwatch check-config --config config/psapwatch.yml
    """
    for line in print_load(loaded(file)):
        click.echo(line)
