"""The confusion table: which causes each scenario's incidents were given, over many seeds (L5).

False is a cause that the scenario does not expect; unknown is honest, and bounded as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from psapwatch.replay.judge import Judged
from psapwatch.verdict import Cause

FALSE_MAX: Final = 0.02
"""No cause may be named falsely in more than this share of seeds."""
UNKNOWN_BELOW: Final = 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario: what was expected, and what was named how often."""

    scenario: str
    expected: frozenset[Cause]
    named: Counter[Cause]
    untold: int
    """Seeds in which nothing was told at all: a failure, but no cause."""

    @property
    def seeds(self) -> int:
        """How many seeds named something."""
        return self.named.total()

    @property
    def false(self) -> int:
        """Seeds that named a cause that is not at work."""
        wrong = self.named.keys() - self.expected - {Cause.UNKNOWN}
        return sum(self.named[cause] for cause in wrong)

    @property
    def unknown(self) -> int:
        """Seeds that named none, where one was to be named."""
        return 0 if Cause.UNKNOWN in self.expected else self.named[Cause.UNKNOWN]


def rows_of(judged: Iterable[Judged]) -> tuple[Row, ...]:
    """Count each scenario that says which causes it expects."""
    rows: dict[str, Row] = {}
    untold: Counter[str] = Counter()
    for each in judged:
        scenario = each.played.scenario
        expected = frozenset(scenario.expected[0].cause) if scenario.expected else frozenset()
        if not expected:
            continue
        row = rows.setdefault(scenario.name, Row(scenario.name, expected, Counter(), 0))
        if each.cause is None:
            untold[scenario.name] += 1
        else:
            row.named[each.cause] += 1
    return tuple(
        Row(row.scenario, row.expected, row.named, untold[name]) for name, row in rows.items()
    )


def is_good(rows: Iterable[Row]) -> bool:
    """Whether false and unknown causes are as rare as they have to be."""
    false, unknown = shares(rows)
    return false <= FALSE_MAX and unknown < UNKNOWN_BELOW


def shares(rows: Iterable[Row]) -> tuple[float, float]:
    """The shares of false and of unknown causes among all seeds that named one."""
    counted = tuple(rows)
    total = sum(row.seeds for row in counted) or 1
    false, unknown = sum(row.false for row in counted), sum(row.unknown for row in counted)
    return false / total, unknown / total


def as_markdown(rows: Iterable[Row]) -> Iterator[str]:
    """The table, line by line; a cause that is not expected is set in bold."""
    counted = tuple(rows)
    yield "| scenario | seeds | named | false | unknown |"
    yield "|---|---:|---|---:|---:|"
    for row in counted:
        words = [_named(row, cause, count) for cause, count in row.named.most_common()]
        words += [f"nothing told {row.untold}"] if row.untold else []
        total = row.seeds + row.untold
        yield f"| {row.scenario} | {total} | {', '.join(words)} | {row.false} | {row.unknown} |"
    false, unknown = shares(counted)
    yield (
        f"\n{sum(row.seeds for row in counted)} seeds named a cause: {false:.1%} falsely"
        f" (at most {FALSE_MAX:.0%}), {unknown:.1%} unknown (below {UNKNOWN_BELOW:.0%})."
    )


def _named(row: Row, cause: Cause, count: int) -> str:
    share = f"{cause.value} {count / row.seeds:.0%}"
    return share if cause in row.expected else f"**{share}**"
