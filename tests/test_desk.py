"""The desk: where evidence becomes verdicts, states and samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from psapwatch.baseline import Baseline
from psapwatch.case import Case
from psapwatch.casebook import Casebook
from psapwatch.desk import REVIEW_EVERY_S, Desk
from psapwatch.detection import Thresholds
from psapwatch.endpoint import Check, Path
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.incident import Incident, Notice
from psapwatch.look import Ground
from psapwatch.verdict import Verdict
from samples import KEEPALIVE, WALL, answered, attempt, path, sent

PATHS = tuple(path(f"p{number:02}") for number in range(12))
SILENT = (sent(), Observation(Kind.SILENT, 4.0, {"method": "OPTIONS", "after_s": 4.0}))


class Heard:
    """A recorder that remembers the notices."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.cases: dict[str, Case] = {}
        self.learnt: dict[tuple[str, str], Baseline] = {}

    def attempt(self, path: Path, check: Check, evidence: Evidence, verdict: Verdict) -> None:
        """Take an attempt."""

    def trial(self, row: str, evidence: Evidence, verdict: Verdict) -> None:
        """Take an attempt of the battery."""

    def state(self, path: Path, check: str, state: str) -> None:
        """Take a state."""

    def baseline(self, path: Path, check: str, baseline: Baseline, wall: float) -> None:
        """Take a baseline."""
        assert wall >= WALL
        self.learnt[path.key, check] = baseline

    def case(self, incident_id: str, case: Case) -> None:
        """Take a case."""
        self.cases[incident_id] = case

    def notices(self, notices: Sequence[Notice], open_: Sequence[Incident]) -> None:
        """Take notices."""
        assert len(open_) <= len(PATHS)
        self.told += [
            (each.status, each.incident.alertname, each.incident.scope) for each in notices
        ]


def _answer(at_s: float) -> Observation:
    source = "198.51.100.1:5060"
    return answered(at_s, phase_s=at_s, late=False, from_peer=True, source=source)


def _desk() -> tuple[Desk, Heard]:
    heard, numbers = Heard(), count(1)
    ground = Ground("v", tuple((each, KEEPALIVE) for each in PATHS), 300.0)
    book = Casebook(ground, lambda: f"i{next(numbers)}")
    return Desk(book, heard, Thresholds(), muted=lambda _path: False), heard


def _round(desk: Desk, at: float, *seen: Observation) -> None:
    for each in PATHS:
        desk.take(each, KEEPALIVE, attempt(each, seen=seen, at=at), at)
    desk.tick(at + 5.0)


def test_a_request_sent_again_into_the_end_of_a_block_is_no_packet_loss() -> None:
    """What was lost to a block that is known is not lost a second time as packets."""
    desk, heard = _desk()
    _round(desk, WALL, sent(), _answer(0.02))
    _round(desk, WALL + 15, *SILENT)
    assert heard.told == [("open", "CallsBlocked", "firewall")]
    for after_s in (30, 45):
        _round(desk, WALL + after_s, sent(), sent(0.5, 2), _answer(0.51))
    assert [found.kind for found in desk.pools.findings() if found.kind == "first"] == []


def test_old_connections_that_a_block_fails_are_no_stale_flows() -> None:
    """What a known block does to connections that were there before is told with it."""
    desk, heard = _desk()
    old = Observation(Kind.CONNECTED, 0.0, {"reused": True})
    _round(desk, WALL, sent(), _answer(0.02))
    _round(desk, WALL + 15, *SILENT)
    assert heard.told == [("open", "CallsBlocked", "firewall")]
    for after_s in (30, 45):
        _round(desk, WALL + after_s, old, *SILENT)
    assert [found.kind for found in desk.pools.findings() if found.kind == "kept"] == []


def test_requests_answered_only_when_sent_again_are_packet_loss() -> None:
    """Without a block the same answers say that packets are lost; no attempt need fail for that."""
    desk, heard = _desk()
    for after_s in (0, 15, 30):
        _round(desk, WALL + after_s, sent(), sent(0.5, 2), _answer(0.51))
    assert {found.kind for found in desk.pools.findings()} == {"first"}
    assert heard.told == [("open", "CallsDegraded", "firewall")]


def test_packets_lost_for_three_seconds_are_a_failover_and_no_loss() -> None:
    """All came when they were sent again: what lasts is told, a gap is not."""
    desk, heard = _desk()
    for after_s in (0.0, 1.0, 2.0):
        _round(desk, WALL + after_s, sent(), sent(0.5, 2), _answer(0.51))
    for after_s in range(15, 60, 15):
        _round(desk, WALL + after_s, sent(), _answer(0.02))
    assert heard.told == []


def test_a_failure_that_an_open_incident_explains_waits_for_the_next_look() -> None:
    """A thousand paths that fail behind one dead firewall make one review a second, not 66."""
    desk, _heard = _desk()
    _round(desk, WALL, sent(), _answer(0.02))
    _round(desk, WALL + 15, *SILENT)
    _round(desk, WALL + 30, *SILENT)
    assert desk.casebook.is_open
    reviewed_at = desk._reviewed_at
    desk.take(PATHS[0], KEEPALIVE, attempt(PATHS[0], seen=SILENT, at=WALL + 35.1), WALL + 35.1)
    desk.tick(reviewed_at + 0.25)
    assert desk._reviewed_at == reviewed_at
    desk.tick(reviewed_at + REVIEW_EVERY_S)
    assert desk._reviewed_at == reviewed_at + REVIEW_EVERY_S
