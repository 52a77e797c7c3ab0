"""Phones that answer: pjsip in a child process, and baresip."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Final

import pytest

from components.certificates import Certificate
from components.peer import Peer
from components.ports import free_port, is_bound
from components.process import HERE, Bench, Place, program

_PJSUA_PROGRAM: Final = Path(__file__).parent / "pjsua_phone.py"
_BARESIP_MODULES: Final = Path("/usr/lib/baresip/modules")
_BARESIP_SIGNALS_READY: Final = "baresip is ready"


def start_pjsua(
    bench: Bench,
    *,
    transport: str = "udp",
    loopback: bool = True,
    code: int = 200,
    bye_after_s: float = 0.5,
    certificate: Certificate | None = None,
    clients_from: Path | None = None,
    place: Place = HERE,
) -> Peer:
    """Start pjsip as an automatic phone (TLS at most 1.2).

    With ``loopback`` it answers as a mirror and plays back what it hears. It knows ``sip:``
    Request-URIs only and drops a URN without a word: put Kamailio with ``rewrite_to`` in front.
    """
    if importlib.util.find_spec("pjsua2") is None:
        pytest.fail("pjsua2 is missing: pip install pjsua2-python (Python 3.12 or older)")
    port = free_port()
    tls: dict[str, object] = {}
    if certificate:
        tls |= {"certFile": str(certificate.cert_file), "privKeyFile": str(certificate.key_file)}
    if clients_from:
        tls |= {"CaListFile": str(clients_from), "verifyClient": True, "requireClientCert": True}
    settings = {
        "host": place.address,
        "port": port,
        "media_port": free_port(run=8),
        "transport": transport,
        "loopback": loopback,
        "code": code,
        "bye_after_s": bye_after_s,
        "tls": tls,
    }
    argv = [sys.executable, str(_PJSUA_PROGRAM), json.dumps(settings)]
    running = bench.start("pjsua", argv, place=place)
    running.wait_until(lambda: "READY" in running.output, f"listens on {port}/{transport}")
    return Peer(place.address, port, transport, running)


def start_baresip(
    bench: Bench, *, certificate: Certificate | None = None, place: Place = HERE
) -> Peer:
    """Start baresip as a phone somebody left on auto-answer: UDP and TCP, or TLS.

    It rings, answers, and knows no loopback: a test call that reaches it must end as unsafe.
    It answers a URN with 404: put Kamailio with ``rewrite_to`` in front to make it ring.
    """
    folder = bench.new_folder("baresip")
    plain_port = free_port(run=2)  # baresip takes the port above it for TLS
    port, transport = (plain_port + 1, "tls") if certificate else (plain_port, "udp")
    rtp_port = free_port(run=10)
    lines = [
        f"sip_listen {place.address}:{plain_port}",
        f"net_interface {place.address}",
        f"module_path {_BARESIP_MODULES}",
        *(f"module {name}.so" for name in ("g711", "aubridge")),
        *(f"module_app {name}.so" for name in ("account", "menu")),
        *(f"audio_{name} aubridge,{name}" for name in ("player", "source", "alert")),
        f"rtp_ports {rtp_port}-{rtp_port + 9}",
        *([f"sip_certificate {certificate.bundle_file}"] if certificate else []),
    ]
    (folder / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")
    account = f"<sip:psap@{place.address}:{port}>;regint=0;answermode=auto\n"
    (folder / "accounts").write_text(account, encoding="utf-8")
    (folder / "contacts").write_text("", encoding="utf-8")
    argv = [program("baresip"), "-f", str(folder), "-v"]
    running = bench.start("baresip", argv, folder=folder, place=place)
    running.wait_until(
        lambda: _BARESIP_SIGNALS_READY in running.output and is_bound(running.pid, transport, port),
        f"listens on {port}/{transport}",
    )
    return Peer(place.address, port, transport, running)
