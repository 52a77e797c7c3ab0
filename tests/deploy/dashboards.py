"""The committed dashboards as Grafana reads them: panels, and the questions they ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.shipped import DEPLOY

FOLDER: Final = DEPLOY / "grafana" / "dashboards"
FILES: Final = sorted(FOLDER.glob("*.json"))
CHOSEN: Final[Mapping[str, str]] = {
    "__rate_interval": "1m",
    "__range": "20m",
    "__interval": "15s",
    "instance": ".+",
    "check": "keepalive|test-call",
}
"""What Grafana would put in place of a variable; ``psap`` and ``firewall`` are the test's."""


@dataclass(frozen=True, slots=True)
class Question:
    """One query of one panel."""

    board: str
    panel: str
    expr: str
    legend: str
    is_instant: bool

    @property
    def labels(self) -> list[str]:
        """The labels that the legend names."""
        return re.findall(r"{{\s*(\w+)\s*}}", self.legend)

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return f"{self.board}-{self.panel}-{self.legend}".replace(" ", "_")


def read(file: Path) -> Any:
    """Return a dashboard."""
    return json.loads(file.read_text(encoding="utf-8"))


def panels() -> Iterator[tuple[str, Any]]:
    """Yield every panel with its dashboard's name."""
    for file in FILES:
        yield from ((file.stem.removeprefix("psapwatch-"), panel) for panel in read(file)["panels"])


def questions() -> list[Question]:
    """Every query of every panel."""
    return [
        Question(board, panel["title"], target["expr"], target["legendFormat"], target["instant"])
        for board, panel in panels()
        for target in panel["targets"]
    ]


def variables() -> list[tuple[str, str, str]]:
    """Every query of a variable: dashboard, name, query."""
    return [
        (file.stem.removeprefix("psapwatch-"), each["name"], each["query"]["query"])
        for file in FILES
        for each in read(file)["templating"]["list"]
        if each["type"] == "query"
    ]


def filled(expr: str, **more: str) -> str:
    """Put values in place of variables, as Grafana does.

    Raises:
        KeyError: the expression names a variable that no dashboard has.
    """
    values = {**CHOSEN, **more}
    return re.sub(r"\$(?:{(\w+)(?::\w+)?}|(\w+))", lambda it: values[it[1] or it[2]], expr)
