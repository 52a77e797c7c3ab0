"""``psapwatch explain``: what it says to names and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from psapwatch.case import Case, to_json
from psapwatch.cli.main import cli
from psapwatch.evidence import Kind, Observation
from samples import attempt, sent

GOOD = to_json(Case(attempt(seen=(sent(),))))
NO_PACKET = GOOD | {"evidence": GOOD["evidence"] | {"transcript": [[1]]}}


def explain(*words: str) -> tuple[int, str]:
    """Run the command: exit code (2 is what ``main`` makes 64 of), and all that it says."""
    done = CliRunner().invoke(cli, ["explain", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def test_a_cause_that_is_none_is_answered_in_short() -> None:
    """With what may have been meant, not with all that there are."""
    code, said = explain("invite_blokced")
    assert code == 2
    assert "'invite_blokced' is no cause (did you mean invite_blocked?)" in said
    assert "rate_limited" not in said


def test_a_cause_and_a_case_are_one_too_many(tmp_path: Path) -> None:
    """None of the two is passed over in silence."""
    code, said = explain("invite_blocked", "--case", str(tmp_path / "case.json"))
    assert (code, "either CAUSE or --case FILE" in said) == (2, True)


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"", "case.json:1: no JSON from column 1 on"),
        (b'{"case":\n{,}}', "case.json:2: no JSON from column 2 on"),
        (b"\xff\xfe\x00", "no JSON object of a case"),
        (b"[]", "no JSON object of a case"),
        (b'{"case": 7}', "no JSON object of a case"),
        (b"[" * 100_000, "no JSON object of a case"),
        (b"{}", "no case is kept here"),
        (json.dumps(GOOD | {"v": 99}).encode(), "case version 99: this program reads 1"),
        (json.dumps(GOOD | {"evidence": 7}).encode(), "something else stands where an object"),
        (json.dumps(GOOD | {"evidence": {"v": 1}}).encode(), "evidence without 'attempt_id'"),
        (json.dumps(NO_PACKET).encode(), "an observation or a packet that is none"),
        (json.dumps({"v": 1, "battery": {}}).encode(), "a case without 'evidence'"),
    ],
)
def test_a_file_that_is_no_case_is_told_in_words(octets: bytes, says: str, tmp_path: Path) -> None:
    """What, where, and how a good one is written."""
    file = tmp_path / "case.json"
    file.write_bytes(octets)
    code, said = explain("--case", str(file))
    assert (code, says in said) == (1, True), said
    assert "write it with `psapwatch incidents show ID --format json`" in said


@pytest.mark.parametrize("wrong", ["x", None, [1], {}, 10**400, float("inf")])
@pytest.mark.parametrize("field", ["at_s", "fact", "started_at", "duration_s"])
def test_values_of_another_kind_end_no_command(wrong: object, field: str, tmp_path: Path) -> None:
    """A case that was edited by hand is judged, or refused in words: no traceback."""
    silent = Observation(Kind.SILENT, 4.0, {"method": "OPTIONS", "after_s": 4.0})
    plain = to_json(Case(attempt(seen=(sent(), silent))))
    evidence = plain["evidence"]
    if field == "at_s":
        evidence["observations"][1][1] = wrong
    elif field == "fact":
        evidence["observations"][1][2]["after_s"] = wrong
    else:
        evidence[field] = wrong
    file = tmp_path / "case.json"
    file.write_text(json.dumps(plain), encoding="utf-8")
    code, said = explain("--case", str(file))
    assert code == 0 or "not of its kind" in said, said


def test_a_file_that_is_not_there_is_told() -> None:
    """As every file."""
    assert explain("--case", "/nowhere") == (
        1,
        "Error: /nowhere: cannot be read: No such file or directory",
    )
