"""What holds in every world, whatever goes wrong there (house rules, "simulation invariants").

``Tap`` hears every packet as it leaves; the rest is asked of the daemon before it stops, and of
the network after.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from psapwatch.endpoint import OURS, WITNESS, Path
from psapwatch.incident import Incident
from psapwatch.metrics_names import ATTEMPTS, INCIDENTS, INTERNAL_ERRORS, Row
from psapwatch.metrics_names import BATTERY as BATTERY_ATTEMPTS
from psapwatch.permits import spacing_of
from psapwatch.replay.stage import Stage
from psapwatch.schedule import BURST_CALLS
from psapwatch.simulator.carriage import Crossing
from psapwatch.sip.guard import NotATestCall, permit
from psapwatch.sip.request import loose
from psapwatch.sip.wire import call_id_of
from psapwatch.trials import BATTERY
from psapwatch.watch import CONFIRM_AT_S

ATTEMPTS_MAX: Final = 1_000_000
GRAIN_S: Final = 0.02
"""What two clocks may differ by."""
STREAM_S: Final = 35.0
"""How long a connection may hold an INVITE back that has left us: its own retransmissions."""
AT_ONCE_S: Final = 0.1
_ROUTE: Final = re.compile(rb"(?m)^Route: ([^\r\n]*)")


class Tap:
    """Hears what the prober sends: every INVITE to a test URN, and no PSAP too often."""

    def __init__(self, scene: Stage) -> None:
        self.wrong: list[str] = []
        self.invites = 0
        self._spacing = {
            host: (path.psap.id, spacing_of(path))
            for path in scene.config.paths
            for host in scene.topology.psaps[path.psap.id].hosts
        }
        self._ours = {
            source.address for firewall in scene.config.firewalls for source in firewall.sources
        }
        self._meant = {loose(path.uri): path.psap.id for path in scene.config.paths}
        self._astray: dict[str, str] = {}
        """PSAP -> by whom its last call was answered in its place."""
        self._at_once_max = {
            firewall.sources[0].address: math.ceil(firewall.limits.calls_per_second)
            + BURST_CALLS * firewall.rate_burst
            for firewall in scene.config.firewalls
        }
        """By the source of its calls, what a firewall's budget lets begin in no time."""
        self._begun: dict[str, list[float]] = {}
        self._last: dict[str, float] = {}
        self._seen: set[str] = set()
        scene.topology.world.network.taps.append(self.crossed)

    def crossed(self, packet: Crossing) -> None:
        """Look at one packet."""
        if not packet.octets.startswith(b"INVITE ") or packet.source.host not in self._ours:
            return
        try:
            permit(packet.octets)
        except NotATestCall as why:
            self.wrong.append(f"{packet.at:.3f} s: an INVITE that is no test call: {why}")
        call_id = call_id_of(packet.octets)
        if call_id in self._seen:
            return  # the same call again: a retransmission, or with credentials
        self._seen.add(call_id)
        self.invites += 1
        self._count_at_once(packet)
        psap, spacing_s = self._spacing.get(packet.destination.host, ("", 0.0))
        last = self._last.get(psap) if psap else None
        slack_s = GRAIN_S if packet.transport == "udp" else STREAM_S
        is_news = self._leads_astray(packet.octets, psap)
        if last is not None and packet.at - last < spacing_s - slack_s and not is_news:
            gap_s = packet.at - last
            self.wrong.append(f"{packet.at:.3f} s: {psap} called {gap_s:.1f} s after the last call")
        self._last[psap] = packet.at

    def _count_at_once(self, packet: Crossing) -> None:
        """A burst of calls leaves only where that was agreed, and to no PSAP."""
        source, at = packet.source.host, packet.at
        at_once_max = self._at_once_max.get(source)
        if packet.transport != "udp" or at_once_max is None:
            return  # a connection holds INVITEs back, and lets them go together
        begun = [each for each in self._begun.get(source, ()) if at - each < AT_ONCE_S]
        self._begun[source] = [*begun, at]
        if len(begun) >= at_once_max:
            self.wrong.append(f"{at:.3f} s: {len(begun) + 1} calls at once from {source}")

    def _leads_astray(self, octets: bytes, reached: str) -> bool:
        """Whether a call reaches another PSAP than it is meant for, and the last one did not.

        Nobody can know that beforehand; after it the floor of whoever answered holds.
        """
        routes = _ROUTE.findall(octets)
        meant = self._meant.get(routes[-1].decode(), reached) if routes else reached
        before, self._astray[meant] = self._astray.get(meant, meant), reached
        return reached not in (meant, before)


async def broken_while_running(scene: Stage, tap: Tap, incidents: Sequence[Incident]) -> list[str]:
    """What does not hold of the running daemon; cheap enough for every scenario."""
    daemon = scene.daemon
    wrong = list(tap.wrong)
    errors = _counted(scene, INTERNAL_ERRORS).get((), 0.0)
    if errors:
        wrong.append(f"{errors:.0f} errors of our own")
    lost = +daemon.store.losses
    if lost:
        wrong.append(f"the store lost {dict(lost)}")
    wrong += _incidents_disagree(scene, incidents)
    return wrong


def broken_at_rest(scene: Stage) -> list[str]:
    """What is left when the daemon has stopped and everything has timed out."""
    left = {
        "calls that the daemon could not end": scene.left_open,
        "calls that nobody ended": scene.topology.open_calls,
        "sockets left open": scene.topology.open_flows,
    }
    return [f"{count} {what}" for what, count in left.items() if count]


async def counts_disagree(scene: Stage) -> list[str]:
    """Where store and metrics differ, and attempts of one check that overlap.

    The rows of the battery are no check's: they are tried beside each other, and counted apart. The
    confirm burst after a failure may overlap (detection.md 1), but no call to a PSAP ever does.
    """
    store, config = scene.daemon.store, scene.config
    await store.flushed()
    counted: defaultdict[tuple[str, ...], float] = defaultdict(float, _counted(scene, ATTEMPTS))
    for (firewall, _row, outcome), count in _counted(scene, BATTERY_ATTEMPTS).items():
        counted[firewall, BATTERY, outcome] += count
    kept = await _tried(scene)
    wrong: list[str] = []
    for path in config.all_paths:
        ends: dict[str, float] = {}
        failed: dict[str, float] = {}
        found = await store.attempts(path.psap.id, path.id, limit=ATTEMPTS_MAX)
        for evidence, verdict in sorted(found, key=lambda each: each[0].started_at):
            if evidence.check == BATTERY:
                continue
            kept[*_labels(path), evidence.check, verdict.outcome.value] += 1
            began, ended = evidence.started_at, ends.get(evidence.check, 0.0)
            is_confirming = began <= failed.get(evidence.check, 0.0) + sum(CONFIRM_AT_S) + GRAIN_S
            is_confirming = is_confirming and (evidence.probe != "call" or path.psap.id in OURS)
            if began < ended - GRAIN_S and not is_confirming and not scene.steps:
                wrong.append(f"{path.key} {evidence.check}: two attempts at {began}")
            ends[evidence.check] = max(ended, began + evidence.duration_s)
            if verdict.failed and began >= ended - GRAIN_S:
                failed[evidence.check] = began + evidence.duration_s
    if scene.starts > 1:
        return wrong  # counters begin again with each start
    wrong += [
        f"{' '.join(labels)}: {kept[labels]} in the store, {counted[labels]:.0f} counted"
        for labels in sorted({*kept, *counted})
        if kept[labels] != counted[labels]
    ]
    return wrong


async def _tried(scene: Stage) -> Counter[tuple[str, ...]]:
    """What the store has of the battery's attempts, by firewall and outcome."""
    config = scene.config
    asked = {(path.psap.id, path.id) for path in (*config.all_paths, *config.must_blocks)}
    asked |= {(WITNESS, firewall.id) for firewall in config.firewalls}
    kept: Counter[tuple[str, ...]] = Counter()
    for psap, path in sorted(asked):
        for evidence, verdict in await scene.daemon.store.attempts(psap, path, limit=ATTEMPTS_MAX):
            if evidence.check == BATTERY:
                kept[evidence.firewall, BATTERY, verdict.outcome.value] += 1
    return kept


def _incidents_disagree(scene: Stage, incidents: Sequence[Incident]) -> Iterable[str]:
    """Where store, casebook, metrics and sinks do not tell the same."""
    daemon, post = scene.daemon, scene.topology.world.post
    open_here = {incident.id for incident in daemon.casebook.open}
    open_there = {incident.id for incident in incidents if incident.is_open}
    if open_here != open_there:
        yield f"open in the casebook {sorted(open_here)}, in the store {sorted(open_there)}"
    if scene.starts > 1:
        return
    opened = sum(_counted(scene, INCIDENTS).values())
    if opened != len(incidents):
        yield f"{opened:.0f} incidents counted, {len(incidents)} in the store"
    told = Counter((body["incident"]["id"], body["status"]) for _at, _url, body in post.webhooks)
    waiting = sum(daemon.store.pending_count(name) for name in daemon.recorder.sink_names)
    for incident in incidents:
        for status, times in (("open", 1), ("closed", 0 if incident.is_open else 1)):
            if told[incident.id, status] != times and not waiting:
                yield f"{incident.id}: {status} told {told[incident.id, status]} times"


def _counted(scene: Stage, row: Row) -> dict[tuple[str, ...], float]:
    """The samples of one metric, by label values, as Prometheus would read them."""
    return {
        tuple(sample.labels[label] for label in row.labels): sample.value
        for metric in scene.daemon.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == row.name
    }


def _labels(path: Path) -> tuple[str, str, str, str]:
    return (path.psap.id, path.id, path.firewall.id, path.transport)
