"""What a simulated TLS server shows in its handshake, and what our side makes of it (layer L3).

Errors and facts are those of ``net.tls``: an alert, a certificate that is not trusted, a name that
is not the SIP domain (RFC 5922 7.1, no wildcards), or a handshake that comes to nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.evidence import Fact
from psapwatch.world import Road

OUR_CREDENTIAL_ALERTS: Final = frozenset(
    {
        "access_denied",
        "bad_certificate",
        "certificate_expired",
        "certificate_required",
        "certificate_revoked",
        "certificate_unknown",
        "unknown_ca",
        "unsupported_certificate",
    }
)
"""Alerts by which the server says that it is our certificate which it does not like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server's certificate, and how its side of the handshake goes."""

    names: tuple[str, ...]
    """SIP domains that it is for."""
    not_after: float
    """Unix seconds."""
    subject: str = ""
    trust: Literal["trusted", "self-signed", "unknown issuer"] = "trusted"
    version: str = "TLSv1.3"
    cipher: str = "TLS_AES_256_GCM_SHA384"
    alert: str = ""
    """Sent in place of a handshake: ``handshake_failure``, ``certificate_required``, ..."""
    behaves: Literal["well", "stalls", "closes"] = "well"


_DISTRUST: Final = {
    "self-signed": "self-signed certificate",
    "unknown issuer": "unable to get local issuer certificate",
}


def failure_of(certificate: Certificate, road: Road, wall: float) -> dict[str, Fact] | None:
    """Facts of TLS_FAILED when the handshake with this server fails; None when it succeeds."""
    if certificate.alert:
        ours = certificate.alert in OUR_CREDENTIAL_ALERTS
        return {"error": "alert", "detail": certificate.alert, "ours": ours}
    if certificate.behaves == "closes":
        return {"error": "closed", "detail": "the peer closed without a word", "ours": False}
    if not road.tls.verify:
        return None
    if certificate.trust != "trusted":
        return {"error": "certificate", "detail": _DISTRUST[certificate.trust], "ours": False}
    if wall > certificate.not_after:
        return {"error": "certificate", "detail": "certificate has expired", "ours": False}
    wanted = road.server_name or road.peer.host
    if wanted.lower() not in (name.lower() for name in certificate.names):
        said = _names(certificate) or certificate.subject or "nobody"
        detail = f"wanted {wanted}, the certificate names {said}"
        return {"error": "name", "detail": detail, "ours": False}
    return None


def facts_of(certificate: Certificate) -> dict[str, Fact]:
    """Facts of TLS_UP, but for its duration."""
    return {
        "version": certificate.version,
        "cipher": certificate.cipher,
        "not_after": certificate.not_after,
        "subject": certificate.subject or f"commonName={certificate.names[0]}",
        "names": _names(certificate),
        "fingerprint": hashlib.sha256(repr(certificate).encode()).hexdigest(),
    }


def _names(certificate: Certificate) -> str:
    return " ".join(f"DNS:{name}" for name in certificate.names)
