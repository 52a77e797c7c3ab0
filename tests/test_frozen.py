"""What is frozen for the type checker alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

from psapwatch.verdict import PASSED, Cause, Outcome, Plane, Verdict


def test_frozen_data_is_a_value() -> None:
    """It is compared and hashed by what it holds, and has room for nothing else."""
    again = Verdict(Outcome.PASS, Cause.NONE, Plane.SIGNALLING, PASSED.why)
    assert again == PASSED
    assert len({again, PASSED}) == 1
    with pytest.raises(AttributeError):
        setattr(again, "note", "x")  # noqa: B010 - what no attribute can take


def test_the_type_checker_refuses_to_change_it(tmp_path: Path) -> None:
    """An assignment that nothing stops at run time does not pass ``make check``."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from psapwatch.verdict import PASSED\nPASSED.why = 'x'\n", encoding="utf-8")
    said, _trouble, _code = api.run([str(wrong)])
    assert 'Property "why" defined in "Verdict" is read-only' in said
