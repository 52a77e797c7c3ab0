"""The bench proves itself: each component does what the live tests will rely on."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.by_hand import TEST_URN, Heard, Question, ask
from components.capture import Capture
from components.certificates import Authority
from components.daemon import Daemon
from components.firewall import FIREWALL_OUTER, INSIDE, INSIDE_V6, SIP_PORT, Laboratory
from components.inbox import Inbox, fetch
from components.kamailio import PASSWORD, USERNAME, Kamailio, Tls
from components.monitoring import Alertmanager, Prometheus
from components.peer import Peer
from components.process import Bench, program
from components.sipp import finished_calls
from components.waiting import until

OK_OPTIONS = "200 OPTIONS"
OK_INVITE = "200 INVITE"


def options(peer: Peer, **more: object) -> Heard:
    """Send OPTIONS to a peer."""
    return ask(Question(peer.host, peer.port, peer.transport, **more))  # type: ignore[arg-type]


def call(peer: Peer, *, uri: str = TEST_URN, **more: object) -> Heard:
    """Place a test call to a peer."""
    return ask(
        Question(peer.host, peer.port, peer.transport, "INVITE", uri, **more)  # type: ignore[arg-type]
    )


class TestSipp:
    """SIPp as an answering point."""

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_answers_options(self, sipp: Callable[..., Peer], transport: str) -> None:
        """SIPp answers OPTIONS with 200."""
        assert options(sipp(transport=transport)).starts == [OK_OPTIONS]

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_mirror_ends_the_call(self, sipp: Callable[..., Peer], transport: str) -> None:
        """An answering point answers as a mirror and hangs up after the ACK."""
        peer = sipp(transport=transport)
        heard = call(peer)
        assert heard.starts == [OK_INVITE, "BYE"]
        assert "a=loopback-mirror" in heard.messages[0]
        assert finished_calls(peer) == (1, 0)

    def test_patient_waits_for_bye(self, sipp: Callable[..., Peer]) -> None:
        """The patient scenario ends with our BYE."""
        peer = sipp("patient")
        assert call(peer, bye=True).starts == [OK_INVITE, "200 BYE"]
        assert finished_calls(peer) == (1, 0)

    def test_plain_phone_has_no_loopback(self, sipp: Callable[..., Peer]) -> None:
        """The no_loopback scenario answers without a loopback attribute."""
        heard = call(sipp("no_loopback"), bye=True)
        assert heard.starts == [OK_INVITE, "200 BYE"]
        assert "loopback" not in heard.messages[0]

    def test_ringing_rings(self, sipp: Callable[..., Peer]) -> None:
        """The ringing scenario sends 180 and no final response."""
        assert call(sipp("ringing")).starts == ["180 INVITE"]

    def test_busy_refuses(self, sipp: Callable[..., Peer]) -> None:
        """The busy scenario refuses with 486 and takes our ACK."""
        peer = sipp("busy")
        assert call(peer).starts == ["486 INVITE"]
        assert finished_calls(peer) == (1, 0)


class TestKamailio:
    """Kamailio as answering point, gatekeeper and proxy."""

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_answers(self, kamailio: Callable[..., Kamailio], transport: str) -> None:
        """Kamailio answers OPTIONS, and INVITE as a mirror that waits for our BYE."""
        peer = kamailio().peer(transport)
        assert options(peer).starts == [OK_OPTIONS]
        heard = call(peer, bye=True)
        assert heard.starts == [OK_INVITE, "200 BYE"]
        assert "a=loopback-mirror" in heard.messages[0]

    def test_answers_over_tls(
        self, kamailio: Callable[..., Kamailio], authority: Authority
    ) -> None:
        """Kamailio answers over TLS with a certificate of the bench's authority."""
        certificate = authority.issue(uris=["sip:psap.test"])
        peer = kamailio(tls=Tls(certificate)).peer("tls")
        assert options(peer, tls={"ca_file": str(authority.ca_file)}).starts == [OK_OPTIONS]

    def test_asks_for_a_client_certificate(
        self, kamailio: Callable[..., Kamailio], authority: Authority
    ) -> None:
        """With mutual TLS a caller without certificate hears nothing; one with it is answered."""
        server, client = authority.issue("psap"), authority.issue("prober")
        peer = kamailio(tls=Tls(server, clients_from=authority.ca_file)).peer("tls")
        trust = {"ca_file": str(authority.ca_file)}
        with_certificate = trust | {
            "cert_file": str(client.cert_file),
            "key_file": str(client.key_file),
        }
        assert options(peer, tls=with_certificate).starts == [OK_OPTIONS]
        refused = options(peer, tls=trust)
        assert refused.messages == []
        assert "CERTIFICATE_REQUIRED" in refused.error.upper()

    @pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
    @pytest.mark.parametrize("code", [401, 407])
    @pytest.mark.parametrize("ask_it", [options, call], ids=["OPTIONS", "INVITE"])
    def test_challenges(
        self,
        kamailio: Callable[..., Kamailio],
        algorithm: str,
        code: int,
        ask_it: Callable[..., Heard],
    ) -> None:
        """Kamailio asks for digest credentials, takes the right ones and refuses wrong ones."""
        peer = kamailio(digest=algorithm, challenge=code).plain
        right = ask_it(peer, username=USERNAME, password=PASSWORD)
        assert [start.split()[0] for start in right.starts] == [str(code), "200"]
        assert f"algorithm={algorithm}" in right.messages[0]
        wrong = ask_it(peer, username=USERNAME, password="wrong")
        assert [start.split()[0] for start in wrong.starts] == [str(code), str(code)]

    def test_record_routes_to_sipp(
        self, kamailio: Callable[..., Kamailio], sipp: Callable[..., Peer]
    ) -> None:
        """Through the record-routing proxy ACK and BYE reach the far end by the route set."""
        far_end = sipp("patient")
        proxy = kamailio(forward_to=far_end).plain
        heard = call(proxy, bye=True)
        assert OK_INVITE in heard.starts
        assert heard.starts[-1] == "200 BYE"
        assert any("Record-Route:" in message for message in heard.messages)
        assert finished_calls(far_end) == (1, 0)


class TestPhones:
    """Phones that answer by themselves."""

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_pjsip_mirrors_and_hangs_up(
        self, pjsua: Callable[..., Peer], kamailio: Callable[..., Kamailio], transport: str
    ) -> None:
        """Behind a proxy that rewrites the URN, pjsip answers as a mirror and sends BYE."""
        phone = pjsua(transport=transport)
        front = kamailio(forward_to=phone, rewrite_to=phone.uri).plain
        heard = call(front)
        assert OK_INVITE in heard.starts
        assert heard.starts[-1] == "BYE"
        assert "a=loopback-mirror" in next(m for m in heard.messages if "m=audio" in m)

    def test_pjsip_over_tls(self, pjsua: Callable[..., Peer], authority: Authority) -> None:
        """Over TLS pjsip answers OPTIONS."""
        phone = pjsua(transport="tls", certificate=authority.issue())
        assert options(phone, tls={"ca_file": str(authority.ca_file)}).starts == [OK_OPTIONS]

    def test_pjsip_drops_a_urn(self, pjsua: Callable[..., Peer]) -> None:
        """Called directly with a URN pjsip says nothing at all, which is why it needs the proxy."""
        assert call(pjsua()).starts == []

    def test_baresip_rings_and_answers(
        self, baresip: Callable[..., Peer], kamailio: Callable[..., Kamailio]
    ) -> None:
        """A phone on auto-answer rings and answers without loopback: what a test must not meet."""
        phone = baresip()
        front = kamailio(forward_to=phone, rewrite_to=phone.uri).plain
        heard = call(front, bye=True)
        assert "180 INVITE" in heard.starts
        assert OK_INVITE in heard.starts
        assert "loopback" not in next(m for m in heard.messages if "m=audio" in m)

    def test_baresip_refuses_a_urn(self, baresip: Callable[..., Peer]) -> None:
        """Called directly with a URN baresip answers 404."""
        assert "404 INVITE" in call(baresip()).starts


class TestMonitoring:
    """Alertmanager, Prometheus and the inbox."""

    def test_alertmanager_tells_the_inbox(
        self, alertmanager: Callable[..., Alertmanager], inbox: Inbox
    ) -> None:
        """Alertmanager takes an alert, lists it, and passes it on to the webhook."""
        manager = alertmanager(webhook_url=inbox.url)
        assert manager.post({"labels": {"alertname": "CallsBlocked", "scope": "firewall"}}) == 200
        assert [alert["labels"]["scope"] for alert in manager.alerts("CallsBlocked")] == [
            "firewall"
        ]
        assert manager.alerts("Misrouted") == []
        until(lambda: inbox.posted, 10, "Alertmanager tells the inbox")
        told = inbox.posted[0].json()
        assert told["alerts"][0]["labels"]["alertname"] == "CallsBlocked"

    def test_prometheus_scrapes_and_answers(
        self, alertmanager: Callable[..., Alertmanager], prometheus: Callable[..., Prometheus]
    ) -> None:
        """Prometheus scrapes a target, evaluates rules and sends their alerts."""
        manager = alertmanager()
        rules = "groups: [{name: g, rules: [{alert: Seen, expr: up == 1, labels: {road: rules}}]}]"
        server = prometheus([manager.url], rules_text=rules, alertmanager=manager)
        until(lambda: server.query("alertmanager_build_info"), 10, "a scrape")
        assert [target["health"] for target in server.targets()] == ["up"]
        until(lambda: manager.alerts("Seen"), 15, "the rule's alert at Alertmanager")

    def test_inbox_answers_as_told(self, inbox: Inbox) -> None:
        """The inbox keeps what was posted and answers with the status that the test sets."""
        inbox.status = 503
        assert fetch(f"{inbox.url}/hook", body={"version": "1"}).status == 503
        assert [posted.path for posted in inbox.posted] == ["/hook"]
        assert inbox.posted[0].json() == {"version": "1"}


class TestCapture:
    """Tshark's eyes."""

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_decodes_a_call(
        self,
        laboratory: Laboratory,
        sipp: Callable[..., Peer],
        capture: Callable[..., Capture],
        transport: str,
    ) -> None:
        """A captured call shows each message once, in order, with its fields."""
        inside = laboratory.inside  # where capturing needs no root
        peer = sipp("patient", transport=transport, place=inside)
        captured = capture([peer], place=inside)
        question = Question(peer.host, peer.port, transport, "INVITE", TEST_URN, bye=True)
        ask(question, inside.prefix)
        seen = captured.stop()
        assert [message.method or message.status for message in seen] == [
            "INVITE",
            200,
            "ACK",
            "BYE",
            200,
        ]
        assert seen[0].uri == TEST_URN
        assert seen[0].destination == f"{peer.host}:{peer.port}"
        assert {message.call_id for message in seen} == {seen[0].call_id}
        assert {message.transport for message in seen} == {transport}
        assert [message.cseq_method for message in seen][-1] == "BYE"
        assert not any(message.is_malformed for message in seen)

    def test_leaves_out_strangers_with_the_number_of_a_port(
        self, sipp: Callable[..., Peer], capture: Callable[..., Capture]
    ) -> None:
        """What listens over TCP leaves its number to anybody's datagrams: they are not captured."""
        peer = sipp("patient", transport="tcp")
        captured = capture([peer])
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.bind((peer.host, peer.port))
            stranger.sendto(b"OPTIONS sip:nobody SIP/2.0\r\nCall-ID: 1\r\n\r\n", (peer.host, 7))
        assert options(peer).starts == [OK_OPTIONS]
        assert {message.transport for message in captured.stop()} == {"tcp"}


class TestCertificates:
    """The authority's certificates hold in other people's eyes."""

    def test_openssl_verifies(self, authority: Authority) -> None:
        """OpenSSL verifies a certificate of the authority and reads its names."""
        issued = authority.issue("psap", dns=["psap.test"], uris=["sip:psap.test"])
        verify = [program("openssl"), "verify", "-CAfile", str(authority.ca_file)]
        assert _said([*verify, str(issued.cert_file)]).strip().endswith(": OK")
        show = [program("openssl"), "x509", "-noout", "-ext", "subjectAltName", "-in"]
        names = _said([*show, str(issued.cert_file)])
        assert "DNS:psap.test" in names
        assert "URI:sip:psap.test" in names

    def test_openssl_sees_expiry(self, authority: Authority) -> None:
        """A certificate issued with a negative life has expired."""
        issued = authority.issue(valid_for=dt.timedelta(days=-1))
        check = [program("openssl"), "x509", "-noout", "-checkend", "0", "-in"]
        done = subprocess.run(
            [*check, str(issued.cert_file)], check=False, capture_output=True, text=True
        )
        assert done.returncode == 1, done.stdout


class TestFirewall:
    """The three namespaces and their rules."""

    @pytest.fixture
    def psap(self, laboratory: Laboratory, sipp: Callable[..., Peer]) -> Peer:
        """An answering point inside."""
        return sipp("patient", place=laboratory.inside, port=SIP_PORT)

    @staticmethod
    def options_to(laboratory: Laboratory, host: str, transport: str = "udp") -> Heard:
        """Send OPTIONS from outside."""
        return ask(Question(host, SIP_PORT, transport), laboratory.outside.prefix)

    @staticmethod
    def call_to(laboratory: Laboratory, host: str) -> Heard:
        """Place a call from outside."""
        question = Question(host, SIP_PORT, "udp", "INVITE", TEST_URN, bye=True)
        return ask(question, laboratory.outside.prefix)

    def test_passes_without_rules(self, laboratory: Laboratory, psap: Peer) -> None:
        """Without a rule OPTIONS and calls pass, to the responder and to every PSAP address."""
        assert psap.host == INSIDE
        assert self.options_to(laboratory, INSIDE).starts == [OK_OPTIONS]
        assert self.call_to(laboratory, INSIDE).starts == [OK_INVITE, "200 BYE"]
        for address in ("198.18.0.1", "198.18.7.204"):
            assert self.options_to(laboratory, address).starts == [OK_OPTIONS]

    def test_passes_ipv6(self, laboratory: Laboratory) -> None:
        """IPv6 crosses the firewall too: a closed port refuses, where no route would be silent."""
        heard = self.options_to(laboratory, INSIDE_V6, "tcp")
        assert "ConnectionRefused" in heard.error

    def test_drop_is_silence(self, laboratory: Laboratory, psap: Peer) -> None:
        """A drop rule makes silence, its counter moves, and lifting it lets OPTIONS pass again."""
        with laboratory.rule(f"udp dport {psap.port} counter drop") as rule:
            heard = self.options_to(laboratory, INSIDE)
            assert (heard.starts, heard.error) == ([], "")
            assert rule.packets == 1
            rule.lift()
            assert self.options_to(laboratory, INSIDE).starts == [OK_OPTIONS]

    def test_reject_names_its_sender(self, laboratory: Laboratory, psap: Peer) -> None:
        """Admin-prohibited reaches the sender's error queue with the firewall's address."""
        with laboratory.rule(f"udp dport {psap.port} counter reject with icmpx admin-prohibited"):
            heard = self.options_to(laboratory, INSIDE)
        assert heard.icmp == (3, 13, FIREWALL_OUTER)

    def test_invite_only_drop(self, laboratory: Laboratory, psap: Peer) -> None:
        """A rule on the method's octets loses INVITE and lets OPTIONS pass."""
        rule = f"udp dport {psap.port} @th,64,48 0x494e56495445 counter drop"
        with laboratory.rule(rule):
            assert self.options_to(laboratory, INSIDE).starts == [OK_OPTIONS]
            assert self.call_to(laboratory, INSIDE).starts == []

    def test_tcp_reset(self, laboratory: Laboratory) -> None:
        """A reset rule refuses connections."""
        with laboratory.rule(f"tcp dport {SIP_PORT} counter reject with tcp reset"):
            heard = self.options_to(laboratory, INSIDE, "tcp")
        assert "ConnectionRefused" in heard.error

    def test_rule_that_meets_nothing_fails(self, laboratory: Laboratory) -> None:
        """A rule that no packet met fails the test that believed in it."""
        with (
            pytest.raises(AssertionError, match="no packet ever met"),
            laboratory.rule("udp dport 5999 counter drop"),
        ):
            pass

    def test_mistyped_rule_fails(self, laboratory: Laboratory) -> None:
        """A mistyped rule fails when it is loaded."""
        with (
            pytest.raises(AssertionError, match="failed"),
            laboratory.rule("udp dprt 5060 counter drop"),
        ):
            pass

    def test_capture_before_the_firewall(
        self, laboratory: Laboratory, psap: Peer, capture: Callable[..., Capture]
    ) -> None:
        """A capture on the firewall's outer side sees what it then drops."""
        outer = capture(
            [psap],
            interface="outer",
            place=laboratory.firewall,
            neighbour=laboratory.outside.address,
        )
        with laboratory.rule(f"udp dport {psap.port} counter drop"):
            self.options_to(laboratory, INSIDE)
        assert [message.method for message in outer.stop()] == ["OPTIONS"]

    def test_web_page_inside_a_namespace(
        self, laboratory: Laboratory, bench: Bench, tmp_path: Path
    ) -> None:
        """A web server on a namespace's own loopback is reached from here by a relay."""
        (tmp_path / "page").write_text("from outside", encoding="ascii")
        server = [
            *(program("python3"), "-m", "http.server", "--bind", "127.0.0.1"),
            *("--directory", str(tmp_path), "9911"),
        ]
        bench.start("web", server, place=laboratory.outside)
        base_url = laboratory.reach(laboratory.outside, 9911)
        until(lambda: fetch(f"{base_url}/page").text == "from outside", 10, "the page")

    def test_names_stay_inside(self, laboratory: Laboratory) -> None:
        """The namespaces have names only where the laboratory's processes look."""
        listing = [program("ip"), "netns", "list"]
        assert "inside" in laboratory.run(laboratory.outside, listing)
        assert "inside" not in _said(listing)

    def test_nothing_is_left(self, laboratory: Laboratory, bench: Bench) -> None:
        """When the holder has ended, its namespaces can no longer be entered."""
        holder = next(running for running in bench.running if running.name == "namespaces")
        holder.end()
        with pytest.raises(AssertionError, match="failed"):
            laboratory.run(laboratory.inside, ["true"])


class TestDaemonFixture:
    """The daemon's fixture, proved on a stand-in that serves /-/ready and obeys SIGTERM."""

    STAND_IN = """#!{python}
import argparse, http.server, pathlib, signal, sys
parser = argparse.ArgumentParser()
for name in ("command", "--config", "--listen", "--log-format"):
    parser.add_argument(name)
settings = parser.parse_args()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        metrics = 'a_total{{x="1"}} 2\\na_total{{x="2"}} 3\\n'
        body = (metrics if self.path == "/metrics" else "{{}}").encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
def leave(*_):
    sys.exit(int("exit 7" in pathlib.Path(settings.config).read_text()) * 7)
signal.signal(signal.SIGTERM, leave)
host, _, port = settings.listen.rpartition(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""

    @pytest.fixture(autouse=True)
    def stand_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the stand-in where the daemon would be."""
        program_file = tmp_path / "psapwatch"
        program_file.write_text(self.STAND_IN.format(python=sys.executable), encoding="utf-8")
        program_file.chmod(0o755)
        monkeypatch.setattr("components.daemon.PROGRAM", program_file)

    def test_starts_reads_and_ends(self, daemon: Callable[..., Daemon]) -> None:
        """The daemon is ready when handed over; its JSON and metrics are read, and it ends well."""
        running = daemon("store: {path: FOLDER/x.db}")
        assert f"{running.config.parent}/x.db" in running.config.read_text(encoding="utf-8")
        assert running.json("/api/v1/status") == {}
        assert running.samples("a_total", {"x": "2"}) == {"x=2": 3.0}
        assert running.total("a_total") == 5.0
        running.end()

    def test_bad_end_fails(self, daemon: Callable[..., Daemon]) -> None:
        """An exit code other than 0 after SIGTERM fails the test."""
        running = daemon("exit 7")
        with pytest.raises(AssertionError, match="ended with 7"):
            running.end()

    def test_killed_daemon_is_not_asked_for_its_exit_code(
        self, daemon: Callable[..., Daemon]
    ) -> None:
        """A test may kill the daemon and start it again on the same folder."""
        first = daemon("a: 1")
        first.kill()
        second = daemon("a: 2", folder=first.config.parent)
        assert second.config == first.config

    def test_reached_in_a_namespace(
        self, daemon: Callable[..., Daemon], laboratory: Laboratory
    ) -> None:
        """A daemon outside the firewall is reached from here all the same."""
        running = daemon("a: 1", place=laboratory.outside, laboratory=laboratory)
        assert running.json("/api/v1/status") == {}


class TestProcesses:
    """The bench's own grip on its components."""

    def test_early_end_shows_the_log(self, bench: Bench) -> None:
        """A component that ends before it is ready fails with its output, not with a time-out."""
        running = bench.start("talker", ["sh", "-c", "echo no such luck; exit 3"])
        with pytest.raises(AssertionError, match=r"ended with 3:\n.*no such luck"):
            running.wait_until(lambda: False, "is ready")

    def test_missing_component_names_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing component fails, and says which package brings it."""
        monkeypatch.setattr("components.process.SYSTEM_PATH", "/nonexistent")
        with pytest.raises(pytest.fail.Exception, match="install sip-tester"):
            program("sipp")

    def test_stubborn_component_is_killed(self, bench: Bench) -> None:
        """What does not end in time is killed, and the test is told."""
        running = bench.start(
            "stubborn", ["sh", "-c", "trap '' TERM; echo on; sleep 60 & wait; wait"]
        )
        until(lambda: "on" in running.output, 5, "the trap")
        with pytest.raises(AssertionError, match="did not end within"):
            running.end(within_s=0.2)
        assert running.exit_code is not None


def _said(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
