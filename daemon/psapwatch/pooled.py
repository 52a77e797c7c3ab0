"""Pooled detection: every attempt through a firewall is a sample of the firewall (layer L1).

A CUSUM of the log-likelihood ratio runs for each domain and kind of sample, against several shares
of loss at once; it raises when "this domain loses calls" explains the samples better, for total and
for partial loss (detection.md 3). How the thresholds were chosen: ``docs/pooled-detection.md``.
Moments are Unix seconds; shares are 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from psapwatch.detection import Standing, State
from psapwatch.endpoint import Check
from psapwatch.evidence import Evidence, Kind
from psapwatch.fault_domain import ORDER, Scope
from psapwatch.verdict import Outcome, Verdict

SampleKind = Literal["call", "options", "kept", "first"]
"""Outcomes of calls, of OPTIONS on new flows and on old ones, and whether a first transmission was
answered."""

KINDS: Final[tuple[SampleKind, ...]] = ("call", "options", "kept", "first")
THRESHOLDS: Final = {kind: 21.5 if kind == "call" else 25.0 for kind in KINDS}
"""Nats: five failures in a row. Calls are the fewest samples, so they may decide with less; each
kind stays under 0.05 false alarms in ten years (``docs/pooled-detection.md``)."""
SUSPICION: Final = 1.5
"""From here the reference is called once a second until it is decided; one failure is enough."""
RECOVERED: Final = 7.0
"""Nats of evidence for health before a domain is well: one in 1,100 to be wrong."""
SHARED_MIN: Final = 2
"""So many failing paths are needed before one PSAP's failure could be everybody's."""
FAILED_MAX: Final = 8
"""Failing paths that a pool remembers by name."""
POOLS_MAX: Final = 4_096
PAGE_LOSS: Final = 0.04
"""Share of attempts failing from which partial loss pages. One call in twenty is a page, also where
the sample happens to hold a failure less."""
SURE: Final = 14.0
"""Nats, one in a million: less may be the bad luck of a part of something that loses a share."""
PAGE_PACKET_LOSS: Final = 0.20
TICKET_PACKET_LOSS: Final = 0.05
"""Shares of packets lost each way, from which first-transmission loss is told."""
GAP_S: Final = 10.0
"""First transmissions that are lost within less are a failover's gap: what was sent again came."""
_HEALTHY: Final = {kind: 0.03 if kind == "first" else 0.005 for kind in KINDS}
_LOSSES: Final[dict[SampleKind, tuple[float, ...]]] = {
    kind: (0.1, 0.2, 0.5) if kind == "first" else (0.03, 0.1, 0.3, 0.95) for kind in KINDS
}

NEW_FLOWS: Final[tuple[SampleKind, ...]] = ("call", "options", "first")
"""What callers meet: an old flow that died is another matter."""


def _steps(kind: SampleKind) -> tuple[tuple[float, float], ...]:
    """Log-likelihood ratios of a failure and of a pass, for each alternative."""
    healthy = _HEALTHY[kind]
    return tuple(
        (math.log(loss / healthy), math.log((1 - loss) / (1 - healthy))) for loss in _LOSSES[kind]
    )


_STEPS: Final = {kind: _steps(kind) for kind in _LOSSES}


@dataclass(slots=True)
class Pool:
    """The samples of one domain and kind."""

    kind: SampleKind
    levels: list[float]
    since: float = 0.0
    """When the present rise of the levels began."""
    samples: int = 0
    failures: int = 0
    paths: set[str] = field(default_factory=set)
    """Paths that failed since then, as far as ``FAILED_MAX``, and that no incident tells."""
    is_sick: bool = False
    health: float = 0.0
    sick_loss: float = 0.0
    failed_at: float = 0.0
    """When the last attempt that failed began."""
    well_at: float = 0.0
    """When the attempt began that proved the domain well again; 0 before that."""

    def take(self, path: str, at: float, *, failed: bool) -> None:
        """Take one sample of an attempt on ``path`` that began at ``at``."""
        if not (failed or self.samples or self.is_sick):
            return  # a pass while nothing points to loss: every level stays at zero
        column = 0 if failed else 1
        highest = 0.0
        levels, threshold = self.levels, THRESHOLDS[self.kind]
        for nth, step in enumerate(_STEPS[self.kind]):
            level = levels[nth] + step[column]
            levels[nth] = level = min(level, 2 * threshold) if level > 0.0 else 0.0
            highest = max(highest, level)
        if not highest:
            self._forget()
        else:
            if not self.samples:
                self.since = at
            self.samples += 1
            self.failures += failed
            self.failed_at = at if failed else self.failed_at
            if failed and len(self.paths) < FAILED_MAX:
                self.paths.add(path)
        if self.is_sick:
            self._heal(at, failed=failed)
        elif highest >= threshold:
            self.is_sick, self.health, self.sick_loss = True, 0.0, self.loss

    @property
    def level(self) -> float:
        """The evidence for loss, nats."""
        return max(self.levels)

    @property
    def loss(self) -> float:
        """The share that failed since the rise began."""
        return self.failures / self.samples if self.samples else 0.0

    @property
    def is_gap(self) -> bool:
        """Whether packets were lost for a moment only, and nothing but packets."""
        return self.kind == "first" and self.failed_at - self.since < GAP_S

    def stands_out(self, usual: float) -> bool:
        """Whether this share that fails anyway, outside of the domain, does not explain it."""
        if not usual:
            return True
        passes = self.samples - self.failures
        excess = self.failures * math.log(self.loss / usual) if self.loss > usual else 0.0
        if passes and usual < 1.0:
            excess += passes * math.log((1.0 - self.loss) / (1.0 - usual))
        return excess >= SURE

    def _heal(self, at: float, *, failed: bool) -> None:
        """The same test the other way round: recovery is as sure as onset."""
        healthy = _HEALTHY[self.kind]
        # bad luck brings an onset forward: the share seen until then may be too high
        sick = min(max(min(self.sick_loss, self.loss), _LOSSES[self.kind][0]), 0.95)
        ratio = healthy / sick if failed else (1 - healthy) / (1 - sick)
        self.health = max(0.0, self.health + math.log(ratio))
        if self.health >= RECOVERED:
            self.reset()
            self.well_at = at

    def reset(self) -> None:
        """Begin anew, healthy."""
        self.is_sick = False
        self.levels = [0.0] * len(self.levels)
        self._forget()

    def _forget(self) -> None:
        if self.samples:
            self.samples = self.failures = 0
            self.paths.clear()


@dataclass(frozen=True, slots=True)
class Finding:
    """A domain that loses a part of its calls or packets."""

    kind: SampleKind
    scope: Scope
    since: float
    loss: float
    samples: int
    failures: int

    @property
    def severity(self) -> Literal["page", "ticket"] | None:
        """Page, ticket, or not worth telling; who reconnects gets through where old flows die."""
        if self.kind == "kept":
            return "ticket"
        if self.kind != "first":
            return "page" if self.loss >= PAGE_LOSS else "ticket"
        lost = packet_loss(self.loss)
        if lost < TICKET_PACKET_LOSS:
            return None
        return "page" if lost >= PAGE_PACKET_LOSS else "ticket"


def packet_loss(unanswered: float) -> float:
    """The share of packets lost each way that leaves this share of first sends unanswered."""
    return 1.0 - math.sqrt(max(0.0, 1.0 - unanswered))


@dataclass(slots=True)
class Pools:
    """All pools of one vantage."""

    pools: dict[tuple[SampleKind, Scope], Pool] = field(default_factory=dict)
    _awake: set[tuple[SampleKind, Scope]] = field(default_factory=set)
    """Those that something may point to loss in; one that was reset leaves with its next sample."""

    def take(
        self, scopes: Iterable[Scope], kind: SampleKind, path: str, at: float, *, failed: bool
    ) -> None:
        """Count one sample in every domain that it belongs to; a PSAP alone is no pool."""
        if not failed and not self._awake:
            return  # a pass while nothing anywhere points to loss
        for scope in scopes:
            if scope[0] == "psap":
                continue
            pool = self.pools.get((kind, scope))
            if pool is None:
                if len(self.pools) >= POOLS_MAX:
                    continue
                levels = [0.0] * len(_LOSSES[kind])
                pool = self.pools[kind, scope] = Pool(kind, levels)
            pool.take(path, at, failed=failed)
            if pool.samples or pool.is_sick:
                self._awake.add((kind, scope))
            else:
                self._awake.discard((kind, scope))

    def explained_by(self, scopes: Collection[Scope]) -> None:
        """Forget what other domains gathered from failures that these now explain."""
        for (_kind, scope), pool in self.pools.items():
            if scope not in scopes:
                pool.reset()

    def told(self, paths: Collection[str]) -> None:
        """Let no other path wait because these failed: an incident says why.

        Their failures stay evidence of loss; only whose reason they share is no longer open.
        """
        for key in self._awake:
            self.pools[key].paths.difference_update(paths)

    def findings(self) -> Iterator[Finding]:
        """The sick domains, for each kind those of the sort that explains best.

        The true domain has the highest share of failures: what else holds its paths holds healthy
        ones too. Equal shares resolve in the order of detection.md 4; two firewalls that lose
        calls at once are two findings. A part of a domain must stand out from the rest of it, since
        the share of few samples is soon too high.
        """
        for kind in _LOSSES:
            sick = [
                (scope, pool)
                for (of_kind, scope), pool in self.pools.items()
                if of_kind == kind
                and pool.is_sick
                and not pool.is_gap
                and pool.stands_out(self.elsewhere(kind, scope))
            ]
            if not sick:
                continue
            best = min(sick, key=lambda found: (-round(found[1].loss, 2), _rank(found[0])))[0]
            for scope, pool in sick:
                if scope[0] == best[0]:
                    yield Finding(kind, scope, pool.since, pool.loss, pool.samples, pool.failures)

    def elsewhere(self, kind: SampleKind, scope: Scope) -> float:
        """The share that fails in what a domain may be a part of, but outside of the domain.

        Asked are bigger domains that come before it in the order of detection.md 4: firewalls, when
        it is an attribute's. 0 where nothing fails there.
        """
        inner = self.pools.get((kind, scope))
        failures, samples = (0, 0) if inner is None else (inner.failures, inner.samples)
        shares = (
            (pool.failures - failures) / (pool.samples - samples)
            for (of_kind, wider), pool in self.pools.items()
            if of_kind == kind and pool.samples > samples and _rank(wider)[0] < _rank(scope)[0]
        )
        return max(0.0, *shares, 0.0)

    @property
    def is_any_sick(self) -> bool:
        """Whether any domain loses a part; of packets that may be without one failed attempt."""
        return any(self.pools[of].is_sick for of in self._awake)

    def is_suspicious(self, scope: Scope) -> bool:
        """Whether a domain is neither well nor decided: more samples are wanted."""
        return any(
            pool.level >= SUSPICION and not pool.is_sick
            for kind in ("call", "options")
            if (pool := self.pools.get((kind, scope))) is not None
        )

    def is_shared(self, scope: Scope) -> bool:
        """Whether several paths of a domain failed, and it is open if for one reason.

        What has been ``told`` already makes no other path wait.
        """
        return any(
            pool.level >= SUSPICION and not pool.is_sick and len(pool.paths) >= SHARED_MIN
            for kind in ("call", "options")
            if (pool := self.pools.get((kind, scope))) is not None
        )

    def well_at(self, scope: Scope, kind: SampleKind) -> float:
        """When a domain was proved well again, Unix seconds; 0 where it never had to be."""
        pool = self.pools.get((kind, scope))
        return pool.well_at if pool is not None else 0.0

    def is_sick(self, scope: Scope, kinds: Iterable[SampleKind] = NEW_FLOWS) -> bool:
        """Whether any of these kinds of sample says that the domain loses a part."""
        return any(
            (pool := self.pools.get((kind, scope))) is not None and pool.is_sick for kind in kinds
        )


def counts(before: Standing, *, is_ours: bool) -> bool:
    """Whether a sample counts: only paths that were up, so that chronic failures poison nothing.

    A suspect path counts too, so each path gives at most ``fall`` failures in a row. Responders of
    our own count as long as they have ever passed: they are what is asked more often on suspicion.
    """
    if is_ours:
        return before.last_pass_at is not None
    return before.state in (State.UP, State.DEGRADED, State.SUSPECT)


def kind_of(check: Check, evidence: Evidence) -> Literal["call", "options", "kept"]:
    """What an attempt is a sample of; a connection that was there before is an old flow."""
    if check.is_call:
        return "call"
    return "kept" if check.flow == "kept" or is_on_old_connection(evidence) else "options"


def is_on_old_connection(evidence: Evidence) -> bool:
    """Whether the attempt went out on a connection that others had used before."""
    connected = evidence.first(Kind.CONNECTED)
    return connected is not None and bool(connected.get("reused"))


def first_answered(evidence: Evidence, verdict: Verdict) -> bool | None:
    """Whether the first transmission was answered before the first retransmission.

    None where that cannot be told: over a stream, or when nothing was answered at all.
    """
    if evidence.transport != "udp" or verdict.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        return None
    first, sends = evidence.first(Kind.RESPONSE), tuple(evidence.of(Kind.SENT))
    if first is None:
        return None
    again = next((sent for sent in sends if sent["nth"] != 1), None)
    # phase_s: from the first sending, which waits for the ledger, to the kernel's receive time
    return again is None or float(first["phase_s"] or 0.0) < again.at_s - sends[0].at_s


def _rank(scope: Scope) -> tuple[int, str]:
    return ORDER.get(scope[0], ORDER["attribute"]), scope[1]
