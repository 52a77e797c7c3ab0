"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Loc = tuple[str | int, ...]
"""Where in a document: the keys and list positions from its top."""

WHOLE_FILE: Final = "(file)"
"""Stands for the key of an error that concerns a file as a whole."""


@dataclass(frozen=True, slots=True, order=True)
class ConfigError:
    """One thing that is wrong: printed as ``FILE:LINE: path.to.key: message``."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.message}"


class BadConfig(Exception):
    """A configuration that is refused whole; ``errors`` holds everything wrong with it."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors: Final = tuple(sorted(set(errors)))
        super().__init__("\n".join(str(error) for error in self.errors))


def print_key(loc: Loc) -> str:
    """Return ``psaps[0].paths[1].uri`` for ``("psaps", 0, "paths", 1, "uri")``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or WHOLE_FILE
