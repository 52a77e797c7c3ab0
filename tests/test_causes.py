"""The table of causes is whole, and what the docs say of it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from psapwatch.causes import MEANINGS, as_markdown
from psapwatch.cli.main import cli
from psapwatch.verdict import Cause

DOCS = Path(__file__).parents[1] / "docs" / "runbooks" / "causes.md"


def test_every_cause_has_a_meaning() -> None:
    """The closed set, in its order; only ``none`` needs no words."""
    assert list(MEANINGS) == [cause for cause in Cause if cause is not Cause.NONE]


def test_the_docs_are_printed_from_the_table() -> None:
    """``docs/runbooks/causes.md`` ends with the table as the code has it."""
    assert DOCS.read_text(encoding="utf-8").endswith(as_markdown())


def test_explain_says_what_to_look_at() -> None:
    """The command prints one cause, lists all, and refuses what is none."""
    one = CliRunner().invoke(cli, ["explain", "invite_blocked"])
    assert one.exit_code == 0
    assert "OPTIONS pass" in one.output
    listed = CliRunner().invoke(cli, ["explain"])
    assert all(cause.value[:12] in listed.output for cause in MEANINGS)
    assert CliRunner().invoke(cli, ["explain", "bad_luck"]).exit_code != 0
