"""Incidents that one observation alone calls for, without standings or pools (layer L1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from psapwatch.announced import Window
from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence, Kind
from psapwatch.incident import Incident
from psapwatch.verdict import Cause

CERTIFICATE_TICKET_S: Final = 30 * 86_400.0


def unsafe_incident(path: Path, why: str, wall: float) -> Incident:
    """A test call met something that looks like a person."""
    return Incident(
        id="",
        alertname="TestCallUnsafe",
        severity="page",
        vantage=path.vantage,
        scope="psap",
        member=path.psap.id,
        psap=path.psap.id,
        firewall=path.firewall.id,
        cause=Cause.UNSAFE_ANSWER,
        summary=f"A test call to {path.psap.name or path.psap.id} was ended at once: {why}. "
        "Test calls there are stopped until a human resumes them.",
        opened_at=wall,
        first_failure_at=wall,
        affected=(path.key,),
    )


def certificate_shown(path: Path, evidence: Evidence, wall: float) -> tuple[Incident | None, bool]:
    """The ticket for a certificate that an attempt was shown, and whether it is due already."""
    shown = evidence.last(Kind.TLS_UP) if path.transport == "tls" else None
    not_after = shown.get("not_after") if shown else None
    if not isinstance(not_after, int | float) or not not_after:
        return None, False
    return _certificate(path, float(not_after), wall), not_after - wall < CERTIFICATE_TICKET_S


def _certificate(path: Path, not_after: float, wall: float) -> Incident:
    """A certificate that answers runs out soon; ``not_after`` is Unix seconds."""
    days = max(0.0, (not_after - wall) / 86_400)
    return Incident(
        id="",
        alertname="CertificateExpiring",
        severity="ticket",
        vantage=path.vantage,
        scope="path",
        member=path.key,
        psap=path.psap.id,
        firewall=path.firewall.id,
        cause=Cause.TLS_CERTIFICATE,
        summary=f"The certificate that answers on {path.key} expires in {days:.0f} days.",
        opened_at=wall,
        first_failure_at=wall,
        affected=(path.key,),
    )


def unproven_incidents(
    window: Window, late: Sequence[Path], everything: Iterable[Path], wall: float
) -> list[Incident]:
    """What a maintenance window named has not passed since it ended (detection.md 6).

    Of one PSAP with another path ``RedundancyLost``, of all of its paths or of a bigger thing
    ``CallsBlocked``.
    """
    if not late:
        return []
    of = {psap: [path.key for path in late if path.psap.id == psap] for psap in _psaps(late)}
    whole = {psap: [path.key for path in everything if path.psap.id == psap] for psap in of}
    if window.scope not in ("psap", "path"):
        return [_unproven(window, late, (window.scope, window.member), wall)]
    return [
        _unproven(window, [path], ("path", path.key), wall)
        if len(of[path.psap.id]) < len(whole[path.psap.id])
        else _unproven(window, late, ("psap", path.psap.id), wall)
        for path in late
    ]


def _unproven(
    window: Window, late: Sequence[Path], scope: tuple[str, str], wall: float
) -> Incident:
    psaps, firewalls = _psaps(late), {path.firewall.id for path in late}
    is_page = scope[0] != "path"
    return Incident(
        id="",
        alertname="CallsBlocked" if is_page else "RedundancyLost",
        severity="page" if is_page else "ticket",
        vantage=late[0].vantage,
        scope=scope[0],
        member=scope[1],
        psap=psaps[0] if scope[0] in ("psap", "path") else "",
        firewall=firewalls.pop() if len(firewalls) == 1 else "",
        cause=Cause.UNKNOWN,
        summary=f"{len(late)} paths have not passed since the maintenance of {window.scope} "
        f"{window.member} ended ({window.why}): {', '.join(path.key for path in late[:3])}.",
        opened_at=wall,
        first_failure_at=wall,
        affected=tuple(path.key for path in late),
    )


def _psaps(paths: Sequence[Path]) -> list[str]:
    return list(dict.fromkeys(path.psap.id for path in paths))


def blind_incident(
    why: str, cause: Cause, vantage: str, wall: float, seen_as: str = ""
) -> Incident:
    """The page that the prober cannot vouch for its own verdicts.

    ``seen_as``: as whom the references see us, where that is not the usual address.
    """
    return Incident(
        id="",
        alertname="ProberBlind",
        severity="page",
        vantage=vantage,
        scope="",
        member="",
        psap="",
        firewall="",
        cause=cause,
        summary=f"psapwatch at {vantage} cannot vouch for its own verdicts: {why}.",
        opened_at=wall,
        first_failure_at=wall,
        evidence={"source_seen": seen_as} if seen_as else {},
    )
