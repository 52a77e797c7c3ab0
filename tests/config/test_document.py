"""YAML is read by the core schema of YAML 1.2, and every value knows its line."""

from __future__ import annotations

import math
from typing import Any

import pytest

from psapwatch.config.document import read_yaml


def plain_of(text: str) -> Any:
    """Return what a text comes to; it must have no errors."""
    document, errors = read_yaml(text.encode(), "test.yml")
    assert document is not None
    assert not errors
    return document.plain


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("15", 15),
        ("-15", -15),
        ("+15", 15),
        ("015", 15),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1:30:00", "1:30:00"),
        ("2026-12-01", "2026-12-01"),
        ("2026-12-01T02:00:00-05:00", "2026-12-01T02:00:00-05:00"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("'15'", "15"),
        ('"true"', "true"),
        ("!!str 15", "15"),
        ("!!int '15'", 15),
        ("=", "="),
        ("<<", "<<"),
        ("20000-29999", "20000-29999"),
        ("192.0.2.10", "192.0.2.10"),
    ],
)
def test_a_scalar_is_read_as_yaml_1_2_says(written: str, value: object) -> None:
    """Only the core schema's words are null, booleans and numbers; the rest is text."""
    read = plain_of(f"key: {written}\n")["key"]
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_read_as_a_float() -> None:
    """``.nan`` is a float, which the models refuse where they want a finite number."""
    assert math.isnan(plain_of("key: .nan\n")["key"])


def test_keys_are_text_whatever_they_look_like() -> None:
    """``on``, numbers and null as keys stay the text that was written."""
    assert plain_of("on: 1\n15: 2\n~: 3\ntrue: 4\n") == {"on": 1, "15": 2, "~": 3, "true": 4}


def test_aliases_are_expanded() -> None:
    """An anchor may be used again; every use is a value of its own."""
    assert plain_of("a: &tls {verify: true}\nb: *tls\n")["b"] == {"verify": True}


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """An editor's byte order mark changes nothing."""
    document, errors = read_yaml(b"\xef\xbb\xbfkey: 1\n", "test.yml")
    assert document is not None
    assert not errors
    assert document.plain == {"key": 1}


def test_an_error_stands_at_its_value_or_at_what_holds_it() -> None:
    """A key that is not there is told at the line of the nearest thing above it."""
    text = "top:\n  list:\n    - {a: 1}\n    - a: 2\n      b: 3\n"
    document, _ = read_yaml(text.encode(), "test.yml")
    assert document is not None
    lines = {
        loc: document.error(loc, "").line
        for loc in [
            ("top",),
            ("top", "list", 0, "a"),
            ("top", "list", 1, "b"),
            ("top", "list", 1, "missing"),
            ("top", "list", 7),
            ("missing",),
        ]
    }
    assert list(lines.values()) == [1, 3, 5, 4, 2, 1]


def test_every_duplicate_key_is_told() -> None:
    """Two keys written twice are two errors, and the first value of each is kept."""
    document, errors = read_yaml(b"a: 1\nb: 2\na: 3\nb: 4\n", "test.yml")
    assert document is not None
    assert document.plain == {"a": 1, "b": 2}
    assert [(error.line, error.key) for error in errors] == [(3, "a"), (4, "b")]


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"key: \xff\n", 1),
        (b"a: 1\nkey: caf\xe9\n", 2),
        ("é: 1\nkey: \x00\n".encode(), 2),
        (b"a: 1\nb: \x1b[31m\n", 2),
    ],
)
def test_octets_that_are_no_text_are_told_with_their_line(octets: bytes, line: int) -> None:
    """Broken UTF-8 and control characters are errors of their line."""
    document, errors = read_yaml(octets, "test.yml")
    assert document is None
    assert [error.line for error in errors] == [line]
