"""The files below deploy/ as the tests of them read them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from components.process import program
from source_tree import ROOT

DEPLOY: Final = ROOT / "deploy"
PROMETHEUS: Final = DEPLOY / "prometheus"
ALERTMANAGER: Final = DEPLOY / "alertmanager" / "alertmanager.yml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
PATIENCE_S: Final = 50.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of Prometheus: an alert, or a recorded series."""

    file: str
    name: str
    is_alert: bool
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    keep_firing_for: str


def loaded(file: Path) -> Any:
    """Return a YAML file's content."""
    return yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule that is shipped, in order."""
    return tuple(_rules())


def alerts() -> list[Rule]:
    """Every alert that is shipped."""
    return [rule for rule in rules() if rule.is_alert]


def _rules() -> Iterator[Rule]:
    for file in ("recording.yml", "alerts.yml"):
        for group in loaded(PROMETHEUS / file)["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                yield Rule(
                    file,
                    name,
                    "alert" in rule,
                    rule["expr"],
                    rule.get("labels", {}),
                    rule.get("annotations", {}),
                    rule.get("keep_firing_for", "0s"),
                )


def tool(name: str, *arguments: str, cwd: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    """Run promtool, amtool or the like; the caller judges the exit code."""
    return subprocess.run(
        [program(name), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
