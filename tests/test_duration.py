"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from psapwatch.duration import Duration, parse_duration, print_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("15s", 15.0), ("5m", 300.0), ("2h", 7200.0), ("7d", 604_800.0), ("0s", 0.0)],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, seconds: float) -> None:
    """Each unit comes to its seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "15", "s", "1.5s", "-1s", "1 s", "1m30s", "15S", "1w", "1:30", "٣s", "1s\n"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    """Signs, fractions, spaces, two units and other digits are refused."""
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_what_is_printed_is_read_back(milliseconds: int) -> None:
    """Printing and parsing give the same duration."""
    assert parse_duration(print_duration(milliseconds / 1000)) == milliseconds / 1000


class _Settings(BaseModel):
    """Settings with a duration."""

    every: Duration = Field(15.0, ge=1)


def test_a_settings_field_reads_text_and_keeps_floats() -> None:
    """Files write text; code and defaults give seconds; bounds hold for both."""
    assert _Settings.model_validate({"every": "2m"}).every == 120.0
    assert _Settings(every=2.5).every == 2.5
    for wrong in ("500ms", 15, None, True, 0.5):
        with pytest.raises(ValidationError):
            _Settings.model_validate({"every": wrong})
