"""What a good configuration comes to, and what never leaves it: secrets."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.certificates import Authority
from config.configured import ROOT, load_plain, plain
from psapwatch.announced import Window
from psapwatch.config.errors import BadConfig
from psapwatch.config.load import load
from psapwatch.config.shape import Config, Detection, Dns
from psapwatch.endpoint import Address, Agreement, PortRange, Source
from psapwatch.endpoint import Path as SipPath
from psapwatch.web.users import hash_password


@pytest.fixture(scope="module")
def example() -> Config:
    """Return the documented example."""
    return load(str(ROOT / "config/psapwatch.yml"))


def with_east(**more: object) -> Config:
    """Load the small configuration with more keys of its firewall."""
    written = plain()
    written["firewalls"]["fw-east"] |= more
    return load_plain(written)


def with_path(uri: str) -> SipPath:
    """Load the small configuration with another path, and return that."""
    written = plain()
    written["psaps"][0]["paths"] = [{"firewall": "fw-east", "uri": uri}]
    return load_plain(written).paths[0]


def test_the_example_is_good(example: Config) -> None:
    """The documented example loads, its PSAP files with it."""
    assert [psap.id for psap in example.psaps] == [
        "ma-boston",
        "ma-cambridge",
        "ma-somerville",
        "ma-springfield",
        "ma-worcester",
        "ma-hadley",
    ]
    assert [firewall.id for firewall in example.firewalls] == ["fw-east", "fw-west"]
    assert [check.name for check in example.checks] == [
        "keepalive",
        "kept-flow",
        "test-call",
        "reference",
        "large-call",
        "late-answer",
    ]


def test_every_key_of_the_example_arrives(example: Config) -> None:
    """What the example writes is what the daemon gets, in seconds and octets."""
    boston = example.psaps[0]
    assert example.vantage == "boston-a"
    assert example.identity.from_uri == "sip:911-path-test@example.net"
    assert example.identity.reporter_phone == "+1 617 555 0199"
    assert example.web.listen == Address("127.0.0.1", 9911)
    assert example.dns == Dns((Address("192.0.2.53", 53),))
    assert example.firewalls[0].sources[0] == Source(
        "192.0.2.10",
        dscp=24,
        sip_ports=PortRange(20000, 29999),
        rtp_ports=PortRange(40000, 40999),
        witness="sip:ping@192.0.2.1",
    )
    assert boston.attributes == (("county", "Suffolk"), ("policy_group", "7"))
    assert boston.agreement == Agreement("MoU 2026-014", 300.0, (1, 1))
    assert (boston.expected_name, boston.alternates) == ("Boston PD", ("Cambridge ECC",))
    assert boston.location == (42.3601, -71.0589)
    assert example.detection == Detection(2, 3, 300.0, confirm=True)
    assert example.maintenance == (
        Window("firewall", "fw-west", 1796108400.0, 1796115600.0, "CHG-123"),
    )
    assert [sink.kind for sink in example.sinks] == ["alertmanager", "webhook"]


def test_checks_carry_their_probe_settings(example: Config) -> None:
    """A check's own keys and those of its probe go to their places, with their defaults."""
    keepalive, kept, call, reference, large, late = example.checks
    assert (keepalive.every_s, keepalive.give_up_after_s, keepalive.is_call) == (15.0, 4.0, False)
    assert (kept.flow, kept.give_up_after_s) == ("kept", 4.0)
    assert (call.give_up_after_s, call.settings.media, call.settings.location) == (8.0, True, True)
    assert (reference.on, reference.give_up_after_s) == ("reference", 8.0)
    assert (large.settings.location, late.settings.answer_after) == (True, 20.0)


def test_a_check_runs_on_its_kind_of_path(example: Config) -> None:
    """OPTIONS go everywhere; calls only where there is consent and no CAMA trunk."""
    keepalive, _, call, reference, *_ = example.checks
    assert example.watched(keepalive) == example.paths
    assert {path.key for path in example.watched(call)} == {
        "ma-boston/east",
        "ma-boston/west",
        "ma-cambridge/fw-east",
        "ma-springfield/fw-west",
    }
    assert [path.key for path in example.watched(reference)] == ["reference/fw-east"]


def test_the_reference_and_its_control_are_paths(example: Config) -> None:
    """Both lead to our responder, one through the firewall and one round it."""
    (reference,), (control,) = example.references, example.controls
    assert reference.uri == control.uri == "sip:ref-east.example.net"
    assert reference.leaves_from.address == "192.0.2.10"
    assert control.leaves_from.address == "198.51.100.7"
    assert control.key == "control/fw-east"


def test_a_psap_without_an_agreement_is_never_called() -> None:
    """No consent, no INVITE: a call check runs on nothing there."""
    written = plain()
    written["checks"]["test-call"] = {"probe": "call", "every": "5m"}
    written["psaps"].append({**written["psaps"][0], "id": "ma-hadley"})
    del written["psaps"][1]["test_calls"]
    config = load_plain(written)
    assert [path.psap.id for path in config.watched(config.checks[1])] == ["ma-boston"]


def test_a_legacy_gateway_is_never_called() -> None:
    """Of a PSAP with two paths, the CAMA gateway gets OPTIONS alone."""
    written = plain()
    written["checks"]["test-call"] = {"probe": "call", "every": "5m"}
    gateway = {
        "id": "gw",
        "firewall": "fw-east",
        "uri": "sip:gw7.example.gov",
        "kind": "legacy_gateway",
    }
    written["psaps"][0]["paths"].append(gateway)
    config = load_plain(written)
    assert [path.id for path in config.watched(config.checks[0])] == ["fw-east", "gw"]
    assert [path.id for path in config.watched(config.checks[1])] == ["fw-east"]


def test_each_next_hop_makes_a_path_of_its_own() -> None:
    """The first keeps the id, the others count on; the transport is the next hop's."""
    config = with_east(next_hops=["sip:bcf1.example.net;transport=tcp", "sip:bcf2.example.net"])
    assert [(path.id, path.next_hop, path.transport) for path in config.paths] == [
        ("fw-east", "sip:bcf1.example.net;transport=tcp", "tcp"),
        ("fw-east-2", "sip:bcf2.example.net", "udp"),
    ]


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("sip:psap1.example.gov", "udp"),
        ("sip:psap1.example.gov;transport=UDP", "udp"),
        ("sip:psap1.example.gov;transport=tcp;lr", "tcp"),
        ("sip:psap1.example.gov;transport=tls", "tls"),
        ("sips:psap1.example.gov", "tls"),
        ("sips:psap1.example.gov;transport=tcp", "tls"),
        ("SIPS:esinet@192.0.2.7:5061", "tls"),
    ],
)
def test_the_transport_is_what_the_uri_asks_for(uri: str, transport: str) -> None:
    """Sips is TLS whatever the transport parameter says; without one it is UDP. Text is kept."""
    path = with_path(uri)
    assert (path.transport, path.uri) == (transport, uri)


def test_a_literal_ipv6_path_leaves_from_an_ipv6_source() -> None:
    """Where the firewall's first source is of the other family, a matching one is used."""
    written = plain()
    written["firewalls"]["fw-east"]["sources"].append({"address": "2001:DB8::10"})
    written["psaps"][0]["paths"][0]["uri"] = "sip:[2001:db8::5]:5060"
    assert load_plain(written).paths[0].leaves_from.address == "2001:db8::10"


def test_defaults_are_those_of_the_contract() -> None:
    """A small configuration gets the documented defaults."""
    config = load_plain(plain())
    assert config.web.listen == Address("127.0.0.1", 9911)
    assert config.store.path == "/var/lib/psapwatch/psapwatch.db"
    assert config.store.keep_days == 730
    assert config.dns.servers == ()
    assert config.paths[0].id == "fw-east"
    assert config.firewalls[0].limits.concurrent_calls == 20
    assert config.psaps[0].agreement == Agreement("MoU 2026-014", 300.0, (1, 1))
    assert config.detection == Detection(fall=2, rise=3, clean_s=300.0, confirm=True)
    assert config.firewalls[0].tls.verify


def test_empty_sections_are_as_good_as_none() -> None:
    """A section with nothing in it has no entries."""
    config = load_plain(plain() | {"sinks": [], "maintenance": [], "psap_files": []})
    assert config.sinks == config.maintenance == ()
    written = plain()
    written["firewalls"]["fw-east"]["reference"] = "sip:ref.example.net"
    assert load_plain(written | {"psaps": []}).paths == ()


@pytest.mark.parametrize(
    ("agreement", "seconds"),
    [
        (Agreement("x", 300.0), 300.0),
        (Agreement("x", 300.0, (1, 2)), 1_200.0),
        (Agreement("x", 30.0), 120.0),
        (Agreement("x", 30.0, short_interval_agreed=True), 30.0),
    ],
)
def test_calls_of_a_vantage_are_apart_by_its_agreement(
    agreement: Agreement, seconds: float
) -> None:
    """The spacing holds over all vantages, and nothing but an agreement goes below two minutes."""
    assert agreement.round_s == seconds


def test_passwords_come_from_files_and_show_nowhere(tmp_path: Path) -> None:
    """The first line of the file is the password; no repr of anything shows it."""
    (tmp_path / "password").write_text("s3cret-of-the-esinet\nsecond line\n")
    written = plain()
    auth = {"username": "probe", "password_file": "password"}
    written["firewalls"]["fw-east"]["auth"] = auth
    written["psaps"][0]["paths"][0]["auth"] = auth
    config = load_plain(written, str(tmp_path / "psapwatch.yml"))
    for credentials in (config.firewalls[0].auth, config.paths[0].auth):
        assert credentials is not None
        assert credentials.password == "s3cret-of-the-esinet"
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no password on its first line"),
        (b"\npassword\n", "holds no password on its first line"),
        (b"\xff\xfe\n", "is not UTF-8 text"),
        (b"x" * 5000, "is larger than 4096 octets: no password"),
    ],
)
def test_a_file_that_holds_no_password_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    """Empty, binary and huge secret files are errors at the key that names them."""
    (tmp_path / "password").write_bytes(content)
    written = plain()
    auth = {"username": "probe", "password_file": "password"}
    written["firewalls"]["fw-east"]["auth"] = auth
    with pytest.raises(BadConfig) as refused:
        load_plain(written, str(tmp_path / "psapwatch.yml"))
    (error,) = refused.value.errors
    assert error.key == "firewalls.fw-east.auth"
    assert error.message == f"{tmp_path}/password {message}"


def test_certificates_are_tried_when_loading(tmp_path: Path) -> None:
    """Good PEM files are taken over, as seen from the configuration's folder."""
    authority = Authority(tmp_path)
    own = authority.issue("probe")
    written = plain()
    tls = {
        "ca_file": authority.ca_file.name,
        "cert_file": own.cert_file.name,
        "key_file": own.key_file.name,
    }
    written["firewalls"]["fw-east"]["tls"] = tls
    written["web"] = {"tls": {"cert_file": own.cert_file.name, "key_file": own.key_file.name}}
    config = load_plain(written, str(tmp_path / "psapwatch.yml"))
    assert config.firewalls[0].tls.ca_file == str(authority.ca_file)
    assert config.web.tls is not None
    assert config.web.tls.cert_file == str(own.cert_file)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """Certificate and key that do not belong together are told by their names."""
    authority = Authority(tmp_path)
    own, other = authority.issue("probe"), authority.issue("other")
    written = plain()
    for place in (written["firewalls"]["fw-east"], written.setdefault("web", {})):
        place["tls"] = {"cert_file": own.cert_file.name, "key_file": other.key_file.name}
    with pytest.raises(BadConfig) as refused:
        load_plain(written, str(tmp_path / "psapwatch.yml"))
    message = f"{other.key_file} is not the key of the certificate in {own.cert_file}"
    assert [(error.key, error.message) for error in refused.value.errors] == [
        ("firewalls.fw-east.tls", message),
        ("web.tls", message),
    ]


def test_file_names_are_relative_to_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store, users and headers are found from wherever the daemon was started."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "users").write_text(f"noc:{hash_password('s3cret', bytes(16))}\n")
    (folder / "headers").write_text("Authorization: Bearer s3cret\n")
    config = load_plain(
        plain()
        | {
            "store": {"path": "psapwatch.db"},
            "web": {"users_file": "users"},
            "sinks": [{"kind": "webhook", "url": "http://127.0.0.1/", "headers_file": "headers"}],
        },
        "etc/psapwatch.yml",
    )
    assert config.store.path == "etc/psapwatch.db"
    assert config.web.users_file == "etc/users"
    assert config.sinks[0].headers_file == str(folder / "headers")
    assert "s3cret" not in repr(config)


def test_a_minus_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` takes the configuration from standard input, and names it so in errors."""
    octets = (ROOT / "config/psapwatch.yml").read_bytes()
    monkeypatch.chdir(ROOT / "config")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(octets)))
    assert load("-").file == "-"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"vantage: a b\n")))
    with pytest.raises(BadConfig, match=r"^-:1: checks: is required"):
        load("-")


def test_location_over_a_stream_must_be_known() -> None:
    """Where a call goes by TCP and sends location, the PSAP needs one; over UDP none is sent."""
    written = plain()
    written["checks"]["test-call"] = {"probe": "call", "every": "5m", "location": True}
    assert load_plain(written).psaps[0].location is None
    written["firewalls"]["fw-east"]["next_hops"] = ["sip:bcf.example.net;transport=tcp"]
    with pytest.raises(BadConfig, match=r"psaps\[0\].location: is required"):
        load_plain(written)


@pytest.mark.parametrize(
    ("named", "window"),
    [
        ({"psap": "ma-boston"}, ("psap", "ma-boston")),
        ({"path": "ma-boston/fw-east"}, ("path", "ma-boston/fw-east")),
        ({"attribute": {"county": "Suffolk"}}, ("county", "Suffolk")),
    ],
)
def test_a_window_names_one_fault_domain(named: dict[str, Any], window: tuple[str, str]) -> None:
    """A firewall, a PSAP, a path or an attribute value may be down, from when until when."""
    written = plain()
    written["psaps"][0]["attributes"] = {"county": "Suffolk"}
    times = {"from": "2026-12-01T02:00:00Z", "until": "2026-12-01T04:00:00Z", "why": "CHG-1"}
    written["maintenance"] = [named | times]
    (built,) = load_plain(written).maintenance
    assert (built.scope, built.member) == window
    assert [built.covers(built.from_at + s) for s in (-1, 0, 7199, 7200)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("reference", "uri", "is_refused"),
    [
        ("sip:desk@psap1.example.gov", "sip:desk@psap1.example.gov;transport=tcp", True),
        ("sip:desk@PSAP1.example.gov.:5060", "sip:desk@psap1.example.gov", True),
        ("sips:psap1.example.gov", "sip:psap1.example.gov:5061;transport=tls", True),
        ("sip:%64esk@psap1.example.gov", "sip:desk@psap1.example.gov", True),
        ("sip:psap1.example.gov", "sip:desk@psap1.example.gov", True),
        ("sip:reference@psap1.example.gov", "sip:desk@psap1.example.gov", False),
        ("sip:ref.example.net;maddr=192.0.2.80", "sip:192.0.2.80", True),
        ("sip:psap1.example.gov:5062", "sip:psap1.example.gov", False),
        ("sip:reference.example.gov", "sip:psap1.example.gov", False),
    ],
)
def test_a_reference_is_not_where_a_psap_is_reached(
    reference: str, uri: str, is_refused: bool
) -> None:
    """However it is written: it would be called every 15 s without consent. A lab has agreed."""
    written = plain()
    written["firewalls"]["fw-east"]["reference"] = reference
    [psap] = written["psaps"] = written["psaps"][:1]
    psap["paths"] = [{"firewall": "fw-east", "uri": uri}]
    psap["test_calls"] = {"consent": "MoU", "commissioned": True}
    if is_refused:
        with pytest.raises(BadConfig, match=r"is where .* is reached"):
            load_plain(written)
    else:
        load_plain(written)
    psap["test_calls"] |= {"short_interval_agreed": True}
    assert load_plain(written).references
