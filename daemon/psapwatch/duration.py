"""Durations as people write them: ``500ms``, ``15s``, ``5m``, ``2h``, ``7d`` (layer L0).

Settings models of probes and sinks use ``Duration`` for a field; its value is seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
ALLOWED: Final = "a whole number and a unit: 500ms, 15s, 5m, 2h or 7d"
_WRITTEN: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a written duration.

    Raises:
        ValueError: it is not a whole number and one unit.
    """
    written = _WRITTEN.fullmatch(text)
    if not written:
        message = f"{text[:40]!r} is no duration; write {ALLOWED}"
        raise ValueError(message)
    return round(int(written[1]) * UNIT_S[written[2]], 3)


def print_duration(seconds: float) -> str:
    """Return the shortest way to write ``seconds`` so that ``parse_duration`` reads it back."""
    if not seconds:
        return "0s"
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        in_unit, rest = divmod(milliseconds, round(UNIT_S[unit] * 1000))
        if not rest:
            return f"{in_unit}{unit}"
    return f"{milliseconds}ms"


def _from_text(value: Any) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, float):  # a default, or settings built in code
        return value
    message = f"must be {ALLOWED}"
    raise ValueError(message)


READS_TEXT: Final = BeforeValidator(_from_text)
"""In the metadata of a settings field, tells that it is a duration."""

Duration = Annotated[float, READS_TEXT]
"""A settings field in seconds that is written as text; a float is taken as it is, for defaults."""
