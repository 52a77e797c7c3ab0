"""Test calls with media and location in the simulated world: what is measured, said and sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email import message_from_bytes
from typing import Any

import pytest

from psapwatch.call_findings import PACKETS_JUDGED
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import (
    CONTROL,
    REFERENCE,
    Address,
    Check,
    Identity,
    Path,
    PortRange,
    TransportName,
)
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.call import PSAP_PACKETS_MAX, CallSettings
from psapwatch.rtp.packet import is_rtcp, parse_rtp
from psapwatch.rtp.tone import tag_of
from psapwatch.simulator.carriage import Crossing
from psapwatch.simulator.rule import Lose, Reject, Rewrite, Rule
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS, Script
from psapwatch.sip.message import Request
from psapwatch.sip.wire import parse
from psapwatch.store.redact import redacted
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from psapwatch.world import OpenCall
from simulator.outside import Outside, simulated

BOSTON = (42.3601, -71.0589)
FORGOTTEN_S = 200.0
MEDIA = CallSettings(media=True)
FORWARD = Rule(name="forward", phase="media", direction="inward")
REVERSE = Rule(name="reverse", phase="media", direction="outward")
NO_MIRROR = ("no_loopback", "live_text", "port_zero", "loopback_source", "no_sdp", "text_only",
             "two_types", "recvonly", "ringing_for_ever", "silence", "busy", "unavailable",
             "late_200", "redirect_live", "trying_then_silence")  # fmt: skip


class Ledger:
    """Keeps no calls, so that they may all be placed."""

    async def open_call(self, row: OpenCall) -> None:
        """Allow it."""


@dataclass
class Placed:
    """One call that was placed, with all that crossed the network."""

    evidence: Evidence
    crossings: list[Crossing]
    source: str
    hits: dict[str, int]
    path: Path

    @property
    def media(self) -> Observation:
        """What the media came to."""
        seen = self.evidence.last(Kind.MEDIA)
        assert seen is not None
        return seen

    def number(self, fact: str) -> float:
        """One fact of the media that is a number."""
        value = self.media[fact]
        assert isinstance(value, int | float)
        return value

    @property
    def verdict(self) -> Verdict:
        """What is made of it."""
        psap = self.path.psap
        return diagnose(
            Case(self.evidence, expected_name=psap.expected_name, alternates=psap.alternates)
        )

    def rtp_out(self) -> Iterator[Crossing]:
        """RTP and RTCP that left the prober."""
        return (
            each for each in self.crossings
            if each.phase == "media" and each.source.host == self.source
        )  # fmt: skip

    @property
    def invite(self) -> Request:
        """The INVITE as it left."""
        octets = next(p.octets for p in self.evidence.transcript if p.octets.startswith(b"INVITE"))
        message = parse(octets)
        assert isinstance(message, Request)
        return message


def place(
    script: str | Script,
    *rules: Rule,
    settings: CallSettings = MEDIA,
    plan: Plan | None = None,
    patience_s: float = 8.0,
    is_outward_open: bool = True,
    tells: bool = True,
    seed: int = 1,
    **psap: Any,
) -> Placed:
    """Place one call in virtual time and wait until everything has ended on both sides."""

    async def main(outside: Outside) -> Placed:
        built = outside.built
        outside.firewall.add(*rules)
        outside.firewall.outward_open = is_outward_open
        for desk in built.psaps["psap-001"].points:
            desk.tells_what_it_saw = tells
        path = built.outlooks[0].paths[0]
        path = replace(path, psap=replace(path.psap, **psap))
        if path.psap.id == REFERENCE:
            built.psaps["psap-001"].script = script_of(script)
        check = Check("check", 300.0, patience_s, settings)
        resolved = await built.world.resolver.resolve(path.uri, path.transport)
        crowd: dict[Pump, None] = {}
        source = replace(path.leaves_from, rtp_ports=PortRange(40_000, 40_999))
        identity = Identity("sip:911-path-test@example.net")
        errand = Errand(check, resolved.legs[0], resolved, source, identity, crowd, Ledger())
        evidence = await settings.run(built.world, path, errand)
        await asyncio.sleep(FORGOTTEN_S)
        assert not crowd, "an attempt that still listens after every RFC timer"
        assert built.open_flows == 0, "a port that nobody closed"
        assert built.open_calls == 0, "a call that nobody ended"
        crossings = list(built.world.network.transcript)
        return Placed(evidence, crossings, source.address, dict(outside.firewall.hits), path)

    base = plan or Plan(psaps=1)
    return simulated(main, seed=seed, plan=replace(base, script=script_of(script)))


def script_of(script: str | Script) -> Script:
    """A script by its name, or itself."""
    return SCRIPTS[script] if isinstance(script, str) else script


@pytest.mark.parametrize(
    ("script", "mode"),
    [
        ("mirror", "encaprtp"),
        ("multipart", "encaprtp"),
        ("direct", "rtploopback"),
        ("media", "media"),
    ],
)
def test_media_goes_there_and_back(script: str, mode: str) -> None:
    """Three echoes, a round trip, a BYE of the far side, and a pass."""
    placed = place(script)
    media = placed.media
    assert (media["mode"], media["echoed"], media["lost"]) == (mode, 3, 0)
    assert (media["ended_by"], media["far_heard"]) == ("far", 3)
    assert isinstance(media["rtt_s"], float)
    assert 0.02 < media["rtt_s"] < 0.03
    assert placed.verdict.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("rules", "cause", "word"),
    [
        ((FORWARD,), Cause.ONE_WAY_MEDIA, "forward"),
        ((REVERSE,), Cause.ONE_WAY_MEDIA, "reverse"),
        ((FORWARD, REVERSE), Cause.MEDIA_BLOCKED, "BYE says that it heard 0"),
        (
            (replace(FORWARD, action=Reject()),),
            Cause.MEDIA_BLOCKED,
            "rejected on the way: ICMPv4 3/13 from 10.40.0.1",
        ),
    ],
)
@pytest.mark.parametrize("script", ["mirror", "direct", "media"])
def test_each_way_to_lose_media_has_its_cause(
    script: str, rules: tuple[Rule, ...], cause: Cause, word: str
) -> None:
    """Dropped there, back, both ways, rejected: cause and direction, and the rule was hit."""
    placed = place(script, *rules)
    verdict = placed.verdict
    assert (verdict.outcome, verdict.cause, verdict.plane) == (Outcome.FAIL, cause, Plane.MEDIA)
    assert word in verdict.why
    assert placed.hits[rules[0].name] > 0
    assert (placed.media["sent"] == PSAP_PACKETS_MAX) == ("forward" in placed.hits)


def test_a_stateful_firewall_that_lets_no_media_in_lets_none_out() -> None:
    """Without our packets it has no state for theirs: both ways are closed, and that is said."""
    placed = place("mirror", FORWARD, is_outward_open=False)
    assert placed.verdict.cause is Cause.MEDIA_BLOCKED
    assert placed.hits["no state"] > 0


def test_media_lost_behind_a_stateful_firewall_has_a_direction() -> None:
    """A failed line card: the firewall knows the flow, so the far side's report arrives."""
    placed = place("mirror", replace(FORWARD, action=Lose()), is_outward_open=False)
    assert placed.verdict.cause is Cause.ONE_WAY_MEDIA
    assert placed.verdict.why.startswith("forward")
    assert placed.hits["forward"] >= PACKETS_JUDGED
    assert "no state" not in placed.hits


def test_direction_without_rtcp_by_the_hour_of_the_bye() -> None:
    """A mirror that sends no report still hangs up at once after three packets, late after none."""
    mute = replace(SCRIPTS["mirror"], manner=replace(SCRIPTS["mirror"].manner, reports=False))
    back = place(mute, REVERSE, tells=False)
    assert back.verdict.cause is Cause.ONE_WAY_MEDIA
    assert back.verdict.why.startswith("reverse")
    there = place(mute, FORWARD, tells=False)
    assert there.verdict.cause is Cause.MEDIA_BLOCKED
    assert "heard nothing" in there.verdict.why


def test_a_far_side_that_does_not_hang_up_is_hung_up_on() -> None:
    """Our BYE, two seconds after the media, and a pass all the same."""
    placed = place("no_bye_after_media")
    assert placed.media["ended_by"] == "us"
    assert placed.media["ended_after_s"] == pytest.approx(2.06, abs=0.05)
    assert placed.verdict.outcome is Outcome.PASS
    ended = placed.evidence.last(Kind.ENDED)
    assert ended is not None
    assert ended["how"] == "bye_sent"


@pytest.mark.parametrize("script", NO_MIRROR)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_no_rtp_without_a_mirror(script: str, transport: Any) -> None:
    """Whatever else answers, or does not: not one packet leaves the media port."""
    placed = place(script, plan=Plan(psaps=1, transports=(transport,)))
    assert list(placed.rtp_out()) == []
    assert placed.evidence.first(Kind.MEDIA) is None


@pytest.mark.parametrize("script", ["mirror", "no_echo", "direct", "slow_mirror", "forked"])
def test_rtp_goes_to_the_mirror_alone_and_is_little(script: str) -> None:
    """At most ten packets, from one port, to the address that was answered, after its 200."""
    placed = place(script)
    answered_at = next(
        each.at for each in placed.crossings if each.octets.startswith(b"SIP/2.0 200")
    )
    packets = list(placed.rtp_out())
    rtp = [each for each in packets if not is_rtcp(each.octets)]
    assert 1 <= len(rtp) <= PSAP_PACKETS_MAX
    assert {(each.source, each.destination) for each in rtp} == {
        (rtp[0].source, Address("10.20.0.2", rtp[0].destination.port))
    }
    assert min(each.at for each in packets) > answered_at
    assert len(packets) - len(rtp) == 1  # one RTCP packet, from the port above to the port above
    bye_at = min(each.at for each in placed.crossings if each.octets.startswith(b"BYE"))
    assert max(each.at for each in packets) <= bye_at + 0.05


def test_the_first_packet_is_where_the_offer_said() -> None:
    """Symmetric RTP: the port in the offer is the port that packets leave from."""
    placed = place("mirror")
    port = next(each.source.port for each in placed.rtp_out() if not is_rtcp(each.octets))
    assert f"m=audio {port} ".encode() in placed.invite.body
    assert 40_000 <= port <= 40_999
    assert port % 2 == 0


def test_speech_ends_the_call_at_once() -> None:
    """Foreign media: unsafe, our BYE in the same breath, and no further packet."""
    placed = place("speaks")
    assert placed.verdict.cause is Cause.UNSAFE_ANSWER
    unsafe = placed.evidence.first(Kind.UNSAFE)
    assert unsafe is not None
    assert unsafe["why"] == "foreign_media"
    heard_at = min(
        each.at for each in placed.crossings
        if each.phase == "media" and each.source.host != placed.source
    )  # fmt: skip
    bye = next(each for each in placed.crossings if each.octets.startswith(b"BYE"))
    assert bye.source.host == placed.source
    assert bye.at - heard_at < 0.03
    assert max(each.at for each in placed.rtp_out()) <= bye.at


@pytest.mark.parametrize(("script", "echoed"), [("echo_1", 1), ("echo_2", 2), ("echo_4", 3)])
def test_any_number_of_echoes_is_media(script: str, echoed: int) -> None:
    """One is enough to know that both ways are open; a fourth is not waited for."""
    placed = place(script)
    assert placed.number("echoed") >= echoed
    assert placed.verdict.outcome is Outcome.PASS


def test_wrong_fragment_bits_are_forgiven() -> None:
    """The echo is ours, whatever its two bits say."""
    assert place("echo_fragment").media["echoed"] == 3


def test_an_echo_from_another_port_dies_in_a_stateful_firewall() -> None:
    """It has no state there; a firewall that lets it through shows asymmetric media instead."""
    placed = place("echo_elsewhere", is_outward_open=False)
    assert placed.verdict.cause is Cause.ONE_WAY_MEDIA
    assert placed.verdict.why.startswith("reverse")
    seen = place("echo_elsewhere")
    assert (seen.media["echoed"], seen.verdict.cause) == (3, Cause.UNREACHABLE)
    assert seen.verdict.outcome is Outcome.DEGRADED


def test_a_long_stream_is_for_our_own_responders() -> None:
    """A PSAP gets ten packets whatever the check says; the reference gets them all, and a MOS."""
    long = CallSettings(media=True, packets=100)
    assert place("echo_200", settings=long).number("sent") <= PSAP_PACKETS_MAX
    placed = place("echo_200", settings=long, id=REFERENCE)
    media = placed.media
    assert (media["sent"], media["echoed"], media["lost"]) == (100, 100, 0)
    assert isinstance(media["mos"], float)
    assert media["mos"] == pytest.approx(4.41, abs=0.01)
    assert placed.evidence.duration_s < 8


def test_loss_of_a_long_stream_has_direction() -> None:
    """A tenth lost on the way there: counted, told by direction, degraded and no more."""
    lossy = Rule(name="lossy", phase="media", direction="inward", probability=0.1)
    long = CallSettings(media=True, packets=200)
    placed = place("echo_200", lossy, settings=long, id=REFERENCE, patience_s=12.0)
    media = placed.media
    assert placed.hits["lossy"] >= 5
    assert media["forward_lost"] == media["lost"]
    assert media["reverse_lost"] == 0
    assert placed.verdict.cause is Cause.INTERMITTENT_LOSS
    assert "on the way there" in placed.verdict.why


def test_no_media_port_is_our_own_fault() -> None:
    """The call is not placed: it could only have seemed mute."""

    async def main(outside: Outside) -> Evidence:
        path = outside.built.outlooks[0].paths[0]
        resolved = await outside.built.world.resolver.resolve(path.uri, path.transport)
        source = replace(path.leaves_from, rtp_ports=PortRange(40_000, 40_001))
        taken = outside.network.open_media(source, source.address, Deaf())
        assert taken is not None
        identity = Identity("sip:x@example.net")
        check = Check("check", 300.0, 8.0, MEDIA)
        crowd: dict[Pump, None] = {}
        errand = Errand(check, resolved.legs[0], resolved, source, identity, crowd, Ledger())
        evidence = await MEDIA.run(outside.built.world, path, errand)
        taken.release()
        assert outside.built.open_flows == 0
        return evidence

    evidence = simulated(main, plan=Plan(psaps=1))
    assert evidence.first(Kind.SENT) is None
    assert diagnose(Case(evidence)).cause is Cause.PROBER_FAULT


class Deaf:
    """Hears nothing."""

    def media_arrived(self, arrival: object) -> None:
        """Nothing."""

    def media_failed(self, seen: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("script", "mode"), [("mirror", "encaprtp"), ("direct", "rtploopback"), ("media", "media")]
)
def test_secured_media_is_matched_and_nobody_else_reads_it(script: str, mode: str) -> None:
    """Echo, RTCP and times as ever; on the wire no packet shows our tag, in the store no key."""
    placed = place(script, settings=CallSettings(media=True, srtp="always"))
    media = placed.media
    assert (media["mode"], media["echoed"], media["far_heard"]) == (mode, 3, 3)
    assert (media["profile"], media["unopened"]) == ("RTP/SAVP", 0)
    assert placed.verdict.outcome is Outcome.PASS
    packets = [each.octets for each in placed.crossings if each.phase == "media"]
    assert len(packets) >= 2 * 3
    assert not any(tag_of(octets) for octets in packets)
    plain = place(script)
    assert any(tag_of(each.octets) for each in plain.crossings if each.phase == "media")
    kept = [packet.octets for packet in redacted(placed.evidence).transcript]
    assert sum(octets.count(b"inline:[withheld]") for octets in kept) == 2
    assert sum(octets.count(b"inline:") for octets in kept) == 2


@pytest.mark.parametrize(("transport", "profile"), [("udp", None), ("tls", "RTP/SAVP")])
def test_keys_travel_over_tls_only_unless_told_otherwise(
    transport: TransportName, profile: str | None
) -> None:
    """``srtp: tls``: where anybody could read the key, media is as open as it says it is."""
    settings = CallSettings(media=True, srtp="tls")
    placed = place("mirror", settings=settings, plan=Plan(psaps=1, transports=(transport,)))
    assert placed.media.get("profile") == profile
    assert placed.media["echoed"] == 3
    assert (b"a=crypto:" in placed.invite.body) == (profile is not None)


def test_who_demands_secured_media_is_told_apart_from_who_is_blocked() -> None:
    """488 to plain RTP: refused, and what it is about; the same answering point takes SRTP."""
    plain = place("secured_only").verdict
    assert (plain.outcome, plain.cause) == (Outcome.DEGRADED, Cause.TEST_CALL_REFUSED)
    assert "it demands secured media, and plain RTP was offered: set srtp" in plain.why
    unsaid = place("invite_488").verdict
    assert "it may demand secured media, as i3 does" in unsaid.why
    settings = CallSettings(media=True, srtp="always")
    assert place("secured_only", settings=settings).verdict.outcome is Outcome.PASS


def test_an_answering_point_without_the_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot open what it would be sent: 488, and the caller knows that SRTP was offered."""
    monkeypatch.setattr("psapwatch.simulator.psap.cipher_maker", lambda: None)
    placed = place("mirror", settings=CallSettings(media=True, srtp="always"))
    assert placed.verdict.cause is Cause.TEST_CALL_REFUSED
    assert placed.verdict.why.endswith("; secured media (SRTP) was offered")


def test_location_goes_over_streams_only() -> None:
    """Over TCP two body parts and the headers that name them; over UDP the offer alone."""
    settings = CallSettings(media=True, location=True)
    placed = place(
        "mirror", settings=settings, plan=Plan(psaps=1, transports=("tcp",)), location=BOSTON
    )
    invite = placed.invite
    whole = f"Content-Type: {invite.header('Content-Type')}\r\n\r\n".encode() + invite.body
    parts: Any = message_from_bytes(whole).get_payload()
    assert [part.get_content_type() for part in parts] == [
        "application/sdp",
        "application/pidf+xml",
    ]
    assert invite.header("Geolocation") == f"<cid:{parts[1]['Content-ID'].strip('<>')}>"
    assert invite.header("Geolocation-Routing") == "yes"
    assert len([v for n, v in invite.headers if n == "Call-Info"]) == 2
    assert placed.media["echoed"] == 3
    over_udp = place("mirror", settings=settings, location=BOSTON).invite
    assert over_udp.header("Content-Type") == "application/sdp"
    assert over_udp.header("Geolocation") is None
    size = next(p for p in placed.evidence.transcript if p.octets.startswith(b"INVITE"))
    assert len(size.octets) > 1_800


@pytest.mark.parametrize(
    ("settings", "psap", "is_large"),
    [
        (CallSettings(), REFERENCE, False),
        (CallSettings(location=True), REFERENCE, True),
        (CallSettings(padding=True), REFERENCE, True),
        (CallSettings(padding=True), CONTROL, True),
        (CallSettings(padding=True), "ma-boston", False),
        (CallSettings(location=True), "ma-boston", False),
    ],
)
def test_only_our_own_responders_get_a_large_invite_over_udp(
    settings: CallSettings, psap: str, *, is_large: bool
) -> None:
    """With location or padding it needs fragments; no PSAP is ever sent one."""
    placed = place("mirror", settings=settings, id=psap)
    octets = next(p.octets for p in placed.evidence.transcript if p.octets.startswith(b"INVITE"))
    assert (len(octets) > 1_800) == is_large
    assert (len(octets) < 1_200) == (not is_large)
    assert (b"<gml:pos>0.000000 0.000000<" in octets) == (settings.location and is_large)


def test_padding_is_as_long_as_a_location_to_the_octet() -> None:
    """The same road, the same size, over UDP and TCP; another content."""
    for transport in ("udp", "tcp"):
        sizes = {
            len(next(p.octets for p in placed.evidence.transcript if p.octets[:6] == b"INVITE"))
            for settings in (CallSettings(location=True), CallSettings(padding=True))
            for placed in [
                place(
                    "mirror",
                    settings=settings,
                    plan=Plan(psaps=1, transports=(transport,)),
                    id=REFERENCE,
                )
            ]
        }
        assert len(sizes) == 1


def test_location_is_new_in_every_call() -> None:
    """Two calls, two documents: device, moment and names differ."""

    async def main(outside: Outside) -> list[Evidence]:
        settings = CallSettings(location=True)
        path = outside.built.outlooks[0].paths[0]
        path = replace(path, psap=replace(path.psap, location=BOSTON))
        resolved = await outside.built.world.resolver.resolve(path.uri, path.transport)
        found = []
        for _nth in range(2):
            crowd: dict[Pump, None] = {}
            identity = Identity("sip:x@example.net")
            check = Check("check", 300.0, 8.0, settings)
            errand = Errand(
                check, resolved.legs[0], resolved, path.leaves_from, identity, crowd, Ledger()
            )
            found.append(await settings.run(outside.built.world, path, errand))
            await asyncio.sleep(300)
        return found

    first, second = simulated(main, plan=Plan(psaps=1, transports=("tcp",)))
    bodies = [
        next(p.octets for p in each.transcript if p.octets.startswith(b"INVITE"))
        for each in (first, second)
    ]
    for mark in (b"<dm:timestamp>", b"urn:uuid:", b"retention-expiry>", b"Content-ID:"):
        assert bodies[0].split(mark)[1][:40] != bodies[1].split(mark)[1][:40]


@pytest.mark.parametrize(
    ("expected", "alternates", "outcome", "cause"),
    [
        (None, (), Outcome.PASS, Cause.NONE),
        ("PSAP 1", (), Outcome.PASS, Cause.NONE),
        ("psap  1", (), Outcome.PASS, Cause.NONE),
        ("Boston PD", ("PSAP 1",), Outcome.DEGRADED, Cause.MISROUTED),
        ("Boston PD", ("PSAP 2",), Outcome.FAIL, Cause.MISROUTED),
    ],
)
def test_who_answers_is_asserted(
    expected: str | None, alternates: tuple[str, ...], outcome: Outcome, cause: Cause
) -> None:
    """The name in the text against the configuration: expected, an alternate, anybody else."""
    placed = place("multipart", expected_name=expected, alternates=alternates)
    assert (placed.verdict.outcome, placed.verdict.cause) == (outcome, cause)


def test_contact_stands_in_for_a_missing_text() -> None:
    """An SDP-only answer says who it is in Contact: enough for a diversion, not for a misroute."""
    diverted = place("mirror", expected_name="Boston PD", alternates=("PSAP 1",))
    assert diverted.verdict.cause is Cause.MISROUTED
    assert diverted.verdict.outcome is Outcome.DEGRADED
    assert place("mirror", expected_name="Boston PD").verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("restores", [True, False])
def test_a_gateway_that_rewrites_is_told_by_the_far_end(restores: bool) -> None:
    """Via, Contact and SDP are put back on the way out; only the far end saw them changed."""
    gateway = Rule(name="alg", action=Rewrite("10.40.0.1", restores=restores))
    placed = place("mirror", gateway)
    assert placed.hits["alg"] > 0
    if restores:
        assert placed.verdict.cause is Cause.ALG_REWRITE
        assert "contact sip:path-test@10.100.0.10" in placed.verdict.why
        assert "media 10.100.0.10" in placed.verdict.why


def test_nobody_in_between_is_no_gateway() -> None:
    """What the far end saw is what was sent."""
    placed = place("mirror")
    final = placed.evidence.last(Kind.RESPONSE)
    assert final is not None
    assert "source=" in str(final["saw"])
    assert placed.verdict.cause is Cause.NONE


def test_sequence_numbers_and_ssrc_are_by_chance() -> None:
    """Every call has other beginnings (RFC 3550 5.1) and another tag."""
    starts = [
        parse_rtp(
            next(c.octets for c in place("mirror", seed=seed).rtp_out() if not is_rtcp(c.octets))
        )
        for seed in (1, 2)
    ]
    for part in ("ssrc", "sequence", "timestamp", "payload"):
        assert getattr(starts[0], part) != getattr(starts[1], part)
