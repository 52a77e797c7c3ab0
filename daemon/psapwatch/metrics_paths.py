"""The metrics that carry path labels: who is up, in which state, when last tried (layer L4).

``path_up`` is what an attempt's verdict says, check by check; ``path_state`` is what detection
made of it. Both are taken back when verdicts stop coming: a prober that has gone quiet must not
go on showing green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry

from psapwatch import metrics_names as names
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path, Psap
from psapwatch.evidence import Evidence, Kind
from psapwatch.exposition import AnyFamily, Buckets, Mark, Series, histogram, series
from psapwatch.phases import seconds
from psapwatch.verdict import Outcome, Verdict

PATHS_IN_FULL_MAX: Final = 1_000
"""Above so many paths the response histogram has no path labels."""
STALE_INTERVALS: Final = 3
"""A verdict older than so many intervals of its check says nothing any more."""
LEGS_MAX: Final = 8
_SWEEP_CELLS: Final = 200
"""Cells looked at before the loop may be given back; about 0.1 ms."""

Labels = tuple[str, ...]


@dataclass(slots=True)
class Cell:
    """One check on one path: its series, and what its legs last said."""

    attempts: dict[Outcome, Series]
    response: Buckets
    stale_after_s: float = 0.0
    last_attempt: Series | None = None
    last_pass: Series | None = None
    up: Series | None = None
    """Each from its first use on."""
    judged_at: float | None = None
    legs: dict[str, tuple[bool, float]] = field(default_factory=dict)

    def judge(self, leg: str, *, passed: bool, at: float) -> bool:
        """Take a leg's verdict; return whether any leg lets calls through."""
        self.judged_at = at
        self.legs.pop(leg, None)
        self.legs[leg] = (passed, at)
        if len(self.legs) == 1:
            return passed
        kept_s = self.stale_after_s * len(self.legs)  # legs are tried in turn
        for old in [name for name, (_, when) in self.legs.items() if at - when > kept_s]:
            del self.legs[old]
        while len(self.legs) > LEGS_MAX:
            del self.legs[next(iter(self.legs))]
        return any(passed for passed, _ in self.legs.values())


def labels_of(path: Path) -> Labels:
    """Return a path's label values, in the order of ``metrics_names.PATH``."""
    return (path.psap.id, path.id, path.firewall.id, path.transport)


def watched(path: Path, check: Check) -> bool:
    """Whether a check ever runs on a path, as far as the configuration alone can tell."""
    on = {REFERENCE: "reference", CONTROL: "control"}.get(path.psap.id, "psaps")
    if check.on != on:
        return False
    may_call = path.kind == "sip" and (on != "psaps" or path.psap.agreement is not None)
    return may_call or not check.is_call


class PathMetrics:
    """The families with path labels, and the count of paths by firewall."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = series(names.ATTEMPTS, registry)
        self._response = histogram(names.RESPONSE_DURATION, registry)
        self._up = series(names.PATH_UP, registry)
        self._state = series(names.PATH_STATE, registry)
        self._last_attempt = series(names.LAST_ATTEMPT, registry)
        self._last_pass = series(names.LAST_PASS, registry)
        self._certificate = series(names.CERTIFICATE_EXPIRY, registry)
        self._paths = series(names.PATHS, registry)
        self._down = series(names.PATHS_DOWN, registry)
        self._psaps = series(names.PSAP_INFO, registry)
        self._cells: dict[Labels, Cell] = {}
        self._states: dict[Labels, dict[str, str]] = {}
        self._worst: dict[Labels, str] = {}
        self._pooled = False

    @property
    def rows(self) -> frozenset[names.Row]:
        """The rows that stand here."""
        return frozenset(family.row for family in self.families)

    @property
    def families(self) -> tuple[AnyFamily, ...]:
        """In the order of exposition."""
        return (
            *(self._attempts, self._response, self._up, self._state, self._last_attempt),
            *(self._last_pass, self._certificate, self._paths, self._down),
            self._psaps,
        )

    def configure(self, paths: Sequence[Path], checks: Sequence[Check]) -> None:
        """Take over a configuration: what stays keeps its values, what went is forgotten."""
        self._pool(pooled=len(paths) > PATHS_IN_FULL_MAX)
        calls = Counter(
            path.psap.id
            for path in paths
            for check in checks
            if check.is_call and watched(path, check)
        )
        cells: dict[Labels, Cell] = {}
        for path in paths:
            labels = labels_of(path)
            for check in (check for check in checks if watched(path, check)):
                key = (*labels, check.name)
                cell = cells[key] = self._cells.get(key) or self._new_cell(key)
                cell.stale_after_s = _stale_after_s(path, check, calls[path.psap.id])
                cell.response = self._response_of(key)
        self._forget({labels_of(path) for path in paths}, cells)
        self._cells = cells
        for path in paths:
            self._show(labels_of(path))
        self._count(paths)
        self._introduce({path.psap for path in paths})

    def attempt(
        self,
        path: Path,
        check: Check,
        evidence: Evidence,
        verdict: Verdict,
        answered_after_s: float | None,
    ) -> None:
        """Count one attempt and take its verdict; ``None`` where no final response came in time."""
        key = (*labels_of(path), check.name)
        cell = self._cells.get(key)
        if cell is None:  # a confirm attempt of a check that is not scheduled on this path
            cell = self._cells[key] = self._new_cell(key)
            cell.stale_after_s = _stale_after_s(path, check, 1)
        cell.attempts[verdict.outcome].inc()
        at, passed = evidence.started_at, verdict.passed
        cell.last_attempt = cell.last_attempt or self._last_attempt.at(*key)
        cell.last_attempt.set(at)
        if passed:
            cell.last_pass = cell.last_pass or self._last_pass.at(*key)
            cell.last_pass.set(at)
        if passed or verdict.failed:
            cell.up = cell.up or self._up.at(*key)
            cell.up.set(float(cell.judge(evidence.leg, passed=passed, at=at)))
        if answered_after_s is not None:
            _answered(cell, evidence, answered_after_s)
        shown = evidence.last(Kind.TLS_UP) if path.transport == "tls" else None
        not_after = seconds(shown.get("not_after")) if shown else None
        if not_after:
            self._certificate.at(*key[:-1]).set(not_after)

    def state(self, path: Path, check: str, state: str) -> None:
        """Take the state of one check; the path shows the worst of its checks.

        Raises:
            ValueError: the state is not one of ``metrics_names.STATES``.
        """
        if state not in names.STATES:
            message = f"state {state!r} is none of {', '.join(names.STATES)}"
            raise ValueError(message)
        labels = labels_of(path)
        self._states.setdefault(labels, {})[check] = state
        self._show(labels)

    def sweep(self, now: float) -> Iterator[str]:
        """Take back what is stale at ``now`` (Unix seconds); yields ``""`` now and then."""
        for at, (key, cell) in enumerate([*self._cells.items()]):
            if at % _SWEEP_CELLS == 0:
                yield ""
            if cell.judged_at is None or now - cell.judged_at <= cell.stale_after_s:
                continue
            cell.judged_at = cell.up = None
            cell.legs.clear()
            self._up.drop(*key)
            labels, check = key[:-1], key[-1]
            states = self._states.get(labels, {})
            if states.get(check) in ("up", "degraded"):  # old bad news is still news
                states[check] = "unknown"
                self._show(labels)

    def _new_cell(self, key: Labels) -> Cell:
        attempts = {outcome: self._attempts.at(*key, outcome) for outcome in Outcome}
        return Cell(attempts, self._response_of(key))

    def _response_of(self, key: Labels) -> Buckets:
        _psap, _path, firewall, transport, check = key
        return self._response.at(*((firewall, transport, check) if self._pooled else key))

    def _show(self, labels: Labels) -> None:
        worst = max(self._states.get(labels, {}).values(), key=_badness, default="unknown")
        before = self._worst.get(labels)
        if before == worst:
            return
        self._worst[labels] = worst
        for state in names.STATES:
            self._state.at(*labels, state).set(float(state == worst))
        firewall = labels[2]
        if labels[0] not in (REFERENCE, CONTROL):
            self._down.at(firewall).inc((worst == "down") - (before == "down"))

    def _count(self, paths: Sequence[Path]) -> None:
        to_psaps = [path for path in paths if path.psap.id not in (REFERENCE, CONTROL)]
        through = Counter(path.firewall.id for path in to_psaps)
        down = Counter(
            path.firewall.id for path in to_psaps if self._worst[labels_of(path)] == "down"
        )
        for firewall in {path.firewall.id for path in paths}:
            self._paths.at(firewall).set(through[firewall])
            self._down.at(firewall).set(down[firewall])

    def _introduce(self, psaps: Collection[Psap]) -> None:
        """Say who the PSAPs are and where; a responder of our own is none."""
        shown = {_info_of(psap) for psap in psaps if psap.id not in (REFERENCE, CONTROL)}
        self._psaps.keep(lambda values: values in shown)
        for values in sorted(shown):
            self._psaps.at(*values).set(1)

    def _pool(self, *, pooled: bool) -> None:
        if pooled is not self._pooled:
            self._pooled = pooled
            self._response.reshape(
                names.RESPONSE_DURATION_POOLED if pooled else names.RESPONSE_DURATION
            )

    def _forget(self, paths: set[Labels], cells: Collection[Labels]) -> None:
        firewalls = {labels[2] for labels in paths}
        for family in self.families:
            labels = family.row.labels
            if "firewall" not in labels:
                continue
            if labels[-1] in ("check", "outcome") and "path" in labels:
                family.keep(lambda values: values[:5] in cells)
            elif "path" in labels:
                family.keep(lambda values: values[:4] in paths)
            else:
                at = labels.index("firewall")
                family.keep(lambda values, at=at: values[at] in firewalls)  # type: ignore[misc]
        self._states = {
            path: {check: state for check, state in states.items() if (*path, check) in cells}
            for path, states in self._states.items()
            if path in paths
        }
        self._worst = {path: worst for path, worst in self._worst.items() if path in paths}


def _answered(cell: Cell, evidence: Evidence, after_s: float) -> None:
    local_part = evidence.call_id.partition("@")[0]
    ended_at = evidence.started_at + evidence.duration_s
    cell.response.observe(after_s, Mark("call_id", local_part, after_s, ended_at))


def _info_of(psap: Psap) -> Labels:
    latitude, longitude = map(str, psap.location) if psap.location else ("", "")
    return (psap.id, psap.name, latitude, longitude)


def _badness(state: str) -> int:
    return names.STATES.index(state)


def _stale_after_s(path: Path, check: Check, calls: int) -> float:
    """How long a verdict stands: ``calls`` is how many call checks share the PSAP's agreement."""
    every_s = check.every_s
    agreement = path.psap.agreement
    if check.is_call and agreement is not None:
        every_s = max(every_s, agreement.round_s * max(1, calls))
    return STALE_INTERVALS * every_s + check.give_up_after_s
