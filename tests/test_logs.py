"""Log lines: one event, one bounded line, with the ids of its attempt."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging  # noqa: TID251 - what libraries log through is the subject here
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.logs import LINE_CHARACTERS_MAX, Form, of_attempt, set_up
from samples import KEEPALIVE, TEST_CALL, WALL, path


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave structlog and logging as they were found."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return what was written, line by line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_time_level_event_and_fields() -> None:
    """The world's clock stamps each line, and what is said first stands first."""
    stream = io.StringIO()
    set_up(lambda: WALL, stream=stream)
    structlog.get_logger().warning("attempt_failed", cause="calls_blocked", after_s=4.0)
    assert stream.getvalue() == (
        '{"timestamp": "2025-06-18T17:16:40.000+00:00", "level": "warning", '
        '"event": "attempt_failed", "cause": "calls_blocked", "after_s": 4.0}\n'
    )


@pytest.mark.parametrize(
    ("stream", "form", "is_json", "is_coloured"),
    [
        (io.StringIO(), None, True, False),
        (Terminal(), None, False, True),
        (io.StringIO(), "console", False, False),
        (Terminal(), "json", True, False),
    ],
)
def test_a_terminal_gets_colours_and_everything_else_json(
    stream: io.StringIO, form: Form | None, is_json: bool, is_coloured: bool
) -> None:
    """The stream decides unless the operator does."""
    set_up(lambda: WALL, stream=stream, form=form)
    structlog.get_logger().info("hello")
    assert stream.getvalue().startswith("{") is is_json
    assert ("\x1b[" in stream.getvalue()) is is_coloured


def test_every_line_of_an_attempt_carries_its_ids() -> None:
    """Two attempts at once do not mix, and the ids end with the attempt."""
    stream = io.StringIO()
    set_up(lambda: WALL, stream=stream)

    async def deep_inside() -> None:
        await asyncio.sleep(0)
        structlog.get_logger().info("sent")

    async def one(check: Any, attempt_id: str) -> None:
        with of_attempt(path(), check, attempt_id):
            await asyncio.create_task(deep_inside())

    async def both() -> None:
        await asyncio.gather(one(KEEPALIVE, "a-1"), one(TEST_CALL, "a-2"))
        structlog.get_logger().info("after")

    asyncio.run(both())
    first, second, after = logged(stream)
    assert {first["attempt_id"]: first["check"], second["attempt_id"]: second["check"]} == {
        "a-1": "keepalive",
        "a-2": "test-call",
    }
    assert (first["psap"], first["path"], first["firewall"]) == ("ma-boston", "east", "fw-east")
    assert "attempt_id" not in after


@given(st.text(max_size=300), st.dictionaries(st.text(max_size=80), st.text(max_size=3000)))
def test_remote_text_cannot_forge_or_stretch_a_line(event: str, fields: dict[str, str]) -> None:
    """Whatever the text, one event is one printable line of bounded length."""
    for form in ("json", "console"):
        stream = io.StringIO()
        set_up(lambda: WALL, form=form, stream=stream)
        structlog.get_logger().info("seen", what=event, found=fields, listed=[event] * 50)
        written = stream.getvalue()
        assert written.endswith("\n")
        assert written[:-1].isprintable()
        assert form == "console" or len(written) <= LINE_CHARACTERS_MAX + 1


def test_a_line_that_is_too_long_keeps_its_words_and_ids() -> None:
    """A cut line is still JSON and says how long it would have been."""
    stream = io.StringIO()
    set_up(lambda: WALL, stream=stream)
    with of_attempt(path(), KEEPALIVE, "a-1"):
        structlog.get_logger().error("too_much", **{f"field{n}": "x" * 400 for n in range(30)})
    (line,) = logged(stream)
    assert (line["event"], line["attempt_id"]) == ("too_much", "a-1")
    assert line["cut"] > LINE_CHARACTERS_MAX


def test_a_traceback_is_kept_with_its_end() -> None:
    """The last lines of a traceback say what went wrong."""
    stream = io.StringIO()
    set_up(lambda: WALL, stream=stream)

    def deep(level: int) -> None:
        if not level:
            raise ValueError("the \x1b[31mend")
        deep(level - 1)

    try:
        deep(200)
    except ValueError:
        structlog.get_logger().exception("prober_fault")
    (line,) = logged(stream)
    assert line["exception"].endswith("ValueError: the \\x1b[31mend")
    assert len(stream.getvalue()) <= LINE_CHARACTERS_MAX


def test_what_libraries_log_takes_the_same_way() -> None:
    """Troubles of aiohttp and asyncio are JSON lines too, their chatter is not shown."""
    stream = io.StringIO()
    set_up(lambda: WALL, stream=stream)
    logging.getLogger("aiohttp.server").error("Error handling %s", "request\n")
    logging.getLogger("aiohttp.server").info("chatter")
    (line,) = logged(stream)
    assert (line["logger"], line["level"]) == ("aiohttp.server", "error")
    assert line["event"] == "Error handling request\\n"


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, _text: str) -> int:
        """Refuse."""
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        """Refuse as well."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_monitor_outlives_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that cannot be written is lost, and nothing else; a closed stream takes none."""
    set_up(lambda: WALL, stream=Full())
    structlog.get_logger().warning("started")
    monkeypatch.setattr("sys.stderr", None)
    set_up(lambda: WALL)
    structlog.get_logger().warning("started")
