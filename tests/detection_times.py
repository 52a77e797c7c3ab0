"""Time to detect, measured in the simulated world: the table of docs/pooled-detection.md.

``python tests/detection_times.py --seeds 5`` runs each row with several seeds and prints, for each,
median and worst time from the block to the open incident, and what was paged.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Iterator

from psapwatch import logs
from psapwatch.replay.stage import stage
from psapwatch.simulator.loop import run
from psapwatch.simulator.rule import Rule
from psapwatch.simulator.topology import Plan

WARM_S = 400.0
LOOK_S = 0.5
SIP = frozenset({"OPTIONS", "INVITE", "ACK", "BYE", "CANCEL"})

ROWS: dict[str, tuple[float, frozenset[str], float]] = {
    # name: (share of new flows lost, methods, required within, seconds)
    "all, OPTIONS too": (1.0, SIP, 10.0),
    "50 %, OPTIONS too": (0.5, SIP, 10.0),
    "25 %, OPTIONS too": (0.25, SIP, 15.0),
    "10 %, OPTIONS too": (0.10, SIP, 30.0),
    "5 %, OPTIONS too": (0.05, SIP, 60.0),
    "all, calls only": (1.0, frozenset({"INVITE"}), 15.0),
    "50 %, calls only": (0.5, frozenset({"INVITE"}), 30.0),
    "25 %, calls only": (0.25, frozenset({"INVITE"}), 60.0),
    "10 %, calls only": (0.10, frozenset({"INVITE"}), 180.0),
    "5 %, calls only": (0.05, frozenset({"INVITE"}), 480.0),
}


async def onset(seed: int, share: float, methods: frozenset[str], patience_s: float) -> Found:
    """Block a share of flows and return when the first incident opened, and all that opened."""
    async with stage(seed, Plan(psaps=204)) as running:
        firewall = running.topology.firewalls["fw-east"]
        await asyncio.sleep(WARM_S + seed)
        if running.daemon.casebook.open:
            raise AssertionError("something is open before the block")
        loop = asyncio.get_running_loop()
        blocked_at = loop.time()
        firewall.add(Rule(name="block", methods=methods, share=share))
        seen: dict[str, tuple[float, str]] = {}
        while loop.time() < blocked_at + patience_s:
            await asyncio.sleep(LOOK_S)
            for incident in running.daemon.casebook.open:
                said = f"{incident.alertname} {incident.scope} {incident.severity} {incident.cause}"
                seen.setdefault(incident.id, (loop.time() - blocked_at, said))
            if seen and loop.time() > blocked_at + min(patience_s, max(seen.values())[0] + 30):
                break
        if not firewall.hits["block"]:
            raise AssertionError("the block hit nothing")
    return min((at for at, _said in seen.values()), default=None), [s for _at, s in seen.values()]


Found = tuple[float | None, list[str]]


def measured(name: str, seeds: range) -> Iterator[Found]:
    """Run one row with each seed."""
    share, methods, required_s = ROWS[name]
    for seed in seeds:
        yield run(onset(seed, share, methods, 3 * required_s), seed=seed)


def main() -> int:
    """Print the table; exit 1 when a row's worst time is over what is required."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--row", choices=ROWS, action="append")
    asked = parser.parse_args()
    logs.set_up(lambda: 0.0, level=logs.ERRORS_ONLY + 10)
    late = 0
    for name in asked.row or ROWS:
        found = list(measured(name, range(asked.first, asked.first + asked.seeds)))
        times = sorted(at if at is not None else float("inf") for at, _said in found)
        said = Counter(each for _at, opened in found for each in opened)
        late += times[-1] > ROWS[name][2]
        "; ".join(f"{count}x {each}" for each, count in said.most_common(4))
        statistics.median(times)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
