"""What only our own responder shows: a gateway on the way that changes calls which pass."""

from __future__ import annotations

from dataclasses import replace

from psapwatch.casebook import Casebook
from psapwatch.detection import Standing, State
from psapwatch.endpoint import REFERENCE, Check, Firewall, Path, Psap, Source
from psapwatch.pooled import Pools
from psapwatch.probes.call import CallSettings
from psapwatch.verdict import Cause
from psapwatch.wanted import Ground

CALL = Check("reference", 15.0, 8.0, CallSettings())
CLEAN_S = 300.0
UP = Standing(State.UP, passes=9, last_pass_at=990.0, last_at=990.0)
WHY = "changed on the way: via 192.0.2.1:5060 arrived as 203.0.113.9:1024"
REWRITTEN = replace(UP, state=State.DEGRADED, cause=Cause.ALG_REWRITE, why=WHY)


def test_a_gateway_that_changes_calls_is_a_ticket_until_it_is_gone() -> None:
    """Told once for the firewall, with what was changed; closed when calls arrive as they left."""
    firewall = Firewall("fw-east", (Source("192.0.2.1"),))
    ours = Path(Psap(REFERENCE, ""), "fw-east", "v", firewall, "sip:ref", "udp")
    boston = Path(Psap("ma-boston", ""), "east", "v", firewall, "sip:psap", "udp")
    book = Casebook(Ground("v", ((ours, CALL), (boston, CALL)), CLEAN_S), lambda: "i1")

    def review(now: float, reference: Standing, psap: Standing = UP) -> list[str]:
        legs = {(ours.key, CALL.name): {"leg": reference}, (boston.key, CALL.name): {"leg": psap}}
        return [notice.status for notice in book.review(legs, Pools(), now)]

    assert review(1_000.0, UP, REWRITTEN) == [], "a PSAP that reads back our header is none of ours"
    assert review(1_001.0, REWRITTEN) == ["open"]
    assert review(1_100.0, REWRITTEN) == []
    (incident,) = book.open
    assert (incident.alertname, incident.severity) == ("CallsDegraded", "ticket")
    assert (incident.scope, incident.member) == ("firewall", "fw-east")
    assert incident.cause is Cause.ALG_REWRITE
    assert "are changed on the way since" in incident.summary
    assert incident.summary.endswith("via 192.0.2.1:5060 arrived as 203.0.113.9:1024.")
    assert review(1_101.0, UP) == ["changed"]
    assert review(1_100.0 + CLEAN_S, UP) == ["closed"]
