"""Runbooks: a page for every alert, in the same three steps, and nothing in them invented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
import pytest

from deploy.shipped import RUNBOOKS, alerts, rules
from psapwatch.cli.main import cli
from psapwatch.metrics_names import CONTRACT, PREFIX
from psapwatch.sinks.alertmanager import LABELS
from psapwatch.verdict import Cause

PAGES: Final = sorted(RUNBOOKS.glob("*.md"))
INDEX: Final = {"README", "causes"}
STEPS: Final = ["What it means", "What to check, in order", "How to tell it is over"]
ALERTS: Final = {*LABELS, "Watchdog", *(rule.name for rule in alerts())}

one_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    """Return a page's text."""
    return page.read_text(encoding="utf-8")


def test_one_page_an_alert() -> None:
    """Every alert of either road has its page, and no page is about an alert that is gone."""
    assert {page.stem for page in PAGES} - INDEX == ALERTS


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_pages_have_the_same_three_steps(name: str) -> None:
    """What it means, what to check in order, how to tell it is over; the checks are numbered."""
    text = text_of(RUNBOOKS / f"{name}.md")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == STEPS
    checks = text.partition(f"## {STEPS[1]}")[2].partition("## ")[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", checks, re.MULTILINE)]
    assert len(numbers) >= 3
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_index_lists_every_page_with_its_severity() -> None:
    """The README of the runbooks names each alert once."""
    listed = re.findall(r"\| \[(\w+)\]\((\w+)\.md\) \|", text_of(RUNBOOKS / "README.md"))
    assert sorted(listed) == sorted((name, name) for name in ALERTS)


def test_every_cause_has_its_row() -> None:
    """The page of causes is the closed set, in its order."""
    page = text_of(RUNBOOKS / "causes.md")
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \| .+ \|$", page, re.MULTILINE)
    assert rows == [cause.value for cause in Cause if cause is not Cause.NONE]


@one_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to another page is to a page that is there."""
    linked = re.findall(r"\]\(([\w./-]+)\)", text_of(page))
    assert [link for link in linked if not (page.parent / link).is_file()] == []


@one_page
def test_alerts_that_are_named_exist(page: Path) -> None:
    """What is written like an alert of ours is one."""
    named = re.findall(
        r"`((?:Prober|Calls?|Path|Test|Notif|Avail)[A-Z]?\w+[A-Z]\w+)`", text_of(page)
    )
    assert set(named) - ALERTS == set()


@one_page
def test_metrics_that_are_named_exist(page: Path) -> None:
    """Every metric or recorded series that a page sends its reader to is exported."""
    known = {row.name for row in CONTRACT} | {rule.name for rule in rules()}
    named = re.findall(rf"`({PREFIX}\w+|psapwatch:[\w:]+)`", text_of(page))
    assert set(named) - known == set()


@one_page
def test_commands_exist(page: Path) -> None:
    """Every psapwatch command in a page is one that there is, with the options that it has."""
    for line in re.findall(r"(?:`|\$ )psapwatch ([^`\n]+)", text_of(page)):
        for command in line.split(" | psapwatch "):  # a pipe joins two commands
            _resolve(command.split())


def resolved(words: list[str]) -> click.Command:
    """Return the command that words lead to, and leave those that are no part of its name."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            break
        command = found
        words.pop(0)
    return command


def _resolve(words: list[str]) -> None:
    command = resolved(words)
    options = {option for parameter in command.params for option in parameter.opts}
    named = {word for word in words if word.startswith("--")} - {"--version"}
    assert not isinstance(command, click.Group) or not words or words == ["--version"], words
    assert named <= options, f"{command.name}: {named - options}"
