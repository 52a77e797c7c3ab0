"""The desk's ``Recorder``: results go to the store, the metrics, the page and the sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from psapwatch import baseline as baselines
from psapwatch.baseline import Baseline
from psapwatch.board import Board
from psapwatch.case import Case
from psapwatch.endpoint import Check, Path
from psapwatch.evidence import Evidence
from psapwatch.incident import Incident, Notice
from psapwatch.metrics import Metrics
from psapwatch.phases import phases_of
from psapwatch.store.store import Store
from psapwatch.verdict import Verdict
from psapwatch.web.events import Events


class Recorder:
    """Keeps, counts, shows and tells; ``alive`` is called for every attempt that finished."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        board: Board,
        events: Events,
        log: FilteringBoundLogger,
        alive: Callable[[], None],
    ) -> None:
        self.sink_names: tuple[str, ...] = ()
        self._store, self._metrics, self._board, self._events = store, metrics, board, events
        self._log, self._alive = log, alive

    def attempt(self, path: Path, check: Check, evidence: Evidence, verdict: Verdict) -> None:
        """Keep and count one attempt."""
        phases = phases_of(evidence)
        self._store.record_attempt(evidence, verdict)
        self._metrics.attempt(path, check, evidence, verdict, phases)
        self._board.take(path, check, evidence, verdict, phases.get("final"))
        self._alive()

    def trial(self, row: str, evidence: Evidence, verdict: Verdict) -> None:
        """Keep and count one attempt of the battery."""
        self._store.record_attempt(evidence, verdict)
        self._metrics.trial(evidence.firewall, row, verdict.outcome)

    def state(self, path: Path, check: str, state: str) -> None:
        """Show the state of a check on a path."""
        self._metrics.state(path, check, state)
        row = self._board.state(path, check, state)
        if row is not None:
            self._events.path_changed(row)

    def baseline(self, path: Path, check: str, baseline: Baseline, wall: float) -> None:
        """Keep who usually answers."""
        plain = baselines.to_json(baseline)
        self._store.decisions.put_baseline(path.key, check, plain, wall)

    def case(self, incident_id: str, case: Case) -> None:
        """Keep what an open incident's cause rests on."""
        self._store.save_case(incident_id, case)

    def notices(self, notices: Sequence[Notice], open_: Sequence[Incident]) -> None:
        """Keep, count and tell what changed about incidents; the metric moves first."""
        self._metrics.incidents(open_)
        for notice in notices:
            incident = notice.incident
            if notice.status == "open":
                detection_s = max(0.0, incident.opened_at - incident.first_failure_at)
                self._metrics.incident_opened(incident, detection_s)
            self._store.save_incident(incident, [(sink, notice) for sink in self.sink_names])
            self._events.incident_changed(incident)
            level = self._log.error if notice.status == "open" else self._log.warning
            level(
                f"incident {notice.status}",
                incident_id=incident.id,
                alertname=incident.alertname,
                severity=incident.severity,
                scope=incident.scope,
                member=incident.member,
                cause=incident.cause.value,
                summary=incident.summary,
            )


def baselines_in(store: Store, *, accepted_only: bool = False) -> dict[tuple[str, str], Baseline]:
    """Read who usually answers, by path key and check; what cannot be read is learnt again."""
    found = {}
    for key, plain in store.decisions.baselines.items():
        if plain.get("accepted_at") or not accepted_only:
            with suppress(ValueError):
                found[key] = baselines.from_json(plain)
    return found
