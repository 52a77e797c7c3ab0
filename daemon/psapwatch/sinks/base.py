"""What a sink is: told one notice, it says what came of it (layer L4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from psapwatch.incident import Incident, Notice
from psapwatch.world import Clock, Post, Reply

JSON: Final = {"Content-Type": "application/json"}
DETAIL_CHARACTERS_MAX: Final = 300
"""What is kept of a server's own words about a refused notice."""
HEADERS_FILE_OCTETS_MAX: Final = 16_384

_HEADER: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\x21-\xff][\x20-\xff\t]*)")
_AGAIN: Final = frozenset({408, 425, 429})
"""4xx that speak of the moment and not of the notice: request timeout, too early, too many."""


class BadHeadersFile(ValueError):
    """A headers file cannot be used; the sentence names the file and line, never a value."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one attempt to tell."""

    ok: bool
    retry: bool = False
    """Whether trying the same again can help."""
    detail: str = ""
    answered: bool = True
    """Whether the sink answered at all; False when the network or the host is down."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sinks are given beside their settings."""

    vantage: str
    clock: Clock
    post: Post
    open_now: Callable[[], Sequence[Incident]]
    """The incidents that are open: what has to be said again."""
    folder: Path = Path()
    """Where relative file names of the configuration begin."""


class Sink(Protocol):
    """One place that is told."""

    @property
    def name(self) -> str:
        """The metric label and the key of its rows in the outbox: kind and host, no secrets."""
        ...

    @property
    def repeat_s(self) -> float | None:
        """How often ``repeat`` wants to be called; None for never."""
        ...

    def due_at(self, notice: Notice) -> float:
        """Return the wall time before which this notice must not be told."""
        ...

    async def send(self, notice: Notice) -> Delivery:
        """Tell one notice; never raises for what the far side does."""
        ...

    async def repeat(self) -> Delivery:
        """Say again what still holds."""
        ...


class SinkSettings(BaseModel):
    """What all sinks' settings have in common: nothing unknown, nothing changed later."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    def sinks(self, around: Surroundings) -> Iterable[Sink]:
        """Make the sinks of these settings, one for each place that is told.

        Raises:
            BadHeadersFile: the file with the secret headers cannot be used.
        """
        raise NotImplementedError


def open_sinks(settings: Iterable[SinkSettings], around: Surroundings) -> tuple[Sink, ...]:
    """Make all configured sinks.

    Raises:
        BadHeadersFile: a file with secret headers cannot be used.
        ValueError: two sinks tell the same place.
    """
    sinks = tuple(sink for each in settings for sink in each.sinks(around))
    names = [sink.name for sink in sinks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"told twice: {', '.join(twice)}; one sink for each place")
    return sinks


def judge(reply: Reply) -> Delivery:
    """Return what an HTTP reply means: 4xx is final, 5xx and silence are tried again."""
    detail = " ".join(reply.detail.split())[:DETAIL_CHARACTERS_MAX]
    if 200 <= reply.status < 300:
        return Delivery(ok=True, detail=f"HTTP {reply.status}")
    if not reply.status:
        return Delivery(ok=False, retry=True, detail=detail or "no answer", answered=False)
    retry = reply.status >= 500 or reply.status in _AGAIN
    return Delivery(ok=False, retry=retry, detail=f"HTTP {reply.status} {detail}".strip())


def place(url: str) -> str:
    """Return host and port of a URL: paths and queries can hold secrets."""
    return urlsplit(url).netloc.rpartition("@")[2]


def read_headers(file: Path | None) -> Mapping[str, str]:
    """Read ``Name: value`` lines, as for curl; ``#`` begins a comment line.

    Raises:
        BadHeadersFile: not readable, too big, or a line is no header.
    """
    if file is None:
        return {}
    try:
        with file.open("rb") as opened:
            octets = opened.read(HEADERS_FILE_OCTETS_MAX + 1)
    except OSError as why:
        raise BadHeadersFile(f"{file}: {(why.strerror or str(why)).lower()}") from why
    if len(octets) > HEADERS_FILE_OCTETS_MAX:
        raise BadHeadersFile(f"{file}: more than {HEADERS_FILE_OCTETS_MAX} octets of headers")
    headers: dict[str, str] = {}
    for number, line in enumerate(octets.decode("latin-1").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        header = _HEADER.fullmatch(text)
        if not header:
            raise BadHeadersFile(f"{file}:{number}: not a `Name: value` line")
        headers[header[1]] = header[2]
    return headers
