"""The forms that people send: complete, with their clocks, and plainly drafts."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from psapwatch.endpoint import Identity, Psap
from psapwatch.evidence import Packet
from psapwatch.incident import from_json
from psapwatch.notice_forms import DRAFT, FORMS, MISSING, Dossier, fcc, markdown, public
from psapwatch.verdict import PASSED, Cause
from samples import FAILED, OK_TEXT, OPTIONS_TEXT, WALL, attempt, incident, sent

Form = Callable[[Dossier], str]

IDENTITY = Identity(
    "sip:911-path-test@example.net",
    provider="Example ESInet",
    reporter_name="NOC",
    reporter_phone="+1 617 555 0199",
    reporter_email="noc@example.net",
)
BOSTON = Psap(
    "ma-boston",
    "Boston Police Department",
    attributes=(("county", "Suffolk"),),
    business_line="+1 617 555 0100",
)
HADLEY = Psap("ma-hadley", "Hadley Police Department")
SENT = Packet(0.0, "out", "198.51.100.9:5060", OPTIONS_TEXT)
OPENED_AT = WALL + 9


def dossier(now: float = OPENED_AT + 600, **changed: Any) -> Dossier:
    """Return everything about the incident of the samples, ten minutes after its discovery."""
    failing = attempt(seen=(sent(),), transcript=(SENT,))
    passing = attempt(transcript=(SENT, Packet(0.02, "in", "198.51.100.9:5060", OK_TEXT)))
    whole = Dossier(
        incident(),
        now,
        IDENTITY,
        psaps=(BOSTON, HADLEY),
        transports=("tcp", "udp"),
        told=(("alertmanager", "open", OPENED_AT, OPENED_AT + 1),),
        failing=(failing, FAILED),
        passing=(passing, PASSED),
    )
    return replace(whole, **changed)


def elements(text: str) -> dict[str, str]:
    """Return the numbered rows of a form's first table: name and content."""
    rows = re.findall(r"^\| \d+ \| ([^|]+) \| (.*) \|$", text, re.MULTILINE)
    return dict(rows)


def test_all_ten_elements_are_filled_from_what_is_known() -> None:
    """Each element of 47 CFR 4.9(h)(2) is there, in order, with what was measured."""
    found = elements(fcc(dossier()))
    assert list(found.values()) == [
        "i-1",
        "NOC, +1 617 555 0199, noc@example.net",
        "Example ESInet",
        "2025-06-18 17:16:40 UTC (first failing test); last good 2025-06-18 17:16:25 UTC",
        "911 voice calls (SIP over tcp, udp): call set-up",
        "Boston Police Department (Suffolk); Hadley Police Department",
        "911 calls over the affected paths do not arrive at the 911 special facility.",
        MISSING,
        "calls blocked: 10 of 10 test calls through fw-east failed since 13:15:22 EDT.",
        "initial",
    ]


def test_nobody_is_cut_off_in_a_big_outage() -> None:
    """Of 204 answering points the areas are told in one line, and each has its row below."""
    psaps = tuple(
        replace(BOSTON, id=f"ma-{n}", name=f"Town {n}", attributes=(("county", f"C{n % 14:02}"),))
        for n in range(204)
    )
    keys = tuple(f"{psap.id}/east" for psap in psaps)
    told = dossier(psaps=psaps, incident=incident(affected=keys))
    areas = ", ".join(f"C{n:02}" for n in range(14))
    assert elements(fcc(told))["geographic area"].startswith(f"204 answering points in {areas};")
    assert all(f"| {psap.name} |" in fcc(told) for psap in psaps)
    assert ", ".join(keys) in markdown(told)


def test_what_is_not_known_is_left_to_fill_in() -> None:
    """No provider, reporter or place: the elements are there and say what is missing."""
    found = elements(fcc(dossier(identity=Identity("sip:x@example.net"), psaps=())))
    assert len(found) == 10
    assert found["provider experiencing the outage"] == MISSING
    assert found["contact of the notifying provider"].count(MISSING) == 3
    assert found["geographic area"] == MISSING


def test_moments_are_also_in_the_readers_zone() -> None:
    """4.9(h)(2) asks for the local time zone; both zones are named."""
    text = fcc(dossier(zone=ZoneInfo("America/New_York")))
    assert "2025-06-18 13:16:40 EDT (2025-06-18 17:16:40 UTC)" in text


@pytest.mark.parametrize(
    ("after_s", "notify", "follow_up", "stage"),
    [
        (0.0, "0 h 30 min left", "2 h 00 min left", "initial"),
        (1_800.0, "over for 0 h 00 min", "1 h 30 min left", "initial"),
        (1_801.0, "over for 0 h 00 min", "1 h 29 min left", "update"),
        (9_000.0, "over for 2 h 00 min", "over for 0 h 30 min", "update"),
    ],
)
def test_the_clocks_run_from_discovery(
    after_s: float, notify: str, follow_up: str, stage: str
) -> None:
    """30 minutes and 2 hours after the incident opened, with what is left of them."""
    text = fcc(dossier(OPENED_AT + after_s))
    assert f"within 30 minutes | 2025-06-18 17:46:49 UTC | {notify} |" in text
    assert f"within 2 hours | 2025-06-18 19:16:49 UTC | {follow_up} |" in text
    assert elements(text)["initial, update or final"].startswith(stage)


def test_a_closed_incident_makes_the_final_notice() -> None:
    """Restoration is a moment then, and the public is told that calls get through again."""
    over = incident(closed_at=WALL + 7_200)
    text = fcc(dossier(incident=over))
    assert elements(text)["expected restoration"] == "restored 2025-06-18 19:16:40 UTC"
    assert elements(text)["initial, update or final"] == "final: service is restored"
    assert "until 2025-06-18 19:16:40 UTC" in public(dossier(incident=over))
    assert "dial 911 first" not in public(dossier(incident=over))


@pytest.mark.parametrize("form", [fcc, markdown])
def test_evidence_and_ladders_are_in_the_report(form: Form) -> None:
    """The failing attempt's call flow, the last pass's, and the numbers behind the summary."""
    text = form(dossier())
    assert text.count("  |--- OPTIONS sip:psap1.example.gov") == 2
    assert text.count("  |<-- 200 OK") == 1
    assert "fail: calls_blocked (path): no answer in 4 s" in text
    assert '| reference | "fails too" |' in text


def test_the_report_says_who_was_told() -> None:
    """Sink, when it was said and when it was taken; or that nobody was."""
    assert "| alertmanager | open | 2025-06-18 17:16:49 UTC |" in markdown(dossier())
    assert "Nobody: no sink" in markdown(dossier(told=()))


def test_the_public_is_given_each_places_own_line() -> None:
    """A place without a configured line is left to fill in, not left out."""
    text = public(dossier())
    assert "| Boston Police Department | Suffolk | +1 617 555 0100 |" in text
    assert f"| Hadley Police Department |  | {MISSING} |" in text
    assert "911 calls to the answering points below may not get through" in text


@pytest.mark.parametrize("form", [fcc, markdown, public])
def test_nothing_for_others_looks_sent(form: Form) -> None:
    """Each form that people send says that it is a draft and that nobody has it yet."""
    assert DRAFT in form(dossier())


@pytest.mark.parametrize(
    "alertname",
    ["RedundancyLost", "Misrouted", "TestCallUnsafe", "ProberBlind", "CertificateExpiring"],
)
def test_what_callers_do_not_notice_is_not_for_the_public(alertname: str) -> None:
    """Only blocked and degraded calls concern the public; the effect is told to PSAPs anyway."""
    told = dossier(incident=incident(alertname=alertname))
    assert "does not concern callers" in public(told)
    assert elements(fcc(told))["expected effect on the 911 special facility"] != MISSING


def test_lost_audio_is_told_as_lost_audio() -> None:
    """A connected call in which nobody hears anything is not a call that does not arrive."""
    told = dossier(incident=incident(cause=Cause.ONE_WAY_MEDIA))
    assert "may hear nothing" in public(told)
    assert "911 voice calls (SIP over tcp, udp): audio" in fcc(told)


def test_words_of_the_far_end_cannot_leave_their_cell() -> None:
    """Line breaks, bars and markup in a summary stay one cell of the table."""
    told = dossier(incident=incident(summary="Seen: a|b\n# forged <script>[x](y)`z`"))
    row = next(line for line in markdown(told).splitlines() if line.startswith("| summary"))
    assert row == r"| summary | Seen: a\|b\n# forged \<script>\[x](y)\`z\` |"


def test_json_and_csv_are_for_machines() -> None:
    """JSON reads back as the incident; CSV is a header and one row."""
    assert from_json(json.loads(FORMS["json"](dossier()))) == incident()
    header, row = csv.reader(FORMS["csv"](dossier()).splitlines())
    assert dict(zip(header, row, strict=True))["affected"] == "ma-boston/east"


def test_an_incident_without_attempts_says_so() -> None:
    """ProberBlind has no failing attempt; the report does not pretend."""
    text = markdown(dossier(failing=None, passing=None))
    assert "No failing attempt of it is kept." in text
