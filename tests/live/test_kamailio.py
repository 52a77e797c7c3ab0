"""OPTIONS and test calls against Kamailio: every transport, digest, and as a proxy on the way."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from components.capture import Capture, decode
from components.certificates import Authority
from components.daemon import Daemon
from components.kamailio import PASSWORD, USERNAME, Kamailio, Tls
from components.ladder import (
    ANSWERED,
    ASKED,
    ONLY_THE_TEST_URN,
    all_well_formed,
    called_uris,
    ladders,
    steps,
)
from components.peer import Peer
from components.sipp import finished_calls
from components.watching import outcomes, watching

_KEEPS_KEYS: Final = """\
import os, ssl
_plain = ssl.SSLContext.__new__
def _new(cls, *words, **more):
    context = _plain(cls, *words, **more)
    context.keylog_filename = os.environ["BENCH_KEYLOG"]
    return context
ssl.SSLContext.__new__ = _new
"""
"""A ``sitecustomize`` that writes down the session keys: the daemon itself never does."""


@pytest.fixture
def keylog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the daemon's TLS keys are written, so that tshark can read along."""
    keylog = tmp_path / "keys.log"
    (tmp_path / "sitecustomize.py").write_text(_KEEPS_KEYS, encoding="utf-8")
    monkeypatch.setenv("BENCH_KEYLOG", str(keylog))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    return keylog


def wait_for_rounds(watch: Daemon, psaps: int, rounds: int = 2) -> None:
    """Wait until each PSAP had this many calls and OPTIONS."""
    watch.wait_for(
        lambda: (
            watch.total("psapwatch_calls_ended_total") >= psaps * rounds
            and watch.total("psapwatch_attempts_total", {"check": "keepalive"}) >= psaps * rounds
        ),
        10,
        f"{rounds} rounds",
    )


def test_udp_and_tcp(
    kamailio: Callable[..., Kamailio],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
) -> None:
    """Over UDP and TCP each call is INVITE, 200, ACK, BYE, 200: nothing is sent twice."""
    server = kamailio()
    captured = capture([server.peer(name) for name in ("udp", "tcp")])
    watch = daemon(watching({name: server.peer(name).uri for name in ("udp", "tcp")}))
    wait_for_rounds(watch, 2)
    assert set(outcomes(watch)) == {"pass"}
    assert watch.total("psapwatch_internal_errors_total") == 0
    watch.end()
    seen = captured.stop()
    assert all_well_formed(seen)
    assert called_uris(seen) == ONLY_THE_TEST_URN
    for transport in ("udp", "tcp"):
        messages = [message for message in seen if message.transport == transport]
        conversations = ladders(messages, server.plain)
        assert {steps(ladder) for ladder in conversations} == {ANSWERED, ASKED}


def test_tls_and_mutual_tls(
    kamailio: Callable[..., Kamailio],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    authority: Authority,
    keylog: Path,
) -> None:
    """Over TLS and mutual TLS the calls go as over UDP, on few connections."""
    server, ours = authority.issue(uris=["sip:localhost"]), authority.issue("prober")
    trust = {"ca_file": str(authority.ca_file)}
    with_certificate = trust | {"cert_file": str(ours.cert_file), "key_file": str(ours.key_file)}
    plain = kamailio(tls=Tls(server)).peer("tls")
    mutual = kamailio(tls=Tls(server, clients_from=authority.ca_file)).peer("tls")
    captured = capture([plain, mutual])
    watch = daemon(
        watching(
            {
                "tls": {"uri": f"sip:localhost:{plain.port};transport=tls", "tls": trust},
                "mutual": {"uri": f"sips:localhost:{mutual.port}", "tls": with_certificate},
            }
        )
    )
    wait_for_rounds(watch, 2)
    assert set(outcomes(watch)) == {"pass"}
    assert watch.total("psapwatch_internal_errors_total") == 0
    expiry = watch.samples("psapwatch_certificate_expiry_timestamp_seconds")
    assert {dt.datetime.fromtimestamp(at, dt.UTC) for at in expiry.values()} == {server.not_after}
    watch.end()
    captured.stop()
    seen = decode(captured.file, captured.sip_ports, keylog=keylog)
    assert all_well_formed(seen)
    assert called_uris(seen) == ONLY_THE_TEST_URN
    for peer in (plain, mutual):
        conversations = ladders(seen, peer)
        assert {steps(ladder) for ladder in conversations} == {ANSWERED, ASKED}
        clients = {ladder[0].source for ladder in conversations}
        assert len(clients) < len(conversations), "what a call began is reused (RFC 5923)"


def test_bad_certificates_are_told_apart(
    kamailio: Callable[..., Kamailio], daemon: Callable[..., Daemon], authority: Authority
) -> None:
    """A wrong name, an expired one and our own missing certificate: three different verdicts."""
    trust = {"ca_file": str(authority.ca_file)}
    elsewhere = authority.issue(uris=["sip:elsewhere.test"])
    expired = authority.issue(uris=["sip:localhost"], valid_for=dt.timedelta(days=-1))
    good = authority.issue(uris=["sip:localhost"])
    servers = {
        "elsewhere": kamailio(tls=Tls(elsewhere)),
        "expired": kamailio(tls=Tls(expired)),
        "mutual": kamailio(tls=Tls(good, clients_from=authority.ca_file)),
    }
    paths = {
        name: {"uri": f"sips:localhost:{server.peer('tls').port}", "tls": trust}
        for name, server in servers.items()
    }
    watch = daemon(watching(paths, call=None))
    watch.wait_for(
        lambda: all(watch.total("psapwatch_attempts_total", {"psap": name}) for name in servers),
        10,
        "an attempt on each path",
    )
    shown = {
        path["psap"]: (path["checks"][0]["outcome"], path["checks"][0]["cause"])
        for path in watch.json("/api/v1/status")["paths"]
    }
    assert shown == {
        "elsewhere": ("fail", "tls_certificate"),
        "expired": ("fail", "tls_certificate"),
        "mutual": ("inconclusive", "prober_fault"),
    }


def test_digest(
    kamailio: Callable[..., Kamailio],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    tmp_path: Path,
) -> None:
    """MD5 and SHA-256, asked by 401 and by 407: answered once, and the calls go on as without."""
    secret, wrong = tmp_path / "password", tmp_path / "wrong"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    wrong.write_text("wrong\n", encoding="utf-8")
    for file in (secret, wrong):
        file.chmod(0o600)
    servers = {
        f"{algorithm}-{code}": kamailio(digest=algorithm, challenge=code).plain
        for algorithm in ("MD5", "SHA-256")
        for code in (401, 407)
    }
    captured = capture(list(servers.values()))
    auth = {"username": USERNAME, "password_file": str(secret)}
    paths = {name.lower(): {"uri": peer.uri, "auth": auth} for name, peer in servers.items()}
    refused = {
        "uri": servers["MD5-401"].uri,
        "auth": {"username": USERNAME, "password_file": str(wrong)},
    }
    watch = daemon(watching(paths | {"refused": refused}))
    wait_for_rounds(watch, 5)
    assert watch.total("psapwatch_internal_errors_total") == 0
    assert {outcome for name in paths for outcome in outcomes(watch, {"psap": name})} == {"pass"}
    assert set(outcomes(watch, {"psap": "refused"})) == {"inconclusive"}
    watch.end()
    seen = captured.stop()
    assert all_well_formed(seen)
    assert called_uris(seen) == ONLY_THE_TEST_URN
    for name, peer in servers.items():
        algorithm, code = name.rsplit("-", 1)
        asked = ("OPTIONS", f"{code} OPTIONS")
        called = ("INVITE", f"{code} INVITE", "ACK")
        found = {steps(ladder) for ladder in ladders(seen, peer)}
        by_refused = {asked * 2, called * 2} if name == "MD5-401" else set()
        assert found == {(*asked, *ASKED), (*called, *ANSWERED)} | by_refused
        answers = {
            value
            for ladder in ladders(seen, peer)
            for message in ladder
            for value in message.fields.get("sip.auth.algorithm", ())
            if message.method
        }
        assert {value.strip('"') for value in answers} == {algorithm}


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_through_a_record_routing_proxy(
    kamailio: Callable[..., Kamailio],
    sipp: Callable[..., Peer],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    authority: Authority,
    keylog: Path,
    transport: str,
) -> None:
    """ACK and BYE go to the far end by the route set, and the far end counts each call as ended."""
    far_end = sipp("patient", transport="udp" if transport == "tls" else transport)
    certificate = authority.issue(uris=["sip:localhost"])
    tls = Tls(certificate) if transport == "tls" else None
    proxy = kamailio(forward_to=far_end, tls=tls).peer(transport)
    captured = capture([proxy, far_end])
    uri = f"sip:psap@localhost:{proxy.port};transport={transport}"
    trust = {"ca_file": str(authority.ca_file)}
    watch = daemon(watching({"ma-boston": {"uri": uri, "tls": trust}}))
    wait_for_rounds(watch, 1)
    assert set(outcomes(watch)) == {"pass"}
    assert watch.total("psapwatch_internal_errors_total") == 0
    watch.end()
    seen = captured.stop()
    beyond = ladders(seen, far_end)
    near = (
        ladders(decode(captured.file, [proxy.port], keylog=keylog), proxy)
        if transport == "tls"
        else [
            [each for each in ladder if far_end.authority not in (each.source, each.destination)]
            for ladder in ladders(seen, proxy)
        ]
    )
    for hop in (near, beyond):
        messages = [message for ladder in hop for message in ladder]
        assert all_well_formed(messages)
        assert called_uris(messages) == ONLY_THE_TEST_URN
        assert {steps(ladder) for ladder in hop} == {ANSWERED, ASKED}
    for ladder in near:
        for message in ladder:
            if message.method in ("ACK", "BYE"):
                assert message.field("sip.Route"), f"{message} has no Route"
                assert message.uri.startswith(f"sip:psap@{far_end.authority}")
    assert finished_calls(far_end) == (len(beyond), 0)
