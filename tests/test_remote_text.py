"""What a stranger wrote is safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.remote_text import printable, printable_octets


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("OK", "OK"),
        ("Zürich 911 ☎", "Zürich 911 ☎"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_invisible_characters_become_escapes(written: str, shown: str) -> None:
    """Line breaks, terminal sequences, direction overrides and lone surrogates are spelt out."""
    assert printable(written) == shown


def test_long_text_is_cut_and_says_so() -> None:
    """An ellipsis stands for the rest, and escapes count."""
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("x" * 11, 10) == "x" * 9 + "…"
    assert printable("\n" * 6, 10) == r"\n\n\n\n" + "\\…"


@given(st.binary(max_size=400), st.integers(1, 80))
def test_any_octets_become_one_bounded_printable_line(octets: bytes, most: int) -> None:
    """Whatever arrives, what is shown is printable and short."""
    shown = printable_octets(octets, most)
    assert shown.isprintable()
    assert len(shown) <= most
