"""What all commands share: loading a configuration, saying what is wrong, and who is asking."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console

from psapwatch.config.errors import BadConfig
from psapwatch.config.load import load
from psapwatch.config.shape import Config
from psapwatch.config.words import parse_text
from psapwatch.store.opening import Unusable
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store, reading

DEFAULT_CONFIG = "/etc/psapwatch/psapwatch.yml"
UNCUT_COLUMNS: Final = 10_000
"""Wider than any row; a table takes no more of it than it needs."""
Parsed = TypeVar("Parsed")


class Written(click.ParamType[Parsed]):
    """A value that people write as text; a usage error says how it is written."""

    def __init__(self, name: str, read: Callable[[str], Parsed]) -> None:
        self.name, self._read = name, read

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Parsed:
        """Read it, or end the command."""
        try:
            return self._read(str(value))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


TEXT: Final = Written("TEXT", parse_text)
"""What is kept for ever says something: the rule of the configuration's texts."""
CONFIG = click.option(
    "--config",
    "file",
    default=DEFAULT_CONFIG,
    envvar="PSAPWATCH_CONFIG",
    show_default=True,
    metavar="FILE",
    help="The configuration; - reads standard input.",
)
BY = click.option(
    "--by", type=TEXT, metavar="NAME", help="Who says so; your login name by default."
)
WHY = click.option(
    "--why", type=TEXT, required=True, metavar="TEXT", help="Kept with the change, for ever."
)


class Failed(click.ClickException):
    """A command that cannot do what it was asked, in one line that says what and where."""

    exit_code = 1


def console() -> Console:
    """Return standard output for tables: as wide as the terminal, and uncut in a pipe or a file.

    Text is shown as it is: ``[CHG-7]`` and ``:warning:`` are what people write, and the far end.
    """
    found = Console(markup=False, emoji=False)
    if not found.is_terminal:
        found.width = UNCUT_COLUMNS
    return found


def loaded(file: str) -> Config:
    """Load a configuration, or end the command with one line an error."""
    if file != "-" and not Path(file).exists():
        message = f"no configuration at {file}; name one with --config FILE or PSAPWATCH_CONFIG"
        raise Failed(message)
    try:
        return load(file)
    except BadConfig as bad:
        for error in bad.errors:
            click.echo(str(error), err=True)
        many = len(bad.errors)
        raise Failed(f"{file}: {many} error{'s' if many > 1 else ''}") from None


def store_to_read(config: Config) -> Store:
    """The configuration's store for looking into, also while the daemon runs."""
    try:
        return reading(config.store.path)
    except Unusable as why:
        raise Failed(str(why)) from None


def store_to_change(config: Config) -> Store:
    """The store for a command's change; a running daemon takes it over within a second."""
    try:
        return Store(config.store.path, Inline())
    except Unusable as why:
        raise Failed(str(why)) from None


def who(by: str | None) -> str:
    """The name that is kept with a change."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
