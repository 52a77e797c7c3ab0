"""Eight calls at once through a real firewall that limits calls: only some of them pass."""

from __future__ import annotations

from functools import partial
from typing import Final

from components.calling import place_calls
from components.firewall import INSIDE, SIP_PORT, Laboratory
from components.inside import start_answering_point
from components.peer import Peer
from components.process import Bench
from psapwatch.bursts import LOST_MIN
from psapwatch.schedule import BURST_CALLS
from psapwatch.sip.wire import call_id_of

INVITE: Final = "udp dport 5060 @th,64,48 0x494e56495445"
LIMIT: Final = f"{INVITE} limit rate over 2/second burst 3 packets counter drop"


def test_a_limit_lets_a_single_call_pass_and_only_some_of_a_burst(
    bench: Bench, laboratory: Laboratory
) -> None:
    """Without it all eight are answered at once, and all are ended."""
    reference = Peer(INSIDE, SIP_PORT, "udp", start_answering_point(bench, laboratory))
    place = partial(place_calls, reference, place=laboratory.outside, psap="reference")
    [free] = place(burst=True)
    assert (free.outcome, free.why) == (
        "pass",
        "0 of 8 calls begun at once got no answer at once",
    )
    ended = {call_id_of(each) for each in free.messages if each.startswith(b"BYE ")}
    assert len(ended) == BURST_CALLS
    with laboratory.rule(LIMIT) as rule:
        [single] = place(call={"media": False})
        assert (single.outcome, rule.packets) == ("pass", 0)
        [limited] = place(burst=True, patience_s=1.2)
    seen = limited.observed("burst")
    lost = sum(bool(call["again"]) or call["code"] != 200 for call in seen)
    assert (limited.outcome, len(seen)) == ("fail", BURST_CALLS)
    assert rule.packets >= lost >= LOST_MIN, "each that was lost met the limit"
