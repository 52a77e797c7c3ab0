"""What the rows of the battery have come to: results, and what they say together (layer L1, pure).

A row speaks of a domain by what was tried while it failed, once enough attempts agree. Two findings
rest on a pattern over several rows: calls that got through only when they were sent again, and a
burst of calls that lost some where single ones lose none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psapwatch.battery import CALLS, OUR_ROWS, VARIANTS, WALKS, Row
from psapwatch.echoed import Echoes
from psapwatch.verdict import Outcome

NEEDED: Final = 3
"""A row speaks once so many attempts agree: where a share is lost, one or two agree by chance."""
REPEATED_NEEDED: Final = 2
"""Spells in which calls got through when they were sent again: under a tight limit few calls pass
at all, and the end of a block is one."""
LUCK_MAX: Final = 0.01
"""What chance does more often than that proves nothing."""
_PLAIN: Final[tuple[Row, ...]] = ("call", "small_call")
RESULTS_MAX: Final = 64
"""Remembered of one row through one firewall; the oldest are forgotten first."""
SINGLES_NEEDED: Final = 14
"""A burst is compared with so many single calls, of which none was lost.

By chance a share of all calls may be lost, whatever it is, and a burst has its part of that. But
then any of the 22 calls may be those that are lost: that the 4 or more (``bursts.LOST_MIN``) are
all among the 8 of the burst has a probability of at most C(8,4) / C(22,4) = 70 / 7315 = 1.0 %
(Fisher's exact test; 0.2 % for 5, 0.04 % for 6). And 14 single calls must pass first: where 10 %
are lost they do in 23 % of cases, and then a burst loses 4 of 8 in 0.5 %: 0.1 % in all; where 50 %
are lost in 0.006 %.
"""
_ONE_SAYS_ALL: Final = (*WALKS, "own_rate", "burst_call")


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt of a row."""

    outcome: Outcome
    why: str
    path: str
    """Key of the path that it was tried on."""
    at: float
    """Unix seconds: when the attempt began."""
    is_repeated: bool = False
    """It passed only when it was sent again: its first transmission was lost."""
    took_s: float = 0.0
    """Seconds from when it began until it had ended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a row comes to."""

    outcome: Outcome
    """Inconclusive where attempts disagree, or too few were made."""
    said: str


class Tried:
    """The newest results of every row, by firewall."""

    def __init__(self) -> None:
        self.echoes = Echoes()
        self._results: dict[tuple[str, Row], deque[Result]] = {}

    def take(self, firewall: str, row: Row, result: Result) -> None:
        """Keep a result; what came to nothing by our own fault is none."""
        if result.outcome is not Outcome.INCONCLUSIVE:
            results = self._results.setdefault((firewall, row), deque(maxlen=RESULTS_MAX))
            results.append(result)

    def about(
        self, scope: str, firewall: str, inside: Container[str], since: float, until: float
    ) -> dict[Row, Finding]:
        """What was tried while a domain failed, as far as it speaks of it; moments as ``at``."""
        found: dict[Row, Finding] = {}
        spoken: dict[Row, list[Result]] = {}
        for (crossed, row), results in self._results.items():
            if crossed != firewall or (row in OUR_ROWS and scope != "firewall"):
                continue
            counted = [
                each
                for each in results
                if since <= each.at <= until and (row in OUR_ROWS or each.path in inside)
            ]
            if counted:
                newest = counted[-1]
                alone = row in _ONE_SAYS_ALL
                found[row] = Finding(newest.outcome, newest.why) if alone else _sum_of(counted)
                spoken[row] = counted
        calls = [each for row in CALLS for each in spoken.get(row, ())]
        if _is_limited(calls, spoken.get("reference", ())):
            repeated = sum(each.is_repeated for each in calls)
            found["repeated_call"] = Finding(Outcome.PASS, f"{repeated} of {len(calls)}")
        for row in VARIANTS:
            if row in found and _fail_by_luck(spoken[row], spoken):
                found[row] = Finding(Outcome.INCONCLUSIVE, found[row].said)
        if burst := found.get("burst_call"):
            singles, psaps = spoken.get("small_call", ()), spoken.get("call", ())
            if not (_are_steady(singles) and _some_pass(psaps)):
                found["burst_call"] = Finding(Outcome.INCONCLUSIVE, burst.said)
        return found

    def singles_pass(self, firewall: str, since: float) -> bool:
        """Whether single calls to our responder have all passed, often enough to tell a burst."""
        singles = self._results.get((firewall, "small_call"), ())
        return _are_steady([each for each in singles if each.at >= since])


def _fail_by_luck(variant: Sequence[Result], spoken: Mapping[Row, Sequence[Result]]) -> bool:
    """Whether plain calls lose a share, of which all that failed here may be a part."""
    plain = [each.outcome is Outcome.FAIL for row in _PLAIN for each in spoken.get(row, ())]
    lost = sum(plain) / len(plain) if plain else 0.0
    all_fail = all(each.outcome is Outcome.FAIL for each in variant)
    return all_fail and lost < 1.0 and lost ** len(variant) >= LUCK_MAX


def _are_steady(singles: Sequence[Result]) -> bool:
    """Whether enough single calls were made, and each was answered at once."""
    lost = any(each.outcome is Outcome.FAIL or each.is_repeated for each in singles)
    return len(singles) >= SINGLES_NEEDED and not lost


def _some_pass(psaps: Sequence[Result]) -> bool:
    """Whether some of the PSAPs' calls pass, and later ones fail: what loses all is a block.

    And where a block has ended, calls pass, but none that began later fails.
    """
    passed = [each.at for each in psaps if each.outcome is not Outcome.FAIL]
    return any(
        each.outcome is Outcome.FAIL and each.at > min(passed, default=each.at) for each in psaps
    )


def _is_limited(calls: Sequence[Result], options: Sequence[Result]) -> bool:
    """Whether calls lose single packets where OPTIONS lose none: what a limit on calls does.

    A call that got through when it was sent again had the same flow and content as before. Only
    where another began after that and failed does it count: where a block ended, whatever was in
    flight gets through, the patient that began before those that fail too, and then nothing fails.
    Packets that are lost one by one, calls' alone, let most calls pass at once; a limit most fail.
    """
    failed = [each for each in calls if each.outcome is Outcome.FAIL]
    last_failed = max((each.at for each in failed), default=0.0)
    passed = [
        each
        for each in calls
        if each.outcome is not Outcome.FAIL
        and each.at + (each.took_s if each.is_repeated else 0.0) <= last_failed
    ]
    repeated = sum(each.is_repeated for each in passed)
    is_limit = max(2 * repeated, len(failed)) >= len(passed)
    is_again = _spells(passed, failed) >= REPEATED_NEEDED
    return is_again and is_limit and _are_spared(options, failed + passed)


def _spells(passed: Sequence[Result], failed: Sequence[Result]) -> int:
    """How often calls began to get through sent again: failures lie between.

    The end of a block is one spell, however many calls were in flight, and whatever fails later.
    """
    spells, last = 0, float("-inf")
    for over_at in sorted(each.at + each.took_s for each in passed if each.is_repeated):
        if any(last <= each.at < over_at for each in failed):
            spells, last = spells + 1, over_at
    return spells


def _are_spared(options: Sequence[Result], calls: Sequence[Result]) -> bool:
    """Whether OPTIONS all pass at once, too many for luck if they were lost as calls are."""
    at_once = sum(each.outcome is not Outcome.FAIL and not each.is_repeated for each in calls)
    is_clear = not any(each.outcome is Outcome.FAIL or each.is_repeated for each in options)
    return is_clear and (at_once / len(calls)) ** len(options) < LUCK_MAX


def _sum_of(results: Sequence[Result]) -> Finding:
    """What passed only when it was sent again is neither: it met the end of a block, or a limit."""
    failed = sum(each.outcome is Outcome.FAIL for each in results)
    clear = sum(not each.is_repeated for each in results)
    newest = results[-1]
    outcome = Outcome.INCONCLUSIVE
    if clear >= NEEDED and failed in (0, len(results)):
        outcome = Outcome.FAIL if failed else Outcome.PASS
    return Finding(outcome, f"{len(results) - failed} of {len(results)} pass: {newest.why}")
