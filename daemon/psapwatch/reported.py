"""Incidents that one observation alone calls for, without standings or pools (layer L1)."""

from __future__ import annotations

from typing import Final

from psapwatch.endpoint import Path
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


def certificate_incident(path: Path, not_after: float, wall: float) -> Incident:
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
