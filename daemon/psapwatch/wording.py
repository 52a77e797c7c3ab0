"""The sentence of an alert: what failed of what was tried, since when, what still works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from psapwatch.detection import Standing
from psapwatch.incident import Incident
from psapwatch.pooled import packet_loss
from psapwatch.verdict import Cause

_BEHIND: Final = {"firewall": "behind it", "psap": "affected", "path": "affected"}
_SPOILT: Final = {
    Cause.ACK_LOST: "lose their ACK",
    Cause.TEARDOWN_BLOCKED: "cannot be ended",
}
_TRIED: Final = {"call": "test calls", "options": "OPTIONS", "kept": "OPTIONS on old flows"}


def clock(wall: float) -> str:
    """Time of day of a Unix time, in UTC and saying so."""
    return datetime.fromtimestamp(wall, UTC).strftime("%H:%M:%S UTC")


def summary_of(
    incident: Incident, by_kind: Mapping[str, Sequence[Standing]], psaps_behind: int
) -> str:
    """Say what was measured, and nothing else (detection.md 6)."""
    where = _where(incident)
    if incident.alertname == "CallsDegraded" and "loss" in incident.evidence:
        return _partial(incident, where, psaps_behind)
    if special := _SPECIAL.get(str(incident.evidence.get("kind"))):
        return special(incident, where, psaps_behind)
    failed, passed = [], []
    for kind in ("call", "options", "kept"):
        legs = [leg for leg in by_kind.get(kind, ()) if leg.last_at >= incident.first_failure_at]
        failing = sum(leg.is_failing for leg in legs)
        if not legs:
            continue
        if failing:
            failed.append(f"{failing} of {len(legs)} {_TRIED[kind]} {where} fail")
        else:
            passed.append(f"{_TRIED[kind]} still pass")
    first, *more = failed or [f"Paths {where} fail"]
    said = f"{first} since {clock(incident.first_failure_at)}"
    if psaps_behind > 1:
        said += f"; {psaps_behind} PSAPs are {_BEHIND.get(incident.scope, 'concerned')}"
    sentences = [said, *(part[0].upper() + part[1:] for part in more + passed)]
    if incident.unaffected and incident.scope == "path":
        sentences.append(f"{', '.join(incident.unaffected[:3])} still works")
    why = _why(incident, by_kind)
    if why:
        sentences.append(f"Seen: {why}")
    if hop := incident.evidence.get("last_hop"):
        sentences.append(hop)
    if incident.last_pass_at:
        sentences.append(f"Last good {clock(incident.last_pass_at)}")
    sentences += _started(incident)
    return ". ".join(sentences) + "."


def _partial(incident: Incident, where: str, psaps_behind: int) -> str:
    """A share of calls, or of packets that retransmissions hide."""
    numbers = incident.evidence
    of, since = f"{numbers['failures']} of {numbers['samples']}", clock(incident.first_failure_at)
    if numbers["kind"] == "first":
        share = packet_loss(float(numbers["loss"]))
        said = f"the first transmission of {of} attempts {where} was not answered"
        said = f"About {share:.0%} of packets {where} are lost each way: {said} since {since}"
    else:
        tried = _TRIED[str(numbers["kind"])]
        said = f"{of} {tried} {where} failed since {since} ({float(numbers['loss']):.0%})"
    said += f"; {psaps_behind} PSAPs are {_BEHIND.get(incident.scope, 'concerned')}"
    return ". ".join([said, *_started(incident)]) + "."


def _started(incident: Incident) -> list[str]:
    """Which change came shortly before: the nearest one."""
    return [f"Started {said}" for said in incident.started_after[:1]]


def _variant(incident: Incident, where: str, psaps_behind: int) -> str:
    """Calls of one kind, which only our own responder is asked for."""
    numbers, since = incident.evidence, clock(incident.first_failure_at)
    said = f"Calls {where} of the kind {numbers['check']} fail since {since}; other calls pass"
    return f"{said}; {psaps_behind} PSAPs are behind it. Seen: {numbers['why']}."


def _rewrite(incident: Incident, where: str, psaps_behind: int) -> str:
    """Calls that come about, and not as they should."""
    what = _SPOILT.get(incident.cause, "are changed on the way")
    said = f"Calls {where} {what} since {clock(incident.first_failure_at)}"
    why = str(incident.evidence["why"]).removeprefix("changed on the way: ")
    return f"{said}, and pass; {psaps_behind} PSAPs are behind it. Seen at the reference: {why}."


def _names(incident: Incident, where: str, psaps_behind: int) -> str:
    """Names that lead nowhere, while the addresses behind them answer."""
    what, since = f"{psaps_behind} PSAPs {where}", clock(incident.first_failure_at)
    said = f"Names of {what} no longer resolve since {since}"
    return f"{said}; their last addresses answer. Seen: {incident.evidence['why']}."


def _quarantine(incident: Incident, where: str, psaps_behind: int) -> str:
    """An address of ours that is blocked for what it sent; nobody is called blocked."""
    numbers, since = incident.evidence, clock(incident.first_failure_at)
    said = f"Nothing from {numbers['source']} gets {where} since {since}; another address passes"
    sent = f"We had sent {numbers['busiest_second']} messages in a second, close to our limit"
    unseen = f"{psaps_behind} PSAPs are behind it and not seen from there until it is lifted"
    return f"{said}. {sent}: taken for an attack. {unseen}; we send half as often."


_SPECIAL: Final[dict[str, Callable[[Incident, str, int], str]]] = {
    "variant": _variant,
    "rewrite": _rewrite,
    "names": _names,
    "quarantine": _quarantine,
}


def _where(incident: Incident) -> str:
    if incident.scope == "firewall":
        return f"through {incident.member}"
    if incident.scope == "psap":
        return f"to {incident.member}"
    if incident.scope == "path":
        return f"on {incident.member}"
    return f"with {incident.scope} {incident.member}"


def _why(incident: Incident, by_kind: Mapping[str, Sequence[Standing]]) -> str:
    failing = [leg for found in by_kind.values() for leg in found if leg.is_failing and leg.why]
    named = next((leg for leg in failing if leg.cause is incident.cause), None)
    return named.why if named else failing[0].why if failing else ""
