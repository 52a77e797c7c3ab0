"""``psapwatch demo``: 204 answering points on loopback, two firewalls, the daemon and its page."""

from __future__ import annotations

import click


@click.command()
def demo() -> None:
    """Show 18 June 2024."""
