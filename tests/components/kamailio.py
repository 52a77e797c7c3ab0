"""Kamailio: answers by itself, asks for credentials, or record-routes to a phone behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pytest

from components.certificates import Certificate
from components.peer import Peer
from components.ports import free_port, is_bound
from components.process import HERE, Bench, Place, program

REALM: Final = "psap.test"
USERNAME: Final = "prober"
PASSWORD: Final = "correct horse"
_MODULES: Final = ("sl", "tm", "rr", "pv", "maxfwd", "textops", "siputils", "auth", "xlog")


@dataclass(frozen=True, slots=True)
class Tls:
    """Our certificate, and the authority that a client's must come from, if one is asked for."""

    certificate: Certificate
    clients_from: Path | None = None
    method: str = "TLSv1.2+"


@dataclass(frozen=True, slots=True)
class Kamailio:
    """A running Kamailio: one port for UDP and TCP, one for TLS (0 without)."""

    plain: Peer
    secure: Peer | None

    def peer(self, transport: str) -> Peer:
        """Where it listens for a transport."""
        if transport != "tls":
            return Peer(self.plain.host, self.plain.port, transport, self.plain.running)
        assert self.secure is not None, "started without TLS"
        return self.secure


def start_kamailio(
    bench: Bench,
    *,
    place: Place = HERE,
    digest: Literal["MD5", "SHA-256"] | None = None,
    challenge: Literal[401, 407] = 407,
    tls: Tls | None = None,
    forward_to: Peer | None = None,
    rewrite_to: str | None = None,
) -> Kamailio:
    """Start Kamailio.

    By itself it answers OPTIONS and INVITE with 200, the INVITE with ``a=loopback-mirror``, and
    waits for our BYE. ``forward_to`` makes it a record-routing proxy in front of another peer;
    ``rewrite_to`` replaces the Request-URI of new requests on the way, as an ESInet may do and as
    phones need that know no URN. ``digest`` asks for credentials (``USERNAME``, ``PASSWORD``).
    """
    folder = bench.new_folder("kamailio")
    port = free_port()
    tls_port = free_port() if tls else 0
    config = folder / "kamailio.cfg"
    sections = [
        _core(place.address, port, tls_port),
        *([_tls_settings(tls)] if tls else []),
        f'modparam("auth", "algorithm", "{digest or ""}")\nmodparam("auth", "qop", "auth")',
        "request_route {",
        _in_dialog(forward_to),
        *([_challenge(challenge)] if digest else []),
        _relay(forward_to, rewrite_to) if forward_to else _ANSWER,
        "}",
    ]
    config.write_text("\n".join(sections) + "\n", encoding="utf-8")
    argv = [
        *(program("kamailio"), "-DD", "-E", "-f", str(config), "-P", str(folder / "pid")),
        *("-Y", str(folder), "-m", "64", "-M", "8"),
    ]
    running = bench.start("kamailio", argv, folder=folder, place=place)
    ports = [("udp", port), ("tcp", port), *([("tls", tls_port)] if tls else [])]
    running.wait_until(
        lambda: all(is_bound(running.pid, transport, number) for transport, number in ports),
        f"listens on {ports}",
    )
    secure = Peer(place.address, tls_port, "tls", running) if tls else None
    return Kamailio(Peer(place.address, port, "udp", running), secure)


def _core(host: str, port: int, tls_port: int) -> str:
    modules = "\n".join(f'loadmodule "{name}.so"' for name in _MODULES)
    tls_lines = f'enable_tls=yes\nlisten=tls:{host}:{tls_port}\nloadmodule "tls.so"'
    return f"""\
debug=0
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
tcp_connection_lifetime=300
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
mpath="{_module_folder()}"
{modules}
{tls_lines if tls_port else ""}"""


def _tls_settings(tls: Tls) -> str:
    if not (Path(_module_folder()) / "tls.so").exists():
        pytest.fail("Kamailio's tls.so is missing: install kamailio-tls-modules")
    values: dict[str, object] = {
        "tls_method": tls.method,
        "certificate": tls.certificate.cert_file,
        "private_key": tls.certificate.key_file,
    }
    lines = [f'modparam("tls", "{name}", "{value}")' for name, value in values.items()]
    if tls.clients_from:
        lines += [
            f'modparam("tls", "ca_list", "{tls.clients_from}")',
            'modparam("tls", "verify_certificate", 1)',
            'modparam("tls", "require_certificate", 1)',
        ]
    return "\n".join(lines)


def _module_folder() -> str:
    program("kamailio")
    return str(next(Path("/usr/lib").glob("*/kamailio/modules"), "/usr/lib/kamailio/modules"))


def _in_dialog(forward_to: Peer | None) -> str:
    """What comes within a dialog: routed on by a proxy, answered by an end."""
    if forward_to is None:
        return """\
    if (is_method("ACK|CANCEL")) { exit; }
    if (has_totag()) { sl_send_reply("200", "OK"); exit; }"""
    return """\
    if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK") && t_check_trans()) { t_relay(); exit; }
        xlog("L_WARN", "BENCH: $rm in a dialog came without our Route\\n");
        if (!is_method("ACK")) { sl_send_reply("404", "Not Here"); }
        exit;
    }
    t_check_trans();"""


def _challenge(code: int) -> str:
    kind = "www" if code == 401 else "proxy"
    return f"""\
    if (!pv_{kind}_authenticate("{REALM}", "{PASSWORD}", "0")) {{
        {kind}_challenge("{REALM}", "1");
        exit;
    }}
    if ($au != "{USERNAME}") {{ sl_send_reply("403", "Forbidden"); exit; }}
    consume_credentials();"""


_ANSWER: Final = """\
    if (is_method("INVITE")) {
        append_to_reply("Contact: <sip:psap@$Ri:$Rp;transport=$(pr{s.tolower})>\\r\\n");
        set_reply_body("v=0\\r\\no=- 1 1 IN IP4 $Ri\\r\\ns=-\\r\\nc=IN IP4 $Ri\\r\\nt=0 0\\r\\nm=audio 9 RTP/AVP 0\\r\\na=rtpmap:0 PCMU/8000\\r\\na=loopback:rtp-media-loopback\\r\\na=loopback-mirror\\r\\n", "application/sdp");
    }
    sl_send_reply("200", "OK");"""  # noqa: E501 - the SDP is one string of Kamailio's own language


def _relay(forward_to: Peer, rewrite_to: str | None) -> str:
    rewrite = f'$ru = "{rewrite_to}";' if rewrite_to else ""
    return f"""\
    if (!mf_process_maxfwd_header("70")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    {rewrite}
    record_route();
    $du = "sip:{forward_to.authority};transport={forward_to.transport}";
    t_relay();"""
