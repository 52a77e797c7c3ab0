"""The desk's way out: where verdicts, states, baselines, cases and notices go (layer L1, a port).

``recorder`` is the real one: the store, the metrics, the page and the sinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from psapwatch.baseline import Baseline
from psapwatch.case import Case
from psapwatch.endpoint import Check, Path
from psapwatch.evidence import Evidence
from psapwatch.incident import Incident, Notice
from psapwatch.verdict import Verdict


class Recorder(Protocol):
    """Where results go: the store and the metrics, as the desk sees them."""

    def attempt(self, path: Path, check: Check, evidence: Evidence, verdict: Verdict) -> None:
        """Keep and count one attempt."""
        ...

    def trial(self, row: str, evidence: Evidence, verdict: Verdict) -> None:
        """Keep and count one attempt of the battery."""
        ...

    def state(self, path: Path, check: str, state: str) -> None:
        """Show the state of a check on a path."""
        ...

    def baseline(self, path: Path, check: str, baseline: Baseline, wall: float) -> None:
        """Keep who usually answers."""
        ...

    def case(self, incident_id: str, case: Case) -> None:
        """Keep what an open incident's cause rests on."""
        ...

    def notices(self, notices: Sequence[Notice], open_: Sequence[Incident]) -> None:
        """Keep, count and tell what changed about incidents."""
        ...
