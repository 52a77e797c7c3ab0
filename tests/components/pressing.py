"""The demo's buttons, pressed over HTTP as its page presses them, and what is read there then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from components.inbox import fetch
from components.waiting import until
from psapwatch.demo.block import KINDS
from psapwatch.demo.towns import COUNTIES, TOWNS

HEALTHY_WITHIN_S: Final = 90.0
"""204 towns are up so soon after a start, and again after a block."""
LOOK_EVERY_S: Final = 0.1
CAUSES: Final = {
    "invite": "invite_blocked",
    "options": "unknown",
    "all": "calls_blocked",
    "answers": "calls_blocked",
    "refuse": "connection_refused",
}
"""What each kind of block is, as the daemon names it."""
assert CAUSES.keys() == KINDS.keys()


@dataclass(frozen=True, slots=True)
class Press:
    """One button, and what must be read after it."""

    firewall: str
    kind: str
    only: str = ""
    """A town's id or a county; ``""`` for everything behind the firewall."""

    @property
    def told(self) -> tuple[str, str, str]:
        """Severity, name and place of the one true alert."""
        sort = ("ticket", "CallsDegraded") if self.kind == "options" else ("page", "CallsBlocked")
        return (*sort, self._where())

    @property
    def cause(self) -> str:
        """The cause that the page must name."""
        return CAUSES[self.kind]

    def _where(self) -> str:
        if not self.only:
            return f"firewall {self.firewall}"
        if self.only not in COUNTIES:
            return f"psap {self.only}"
        inside = [town.id for town in TOWNS if town.county == self.only]
        return f"psap {inside[0]}" if len(inside) == 1 else f"county {self.only}"


@dataclass(frozen=True, slots=True)
class Read:
    """What was read on the page after a press; seconds count from the press."""

    told_s: float | None = None
    """Until the true alert had come; None when it did not come in time."""
    named_s: float | None = None
    """Until the page named its true cause as well."""
    cause: str = ""
    """The cause that it named last."""
    others: tuple[str, ...] = ()
    """Alerts that were told besides."""
    well_s: float | None = None
    """From the lift until nothing is open and all towns are healthy."""

    @property
    def read_s(self) -> float:
        """Until one could read the whole truth; infinite when one could not."""
        if self.told_s is None or self.named_s is None:
            return float("inf")
        return max(self.told_s, self.named_s)


def ask(url: str) -> Any:
    """GET JSON from the demo."""
    answer = fetch(url, timeout_s=10)
    assert answer.status == 200, f"{url}: {answer}"
    return answer.json()


def is_well(url: str) -> bool:
    """Whether nothing is open, every alert is over, and every town is healthy."""
    told, status = ask(f"{url}/demo/state")["told"], ask(f"{url}/api/v1/status")
    is_quiet = not status["incidents"] and all(alert["over_at"] for alert in told)
    return is_quiet and all(path["state"] == "up" for path in status["paths"])


def wait_until_well(url: str, within_s: float = HEALTHY_WITHIN_S) -> float:
    """Return how long it took until all is well."""
    began = time.monotonic()
    until(lambda: is_well(url), within_s, "all is well", pause_s=0.5)
    return time.monotonic() - began


def _looks(within_s: float) -> Iterator[float]:
    """Yield seconds since now, every ``LOOK_EVERY_S`` until they are over."""
    began = time.monotonic()
    while (since := time.monotonic() - began) < within_s:
        yield since
        time.sleep(LOOK_EVERY_S)


def press(url: str, button: Press, within_s: float, *, hold_s: float = 0.0) -> Read:
    """Press a button and read the page until the true alert is there, then ``hold_s`` more.

    Raises:
        AssertionError: the demo refused, or the firewall stopped nothing.
    """
    before = {_key(each) for each in ask(f"{url}/demo/state")["told"]}
    rule = {"firewall": button.firewall, "kind": button.kind, "only": button.only}
    pressed = time.monotonic()
    assert fetch(f"{url}/demo/block", body=rule).status == 200, rule
    told_s = named_s = None
    cause, others, over_s = "", set[str](), within_s
    for _look in _looks(within_s + hold_s):
        new = [each for each in ask(f"{url}/demo/state")["told"] if _key(each) not in before]
        incidents = ask(f"{url}/api/v1/incidents?state=open")["incidents"]
        now = time.monotonic() - pressed
        for each in new:
            if (each["severity"], each["alertname"], each["where"]) != button.told:
                others.add(_words(each))
            elif told_s is None:
                told_s = now
        for each in incidents:
            if f"{each['scope']} {each['member']}" == button.told[2]:
                cause = each["cause"]
                if cause == button.cause and named_s is None:
                    named_s = now
        if told_s is not None and named_s is not None:
            over_s = min(over_s, now + hold_s)
        if now >= over_s:
            break
    return Read(told_s, named_s, cause, tuple(sorted(others)))


def well_after(url: str, read: Read) -> Read:
    """The same, once the lift has made all well again; what is told of its end came besides."""
    before = {_key(each) for each in ask(f"{url}/demo/state")["told"]}
    well_s = wait_until_well(url)
    new = (each for each in ask(f"{url}/demo/state")["told"] if _key(each) not in before)
    return replace(read, others=(*read.others, *map(_words, new)), well_s=well_s)


def lift(url: str) -> int:
    """Let everything pass; returns how many rules had stopped something, or closed ports."""
    blocks = ask(f"{url}/demo/state")["blocks"]
    assert fetch(f"{url}/demo/lift", body={"id": "*"}).status == 200
    return sum(bool(each["stopped"] or each["refuses"]) for each in blocks)


def _key(told: Any) -> tuple[Any, ...]:
    return told["at"], told["alertname"], told["where"]


def _words(told: Any) -> str:
    return f"{told['severity']} {told['alertname']} {told['where']}"
