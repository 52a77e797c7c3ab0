"""Standard streams that are closed or full, and Ctrl-C before the command line is there."""

from __future__ import annotations

import os
import subprocess  # noqa: TID251 - what an interpreter says when it exits is the subject
import sys
from pathlib import Path

import pytest

from psapwatch.cli import entry

PROGRAM = (sys.executable, "-c", "from psapwatch.cli.entry import main; main()")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", ["--version", "explain", "replay --list"])
def test_an_answer_that_cannot_be_written_is_one_line(words: str, unbuffered: str) -> None:
    """A full disk is no traceback, not when Python exits either."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(  # noqa: S603 - arguments written here, never a shell
            [*PROGRAM, *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    assert done.stderr == "Error: the answer cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_a_closed_standard_input_is_said() -> None:
    """Python has None in its place."""
    closed = "import sys; sys.stdin = None; from psapwatch.cli.entry import main; main()"
    done = subprocess.run(  # noqa: S603 - arguments written here, never a shell
        [sys.executable, "-c", closed, "check-config", "--config", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "standard input is closed" in done.stderr


def test_ctrl_c_while_the_command_line_is_imported_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quarter of a second is long enough to press it in; it ends as later."""

    def pressed(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "import_module", pressed)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
