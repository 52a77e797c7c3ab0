"""A case: all that a verdict may rest on, stored together and judged again at any time (layer L1).

The failing attempt, who usually answers there, and the newest evidence of each row of the battery:
what passes beside it is what tells one kind of block from another (detection.md 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, get_args

from psapwatch import baseline as baselines
from psapwatch import evidence as evidences
from psapwatch.baseline import NOTHING_KNOWN, Answerer, Baseline
from psapwatch.battery import Row
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.frozen import frozen

CASE_VERSION: Final = 1
_ROWS: Final[dict[str, Row]] = {row: row for row in get_args(Row)}


@frozen
class Case:
    """One attempt with its baseline, who is expected to answer, and what else was tried."""

    evidence: Evidence
    baseline: Baseline = NOTHING_KNOWN
    expected_name: str | None = None
    alternates: tuple[str, ...] = ()
    battery: Mapping[Row, Evidence] = field(default_factory=dict)
    """The newest evidence of each row; empty where one attempt stands alone."""
    final: Observation | None = field(init=False)
    """The last final response that came in time; half of the rules ask for it."""
    answerer: Answerer | None = field(init=False)
    """Who gave it."""

    def __post_init__(self) -> None:
        found = None
        for seen in self.evidence.of(Kind.RESPONSE):
            code = seen["code"]
            on_time = not seen["late"]
            if isinstance(code, int) and code >= 200 and on_time and not _is_cancelled(seen, found):
                found = seen
        answerer = None if found is None else Answerer.of(self.evidence, found)
        object.__setattr__(self, "final", found)
        object.__setattr__(self, "answerer", answerer)

    @property
    def stranger(self) -> str:
        """In what the answer differs from that of the usual answerer; "" if it does not."""
        return "" if self.answerer is None else self.baseline.stranger(self.answerer)

    @property
    def own_row(self) -> Row:
        """The row that the failing attempt itself is a try of."""
        attempt_id = self.evidence.attempt_id
        own = (row for row, each in self.battery.items() if each.attempt_id == attempt_id)
        return next(own, "call" if self.evidence.probe == "call" else "options")


def to_json(case: Case) -> dict[str, Any]:
    """Case as JSON-ready data. Redact the transcripts before."""
    return {
        "v": CASE_VERSION,
        "evidence": evidences.to_json(case.evidence),
        "baseline": baselines.to_json(case.baseline),
        "expected_name": case.expected_name,
        "alternates": list(case.alternates),
        "battery": {row: evidences.to_json(each) for row, each in case.battery.items()},
    }


def from_json(plain: Mapping[str, Any]) -> Case:
    """Read a case of any released version.

    Raises:
        ValueError: the version is newer than this program, a field is missing, or there is no
            such row.
    """
    if "battery" not in plain:
        raise ValueError("no case is kept here")
    if plain.get("v") != CASE_VERSION:
        message = f"case version {plain.get('v')!r}: this program reads {CASE_VERSION}"
        raise ValueError(message)
    try:
        return Case(
            evidences.from_json(plain["evidence"]),
            baselines.from_json(plain["baseline"]),
            plain["expected_name"],
            tuple(plain["alternates"]),
            {_ROWS[row]: evidences.from_json(each) for row, each in plain["battery"].items()},
        )
    except KeyError as missing:
        message = f"a case without {missing}"
        raise ValueError(message) from None
    except (TypeError, AttributeError):
        raise ValueError("a case in which something else stands where an object belongs") from None


def _is_cancelled(seen: Observation, before: Observation | None) -> bool:
    """A 487 that only answers our own CANCEL says nothing new."""
    return seen["code"] == 487 and before is not None
