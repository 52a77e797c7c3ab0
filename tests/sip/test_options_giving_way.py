"""An OPTIONS whose socket is taken away: silence after enough of it, else our own limit."""

from __future__ import annotations

import pytest

from psapwatch.evidence import Kind
from psapwatch.sip.machine import NO_ROOM
from sip.line import OptionsLine


def gave_way(line: OptionsLine) -> None:
    """Take the socket away: all of them are in use, and this flow was silent longest."""
    line.fail(Kind.LOCAL_ERROR, error=NO_ROOM, detail="gave way: 768 sockets open")


@pytest.mark.parametrize(
    ("now", "kind"), [(0.3, Kind.LOCAL_ERROR), (1.4, Kind.LOCAL_ERROR), (1.6, Kind.SILENT)]
)
def test_three_transmissions_in_vain_are_silence(now: float, kind: Kind) -> None:
    """After 0, 0.5 and 1.5 s without an answer it is the path's silence: before, our own limit."""
    line = OptionsLine()
    line.until(now)
    gave_way(line)
    assert [seen.kind for seen in line.seen if seen.kind is not Kind.SENT] == [kind]
    assert line.is_closed()
    if kind is Kind.SILENT:
        assert line.facts(Kind.SILENT)["after_s"] == now


def test_after_giving_up_nothing_is_added() -> None:
    """Only the listening for a late answer was cut short: the silence stands alone."""
    line = OptionsLine()
    line.until(5.0)
    gave_way(line)
    assert [seen.kind for seen in line.seen if seen.kind is not Kind.SENT] == [Kind.SILENT]
    assert line.is_closed()
