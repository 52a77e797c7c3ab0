"""A daemon that stands still, as on a machine that is paused: its own absence is nobody's fault."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

from components.answering import start_answering
from components.daemon import Daemon
from components.firewall import OUTSIDE, SIP_PORT, Laboratory
from components.process import Bench
from components.watching import CALL, CONSENT, OPTIONS, outcomes, watching

PSAPS: Final = 24
EVERY: Final = {"every": "8s", "give_up_after": "8s"}
"""Three calls a second are placed, each answered after 3 s: nine are under way at any moment."""
STOPPED_S: Final = (2.5, 0.7, 3.5)
"""A 2xx without our ACK comes again after 0.5 and after 1.5 s."""
RUNS_S: Final = 5.0


def test_a_stopped_daemon_blames_nobody(
    bench: Bench, laboratory: Laboratory, daemon: Callable[..., Daemon]
) -> None:
    """Calls whose ACK was late and OPTIONS that were not sent: no incident, and no cause but us."""
    for transport in ("udp", "tcp"):
        start_answering(
            bench, "slow_mirror", transport=transport, place=laboratory.inside, port=SIP_PORT
        )
    paths = {
        f"psap-{number}": f"sip:psap@198.18.0.{number};transport={'udp' if number % 3 else 'tcp'}"
        for number in range(1, PSAPS + 1)
    }
    checks = {"options": OPTIONS | EVERY, "call": CALL | EVERY}
    config = watching(paths, source=OUTSIDE[0], consent=CONSENT | {"every": "8s"}, **checks)
    watch = daemon(config, place=laboratory.outside, laboratory=laboratory)
    everyone = 2 * PSAPS
    watch.wait_for(lambda: outcomes(watch).get("pass", 0) >= everyone, 30, "everybody answers")
    for stopped_s in STOPPED_S:
        os.kill(watch.running.pid, signal.SIGSTOP)
        time.sleep(stopped_s)
        os.kill(watch.running.pid, signal.SIGCONT)
        time.sleep(RUNS_S)
    assert watch.total("psapwatch_loop_delay_seconds_sum") > 0.8 * sum(STOPPED_S)
    causes = watch.samples("psapwatch_causes_total")
    blamed = {name.partition(",")[0] for name, count in causes.items() if count}
    assert blamed == {"cause=none", "cause=prober_fault"}, "calls were under way at each stop"
    assert set(outcomes(watch)) == {"pass", "inconclusive"}
    assert watch.json("/api/v1/incidents")["incidents"] == []
