"""The newest evidence behind what fails, so that an incident's case is kept with it (layer L1).

A bounded memory: of each path and row the newest failure, and the newest pass of those paths on
which something is wrong. What an incident rests on is taken from it while it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final, NamedTuple

from psapwatch.battery import CALLS, OUR_ROWS, SILENT, Row
from psapwatch.case import Case
from psapwatch.fault_domain import family_of
from psapwatch.incident import Incident
from psapwatch.verdict import Cause, Outcome, Verdict

EXHIBITS_MAX: Final = 512
"""Attempts that are remembered; the oldest are forgotten first."""


class _Exhibit(NamedTuple):
    """One attempt, and what it came to by itself."""

    row: Row
    key: str
    """Of its path."""
    cause: Cause
    failed: bool
    case: Case


class Exhibits:
    """Told of every attempt and every row, it finds the case of an incident."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, Row, bool], _Exhibit] = {}
        self._failing: dict[str, None] = {}
        """Paths on which something was wrong, the latest last."""
        self._judged: dict[str, tuple[Cause, int]] = {}
        """For each open incident the cause and how many rows its newest case has."""

    def take(
        self, row: Row, key: str, case: Case, verdict: Verdict, *, is_repeated: bool = False
    ) -> None:
        """Remember what has a cause; of passes what shows beside it, or on our own responders.

        ``is_repeated``: it passed only when it was sent again. Of calls, that is a row of its own.
        """
        if is_repeated and row in CALLS:
            self.take("repeated_call", key, case, verdict)
        if verdict.outcome is Outcome.INCONCLUSIVE:
            return
        if verdict.cause is not Cause.NONE:
            self._failing.pop(key, None)
            self._failing[key] = None
            if len(self._failing) > EXHIBITS_MAX:
                del self._failing[next(iter(self._failing))]
        elif key not in self._failing and row not in OUR_ROWS:
            return
        place = (key, row, verdict.failed)
        self._newest.pop(place, None)
        self._newest[place] = _Exhibit(row, key, verdict.cause, verdict.failed, case)
        if len(self._newest) > EXHIBITS_MAX:
            del self._newest[next(iter(self._newest))]

    def news(
        self, open_: Iterable[Incident], inside: Callable[[Incident], Container[str]]
    ) -> Iterator[tuple[str, Case]]:
        """Return the cases of open incidents that say more than those returned before.

        ``inside`` says which path keys an incident speaks of. A case stays as it is once its
        incident has closed, or fewer rows speak: while things mend nothing is learnt of the cause.
        """
        judged: dict[str, tuple[Cause, int]] = {}
        for incident in open_:
            outcomes: dict[Row, str] = incident.evidence.get("outcomes", {})
            now, before = (incident.cause, len(outcomes)), self._judged.get(incident.id)
            if before is not None:
                judged[incident.id] = before
            if before is None or now[0] is not before[0] or now[1] > before[1]:
                case = self._case_of(incident, outcomes, inside(incident))
                if case is not None:
                    judged[incident.id] = now
                    yield incident.id, case
        self._judged = judged

    def _case_of(
        self, incident: Incident, outcomes: dict[Row, str], inside: Container[str]
    ) -> Case | None:
        """The newest failure with the incident's cause, and each row as the incident has it."""
        found = list(self._about(incident, inside))
        bad = [each for each in found if each.cause is not Cause.NONE]
        bad = [each for each in bad if each.row not in OUR_ROWS] or bad
        if not bad:
            return None
        failing = max(reversed(bad), key=lambda each: _speaks_for(incident, each))
        battery = {
            each.row: each.case.evidence
            for each in found
            if outcomes.get(each.row) == (Outcome.FAIL if each.failed else Outcome.PASS)
        }
        if failing.failed and failing.row in battery:
            battery[failing.row] = failing.case.evidence
        case = failing.case
        return Case(case.evidence, case.baseline, case.expected_name, case.alternates, battery)

    def _about(self, incident: Incident, inside: Container[str]) -> Iterator[_Exhibit]:
        """What speaks of an incident's domain, oldest first."""
        for each in self._newest.values():
            firewall = each.case.evidence.firewall
            is_ours = each.row in OUR_ROWS
            if each.key in inside or (is_ours and firewall == incident.firewall):
                found = _of_family(incident.member, each) if incident.scope == "family" else each
                if found is not None:
                    yield found


def _of_family(member: str, shown: _Exhibit) -> _Exhibit | None:
    """Of a path that has both families what fails of one, and what passes of the other one."""
    if family_of(shown.case.evidence.leg) == member:
        return shown if shown.failed else None
    is_contrast = shown.row == "options" and not shown.failed
    return shown._replace(row="other_family") if is_contrast else None


def _speaks_for(incident: Incident, shown: _Exhibit) -> tuple[bool, ...]:
    """Which to show: one of the incident's own cause, else a failure, a silent one, a call."""
    is_own = shown.cause is incident.cause
    return is_own, shown.failed, shown.cause in SILENT, shown.row == "call"
