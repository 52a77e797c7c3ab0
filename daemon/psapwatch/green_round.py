"""What the end of a maintenance window asks for: one green round, or it pages (layer L1).

What failed inside the window was announced, and counts no more when it ends: only what fails from
then on does, and as beginning then. What neither passes nor fails within a round is told as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from psapwatch.announced import Calendar, RoundAfter, Window
from psapwatch.desk import Desk
from psapwatch.detection import best_leg
from psapwatch.reported import unproven_incidents

SLACK_S: Final = 5.0
"""A path is due to pass so long after its own round is over."""


class GreenRounds:
    """The rounds that are under way; ``step`` is called every second."""

    def __init__(self, desk: Desk, calendar: Calendar, wall: float) -> None:
        """``wall``: now; a window that ended shortly before a start still asks for its round."""
        self._desk, self._calendar = desk, calendar
        self._rounds: list[RoundAfter] = []
        for window in calendar.lately(wall):
            self._begin(window, wall)

    def step(self, wall: float) -> None:
        """Begin the rounds of windows that have ended, and tell who is late."""
        for window in self._calendar.turn(wall):
            self._begin(window, wall)
        if not self._rounds:
            return
        failing, proven = self._stand()
        for each in self._rounds:
            late = each.late(proven, wall)
            self._tell(each.window, (key for key in late if key not in failing), wall)
        self._rounds = [each for each in self._rounds if each.due]

    def _begin(self, window: Window, wall: float) -> None:
        """Start anew with what the window named; when must each path have passed?

        The quickest check of a path decides. What another window names is left to that one.
        """
        due: dict[str, float] = {}
        for path, check in self._desk.casebook.ground.runs:
            if window.names(path) and not self._calendar.names(path):
                own = wall + check.every_s + check.give_up_after_s + SLACK_S
                due[path.key] = min(own, due.get(path.key, own))
                self._desk.start_anew(path, check)
        self._rounds.append(RoundAfter(window, wall, due))

    def _stand(self) -> tuple[set[str], dict[str, float]]:
        """The paths that fail now, and when each of the others last passed."""
        failing: set[str] = set()
        proven: dict[str, float] = {}
        for (key, _check), legs in self._desk.standings().items():
            best = best_leg(legs.values())
            if best.is_failing:
                failing.add(key)
            elif best.last_pass_at is not None:
                proven[key] = max(best.last_pass_at, proven.get(key, 0.0))
        return failing, {key: at for key, at in proven.items() if key not in failing}

    def _tell(self, window: Window, keys: Iterable[str], wall: float) -> None:
        paths = self._desk.casebook.ground.paths
        late = [paths[key] for key in keys if key in paths]
        told = {each.identity: each.cause for each in self._desk.casebook.open}
        found = unproven_incidents(window, late, paths.values(), wall)
        mine = [each for each in found if told.get(each.identity, each.cause) is each.cause]
        self._desk.report(mine, wall)  # one that says more already says it
