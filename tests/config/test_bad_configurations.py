"""Every file in config/bad begins with its exact errors; only ``BadConfig`` is ever raised."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.configured import ROOT
from psapwatch.config.document import read_yaml
from psapwatch.config.errors import BadConfig, ConfigError, Loc
from psapwatch.config.load import load, load_octets

BAD = sorted(ROOT.glob("config/bad/*.yml"))
EXAMPLE = (ROOT / "config/psapwatch.yml").read_bytes()


def expected_of(file: Path) -> list[str]:
    """Return the errors that a bad file's first comment promises."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line[2:] for line in takewhile(lambda line: line.startswith("# "), lines)]


def errors_of(octets: bytes, file: str) -> tuple[ConfigError, ...]:
    """Return what is wrong with a configuration, if anything."""
    try:
        load_octets(octets, file)
    except BadConfig as refused:
        return refused.errors
    return ()


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_is_refused_with_exactly_its_errors(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed for a bad file is what its first comment says, no more and no less."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(BadConfig) as refused:
        load(str(file.relative_to(ROOT)))
    assert str(refused.value).splitlines() == expected_of(file)


def test_secured_media_without_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the first call: when the file is checked, with what has to be installed."""
    octets = (ROOT / "config/bad/srtp-without-media.yml").read_bytes()
    octets = octets.replace(b"srtp: tls", b"srtp: tls, media: true")
    assert errors_of(octets, "secured.yml") == ()
    monkeypatch.setitem(sys.modules, "pylibsrtp", None)
    [error] = errors_of(octets, "secured.yml")
    assert (error.line, error.key) == (8, "checks.test-call.srtp")
    assert error.message == "secured media needs pylibsrtp: install psapwatch[srtp]"


def test_there_are_bad_files_enough_to_trust_the_errors() -> None:
    """The folder of bad files is found, and large."""
    assert len(BAD) >= 35


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_no_error_shows_a_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords written where they do not belong are in no message."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(BadConfig) as refused:
        load(str(file.relative_to(ROOT)))
    assert "hunter2" not in repr(refused.value) + str(refused.value)


@given(st.binary(max_size=300))
def test_octets_at_random_are_refused_and_nothing_else_happens(octets: bytes) -> None:
    """No octets raise anything but ``BadConfig``."""
    with pytest.raises(BadConfig):
        load_octets(octets, "random.yml")


@given(
    st.integers(0, len(EXAMPLE) - 1),
    st.integers(0, 60),
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [b"null", b"[]", b"{}", b"- ", b"\n", b": ", b"&a ", b"*a", b"!!int ", b"9" * 30]
        ),
    ),
)
def test_the_example_cut_and_patched_anywhere_loads_or_is_refused(
    at: int, cut: int, patch: bytes
) -> None:
    """Every error of a damaged example is a line with file, line and key."""
    octets = EXAMPLE[:at] + patch + EXAMPLE[at + cut :]
    errors = errors_of(octets, str(ROOT / "config/cut.yml"))
    assert all(error.line >= 1 and error.key and error.message for error in errors)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.floats(width=16) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)


def places_in(value: object, place: Loc = ()) -> Iterator[Loc]:
    """Yield the place of every value inside a document."""
    yield place
    children: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from places_in(child, (*place, key))


@given(st.data())
def test_any_value_anywhere_loads_or_is_refused(data: st.DataObject) -> None:
    """Whatever stands in place of a value, the answer is a configuration or errors."""
    document, _ = read_yaml(EXAMPLE, "psapwatch.yml")
    assert document is not None
    written = document.plain
    *above, last = data.draw(st.sampled_from(list(places_in(written))[1:]))
    into = written
    for part in above:
        into = into[part]
    into[last] = data.draw(JSON)
    octets = json.dumps(written).encode()
    errors = errors_of(octets, str(ROOT / "config/patched.yml"))
    assert all(error.line >= 1 and error.key and error.message for error in errors)


def test_deep_nesting_is_refused() -> None:
    """Brackets in brackets exhaust neither stack nor memory."""
    for octets in (b"[" * 100_000, b"[" * 900 + b"]" * 900, b"{a: " * 900 + b"}" * 900):
        with pytest.raises(BadConfig):
            load_octets(octets, "deep.yml")


def test_aliases_that_multiply_are_refused() -> None:
    """A few lines of aliases of aliases do not become a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BadConfig, match="more than 2,000,000 values"):
        load_octets("\n".join(lines).encode(), "aliases.yml")


def test_a_file_that_is_not_there_is_named() -> None:
    """A missing configuration file is an error that names it."""
    with pytest.raises(BadConfig) as refused:
        load("no/such/psapwatch.yml")
    message = "no/such/psapwatch.yml:1: (file): cannot be read: No such file or directory"
    assert str(refused.value) == message
