"""TLS without sockets: contexts, RFC 5922 names, and why a handshake failed.

A ``TlsSession`` takes octets and gives octets back, so that the stream that carries it can time
each phase and still read the alert that a TLS 1.3 server sends after our handshake is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from psapwatch.endpoint import Tls
from psapwatch.evidence import Fact

_READ_OCTETS_MAX: Final = 65_536
_CONTEXTS_MAX: Final = 256
_DETAIL_MAX: Final = 300
_NAMES_MAX: Final = 16

_ALERT: Final = re.compile(r"(?:TLSV\d+|SSLV3)_(?:ALERT_)?([A-Z_]+)")
_OUR_CREDENTIAL: Final = frozenset(
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
"""Alerts by which the far side refuses our certificate: it was reached, the fault is ours."""
_HANDSHAKE_RECORD: Final = 22  # RFC 8446 5.1, RFC 5246 6.2.1

Certificate = Mapping[str, Any]
"""What ``SSLObject.getpeercert`` returns."""


class TlsFailure(Exception):
    """A TLS session that did not come about, or was ended by an alert; ``facts`` say why."""

    def __init__(self, error: str, detail: str, *, ours: bool = False) -> None:
        super().__init__(f"{error}: {detail}")
        self.facts: dict[str, Fact] = {"error": error, "detail": detail[:_DETAIL_MAX], "ours": ours}


class TlsContexts:
    """Client contexts by their settings, read again when a file changes on disk."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[Tls, tuple[int, ...]], ssl.SSLContext] = {}

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for these files; slow the first time (it parses the CA file).

        Raises:
            OSError: a file is missing, is no PEM, or certificate and key do not belong together.
        """
        files = [Path(name) for name in (tls.ca_file, tls.cert_file, tls.key_file) if name]
        key = (tls, tuple(file.stat().st_mtime_ns for file in files))
        if key not in self._contexts:
            if len(self._contexts) >= _CONTEXTS_MAX:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[key] = _new_context(tls)
        return self._contexts[key]


def _new_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # RFC 5922 names are no host names: `check_name` does it
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    if tls.ca_file:
        context.load_verify_locations(tls.ca_file)
    elif tls.verify:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


class TlsSession:
    """One client session over octets (RFC 8446, RFC 5246)."""

    def __init__(self, context: ssl.SSLContext, server_name: str, *, has_certificate: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._context = context
        self._server_name = server_name
        self._has_certificate = has_certificate
        self._server_spoke = False
        self.is_up = False
        name = None if _is_numeric(server_name) else server_name or None  # RFC 6066 3: no literals
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def data_to_send(self) -> bytes:
        """Return what the session wants on the wire, after every call and also a failed one."""
        return self._outgoing.read()

    def shake(self) -> bool:
        """Go on with the handshake; True once it is done and the peer's name is right.

        Raises:
            TlsFailure: refused by either side.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise self._failure(error) from None
        if self._context.verify_mode is not ssl.CERT_NONE:
            check_name(self._tls.getpeercert() or {}, self._server_name)
        self.is_up = True
        return True

    def feed(self, octets: bytes) -> None:
        """Take octets from the wire."""
        if not self.is_up and octets[:1] == bytes([_HANDSHAKE_RECORD]):
            self._server_spoke = True
        self._incoming.write(octets)

    def read(self) -> tuple[bytes, bool]:
        """Return what the peer said by now, and whether it has said that it will say no more.

        Raises:
            TlsFailure: an alert; with TLS 1.3 this is how a refused client certificate shows.
        """
        said = bytearray()
        while True:
            try:
                octets = self._tls.read(_READ_OCTETS_MAX)
            except ssl.SSLWantReadError:
                return bytes(said), False
            except ssl.SSLZeroReturnError:
                return bytes(said), True
            except ssl.SSLError as error:
                raise self._failure(error) from None
            if not octets:
                return bytes(said), True
            said += octets

    def write(self, octets: bytes) -> None:
        """Encrypt octets towards ``data_to_send``.

        Raises:
            TlsFailure: the session is broken.
        """
        try:
            self._tls.write(octets)
        except ssl.SSLError as error:
            raise self._failure(error) from None

    def close(self) -> None:
        """Put a close_notify into ``data_to_send`` (RFC 8446 6.1), where the session is up."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()

    def facts(self) -> dict[str, Fact]:
        """Return what TLS_UP carries, but for its duration."""
        cipher = self._tls.cipher()
        der = self._tls.getpeercert(binary_form=True) or b""
        return {
            "version": self._tls.version() or "",
            "cipher": cipher[0] if cipher else "",
            **certificate_facts(self._peer_certificate()),
            "fingerprint": hashlib.sha256(der).hexdigest(),
        }

    def _peer_certificate(self) -> Certificate:
        """Return the certificate also when it was not verified.

        OpenSSL has it in either case; Python withholds its text while the context says CERT_NONE,
        so the context says otherwise for the length of this synchronous call.
        """
        verify_mode = self._context.verify_mode
        self._context.verify_mode = ssl.CERT_REQUIRED
        try:
            return self._tls.getpeercert() or {}
        finally:
            self._context.verify_mode = verify_mode

    def _failure(self, error: ssl.SSLError) -> TlsFailure:
        if isinstance(error, ssl.SSLCertVerificationError):
            return TlsFailure("certificate", error.verify_message)
        if isinstance(error, ssl.SSLEOFError):
            return TlsFailure("closed", "the peer closed without a word")
        reason = error.reason or ""
        received = _ALERT.fullmatch(reason)
        if received is None:
            return TlsFailure("other", reason.lower() or str(error))
        alert = received[1].lower()
        if alert == "handshake_failure" and self._server_spoke and not self._has_certificate:
            # TLS 1.2 has no certificate_required (RFC 8446 6.2): a server that was content with
            # our hello and then says handshake_failure misses our certificate.
            alert = "certificate_required"
        return TlsFailure("alert", alert, ours=alert in _OUR_CREDENTIAL)


def certificate_facts(certificate: Certificate) -> dict[str, Fact]:
    """Return not_after (Unix seconds), subject and names of a certificate."""
    not_after = certificate.get("notAfter")
    subject = [f"{key}={value}" for part in certificate.get("subject", ()) for key, value in part]
    names = [f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ())]
    return {
        "not_after": ssl.cert_time_to_seconds(not_after) if not_after else None,
        "subject": ", ".join(subject),
        "names": " ".join(names[:_NAMES_MAX]),
    }


def sip_identities(certificate: Certificate) -> list[str]:
    """Return the SIP domains that a certificate speaks for (RFC 5922 7.1), in lower case.

    A ``sip`` URI without a user part is one; a DNS name only where no such URI is; the common
    name only where there is no subjectAltName at all.
    """
    names = [(kind, str(value).lower()) for kind, value in certificate.get("subjectAltName", ())]
    uris = [
        re.split(r"[:;?]", value[4:])[0]
        for kind, value in names
        if kind == "URI" and value.startswith("sip:") and "@" not in value
    ]
    if uris:
        return uris
    if names:
        return [value for kind, value in names if kind == "DNS"]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return [str(value).lower() for key, value in subject if key == "commonName"]


def check_name(certificate: Certificate, wanted: str) -> None:
    """Compare whole names, without wildcards (RFC 5922 7.2).

    A numeric host is no SIP domain; it may also stand in an iPAddress name.

    Raises:
        TlsFailure: the certificate is not for ``wanted``.
    """
    identities = sip_identities(certificate)
    if wanted.rstrip(".").lower() in [identity.rstrip(".") for identity in identities]:
        return
    if _is_numeric(wanted) and ipaddress.ip_address(wanted) in _addresses(certificate):
        return
    facts = certificate_facts(certificate)
    said = facts["names"] or facts["subject"] or "nobody"
    raise TlsFailure("name", f"wanted {wanted}, the certificate names {said}")


def _addresses(certificate: Certificate) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    names = certificate.get("subjectAltName", ())
    return [
        ipaddress.ip_address(value)
        for kind, value in names
        if kind == "IP Address" and _is_numeric(value)
    ]


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
