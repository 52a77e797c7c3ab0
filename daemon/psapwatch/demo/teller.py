"""Tells a terminal what happens in the lab, whoever brings it about: the story or a button (L5)."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from psapwatch.demo.block import Block
from psapwatch.demo.lab import Lab
from psapwatch.demo.story import LOOK_EVERY_S
from psapwatch.demo.towns import TOWNS
from psapwatch.incident import Incident
from psapwatch.remote_text import printable
from psapwatch.simulator.alertmanager import Page

SUMMARY_CHARACTERS_MAX: Final = 400
_INDENT: Final = " " * 21
_COLOURS: Final = {
    "BLOCKED": "red",
    "KNOWN": "yellow",
    "PAGED": "yellow",
    "TOLD": "yellow",
    "LIFTED": "green",
    "OVER": "green",
    "RESOLVED": "green",
}


class Teller:
    """Looks at a lab and says what is new; ``run`` until cancelled."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._began = lab.world.clock.wall()
        self._was_healthy = 0
        self._blocks: dict[Block, bool] = {}
        """Rules in force that were told, and whether their counter has moved."""
        self._incidents: dict[str, Incident] = {}
        self._pages = self._ends = 0

    async def run(self) -> None:
        """Look and tell."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Say what is new since the last look."""
        self._look_at_paths()
        self._look_at_rules()
        self._look_at_incidents()
        self._look_at_alerts()

    def say(self, mark: str, text: str, at: float | None = None) -> None:
        """Write one line: seconds since the start, a word in colour, and what happened."""
        elapsed = (self._lab.world.clock.wall() if at is None else at) - self._began
        coloured = click.style(f"{mark:<9}", fg=_COLOURS.get(mark), bold=mark in _COLOURS)
        click.echo(f"{elapsed:7.1f} s  {coloured}  {text}")

    def _look_at_paths(self) -> None:
        healthy = self._lab.healthy
        if healthy == len(TOWNS) and self._was_healthy < healthy:
            self.say("", f"{healthy} of {len(TOWNS)} paths healthy")
        self._was_healthy = healthy

    def _look_at_rules(self) -> None:
        in_force = self._lab.blocked_at
        for rule, since in in_force.items():
            if rule not in self._blocks:
                self._blocks[rule] = False
                self.say("BLOCKED", rule.words, since)
            stopped = self._lab.relays[rule.firewall].stopped.get(rule, 0)
            if stopped and not self._blocks[rule]:
                self._blocks[rule] = True
                self.say("", f"the counter of that rule moves: it has stopped {stopped}")
        for rule in [each for each in self._blocks if each not in in_force]:
            del self._blocks[rule]
            self.say("LIFTED", f"no longer: {rule.words}")

    def _look_at_incidents(self) -> None:
        open_now = {incident.id: incident for incident in self._lab.open_incidents}
        for incident_id, incident in open_now.items():
            if incident_id not in self._incidents:
                what = f"{incident.alertname} {incident.scope} {incident.member}"
                after = self._after(incident.opened_at)
                self.say("KNOWN", f"{after}{what}, cause {incident.cause}", incident.opened_at)
                click.echo(f"{_INDENT}{printable(incident.summary, SUMMARY_CHARACTERS_MAX)}")
            elif incident.cause is not self._incidents[incident_id].cause:
                self.say("", f"cause of {incident.member} is now {incident.cause}")
        for incident_id, incident in self._incidents.items():
            if incident_id not in open_now:
                what = f"{incident.alertname} {incident.scope} {incident.member}"
                self.say("OVER", f"{self._after(self._lab.world.clock.wall())}{what} is closed")
        self._incidents = open_now

    def _look_at_alerts(self) -> None:
        for page in self._lab.receiver.told[self._pages :]:
            mark = "PAGED" if page.severity == "page" else "TOLD"
            self.say(mark, f"{self._after(page.at)}{_named(page)} is at the receiver", page.at)
        for page in self._lab.receiver.resolved[self._ends :]:
            self.say("RESOLVED", f"{_named(page)} at the receiver", page.at)
        self._pages = len(self._lab.receiver.told)
        self._ends = len(self._lab.receiver.resolved)

    def _after(self, wall: float) -> str:
        """How long after the last block or lift: what a reader wants to know first."""
        changed_at = self._lab.changed_before(wall)
        return "" if changed_at is None else f"{wall - changed_at:.1f} s later: "


def _named(page: Page) -> str:
    labels = dict(page.labels)
    where = " ".join(labels[name] for name in ("scope", "member") if name in labels)
    return f"{page.severity} {page.name} {where}".rstrip()
