"""TLS as the prober sees it: versions, mutual TLS, names, refusals, each with its facts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from net.conftest import Certificates
from net.far_end import (
    PATIENCE_S,
    Pair,
    Recorder,
    StreamFarEnd,
    a_network,
    ok,
    opened,
    options,
    road,
    run,
    server_context,
)
from psapwatch.endpoint import Address, Tls
from psapwatch.evidence import Fact, Kind, Observation

BOTH_VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


@asynccontextmanager
async def a_server(context: ssl.SSLContext) -> AsyncIterator[StreamFarEnd]:
    """A TLS far end on IPv4 loopback."""
    far = StreamFarEnd("127.0.0.1", context)
    try:
        yield far
    finally:
        far.close()


async def the_failure(
    context: ssl.SSLContext,
    tls: Tls,
    server_name: str = "psap.example",
    patience_s: float = PATIENCE_S,
) -> tuple[Observation, Recorder]:
    """What one attempt with an OPTIONS comes to: the first failure."""
    recorder = Recorder()
    async with a_server(context) as far, a_network() as network:
        way = road("tls", far.address, tls=tls, server_name=server_name)
        flow = await network.open(way, "a@test", recorder, patience_s=patience_s)
        if flow is not None:
            flow.send(options())
        seen = await recorder.failures.get()
        assert recorder.failures.empty()
        return seen, recorder


@BOTH_VERSIONS
def test_each_phase_is_observed_with_its_facts(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """CONNECTED then TLS_UP: version, cipher, certificate, durations; then again when reused."""
    pem = Path(certificates.server.cert_file).read_text(encoding="ascii")
    der = ssl.PEM_cert_to_DER_cert(pem)

    async def body() -> None:
        context = server_context(certificates.server)
        context.minimum_version = context.maximum_version = version
        tls = Tls(ca_file=certificates.ours.ca_file)
        async with a_server(context) as far, a_network() as network:
            _flow, first = await opened(network, road("tls", far.address, tls=tls))
            assert [seen.kind for seen in first.phases] == [Kind.CONNECTED, Kind.TLS_UP]
            connected, up = first.phases
            assert connected["peer"] == str(far.address)
            assert up["version"] == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
            assert up["subject"] == "commonName=server"
            assert up["names"] == "URI:sip:psap.example DNS:host.psap.example"
            assert up["fingerprint"] == hashlib.sha256(der).hexdigest()
            assert connected["reused"] is up["reused"] is False
            assert isinstance(up["duration_s"], float)
            assert 0 < up["duration_s"] < PATIENCE_S

            _flow, second = await opened(network, road("tls", far.address, tls=tls), "b@test")
            assert [seen["reused"] for seen in second.phases] == [True, True]
            assert [seen["duration_s"] for seen in second.phases] == [0.0, 0.0]
            assert second.phases[1]["fingerprint"] == up["fingerprint"]
            assert far.accepted == 1

    run(body)


@BOTH_VERSIONS
def test_mutual_tls_with_the_right_certificate(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """A server that demands a certificate gets ours, and the exchange works."""

    async def body() -> None:
        context = server_context(certificates.server, clients=certificates.ours)
        context.minimum_version = context.maximum_version = version
        mine = certificates.ours.issue("prober", "uri:sip:prober.example")
        tls = Tls(certificates.ours.ca_file, mine.cert_file, mine.key_file)
        async with a_server(context) as far, a_network() as network:
            flow, recorder = await opened(network, road("tls", far.address, tls=tls))
            flow.send(options())
            await far.heard.get()
            await far.answer(ok())
            assert (await recorder.arrivals.get()).octets == ok()

    run(body)


def refusals() -> list[tuple[str, str]]:
    """Which certificate we show, and the alert that it brings."""
    return [
        ("none", "certificate_required"),
        ("other", "unknown_ca"),
        ("expired", "certificate_expired"),
    ]


@BOTH_VERSIONS
@pytest.mark.parametrize(("shown", "alert"), refusals())
def test_a_refused_client_certificate_is_one_fault_in_both_versions(
    certificates: Certificates, version: ssl.TLSVersion, shown: str, alert: str
) -> None:
    """TLS 1.2 refuses in the handshake, 1.3 on the first read: the same kind and facts, ours."""
    mine: dict[str, Pair | None] = {
        "none": None,
        "other": certificates.other.issue("prober", "uri:sip:prober.example"),
        "expired": certificates.ours.issue("prober", "uri:sip:prober.example", days=-1),
    }
    pair = mine[shown]

    async def body() -> None:
        context = server_context(certificates.server, clients=certificates.ours)
        context.minimum_version = context.maximum_version = version
        tls = Tls(ca_file=certificates.ours.ca_file)
        if pair:
            tls = replace(tls, cert_file=pair.cert_file, key_file=pair.key_file)
        seen, recorder = await the_failure(context, tls)
        wanted: dict[str, Fact] = {"error": "alert", "detail": alert, "ours": True}
        assert (seen.kind, dict(seen.facts)) == (Kind.TLS_FAILED, wanted)
        phases = [Kind.CONNECTED] + [Kind.TLS_UP] * (version is ssl.TLSVersion.TLSv1_3)
        assert [phase.kind for phase in recorder.phases] == phases

    run(body)


@pytest.mark.parametrize(
    ("sans", "common_name", "wanted", "passes"),
    [
        (("uri:sip:psap.example",), "x", "psap.example", True),
        (("uri:sip:PSAP.Example",), "x", "psap.EXAMPLE", True),
        (("dns:psap.example",), "x", "psap.example", True),
        (("dns:other.example", "dns:psap.example"), "x", "psap.example", True),
        (("uri:sip:user@other.example", "dns:psap.example"), "x", "psap.example", True),
        ((), "psap.example", "psap.example", True),
        (("ip:127.0.0.1",), "x", "127.0.0.1", True),
        (("dns:*.example",), "x", "psap.example", False),
        (("uri:sip:*.example",), "x", "psap.example", False),
        (("dns:example",), "x", "psap.example", False),
        (("uri:sips:psap.example",), "x", "psap.example", False),
        (("uri:sip:user@psap.example",), "x", "psap.example", False),
        (("uri:sip:other.example", "dns:psap.example"), "x", "psap.example", False),
        (("dns:other.example",), "psap.example", "psap.example", False),
        (("ip:127.0.0.2",), "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_the_certificate_must_name_the_sip_domain(
    certificates: Certificates, sans: tuple[str, ...], common_name: str, wanted: str, passes: bool
) -> None:
    """RFC 5922 7: sip URIs, else DNS names, else the common name; whole, and no wildcards."""

    async def body() -> None:
        context = server_context(certificates.ours.issue(common_name, *sans))
        tls = Tls(ca_file=certificates.ours.ca_file)
        if passes:
            async with a_server(context) as far, a_network() as network:
                await opened(network, road("tls", far.address, tls=tls, server_name=wanted))
            return
        seen, recorder = await the_failure(context, tls, wanted)
        assert (seen.kind, seen["error"], seen["ours"]) == (Kind.TLS_FAILED, "name", False)
        assert str(seen["detail"]).startswith(f"wanted {wanted}, the certificate names ")
        assert [phase.kind for phase in recorder.phases] == [Kind.CONNECTED]

    run(body)


@pytest.mark.parametrize(
    ("issuer", "days", "detail"),
    [
        ("ours", -1.0, "certificate has expired"),
        ("ours", 61.0, "certificate is not yet valid"),
        ("other", 30.0, "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_we_refuse(
    certificates: Certificates, issuer: str, days: float, detail: str
) -> None:
    """Expired, early, or of a strange authority: ``certificate``, and not our fault."""

    async def body() -> None:
        authority = certificates.ours if issuer == "ours" else certificates.other
        context = server_context(authority.issue("x", "uri:sip:psap.example", days=days))
        seen, _recorder = await the_failure(context, Tls(ca_file=certificates.ours.ca_file))
        wanted: dict[str, Fact] = {"error": "certificate", "detail": detail, "ours": False}
        assert (seen.kind, dict(seen.facts)) == (Kind.TLS_FAILED, wanted)

    run(body)


def test_without_verification_the_facts_are_still_read(certificates: Certificates) -> None:
    """``verify: false`` takes any certificate, and still tells its names and its last day."""

    async def body() -> None:
        expired = certificates.other.issue("anyone", "dns:elsewhere.example", days=-1)
        async with a_server(server_context(expired)) as far, a_network() as network:
            _flow, recorder = await opened(network, road("tls", far.address, tls=Tls(verify=False)))
            up = recorder.phase(Kind.TLS_UP)
            assert up["names"] == "DNS:elsewhere.example"
            assert up["subject"] == "commonName=anyone"
            not_after = up["not_after"]
            assert isinstance(not_after, int | float)
            assert not_after > 1_600_000_000

            recorder = Recorder()
            strict = road("tls", far.address, tls=Tls(ca_file=certificates.ours.ca_file))
            assert await network.open(strict, "b", recorder, patience_s=PATIENCE_S) is None
            assert recorder.failures.get_nowait()["error"] == "certificate"

    run(body)


def test_no_common_version(certificates: Certificates) -> None:
    """A peer that only speaks what we do not: an alert, and not the fault of our certificate."""

    async def body() -> None:
        context = server_context(certificates.server)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")  # its key is no RSA key
        seen, _recorder = await the_failure(context, Tls(ca_file=certificates.ours.ca_file))
        wanted: dict[str, Fact] = {"error": "alert", "detail": "handshake_failure", "ours": False}
        assert (seen.kind, dict(seen.facts)) == (Kind.TLS_FAILED, wanted)

    run(body)


@pytest.mark.parametrize("ending", ["finish", "reset", "silence", "babble"])
def test_the_handshake_is_not_answered_by_tls(certificates: Certificates, ending: str) -> None:
    """FIN, RST, silence or nonsense after the ClientHello: TCP was up, TLS was not."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        recorder = Recorder()
        async with a_network() as network:
            tls = Tls(ca_file=certificates.ours.ca_file)
            way = road("tls", far.address, tls=tls)
            patience_s = 0.05 if ending == "silence" else PATIENCE_S
            asking = asyncio.ensure_future(network.open(way, "a", recorder, patience_s=patience_s))
            assert (await far.heard.get()).octets[0] == 22
            if ending == "babble":
                await far.answer(b"SIP/2.0 400 This is no TLS\r\n\r\n")
            elif ending != "silence":
                getattr(far, ending)()
            assert await asking is None
            seen = recorder.failures.get_nowait()
            error = {"silence": "timeout", "babble": "other"}.get(ending, "closed")
            assert (seen.kind, seen["error"], seen["ours"]) == (Kind.TLS_FAILED, error, False)
            assert [phase.kind for phase in recorder.phases] == [Kind.CONNECTED]
            assert network.sockets_open == 0
        far.close()

    run(body)


def test_our_own_files_are_our_own_fault(certificates: Certificates, tmp_path: Path) -> None:
    """A missing CA file, one that is no PEM, a key that is not the certificate's: LOCAL_ERROR."""
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate", encoding="ascii")
    one, two = certificates.ours.issue("one"), certificates.ours.issue("two")
    ca_file = certificates.ours.ca_file
    cases = [
        Tls(ca_file=str(tmp_path / "absent.pem")),
        Tls(ca_file=str(broken)),
        Tls(ca_file, str(broken), one.key_file),
        Tls(ca_file, one.cert_file, two.key_file),
    ]

    async def body() -> None:
        async with a_network() as network:
            for tls in cases:
                recorder = Recorder()
                way = road("tls", Address("127.0.0.1", 9), tls=tls)
                assert await network.open(way, "a", recorder, patience_s=PATIENCE_S) is None
                seen = recorder.failures.get_nowait()
                assert (seen.kind, seen["error"]) == (Kind.LOCAL_ERROR, "tls_settings")
                assert network.sockets_open == 0

    run(body)


def test_a_renewed_certificate_file_is_read_again(
    certificates: Certificates, tmp_path: Path
) -> None:
    """Replacing the CA file on disk is enough: the next connection verifies with the new one."""
    ca_file = tmp_path / "ca.pem"
    wrong, right = (
        Path(authority.ca_file).read_bytes()
        for authority in (certificates.other, certificates.ours)
    )

    async def body() -> None:
        ca_file.write_bytes(wrong)
        tls = Tls(ca_file=str(ca_file))
        async with a_server(server_context(certificates.server)) as far, a_network() as network:
            recorder = Recorder()
            way = road("tls", far.address, tls=tls)
            assert await network.open(way, "a", recorder, patience_s=PATIENCE_S) is None
            ca_file.write_bytes(right)
            os.utime(ca_file, ns=(1, 1))
            await opened(network, way)

    run(body)
