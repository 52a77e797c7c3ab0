"""Log lines: JSON for machines, colours for people, and the ids of the attempt on each (layer L4).

One event is one line of bounded length. Text that came from the far end is escaped, so that
nobody can forge a line or drive the reader's terminal. What libraries say through ``logging``
takes the same way.
"""

from __future__ import annotations

import json
import logging  # noqa: TID251 - the one place where the standard library's records come in
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast, final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from psapwatch.endpoint import Check, Path
from psapwatch.remote_text import printable, printable_octets

Form = Literal["json", "console"]

ERRORS_ONLY: Final = logging.ERROR
"""The level for commands, whose output is their answer."""
NOTHING: Final = logging.CRITICAL
"""The level for replays, where faults are the subject and the log is nobody's."""
LINE_CHARACTERS_MAX: Final = 4_096
VALUE_CHARACTERS_MAX: Final = 500
TRACEBACK_CHARACTERS_MAX: Final = 2_500
FIELDS_MAX: Final = 40
ITEMS_MAX: Final = 20
IDS: Final = ("attempt_id", "psap", "path", "firewall", "check", "call_id", "incident_id")
"""What survives when a line has to be cut."""


def set_up(
    wall: Callable[[], float],
    *,
    form: Form | None = None,
    stream: TextIO | None = None,
    level: int = logging.INFO,
) -> None:
    """Send every log line to ``stream`` (default: standard error).

    Args:
        wall: the world's clock, Unix seconds.
        form: ``json`` or ``console``; by default colours on a terminal and JSON elsewhere.
        stream: where lines go.
        level: the least level that is shown.
    """
    to = _Lossy(stream or sys.stderr)
    shape: Form = form or ("console" if to.isatty() else "json")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _stamped(wall),
        structlog.processors.format_exc_info,
        bounded,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=to.isatty(), pad_event_to=0, sort_keys=False)
        if shape == "console"
        else one_line
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", to)),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromLibraries()]
    root.setLevel(max(level, logging.WARNING))  # aiohttp and asyncio: their troubles only


def of_attempt(path: Path, check: Check, attempt_id: str) -> AbstractContextManager[Any]:
    """Bind the ids of one attempt to every line that this task and its children write."""
    return structlog.contextvars.bound_contextvars(
        attempt_id=attempt_id,
        psap=path.psap.id,
        path=path.id,
        firewall=path.firewall.id,
        check=check.name,
    )


@final
class _Lossy:
    """A stream whose troubles are not the daemon's: what cannot be written to it is lost.

    A monitor outlives its log, from the first line on. Python has None for a closed stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.flush()


def bounded(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what is not printable and bound every value (a structlog processor)."""
    shown: dict[str, Any] = {}
    for name, value in list(event.items())[:FIELDS_MAX]:
        if name == "exception":  # a traceback keeps its lines, and its end says most
            shown[name] = "\n".join(map(printable, str(value).splitlines()))[
                -TRACEBACK_CHARACTERS_MAX:
            ]
        else:
            shown[printable(str(name), 60)] = _bounded(value)
    return shown


def one_line(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> str:
    """Render JSON of at most ``LINE_CHARACTERS_MAX``; a longer event keeps its words and ids."""
    line = json.dumps(event, default=str)
    if len(line) <= LINE_CHARACTERS_MAX:
        return line
    kept = {name: event[name] for name in ("timestamp", "level", "event", *IDS) if name in event}
    return json.dumps({**kept, "cut": len(line)}, default=str)


def _bounded(value: object, depth: int = 2) -> object:
    match value:
        case bool() | int() | float() | None:
            return value
        case bytes():
            return printable_octets(value, VALUE_CHARACTERS_MAX)
        case Mapping() if depth:
            pairs = list(value.items())[:ITEMS_MAX]
            return {printable(str(name), 60): _bounded(item, depth - 1) for name, item in pairs}
        case list() | tuple() if depth:
            return [_bounded(item, depth - 1) for item in value[:ITEMS_MAX]]
    return printable(str(value), VALUE_CHARACTERS_MAX)


def _stamped(wall: Callable[[], float]) -> Processor:
    def stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        moment = datetime.fromtimestamp(wall(), UTC)
        first = {"timestamp": moment.isoformat(timespec="milliseconds")}
        first.update({name: event.pop(name) for name in ("level", "event") if name in event})
        return {**first, **event}

    return stamp


class _FromLibraries(logging.Handler):
    """Hands records of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger().bind(logger=record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
