"""Test calls with media on real sockets: real mirrors, real proxies, and what a capture says."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import pytest
import xmlschema

from components.answering import calls_left, requests, requests_a_second, start_answering
from components.calling import place_calls
from components.capture import Capture
from components.kamailio import Kamailio
from components.peer import Peer
from components.ports import free_port
from components.process import Bench, program
from components.round_trips import datagrams, round_trips
from components.srtp import HEADER_OCTETS, opened
from psapwatch.rtp.tone import tag_of

BOSTON: Final = (42.3601, -71.0589)
SCHEMAS: Final = Path(__file__).parents[1] / "golden" / "pidf"
PORTS: Final = 64
"""Local media ports of a test; a call's pair stays open a second longer than its media."""
PROBES_A_SECOND: Final = 200.0
OFFERED_A_SECOND: Final = 230.0
"""A little more, so that a timer that wakes late still leaves 200."""
TIMED_CALLS: Final = 100
MEDIAN_S: Final = 0.000_2
P99_S: Final = 0.001
ROUNDS_MAX: Final = 3


@pytest.fixture
def ports() -> tuple[int, int]:
    """A range of media ports of this test alone."""
    first = free_port(run=PORTS)
    return first, first + PORTS - 1


def decoded(file: Path, ports: Iterable[int], wanted: str, *fields: str) -> list[list[str]]:
    """What tshark makes of the datagrams of these ports, taken for RTP: rows of fields."""
    hints = [word for port in ports for word in ("-d", f"udp.port=={port},rtp")]
    shown = [word for field in fields for word in ("-e", field)]
    argv = [program("tshark"), "-r", str(file), *hints, "-Y", wanted, "-T", "fields", *shown]
    ran = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
    return [line.split("\t") for line in ran.stdout.splitlines()]


def test_sipp_echoes_our_packets(
    sipp: Callable[..., Peer], capture: Callable[..., Capture], ports: tuple[int, int]
) -> None:
    """SIPp as an RFC 6849 mirror: three echoes, a round trip, a pass; tshark reads each packet."""
    peer = sipp("mirror")
    captured = capture([peer], media=range(ports[0], ports[1] + 1))
    [called] = place_calls(peer, rtp_ports=ports)
    captured.stop()
    assert (called.outcome, called.cause) == ("pass", "none")
    assert (called.media["mode"], called.media["echoed"], called.media["lost"]) == ("media", 3, 0)
    assert 0 < called.media["rtt_s"] < 0.01
    port = called.media_port
    fields = ("udp.srcport", "rtp.version", "rtp.p_type", "rtp.seq", "rtp.timestamp", "rtp.ssrc")
    rows = decoded(captured.file, [port], "rtp", *fields)
    sent = [row[1:] for row in rows if row[0] == str(port)]
    assert len(sent) == called.media["sent"]
    assert {(row[0], row[1]) for row in sent} == {("2", "0")}
    first = int(sent[0][2])
    assert [int(row[2]) for row in sent] == [(first + n) % 65_536 for n in range(len(sent))]
    assert len({row[4] for row in sent}) == 1
    assert decoded(captured.file, [port], "_ws.malformed", "frame.number") == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(("script", "mode"), [("mirror", "encaprtp"), ("direct", "rtploopback")])
def test_our_own_answering_point_mirrors(
    bench: Bench, transport: str, script: str, mode: str
) -> None:
    """Both packet formats, over both transports: echo, RTCP, its BYE, and nothing left open."""
    peer = start_answering(bench, script, transport=transport)
    [called] = place_calls(peer)
    media = called.media
    assert (called.outcome, media["mode"], media["echoed"]) == ("pass", mode, 3)
    assert (media["ended_by"], media["rtcp"], media["far_heard"]) == ("far", 1, 3)
    assert media["source"] == media["remote"]
    assert media["ended_after_s"] < 0.3
    requests(peer)
    assert calls_left(peer) == 0


def test_secured_media_is_srtp_to_others(
    bench: Bench, capture: Callable[..., Capture], ports: tuple[int, int]
) -> None:
    """What crosses is RTP by its header and sealed by RFC 3711: read here with AES and HMAC alone.

    Both ways: our packets with the key of the offer, the echo with the key of the answer.
    """
    peer = start_answering(bench, "direct")
    captured = capture([peer], media=range(ports[0], ports[1] + 1))
    [called] = place_calls(peer, rtp_ports=ports, call={"srtp": "always"})
    captured.stop()
    assert (called.outcome, called.media["echoed"], called.media["far_heard"]) == ("pass", 3, 3)
    rows = decoded(captured.file, [called.media_port], "rtp", "udp.srcport", "rtp.version")
    assert {version for _port, version in rows} == {"2"}
    answer = next(octets for octets in called.messages if octets.startswith(b"SIP/2.0 200"))
    keys = [
        b64decode(octets.partition(b" inline:")[2].split(b"\r\n")[0])
        for octets in (called.invite, answer)
    ]
    there, back = (
        [
            each.octets
            for each in datagrams(captured.file)
            if (each.sport if is_ours else each.dport) == called.media_port
        ]
        for is_ours in (True, False)
    )
    assert len(there) == called.media["sent"] >= len(back) == 3
    for packets, key in ((there, keys[0]), (back, keys[1])):
        first = int.from_bytes(packets[0][2:4], "big")
        for packet in packets:
            rollover = int.from_bytes(packet[2:4], "big") < first
            assert tag_of(packet) is None
            assert tag_of(packet[:HEADER_OCTETS] + opened(packet, key, rollover)) is not None


def test_rtcp_is_rtcp_to_others(
    bench: Bench, capture: Callable[..., Capture], ports: tuple[int, int]
) -> None:
    """The receiver reports of both sides, as tshark decodes them; nothing of ours is malformed."""
    peer = start_answering(bench)
    captured = capture([peer], media=range(ports[0], ports[1] + 1))
    [called] = place_calls(peer, rtp_ports=ports)
    captured.stop()
    control = called.media_port + 1
    hints = ["-d", f"udp.port=={control},rtcp"]
    argv = [program("tshark"), "-r", str(captured.file), *hints, "-Y", "rtcp", "-T", "fields"]
    argv += [w for f in ("rtcp.pt", "rtcp.sdes.type", "rtcp.ssrc.cum_nr") for w in ("-e", f)]
    read = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    said = [line.split("\t")[0] for line in read]
    assert said == ["201,202"] * max(2, len(said)), (
        "one of each side, or more where it takes longer"
    )
    assert read[1].split("\t")[2] == "0"


def test_a_phone_that_plays_back_is_media_loopback(
    pjsua: Callable[..., Peer], kamailio: Callable[..., Kamailio]
) -> None:
    """A phone decodes, buffers and encodes again: the tone is known, and nothing is unsafe."""
    phone = pjsua(loopback=True, bye_after_s=1.5)
    front = kamailio(forward_to=phone, rewrite_to=phone.uri).plain
    [called] = place_calls(front)
    assert called.observed("unsafe") == []
    assert called.media["mode"] == "media"
    assert called.media["echoed"] >= 1
    assert called.outcome == "pass"


@pytest.mark.parametrize("kind", ["pjsua", "baresip"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_an_ordinary_phone_hears_nothing(
    kind: str,
    transport: str,
    pjsua: Callable[..., Peer],
    baresip: Callable[..., Peer],
    kamailio: Callable[..., Kamailio],
    capture: Callable[..., Capture],
    ports: tuple[int, int],
) -> None:
    """Unsafe at once, whatever the phone sends us; not one packet leaves our media ports."""
    phone = pjsua(loopback=False, bye_after_s=0.0) if kind == "pjsua" else baresip()
    front = kamailio(forward_to=phone, rewrite_to=phone.uri).peer(transport)
    captured = capture([front], media=range(ports[0], ports[1] + 1))
    [called] = place_calls(front, rtp_ports=ports)
    captured.stop()
    assert called.cause == "unsafe_answer"
    assert called.evidence["duration_s"] < 2.0
    ours = [
        each
        for each in datagrams(captured.file)
        if ports[0] <= each.sport <= ports[1] and each.octets[:1] >= b"\x80"  # RTP, not SIP
    ]
    assert ours == []


def test_through_a_record_routing_proxy(bench: Bench, kamailio: Callable[..., Kamailio]) -> None:
    """Signalling by way of Kamailio, media straight: ACK and BYE take the route, RTP does not."""
    peer = start_answering(bench)
    front = kamailio(forward_to=peer).plain
    [called] = place_calls(front)
    assert (called.outcome, called.media["echoed"]) == ("pass", 3)
    assert called.media["remote"].split(":")[0] == "127.0.0.1"
    assert any(b"\r\nRoute: " in octets for octets in called.messages if octets[:3] == b"ACK")
    requests(peer)
    assert calls_left(peer) == 0


@pytest.mark.parametrize(
    ("civic", "mark"),
    [
        ({}, "<gml:pos>"),
        ({"country": "US", "A1": "MA", "A3": "Boston", "RD": "Test", "PC": "02108"}, "<ca:A3>"),
    ],
    ids=["point", "civic"],
)
def test_tshark_reads_the_location(
    bench: Bench, capture: Callable[..., Capture], civic: dict[str, str], mark: str
) -> None:
    """Over TCP: two parts, the document valid by its schemas, and the header that names it."""
    peer = start_answering(bench, transport="tcp")
    captured = capture([peer])
    [called] = place_calls(peer, call={"location": True}, location=BOSTON, civic=civic)
    seen = captured.stop()
    assert called.outcome == "pass"
    [invite] = [message for message in seen if message.method == "INVITE"]
    assert not invite.is_malformed
    shown = subprocess.run(
        [program("tshark"), "-r", str(captured.file), "-d", f"tcp.port=={peer.port},sip",
         "-Y", "sip.Method==INVITE", "-T", "fields", "-e", "mime_multipart.header.content-type",
         "-e", "xml.tag", "-e", "sdp.media"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "application/sdp" in shown
    assert "application/pidf+xml" in shown
    assert mark in shown
    assert "audio" in shown
    document = called.invite.partition(b"<?xml")[2].partition(b"</presence>")[0]
    schema = xmlschema.XMLSchema(str(SCHEMAS / "pidf.xsd"), build=False)
    for name in ("data-model", "geopriv10", "civicAddr", "gml-point"):
        schema.add_schema(str(SCHEMAS / f"{name}.xsd"))
    schema.build()
    schema.validate((b"<?xml" + document + b"</presence>").decode())
    assert len(called.invite) > 2_000


@pytest.mark.parametrize("dscp", [0, 46])
def test_the_far_end_tells_what_it_saw(bench: Bench, dscp: int) -> None:
    """Source, Via, Contact, size and mark as they were sent: nobody is in between."""
    peer = start_answering(bench)
    [called] = place_calls(peer, dscp=dscp)
    [final] = [seen for seen in called.observed("response") if seen["method"] == "INVITE"]
    assert f';dscp="{dscp}"' in final["saw"]
    assert f';size="{len(called.invite)}"' in final["saw"]
    assert f';media="127.0.0.1:{called.media_port}"' in final["saw"]
    assert called.cause == "none"


def times_apart(bench: Bench, capture: Callable[..., Capture]) -> tuple[float, float, float]:
    """How far round trips are from the capture's own (median and p99, s), and probes a second."""
    peer, crowd = start_answering(bench, "direct"), start_answering(bench)
    first = free_port(run=PORTS)
    ports = (first, first + PORTS - 1)
    captured = capture([], media=range(ports[0], ports[1] + 1))
    called = place_calls(
        peer, count=TIMED_CALLS, rtp_ports=ports, load=OFFERED_A_SECOND, load_on=crowd
    )
    captured.stop()
    trips = list(round_trips(captured.file, ports).values())
    assert len(trips) == len(called) == TIMED_CALLS
    crowd.running.end()
    apart = [
        abs(one.media["rtt_s"] - median(seen)) for one, seen in zip(called, trips, strict=True)
    ]
    return median(apart), quantiles(apart, n=100)[98], requests_a_second(crowd)


@pytest.mark.timeout(300)
def test_round_trips_agree_with_the_capture(bench: Bench, capture: Callable[..., Capture]) -> None:
    """At 200 probes a second: within 0.2 ms at the median and 1 ms at p99 of the capture's own.

    A machine that is busy with other things is measured again.
    """
    rounds = []
    for _round in range(ROUNDS_MAX):
        rounds.append(times_apart(bench, capture))
        middle, p99, rate = rounds[-1]
        if middle < MEDIAN_S and p99 < P99_S and rate >= PROBES_A_SECOND:
            return
    pytest.fail(f"median and p99 (s) and probes a second of each round: {rounds}")
