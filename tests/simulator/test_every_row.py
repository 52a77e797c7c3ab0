"""The response tables, row by row, driven against the simulated answering point.

The tables are the field's: what a final response says (RFC 3261 21, RFC 6881 15 ED-77 and ED-82),
what a 200 to a test INVITE may bring (RFC 6849 5), and what else may come (RFC 3261 17, 18, RFC
6026). Each row asserts the verdict, what we sent, and that no dialog is open on either side. Where
the rules for never harming a PSAP are stricter than a table, they hold: there is no second INVITE
with another body, 183 is as unsafe as 180, and what repeats is a failure from the first time on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import pytest
from _pytest.mark import ParameterSet

from psapwatch.baseline import LEARNING_PASSES, Answerer, Baseline
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import REFERENCE, Check, Identity
from psapwatch.evidence import Evidence, Fact, Kind
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.call import PSAP_PACKETS_MAX, CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.rtp.packet import is_rtcp
from psapwatch.simulator.rule import Rule, method_of
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS, Script, Step
from psapwatch.sip.guard import TEST_URN
from psapwatch.sip.wire import call_id_of
from psapwatch.verdict import Cause, Outcome
from simulator.outside import Outside, simulated
from simulator.test_media_calls import Ledger

FORGOTTEN_S: Final = 200.0
"""After this an answering point has forgotten what it could not end (timer C)."""
USUALLY_PASSES: Final = Baseline(usual_code=200)
"""Rule B: this path used to answer 2xx."""

OTHERS_ANSWER: Final = Baseline(
    usual_code=200,
    answerers=(Answerer("another product", "192.0.2.77"),),
    passes=LEARNING_PASSES,
)

Judged = tuple[Outcome, Cause]
P, D, F, I = Outcome.PASS, Outcome.DEGRADED, Outcome.FAIL, Outcome.INCONCLUSIVE  # noqa: E741
PASS: Final = (P, Cause.NONE)
OURS: Final = (I, Cause.PROBER_FAULT)
BEYOND: Final = (F, Cause.CALLS_BLOCKED)
ASTRAY: Final = (F, Cause.MISROUTED)
FAR: Final = (D, Cause.PSAP_ENDPOINT)
REFUSED: Final = (D, Cause.TEST_CALL_REFUSED)
DOWN: Final = (F, Cause.SERVICE_UNAVAILABLE)
SHEDS: Final = (D, Cause.SERVICE_UNAVAILABLE)
CONTENT: Final = (D, Cause.CONTENT_BLOCKED)
POLICY: Final = (D, Cause.EXPLICIT_REJECT)
BLOCKED_BY_POLICY: Final = (F, Cause.EXPLICIT_REJECT)
BAD_SDP: Final = (D, Cause.MALFORMED_RESPONSE)
STRANGER: Final = (D, Cause.MISROUTED)
UNSAFE: Final = (D, Cause.UNSAFE_ANSWER)
SILENT: Final = (F, Cause.CALLS_BLOCKED)


class Driven(NamedTuple):
    """One attempt with everything that we sent until all was forgotten."""

    evidence: Evidence
    sent: tuple[bytes, ...]
    rtp: int
    rule_hits: int

    def judged(self, baseline: Baseline | None = None, name: str | None = None) -> Judged:
        """What is made of it, by a path of this history."""
        case = Case(self.evidence, baseline or Baseline(), name)
        verdict = diagnose(case)
        return verdict.outcome, verdict.cause

    @property
    def methods(self) -> str:
        """The requests that we sent in order, repetitions of the same octets left out."""
        return " ".join(filter(None, map(method_of, dict.fromkeys(self.sent))))

    def last(self, kind: Kind, fact: str) -> Fact:
        """One fact of the last observation of a kind."""
        seen = self.evidence.last(kind)
        return None if seen is None else seen[fact]


def drive(
    script: Script, *rules: Rule, is_call: bool, packets: int = 0, is_outward_open: bool = False
) -> Driven:
    """Run one attempt over UDP and wait until everything that listened has ended."""

    async def main(outside: Outside) -> Driven:
        outside.firewall.add(*rules)
        outside.firewall.outward_open = is_outward_open
        built = outside.built
        path = built.outlooks[0].paths[0]
        if packets > PSAP_PACKETS_MAX:
            path = replace(path, psap=replace(path.psap, id=REFERENCE))
        call = CallSettings(media=packets > 0, packets=max(packets, PSAP_PACKETS_MAX))
        settings = call if is_call else OptionsSettings()
        check = Check("check", 300.0, 8.0 if is_call else 4.0, settings)
        resolved = await built.world.resolver.resolve(path.uri, path.transport)
        crowd: dict[Pump, None] = {}
        identity = Identity("sip:911-path-test@example.net")
        source = path.leaves_from
        errand = Errand(check, resolved.legs[0], resolved, source, identity, crowd, Ledger())
        evidence = await settings.run(built.world, path, errand)
        await asyncio.sleep(FORGOTTEN_S)
        assert not crowd, "an attempt that still listens after every RFC timer"
        assert (built.open_flows, built.open_calls) == (0, 0), "somebody waits for ever"
        ours = [
            each for each in built.world.network.transcript if each.source.host == source.address
        ]
        sent = tuple(each.octets for each in ours if each.phase == "message")
        rtp = sum(each.phase == "media" and not is_rtcp(each.octets) for each in ours)
        return Driven(evidence, sent, rtp, sum(outside.firewall.hits[rule.name] for rule in rules))

    driven = simulated(main, plan=Plan(psaps=1, script=script))
    invites = [octets for octets in driven.sent if octets.startswith(b"INVITE ")]
    for invite in invites:
        assert TEST_URN.fullmatch(invite.split(b" ")[1]), "nothing makes a test call a live one"
    assert len({call_id_of(invite) for invite in invites}) == is_call, "one attempt, one call"
    return driven


# ---- final responses


class Meaning(NamedTuple):
    """One row: what it says to OPTIONS and to INVITE, and what it says where 2xx was usual."""

    codes: tuple[int, ...]
    options: Judged
    invite: Judged
    options_first: Judged | None = None
    invite_first: Judged | None = None


FINALS: Final = (
    Meaning((300, 301, 302, 305, 380), (D, Cause.MISROUTED), ASTRAY),
    Meaning((400,), OURS, OURS),
    Meaning((401, 407), PASS, REFUSED, BLOCKED_BY_POLICY, BLOCKED_BY_POLICY),
    Meaning((402, 423, 499), OURS, OURS),  # other 4xx: as 400 (8.1.3.2)
    Meaning((403,), POLICY, REFUSED, BLOCKED_BY_POLICY, BLOCKED_BY_POLICY),
    Meaning((404,), FAR, REFUSED, ASTRAY, ASTRAY),
    Meaning((405, 501), PASS, ASTRAY, ASTRAY, ASTRAY),
    Meaning((406,), FAR, REFUSED),
    Meaning((408, 504), BEYOND, BEYOND),
    Meaning((410, 485), ASTRAY, ASTRAY),
    Meaning((413, 513), OURS, CONTENT),
    Meaning((414, 417, 420, 421, 424, 489, 505, 580), OURS, OURS),
    Meaning((415,), PASS, CONTENT),
    Meaning((416,), PASS, REFUSED, ASTRAY, ASTRAY),
    Meaning((480, 481, 487, 491, 493, 494), FAR, FAR),
    Meaning((482, 483), ASTRAY, ASTRAY),
    Meaning((484, 604), ASTRAY, ASTRAY, ASTRAY, ASTRAY),
    Meaning((486, 488, 600, 606), FAR, REFUSED),
    Meaning((500, 502, 503, 599), DOWN, DOWN),
    Meaning((603,), FAR, REFUSED, BLOCKED_BY_POLICY, BLOCKED_BY_POLICY),
    Meaning((699,), FAR, REFUSED),
)  # fmt: skip
"""The rows of the table; codes that share one mean the same in both columns."""

BY_CODE: Final[Mapping[int, Meaning]] = {code: row for row in FINALS for code in row.codes}


def test_the_table_is_whole() -> None:
    """No code twice, and every final that the answering point can give has its row."""
    assert len(BY_CODE) == sum(len(row.codes) for row in FINALS)
    scripted = {int(name[7:]) for name in SCRIPTS if re.fullmatch(r"invite_\d+", name)}
    assert scripted <= BY_CODE.keys()


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_what_a_final_says_to_options(code: int) -> None:
    """One request, no other after it, and the row's verdict, without a history and with one."""
    row = BY_CODE[code]
    driven = drive(Script(options=(Step(code),)), is_call=False)
    assert driven.judged() == row.options
    assert driven.judged(USUALLY_PASSES) == (row.options_first or row.options)
    assert driven.methods == "OPTIONS"


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_what_a_final_says_to_a_test_call(code: int) -> None:
    """It is acknowledged and the call is over: no redirect, no other URI, no second INVITE."""
    row = BY_CODE[code]
    headers = (("Contact", "<urn:service:sos>"),) if code < 400 else ()
    driven = drive(Script(invite=(Step(code, headers=headers),)), is_call=True, packets=10)
    assert driven.judged() == row.invite
    assert driven.judged(USUALLY_PASSES) == (row.invite_first or row.invite)
    assert (driven.methods, driven.rtp) == ("INVITE ACK", 0)
    assert driven.last(Kind.ENDED, "how") == "rejected"


@pytest.mark.parametrize(
    ("code", "options", "invite"),
    [
        (200, STRANGER, STRANGER),
        (403, BLOCKED_BY_POLICY, BLOCKED_BY_POLICY),
        (404, ASTRAY, ASTRAY),
        (500, BEYOND, BEYOND),
        (603, BLOCKED_BY_POLICY, BLOCKED_BY_POLICY),
    ],
)
def test_what_another_than_the_usual_answerer_says(
    code: int, options: Judged, invite: Judged
) -> None:
    """The fingerprint of the path's baseline does not match: an element on the way has a policy."""
    step = Step(code, body="mirror" if code < 300 else "none")
    for is_call, expected in ((False, options), (True, invite)):
        driven = drive(Script(invite=(step,), options=(Step(code),)), is_call=is_call)
        assert driven.judged(OTHERS_ANSWER) == expected


@pytest.mark.parametrize("is_call", [False, True])
def test_a_time_to_come_back_proves_the_path(*, is_call: bool) -> None:
    """503 with Retry-After is the far end's own word; back-off is ``test_permits``'s."""
    step = Step(503, headers=(("Retry-After", "120"),))
    driven = drive(Script(invite=(step,), options=(step,)), is_call=is_call)
    assert driven.judged() == SHEDS


@pytest.mark.parametrize("code", [200, 202, 299])
def test_any_2xx_is_a_200(code: int) -> None:
    """To OPTIONS a pass, to INVITE an answer that is acknowledged and ended."""
    steps = (Step(code, body="mirror"),)
    assert drive(Script(options=(Step(code),)), is_call=False).judged() == PASS
    called = drive(Script(invite=steps), is_call=True, packets=10)
    assert (called.judged(), called.rtp > 0) == (PASS, True)
    assert called.methods == "INVITE ACK"
    assert called.last(Kind.ENDED, "how") == "bye_received"


# ---- a 200 to a test INVITE


@dataclass(frozen=True)
class Answered:
    """One row: what answers, what is made of it, who ends it, and whether media leaves."""

    script: str | Script
    judged: Judged
    methods: str = "INVITE ACK BYE"
    has_media: bool = False
    name: str | None = None
    baseline: Baseline | None = None


_ELSEWHERE = (("Geolocation-Error", '100 ;code="Cannot Process Location"'),)
ANSWERED: Final = {
    "mirror": Answered("mirror", PASS, "INVITE ACK", has_media=True),
    "mirror, with a space before the type": Answered(
        "loopback_space", PASS, "INVITE ACK", has_media=True
    ),
    "mirror, packets straight": Answered("direct", PASS, "INVITE ACK", has_media=True),
    "mirror of media": Answered("media", PASS, "INVITE ACK", has_media=True),
    "mirror that hears nothing back": Answered(
        "no_echo", (F, Cause.ONE_WAY_MEDIA), "INVITE ACK", has_media=True
    ),
    "mirror without a BYE": Answered("no_bye_after_media", PASS, has_media=True),
    "two loopback types": Answered("two_types", BAD_SDP),
    "recvonly": Answered("recvonly", BAD_SDP),
    "media port 0": Answered("port_zero", REFUSED),
    "no loopback attribute": Answered("no_loopback", UNSAFE),
    "loopback-source": Answered("loopback_source", BAD_SDP),
    "no SDP": Answered("no_sdp", REFUSED),
    "text alone": Answered("text_only", REFUSED),
    "text of another PSAP": Answered(
        "multipart", ASTRAY, "INVITE ACK", has_media=True, name="Lynn PD"
    ),
    "text that names the live service": Answered("live_text", UNSAFE),
    "Contact of another": Answered(
        "mirror", STRANGER, "INVITE ACK", has_media=True, baseline=OTHERS_ANSWER
    ),
    "our location is not understood": Answered(
        Script(invite=(Step(200, body="mirror", headers=_ELSEWHERE),)),
        (D, Cause.PROBER_FAULT), "INVITE ACK", has_media=True,
    ),
    "speech": Answered("speaks", UNSAFE, has_media=True),
}  # fmt: skip


@pytest.mark.parametrize("row", ANSWERED.values(), ids=ANSWERED)
def test_what_a_200_to_a_test_call_brings(row: Answered) -> None:
    """RTP leaves for a mirror alone; whoever does not hang up is hung up on."""
    script = SCRIPTS[row.script] if isinstance(row.script, str) else row.script
    driven = drive(script, is_call=True, packets=10)
    assert driven.judged(row.baseline, row.name) == row.judged
    assert (driven.methods, driven.rtp > 0) == (row.methods, row.has_media)
    how = "bye_sent" if "BYE" in row.methods else "bye_received"
    assert (driven.last(Kind.ENDED, "how"), driven.last(Kind.ENDED, "confirmed")) == (how, True)


# ---- odd responses


@dataclass(frozen=True)
class Odd:
    """One row: what comes, what is made of it in both columns, and what we send for it."""

    script: str | Script
    options: Judged | None
    invite: Judged | None
    methods: str = "INVITE"
    rules: tuple[Rule, ...] = ()
    is_outward_open: bool = False
    packets: int = 0
    """Of media; a hundred keep a call to the reference up for some seconds."""

    @property
    def played(self) -> Script:
        """What answers."""
        return SCRIPTS[self.script] if isinstance(self.script, str) else self.script


NO_ACK: Final = Rule(name="ack", methods=frozenset({"ACK"}), direction="inward")
ACK_LOST: Final = (D, Cause.ACK_LOST)
BROKEN: Final = (D, Cause.MALFORMED_RESPONSE)
READDRESSED: Final = (F, Cause.ALG_REWRITE)
HALFWAY: Final = (F, Cause.FINAL_RESPONSE_LOST)
DOUBLED: Final = Script(
    invite=(Step(486), Step(486, 0.05, unruly=True)),
    options=(Step(200), Step(200, 0.05, unruly=True)),
)
TWO_FINALS: Final = Script(
    invite=(Step(486), Step(503, 0.05, unruly=True)),
    options=(Step(200), Step(503, 0.05, unruly=True)),
)
LONG: Final = replace(SCRIPTS["echo_200"], hangs_up_after_s=None)
REPEATED: Final = replace(LONG, repeats_max=7)
CROSSING: Final = Script(invite=(Step(100), Step(200, 7.995, "mirror")), minds_expires=False)
"""The 200 leaves before our CANCEL of 8 s after the INVITE arrives there."""
ODD: Final = {
    "malformed, branch and CSeq readable": Odd("lf_only", BROKEN, BROKEN, "INVITE ACK BYE"),
    "malformed, no CSeq": Odd("no_cseq", BROKEN, BROKEN, "INVITE ACK BYE"),
    "unparsable datagram": Odd("garbage", SILENT, SILENT),
    "shorter than its Content-Length": Odd("truncated", SILENT, SILENT),
    "wrong branch": Odd("wrong_branch", READDRESSED, READDRESSED, "INVITE ACK BYE"),
    "wrong sent-by": Odd("wrong_sent_by", READDRESSED, READDRESSED, "INVITE ACK BYE"),
    "wrong CSeq method": Odd("wrong_cseq", SILENT, SILENT),
    "two Vias": Odd("two_vias", READDRESSED, READDRESSED, "INVITE ACK BYE"),
    "from another port": Odd(
        "other_port", (D, Cause.UNREACHABLE), (D, Cause.UNREACHABLE), "INVITE ACK BYE",
        is_outward_open=True,
    ),
    "late, a 200 to OPTIONS": Odd("late_options", SILENT, None),
    "late, ringing": Odd("late_ringing", None, SILENT, "INVITE CANCEL ACK"),
    "late, a 200": Odd("late_200", None, SILENT, "INVITE ACK BYE"),
    "late, a refusal": Odd(
        Script(invite=(Step(486, 12.0),), minds_expires=False), None, SILENT, "INVITE ACK"
    ),
    "very late": Odd(
        Script(
            invite=(Step(200, 70.0, "mirror"),), options=(Step(200, 70.0),), minds_expires=False
        ),
        SILENT, SILENT,
    ),
    "the same final twice": Odd(DOUBLED, PASS, REFUSED, "INVITE ACK"),
    "a refusal again and again": Odd("busy", None, REFUSED, "INVITE ACK", rules=(NO_ACK,)),
    "a 200 again and again": Odd(REPEATED, None, ACK_LOST, "INVITE ACK BYE", packets=100),
    "a 200 until its ACK, which is lost": Odd(
        LONG, None, ACK_LOST, "INVITE ACK BYE", rules=(NO_ACK,), packets=100
    ),
    "forked": Odd("forked", None, ASTRAY, "INVITE ACK ACK BYE BYE", packets=10),
    "forked, one without a mirror": Odd(
        "forked_unsafe", None, UNSAFE, "INVITE ACK ACK BYE BYE", packets=10
    ),
    "two finals of one answerer": Odd(TWO_FINALS, PASS, REFUSED, "INVITE ACK"),
    # A response over a connection that the far side opens cannot come: no stream of ours listens.
    "200 crosses our CANCEL": Odd(CROSSING, None, HALFWAY, "INVITE CANCEL ACK BYE"),
}  # fmt: skip


def rows_of(column: str) -> list[ParameterSet]:
    """The rows that have something in a column."""
    rows = ((name, row) for name, row in ODD.items() if getattr(row, column))
    return [pytest.param(row, id=name) for name, row in rows]


@pytest.mark.parametrize("row", rows_of("options"))
def test_what_odd_answers_to_options_come_to(row: Odd) -> None:
    """What is not certainly ours proves nothing, and is answered with nothing."""
    driven = drive(row.played, *row.rules, is_call=False, is_outward_open=row.is_outward_open)
    assert driven.judged() == row.options
    assert driven.methods == "OPTIONS"


@pytest.mark.parametrize("row", rows_of("invite"))
def test_what_odd_answers_to_a_test_call_come_to(row: Odd) -> None:
    """Whoever may have taken the call is acknowledged and ended, each as often as it asks."""
    driven = drive(
        row.played,
        *row.rules,
        is_call=True,
        packets=row.packets,
        is_outward_open=row.is_outward_open,
    )
    assert driven.judged() == row.invite
    assert driven.methods == row.methods
    if row.rules:
        acks = [octets for octets in driven.sent if octets.startswith(b"ACK")]
        assert len(acks) == driven.rule_hits >= 3, "each repetition is acknowledged"
