"""Compares what a run told with what its scenario expects: nothing missing, nothing else (L5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psapwatch.replay.play import Played, Told
from psapwatch.replay.scenario import CLOSING_S, PAGING_S, AllowedModel, ExpectedModel, Scenario
from psapwatch.verdict import Cause


@dataclass(frozen=True, slots=True)
class Judged:
    """One run's line in the table."""

    played: Played
    problems: tuple[str, ...]
    opened_s: float | None
    """The first expected incident, after what it counts from."""
    paged_s: float | None
    cause: Cause | None
    pages: int

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.problems


def judge(played: Played) -> Judged:
    """Say what is wrong with a run."""
    scenario = played.scenario
    if scenario.is_free:
        return Judged(played, _broken(played), None, None, None, _pages(played))
    problems = [f"not well before: {what}" for what in played.unwell]
    problems += [f"nothing ran into {label}" for label in played.untouched]
    left = list(played.told)
    first: Told | None = None
    after_s = 0.0
    for expected in scenario.expected:
        fitting = [told for told in left if _is(told, expected)][: expected.count]
        left = [told for told in left if told not in fitting]
        if first is None and fitting:
            first, after_s = fitting[0], expected.after
        problems += _shortcomings(scenario, expected, fitting)
    problems += [
        f"unexpected {_name(told)} after {told.opened_s:.1f} s ({told.incident.cause})"
        for told in left
        if not any(_may(told, allowed) for allowed in scenario.allowed)
    ]
    pages = _pages(played)
    if pages != scenario.pages and not any(each.severity == "either" for each in scenario.expected):
        problems.append(f"{pages} pages, expected {scenario.pages}")
    problems += _broken(played)
    return Judged(
        played,
        tuple(problems),
        None if first is None else first.opened_s - after_s,
        None if first is None or first.paged_s is None else first.paged_s - after_s,
        None if first is None else first.incident.cause,
        pages,
    )


def _broken(played: Played) -> tuple[str, ...]:
    return tuple(f"invariant: {what}" for what in played.broken)


def _pages(played: Played) -> int:
    return sum(page.severity == "page" for page in played.pages)


def _shortcomings(scenario: Scenario, expected: ExpectedModel, found: list[Told]) -> Iterator[str]:
    what = f"{' or '.join(expected.alerts)} {expected.scope} {expected.member or ''}".rstrip()
    if len(found) < expected.count:
        yield f"no {what}" if not found else f"{len(found)} of {expected.count} {what}"
    for told in found:
        name = _name(told)
        took_s = told.opened_s - expected.after
        if took_s > expected.within:
            yield f"{name} opened after {took_s:.1f} s, expected within {expected.within:g} s"
        if took_s < 0:
            yield f"{name} opened {-took_s:.1f} s before its fault"
        yield from _pages_late(expected, told)
        if expected.cause and told.incident.cause not in expected.cause:
            wanted = " or ".join(expected.cause)
            yield f"{name}: cause {told.incident.cause}, expected {wanted}"
        for words in expected.says:
            if words not in told.incident.summary:
                yield f"{name}: its summary does not say {words!r}: {told.incident.summary}"
        yield from _closes_wrongly(scenario, expected, told)


def _pages_late(expected: ExpectedModel, told: Told) -> Iterator[str]:
    limit_s = expected.paged_within or expected.within + PAGING_S
    if told.paged_s is None:
        yield f"{_name(told)} was told to nobody"
    elif told.paged_s - expected.after > limit_s:
        took_s = told.paged_s - expected.after
        yield f"{_name(told)} was told after {took_s:.1f} s, expected within {limit_s:g} s"


def _closes_wrongly(scenario: Scenario, expected: ExpectedModel, told: Told) -> Iterator[str]:
    closes_within = expected.closes_within or CLOSING_S
    due_s = scenario.mended_at + closes_within
    if expected.stays_open or due_s > scenario.runs_s:
        if told.closed_s is not None and expected.stays_open:
            yield f"{_name(told)} closed after {told.closed_s:.1f} s, expected to stay open"
        return
    if told.closed_s is None:
        yield f"{_name(told)} is still open in the end"
    elif told.closed_s > due_s:
        late_s = told.closed_s - scenario.mended_at
        yield f"{_name(told)} closed {late_s:.0f} s after the fault, expected {closes_within:g} s"


def _is(told: Told, expected: ExpectedModel) -> bool:
    incident = told.incident
    return (
        incident.alertname in expected.alerts
        and incident.scope == expected.scope
        and expected.member in (None, incident.member)
        and expected.severity in ("either", incident.severity)
    )


def _may(told: Told, allowed: AllowedModel) -> bool:
    incident = told.incident
    return (
        incident.alertname == allowed.alert
        and incident.severity == allowed.severity
        and allowed.scope in (None, incident.scope)
        and allowed.member in (None, incident.member)
    )


def _name(told: Told) -> str:
    incident = told.incident
    return f"{incident.severity} {incident.alertname} {incident.scope} {incident.member}"
