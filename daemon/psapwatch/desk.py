"""Where an attempt's evidence becomes a verdict, a state, a record, a metric and perhaps a notice.

One desk a daemon. Nothing here waits: the store queues, the sinks have their outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from psapwatch.baseline import NOTHING_KNOWN, Baseline, of_walk
from psapwatch.battery import Row, is_variant, outcome_of
from psapwatch.case import Case
from psapwatch.casebook import Casebook
from psapwatch.described import inside_of
from psapwatch.detection import Standing, Thresholds, best_leg, step
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import OURS, REFERENCE, Check, Path
from psapwatch.evidence import Evidence
from psapwatch.exhibits import Exhibits
from psapwatch.incident import Incident, Notice
from psapwatch.pooled import Pools, counts, first_answered, is_on_old_connection, kind_of
from psapwatch.reported import blind_incident, certificate_shown, unsafe_incident
from psapwatch.results import Recorder
from psapwatch.sight import Sight
from psapwatch.tried import Result
from psapwatch.variants import REVIEWED
from psapwatch.verdict import Cause, Outcome, Verdict
from psapwatch.walks import Walk

REVIEW_EVERY_S: Final = 1.0
"""How often open incidents and what they explain are looked at; other failures are news at once."""
_UNTRIED: Final = Standing()

Excuse = Callable[[Evidence, Verdict], Verdict]
Key = tuple[str, str]
"""(path key, check name)."""


@dataclass(slots=True)
class _Seen:
    """What the desk remembers of one check on one path."""

    path: Path
    baseline: Baseline
    legs: dict[str, Standing] = field(default_factory=dict)
    shown: str = ""


class Desk:
    """Judges evidence and keeps the standings; ``tick`` lets incidents open, change and close."""

    def __init__(
        self,
        casebook: Casebook,
        recorder: Recorder,
        thresholds: Thresholds,
        *,
        muted: Callable[[Path], bool],
        baselines: Mapping[Key, Baseline] | None = None,
    ) -> None:
        """``baselines``: who usually answered, as an earlier run kept it."""
        self.casebook = casebook
        self.thresholds = thresholds
        self._recorder = recorder
        self._muted = muted
        self.pools = Pools()
        self.sight = Sight()
        self._exhibits = Exhibits()
        self._told_blind = ("", "")
        self._baselines = dict(baselines or {})
        self._seen: dict[Key, _Seen] = {}
        self._failing: set[tuple[str, str, str]] = set()
        self._dirty = False
        self._reviewed_at = 0.0

    def take(
        self,
        path: Path,
        check: Check,
        evidence: Evidence,
        wall: float,
        *,
        was_late: bool = False,
        excuse: Excuse = lambda _evidence, verdict: verdict,
    ) -> Verdict:
        """Judge one attempt, keep it, and move its leg's state.

        ``was_late``: our own loop was, so its retransmissions say nothing of the network.
        ``excuse`` has the last word on what our own loop may have missed.
        """
        seen = self._of(path, check)
        case = Case(evidence, seen.baseline, path.psap.expected_name, path.psap.alternates)
        verdict = excuse(evidence, diagnose(case))
        self.sight.attempt(path.firewall.id, verdict, evidence.started_at)
        self._see(path.vantage, wall)
        if path.psap.id == REFERENCE:
            self.casebook.tried.echoes.take(evidence)
        verdict = self.sight.counted(path, evidence, verdict, wall)
        self._learn(path, check, seen, case, verdict)
        if path.psap.id not in OURS:
            self._exhibits.take(kind_of(check, evidence), path.key, case, verdict)
        self._stand(path, check, evidence, verdict, seen, was_late=was_late)
        self._recorder.attempt(path, check, evidence, verdict)
        self._certificate(path, evidence, wall)
        return verdict

    def _unlearn(self, hides: Callable[[Path], bool], since: float = 0.0) -> None:
        """Take back what began to fail on the way into blindness: it was our own side's fault."""
        self.pools.explained_by(())
        for (key, check), seen in self._seen.items():
            if hides(seen.path):
                for leg, standing in seen.legs.items():
                    if standing.is_failing and (standing.failing_since or since) >= since:
                        seen.legs[leg] = Standing(last_pass_at=standing.last_pass_at)
                        self._failing.discard((key, check, leg))

    def standing(self, path: Path, check: Check) -> Standing:
        """The best leg's standing: one leg that answers makes the path up."""
        return best_leg(self._of(path, check).legs.values())

    def _walked(self, path: Path, evidence: Evidence) -> Baseline:
        """The baseline of such a walk along a path, whatever check has made it."""
        if evidence.probe != "walk":
            return NOTHING_KNOWN
        seen = ((key, each.baseline) for key, each in self._seen.items())
        return of_walk((*self._baselines.items(), *seen), path.key, Walk.of(evidence).by)

    def standings(self) -> dict[Key, dict[str, Standing]]:
        """Every leg's standing, by path and check."""
        return {key: seen.legs for key, seen in self._seen.items()}

    def accept(self, baselines: Mapping[Key, Baseline]) -> None:
        """Take over which answerers a person has accepted since."""
        for key, baseline in baselines.items():
            seen = self._seen.get(key)
            if seen is None:
                self._baselines[key] = baseline
            elif baseline.accepted_at > seen.baseline.accepted_at:
                seen.baseline = baseline

    def keep_legs(self, path: Path, check: Check, legs: Iterable[str]) -> None:
        """Forget the legs that a name no longer has."""
        kept, known = set(legs), self._of(path, check).legs
        for gone in [leg for leg in known if leg not in kept]:
            del known[gone]
            self._failing.discard((path.key, check.name, gone))

    def forget(self, path: Path, check: Check) -> None:
        """A reload took this check away."""
        gone = self._seen.pop((path.key, check.name), None)
        if gone is None:
            return
        self._baselines[path.key, check.name] = gone.baseline
        for leg in gone.legs:
            self._failing.discard((path.key, check.name, leg))

    def unsafe(self, path: Path, why: str, wall: float) -> None:
        """Page that a test call met something that looks like a person."""
        self._tell([self.casebook.report(unsafe_incident(path, why, wall), wall)])

    def tried(self, path: Path, row: Row, evidence: Evidence, wall: float, excuse: Excuse) -> None:
        """Judge one attempt of the battery and keep it; it moves no standing and no pool."""
        verdict = excuse(evidence, diagnose(Case(evidence, self._walked(path, evidence))))
        self._recorder.trial(row, evidence, verdict)
        self.sight.tried(row, evidence, verdict)
        self._see(path.vantage, wall)
        self.fill(path, row, evidence, verdict)
        self._dirty = True

    def fill(self, path: Path, row: Row, evidence: Evidence, verdict: Verdict) -> None:
        """Keep a row's result, and the evidence of it."""
        again = first_answered(evidence, verdict) is False
        self._exhibits.take(row, path.key, Case(evidence), verdict, is_repeated=again)
        said, at, took_s = outcome_of(row, verdict), evidence.started_at, evidence.duration_s
        result = Result(said, verdict.why, path.key, at, is_repeated=again, took_s=took_s)
        self.casebook.tried.take(path.firewall.id, row, result)

    def blind(self, why: str, vantage: str, wall: float) -> None:
        """Take why the self-test fails, or ``""`` when it proves again that we see."""
        self.sight.self_test = why
        self._see(vantage, wall)

    def _see(self, vantage: str, wall: float) -> None:
        """Page that the prober is blind, or withdraw that when it sees again."""
        why = self.sight.why
        seen_as = self.casebook.tried.echoes.said() if why else ""
        if (why, seen_as) == self._told_blind:
            return
        incident = blind_incident(why, self.sight.cause, vantage, wall, seen_as)
        if why and not self._told_blind[0]:
            self._unlearn(lambda path: self.sight.hides(path.firewall.id))
        notice = self.casebook.report(incident, wall) if why else None
        self._tell([notice if why else self.casebook.withdraw(incident.identity, wall)])
        self._told_blind = (why, seen_as)

    def report(self, incidents: Iterable[Incident], wall: float) -> None:
        """Tell what others have found; what is open already goes on."""
        self._tell([self.casebook.report(each, wall) for each in incidents])

    def start_anew(self, path: Path, check: Check) -> None:
        """Forget that a check fails: only what it does from now on counts."""
        seen = self._of(path, check)
        for leg, standing in seen.legs.items():
            if standing.is_failing:
                seen.legs[leg] = Standing(last_pass_at=standing.last_pass_at)
                self._failing.discard((path.key, check.name, leg))
        self._show(path, check, seen)

    def tick(self, wall: float) -> None:
        """Review the incidents if anything may have changed."""
        for path, since, rows in self.sight.quarantines.review(wall, self.casebook.is_in_block):
            self._unlearn(self.sight.quarantines.hides, since)
            for row, evidence in rows:
                self.fill(path, row, evidence, diagnose(Case(evidence)))
            self._dirty = True
        if not (self._dirty or self._is_due(wall)) or self.sight.is_pending(wall):
            return  # nothing has changed, or whether we see at all is known in a moment
        self._dirty, self._reviewed_at = False, wall
        also = self.sight.quarantines.wanted(self.casebook.ground)
        self._tell(
            self.casebook.review(self.standings(), self.pools, wall, muted=self._muted, also=also)
        )
        inside = partial(inside_of, self.casebook.ground)
        for incident_id, case in self._exhibits.news(self.casebook.open, inside):
            self._recorder.case(incident_id, case)

    def _is_due(self, wall: float) -> bool:
        """Whether what is watched was not looked at for a while, or the clock was stepped back."""
        ago_s = wall - self._reviewed_at
        if 0.0 <= ago_s < REVIEW_EVERY_S:
            return False
        is_watched = bool(self._failing) or self.casebook.is_open or self.pools.is_any_sick
        return is_watched or ago_s < 0.0

    def is_suspicious(self, path: Path) -> bool:
        """Whether more samples would decide if this path's firewall loses calls."""
        return self.pools.is_suspicious(("firewall", path.firewall.id))

    def close(self, identity: tuple[str, str, str, str], wall: float) -> None:
        """Close an incident that a human ended."""
        self._tell([self.casebook.withdraw(identity, wall)])

    def acknowledge(self, incident_id: str, by: str, wall: float) -> bool:
        """Note who has seen an incident; whether there is one of that id."""
        notice = self.casebook.acknowledge(incident_id, by, wall)
        self._tell([notice])
        return notice is not None

    def _tell(self, notices: Sequence[Notice | None]) -> None:
        told = [notice for notice in notices if notice is not None]
        if told:
            self._recorder.notices(told, self.casebook.open)

    def _of(self, path: Path, check: Check) -> _Seen:
        key = (path.key, check.name)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(path, self._baselines.pop(key, NOTHING_KNOWN))
        if seen.baseline.target != path.target:
            seen.baseline = Baseline(target=path.target)
        return seen

    def _stand(
        self,
        path: Path,
        check: Check,
        evidence: Evidence,
        verdict: Verdict,
        seen: _Seen,
        *,
        was_late: bool,
    ) -> None:
        before = seen.legs.get(evidence.leg, _UNTRIED)
        self._pool(path, check, evidence, verdict, before, was_late=was_late)
        if verdict.failed and not check.is_call and is_on_old_connection(evidence):
            self._dirty = True
            return  # an old connection has died; only a new one tells how the path is
        after = step(before, verdict, evidence.started_at, self.thresholds, evidence.duration_s)
        seen.legs[evidence.leg] = after
        key = (path.key, check.name, evidence.leg)
        if after.is_failing:
            self._failing.add(key)
        else:
            self._failing.discard(key)
        is_news = after.is_failing or before.is_failing or after.cause in REVIEWED
        self._dirty = self._dirty or (is_news and not self.casebook.is_covered(path))
        unseen = "unknown" if verdict.cause is Cause.PROBER_QUARANTINED else ""
        is_muted = after.is_failing and self._muted(path)
        self._show(path, check, seen, instead="muted" if is_muted else unseen)

    def _show(self, path: Path, check: Check, seen: _Seen, *, instead: str = "") -> None:
        shown = instead or best_leg(seen.legs.values()).state.value
        if shown != seen.shown:
            seen.shown = shown
            self._recorder.state(path, check.name, shown)

    def _pool(
        self,
        path: Path,
        check: Check,
        evidence: Evidence,
        verdict: Verdict,
        before: Standing,
        *,
        was_late: bool,
    ) -> None:
        """Give this attempt's two samples to every domain of the path (detection.md 1, 3).

        Once a bigger incident explains the path, its samples only tell when that one is over.
        """
        is_ours = path.psap.id in OURS
        if verdict.outcome is Outcome.INCONCLUSIVE or not counts(before, is_ours=is_ours):
            return
        if is_variant(path, check) or not self.sight.vouches(path.firewall.id, evidence.started_at):
            return
        if verdict.failed and self._muted(path):
            return  # a window names it: what is announced is no evidence of loss
        at, leg, book = evidence.started_at, evidence.leg, self.casebook
        scopes = book.covering(path, leg) or book.ground.scopes_at(path, leg)
        kind, in_block = kind_of(check, evidence), book.is_in_block(path)
        if not (in_block and kind == "kept" and verdict.failed):  # a block fails old flows as well
            self.pools.take(scopes, kind, path.key, at, failed=verdict.failed)
        if kind == "kept" and check.flow != "kept" and not verdict.failed:
            self.pools.take(scopes, "options", path.key, at, failed=False)  # well again, too
        answered = None if was_late else first_answered(evidence, verdict)
        if answered is False and in_block:
            answered = None  # it was sent into the block, and again into its end: no packet loss
        if answered is not None:
            self.pools.take(scopes, "first", path.key, at, failed=not answered)

    def _learn(self, path: Path, check: Check, seen: _Seen, case: Case, verdict: Verdict) -> None:
        """Keep who usually answers; what failed or may be our own fault teaches nothing."""
        final, answerer, before = case.final, case.answerer, seen.baseline
        if final is None or answerer is None or not verdict.passed:
            return
        seen.baseline = before.learn(answerer, int(final["code"] or 0))
        seen.baseline = seen.baseline.walking(case.evidence)
        if seen.baseline is not before and seen.baseline.is_worth_keeping(before):
            wall = case.evidence.started_at
            self._recorder.baseline(path, check.name, seen.baseline, wall)

    def _certificate(self, path: Path, evidence: Evidence, wall: float) -> None:
        incident, is_due = certificate_shown(path, evidence, wall)
        if incident is not None and is_due:
            self._tell([self.casebook.report(incident, wall)])
        elif incident is not None:
            self._tell([self.casebook.withdraw(incident.identity, wall)])
