"""What only our own responder shows: a gateway on the way that changes calls which pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from psapwatch.casebook import Casebook
from psapwatch.detection import Standing, State
from psapwatch.endpoint import REFERENCE, Check, Firewall, Path, Psap, Source
from psapwatch.look import Ground
from psapwatch.pooled import Pools
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.verdict import Cause

CALL = Check("reference", 15.0, 8.0, CallSettings())
CLEAN_S = 300.0
FIREWALL = Firewall("fw-east", (Source("192.0.2.1"),))
OURS = Path(Psap(REFERENCE, ""), "fw-east", "v", FIREWALL, "sip:ref", "udp")
BOSTON = Path(Psap("ma-boston", ""), "east", "v", FIREWALL, "sip:psap", "udp")
UP = Standing(State.UP, passes=9, last_pass_at=990.0, last_at=990.0)
WHY = "changed on the way: via 192.0.2.1:5060 arrived as 203.0.113.9:1024"
REWRITTEN = replace(UP, state=State.DEGRADED, cause=Cause.ALG_REWRITE, why=WHY)


def test_a_gateway_that_changes_calls_is_a_ticket_until_it_is_gone() -> None:
    """Told once for the firewall, with what was changed; closed when calls arrive as they left."""
    numbers = count(1)
    ground = Ground("v", ((OURS, CALL), (BOSTON, CALL)), CLEAN_S)
    book = Casebook(ground, lambda: f"i{next(numbers)}")

    def review(now: float, reference: Standing, psap: Standing = UP) -> list[str]:
        legs = {(OURS.key, CALL.name): {"leg": reference}, (BOSTON.key, CALL.name): {"leg": psap}}
        return [notice.status for notice in book.review(legs, Pools(), now)]

    down = replace(
        UP, state=State.DOWN, failures=2, failing_since=1_090.0, last_at=1_099.0,
        last_failed=True, cause=Cause.CALLS_BLOCKED, why="no answer",
    )  # fmt: skip
    assert review(1_000.0, UP, REWRITTEN) == [], "a PSAP that reads back our header is none of ours"
    assert review(1_001.0, REWRITTEN) == ["open"]
    assert review(1_100.0, REWRITTEN) == []
    (incident,) = book.open
    assert (incident.alertname, incident.severity) == ("CallsDegraded", "ticket")
    assert (incident.scope, incident.member) == ("firewall", "fw-east")
    assert incident.cause is Cause.ALG_REWRITE
    assert "are changed on the way since" in incident.summary
    assert incident.summary.endswith("via 192.0.2.1:5060 arrived as 203.0.113.9:1024.")
    assert review(1_101.0, REWRITTEN, down) == ["open"], "it hides no PSAP that is blocked"
    assert sorted(each.alertname for each in book.open) == ["CallsBlocked", "CallsDegraded"]
    assert review(1_101.5, REWRITTEN) == ["changed"]
    assert review(1_102.0, UP) == ["changed"]
    assert review(1_102.0 + CLEAN_S, UP) == ["closed", "closed"]


def test_it_makes_room_for_calls_that_are_lost() -> None:
    """A gateway may stand there for ever; a loss behind the same firewall is told all the same."""
    book = Casebook(Ground("v", ((OURS, CALL), (BOSTON, CALL)), CLEAN_S), lambda: "i1")
    gateway, pools = {(OURS.key, CALL.name): {"leg": REWRITTEN}}, Pools()
    assert [notice.status for notice in book.review(gateway, pools, 1_000.0)] == ["open"]
    for number in range(200):
        pools.take(
            [("firewall", "fw-east")], "call", BOSTON.key, 1_000.0 + number, failed=number % 3 == 0
        )
    notices = book.review(gateway, pools, 1_200.0)
    assert [notice.status for notice in notices] == ["closed", "open"]
    (incident,) = book.open
    assert incident.cause is Cause.INTERMITTENT_LOSS
    assert book.review(gateway, pools, 1_201.0) == [], "nor does the gateway come back meanwhile"


def test_names_that_no_longer_resolve_are_a_page_while_their_last_addresses_answer() -> None:
    """One page for the firewall, none for what is left of it on the way back."""
    numbers = count(1)
    paths = [
        Path(Psap(f"p{nth}", "", (("county", f"c{nth % 2}"),)), "e", "v", FIREWALL, "sip:h", "udp")
        for nth in range(12)
    ]
    keepalive = Check("keepalive", 15.0, 4.0, OptionsSettings())
    book = Casebook(
        Ground("v", tuple((path, keepalive) for path in paths), CLEAN_S),
        lambda: f"i{next(numbers)}",
    )
    why = "p0.example.gov does not resolve (nxdomain); its last address answers"
    nameless = replace(UP, state=State.DEGRADED, cause=Cause.NAME_RESOLUTION, why=why)

    def review(now: float, unresolved: int) -> list[tuple[str, str, str]]:
        legs = {
            (path.key, keepalive.name): {
                "leg": replace(nameless if nth < unresolved else UP, last_at=now - 0.1)
            }
            for nth, path in enumerate(paths)
        }
        return [
            (notice.status, notice.incident.scope, notice.incident.severity)
            for notice in book.review(legs, Pools(), now)
        ]

    assert review(1_000.0, 2) == [], "two are their own zone's matter"
    assert review(1_001.0, 12) == [("open", "firewall", "page")]
    (incident,) = book.open
    assert (incident.alertname, incident.cause) == ("CallsDegraded", Cause.NAME_RESOLUTION)
    assert "no longer resolve" in incident.summary
    assert why in incident.summary
    assert review(1_100.0, 4) == [], "what is left of it is no new incident"
    assert review(1_101.0, 1) == [("changed", "firewall", "page")]
    assert review(1_101.0 + CLEAN_S, 1) == [("closed", "firewall", "page")]
