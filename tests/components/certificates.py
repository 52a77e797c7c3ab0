"""A certificate authority of our own, with certificates as SIP wants them (RFC 5922)."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of one certificate; ``bundle_file`` holds certificate and key."""

    cert_file: Path
    key_file: Path
    bundle_file: Path
    not_after: dt.datetime


class Authority:
    """Issues certificates; ``ca_file`` is what a verifier has to trust."""

    def __init__(self, folder: Path, name: str = "Bench CA") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        self._issued = 0
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + 400 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.crt"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        common_name: str = "psap",
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        addresses: Sequence[str] = (),
        valid_for: dt.timedelta = 90 * DAY,
    ) -> Certificate:
        """Issue a certificate for server and client use; a negative ``valid_for`` has expired.

        With no name but the common one it carries no subjectAltName at all.
        """
        self._issued += 1
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        names: list[x509.GeneralName] = [
            *(x509.DNSName(name) for name in dns),
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(common_name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 300 * DAY)
            .not_valid_after(now + valid_for)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._write(builder.sign(self._key, hashes.SHA256()), key, now + valid_for)

    def _write(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        not_after: dt.datetime,
    ) -> Certificate:
        stem = self._folder / f"issued-{self._issued}"
        cert_pem = certificate.public_bytes(serialization.Encoding.PEM)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        issued = Certificate(
            stem.with_suffix(".crt"), stem.with_suffix(".key"), stem.with_suffix(".pem"), not_after
        )
        issued.cert_file.write_bytes(cert_pem)
        issued.key_file.write_bytes(key_pem)
        issued.bundle_file.write_bytes(cert_pem + key_pem)
        return issued


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
