"""Many runs of ``psapwatch`` at the price of one start: the program is loaded once, then forks.

Run as a program (``commands.py '[["check-config", "--config", "x.yml"], ...]'``) it prints the
outcome of each command as JSON. Each runs ``main`` in a process of its own, as the script does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

AT_ONCE: Final = 4
PATIENCE_S: Final = 240


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def run_all(commands: list[list[str]], folder: Path) -> list[Done]:
    """Run every command in ``folder``, some at once."""
    argv = [sys.executable, __file__, json.dumps(commands)]
    done = subprocess.run(
        argv, check=True, capture_output=True, text=True, cwd=folder, timeout=PATIENCE_S
    )
    return [Done(**row) for row in json.loads(done.stdout)]


def _main(commands: list[list[str]]) -> None:
    from psapwatch.cli.main import main  # noqa: PLC0415 - only in the child

    def begin(words: list[str], out: IO[bytes], err: IO[bytes]) -> int:
        if pid := os.fork():
            return pid
        for target, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), target)
        sys.argv = ["psapwatch", *words]
        code: object = 0
        try:
            main()
        except SystemExit as left:
            code = left.code
        except BaseException:  # noqa: BLE001 - as the interpreter does at the top
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)

    codes: dict[int, int] = {}
    running: dict[int, int] = {}

    def reap() -> None:
        pid, status = os.wait()
        codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)

    with ExitStack() as stack:
        files = [
            tuple(stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)) for _ in commands
        ]
        for number, words in enumerate(commands):
            if len(running) >= AT_ONCE:
                reap()
            running[begin(words, *files[number])] = number
        while running:
            reap()
        rows = [Done(codes[number], *map(_text, files[number])) for number in range(len(commands))]
    sys.stdout.write(json.dumps([asdict(row) for row in rows]))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
