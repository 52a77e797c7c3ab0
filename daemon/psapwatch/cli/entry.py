"""What the shell starts: Ctrl-C ends it quietly from the first import on (layer L5)."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

INTERRUPTED: Final = 130
TERMINATED: Final = 143
"""128 + SIGINT, 128 + SIGTERM, as shells say it."""


def main() -> None:
    """Import the command line, which takes a quarter of a second, and run it."""
    try:
        import_module("psapwatch.cli.main").main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
