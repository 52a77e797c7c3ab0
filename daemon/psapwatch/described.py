"""An open incident as it stands now: its members, its cause and its sentence (layer L1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from psapwatch.battery import (
    SILENT,
    WALKS,
    Outcomes,
    Row,
    as_rows,
    conclusive,
    in_words,
    named_cause,
)
from psapwatch.detection import Standing
from psapwatch.incident import Incident
from psapwatch.look import Ground, Look, held_by, other_family_passes
from psapwatch.pooled import NEW_FLOWS, Pools, SampleKind
from psapwatch.tried import Finding, Tried
from psapwatch.verdict import Cause, Outcome
from psapwatch.wording import summary_of

SMALL: Final = ("psap", "path")
"""Scopes that a bigger domain takes in."""

CONTRAST_S: Final = 12.0
"""What is tried later than this after the newest failure began may have met no fault any more:
the patience of a call, and the battery that it starts."""

Keys = tuple[str, ...]


def kinds_of(incident: Incident) -> tuple[SampleKind, ...]:
    """The kinds of sample that an incident lives on: old flows are another matter than new ones."""
    return ("kept",) if incident.evidence.get("kind") == "kept" else NEW_FLOWS


def members_now(
    ground: Ground, incident: Incident, look: Look, pools: Pools
) -> tuple[Keys, Keys, Keys]:
    """Failing, passing and untested path keys of an incident's domain, as they stand now.

    Of a bigger domain a path that passed last is on its way up, and one that failed last before the
    domain was proved well is untested: its paths prove that together, where each alone, called
    every five minutes, would take a quarter of an hour.
    """
    inside = inside_of(ground, incident, look)
    if incident.scope == "family" and incident.member in look.families:
        fails = look.families[incident.member]
        return (
            tuple(sorted(key for key in inside if fails[key])),
            tuple(sorted(key for key in inside if not fails[key])),
            (),
        )
    kinds = kinds_of(incident)
    since = incident.first_failure_at
    is_small, scope = incident.scope in SMALL, (incident.scope, incident.member)
    well_at = {kind: pools.well_at(scope, kind) for kind in kinds}
    failing: set[str] = set()
    passing: set[str] = set()
    for (key, kind), standing in look.best.items():
        if key not in inside or kind not in well_at:
            continue
        # what seems to lie ahead was seen before the clock was stepped back
        is_proved_since = standing.last_at < well_at[kind] <= look.now
        is_recent = standing.last_at <= look.now and not is_proved_since
        is_failing_now = standing.last_failed and is_recent
        if standing.is_failing and (is_small or is_failing_now):
            failing.add(key)
        elif standing.last_at > since:
            passing.add(key)
    passing -= failing
    rest = inside - failing - passing
    return tuple(sorted(failing)), tuple(sorted(passing)), tuple(sorted(rest))


def described(ground: Ground, incident: Incident, look: Look, tried: Tried) -> Incident:
    """The incident with its cause, last pass and sentence from standings and battery."""
    inside = inside_of(ground, incident, look)
    by_kind: dict[str, list[Standing]] = {}
    for (key, kind), standing in look.best.items():
        if key in inside:
            by_kind.setdefault(kind, []).append(standing)
    legs = [leg for found in by_kind.values() for leg in found]
    changed = replace(incident, last_pass_at=_last_good(by_kind) or incident.last_pass_at)
    newest = max((leg.last_at for leg in legs if leg.last_failed), default=look.now)
    span = (incident.first_failure_at, newest + CONTRAST_S)
    found = tried.about(incident.scope, incident.firewall, inside, *span)
    outcomes = {row: finding.outcome for row, finding in found.items()}
    if other_family_passes(look, (incident.scope, incident.member)):
        outcomes |= {"options": Outcome.FAIL, "other_family": Outcome.PASS}
    changed = _named(changed, by_kind, found, outcomes, tried.echoes.said(incident.firewall))
    behind = {ground.paths[key].psap.id for key in inside}
    return replace(changed, summary=summary_of(changed, by_kind, len(behind)))


def _last_good(by_kind: Mapping[str, Sequence[Standing]]) -> float:
    """When what fails passed last, or anything where nothing fails now; 0 for never."""
    failing = [found for found in by_kind.values() if any(leg.is_failing for leg in found)]
    legs = (leg for found in failing or by_kind.values() for leg in found)
    return max((leg.last_pass_at or 0.0 for leg in legs), default=0.0)


def _named(
    incident: Incident,
    by_kind: Mapping[str, Sequence[Standing]],
    found: Mapping[Row, Finding],
    tried: Outcomes,
    seen_as: str,
) -> Incident:
    """The incident with the cause that its failures have now, and what that rests on."""
    outcomes = {**tried, **as_rows(by_kind, incident.first_failure_at)}
    cause, signature = named_cause(by_kind, outcomes)
    if cause in SILENT and incident.cause not in SILENT:
        cause = incident.cause  # what was told apart once is not forgotten for less
    if incident.alertname == "CallsDegraded" and "loss" in incident.evidence and signature is None:
        if incident.evidence["kind"] == "kept":
            cause = Cause.STALE_FLOW
        elif cause in SILENT:
            cause = Cause.INTERMITTENT_LOSS  # a certificate says what it is, also of a share
    evidence = dict(incident.evidence)
    if found:
        evidence["battery"] = {row: finding.said for row, finding in found.items()}
    if said := conclusive(outcomes):
        evidence["outcomes"] = said
    ends = [f"{name}: {found[row].said}" for row, name in WALKS.items() if _is_cut(found.get(row))]
    if ends:
        evidence["last_hop"] = "; ".join(ends)
    if signature is not None:
        evidence["because"] = in_words(signature)
    if incident.firewall and seen_as:
        evidence["source_seen"] = seen_as
    return replace(
        incident, cause=incident.cause if cause is Cause.UNKNOWN else cause, evidence=evidence
    )


def _is_cut(walk: Finding | None) -> bool:
    return walk is not None and walk.outcome is Outcome.FAIL


def inside_of(ground: Ground, incident: Incident, look: Look | None = None) -> AbstractSet[str]:
    """The configured paths to PSAPs that an incident speaks of.

    Which of them have legs of an IP family only a ``look`` shows; without one the affected do.
    """
    scope, is_small = (incident.scope, incident.member), incident.scope in SMALL
    if look is not None and not is_small:
        return held_by(ground, look, scope)
    affected = {key for key in incident.affected if key in ground.paths}
    return affected if is_small else ground.inside(scope) | affected
