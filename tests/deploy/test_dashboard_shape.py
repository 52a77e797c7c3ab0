"""The dashboards are what Grafana's own types say that a dashboard is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deploy.dashboards import FILES, read
from deploy.shipped import DEPLOY, PATIENCE_S

GRAFANA: Final = DEPLOY / "grafana"
COMPILER: Final = GRAFANA / "node_modules" / ".bin" / "tsc"
FLAGS: Final = (
    *("--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck"),
    *("--moduleResolution", "node", "--module", "commonjs", "--target", "es2020"),
)


def complaints(folder: Path, boards: Mapping[str, Any]) -> str:
    """Return what the compiler says of dashboards that are written as literals, file by file."""
    assert COMPILER.is_file(), "Grafana's types are missing: scripts/dashboard-types fetches them"
    shape = (GRAFANA / "shape").as_posix()
    files = []
    for name, board in boards.items():
        files.append(folder / f"{name}.ts")
        text = (
            f'import type {{ Board }} from "{shape}";\nexport const b: Board = {json.dumps(board)};'
        )
        files[-1].write_text(text, encoding="utf-8")
    done = subprocess.run(
        [COMPILER, *FLAGS, *files],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout + done.stderr


def test_every_dashboard_has_the_right_shape(tmp_path: Path) -> None:
    """No unknown option, no misspelt key, no value that Grafana does not know."""
    assert complaints(tmp_path, {file.stem: read(file) for file in FILES}) == ""


def _broken(*path: str | int, value: object) -> Any:
    """Return a dashboard with one thing put into it that does not belong there."""
    board = at = read(FILES[0])
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return board


def test_mistakes_are_found(tmp_path: Path) -> None:
    """Each kind of mistake that users would see is an error; a mute checker proves nothing."""
    first = ("panels", 0)
    boards = {
        "option": _broken(*first, "options", "colourMode", value="background"),
        "choice": _broken(*first, "options", "colorMode", value="purple"),
        "key": _broken(*first, "discription", value="misspelt"),
        "panel": _broken(*first, "type", value="stats"),
        "threshold": _broken(
            *first, "fieldConfig", "defaults", "thresholds", "mode", value="relative"
        ),
        "format": _broken(*first, "targets", 0, "format", value="csv"),
        "variable": _broken("templating", "list", 0, "type", value="prometheus"),
    }
    found = re.findall(r"(\w+)\.ts\(\d+,\d+\): error TS", complaints(tmp_path, boards))
    assert set(found) == set(boards)
