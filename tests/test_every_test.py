"""``make test`` fails when either of its two processes does, and shows what both said."""

from __future__ import annotations

import shutil
import subprocess  # noqa: TID251 - the script is a program
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "every-test"


def a_test(name: str, holds: bool) -> str:
    return f"def test_{name}() -> None:\n    assert {holds}\n"


@pytest.mark.parametrize(
    ("live", "other", "code"), [(True, True, 0), (False, True, 1), (True, False, 1)]
)
def test_a_failure_of_either_process_is_one_of_the_whole(
    tmp_path: Path, live: bool, other: bool, code: int
) -> None:
    """Real tests of a line each; what waits for components is told apart by its prefix."""
    for folder in ("scripts", "tests/live", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "scripts")
    (tmp_path / ".venv/bin/pytest").symlink_to(Path(sys.executable).parent / "pytest")
    (tmp_path / "tests/live/test_live.py").write_text(a_test("live", live), encoding="utf-8")
    (tmp_path / "tests/test_other.py").write_text(a_test("other", other), encoding="utf-8")
    ran = subprocess.run(  # noqa: S603 - the script of this project
        [tmp_path / "scripts/every-test"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stdout
    summaries = [
        line for line in ran.stdout.splitlines() if "1 passed" in line or "1 failed" in line
    ]
    assert len([line for line in summaries if line.startswith("live | ")]) == 1
    assert len(summaries) == 2
    named = ["again: live | FAILED"] * (not live) + ["again: FAILED"] * (not other)
    last = ran.stdout.splitlines()[-len(named) :] if named else []
    assert all(line.startswith(name) for line, name in zip(last, named, strict=True))
