"""18 June 2024 on loopback: when the firewall turns and recovers, and what must come of it (L5).

What was measured is kept apart from what it means: ``play`` returns a ``Record``, ``wrong_with``
says what in it is not as it must be.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from psapwatch.demo.block import Block
from psapwatch.demo.lab import Lab, Left, Rhythm
from psapwatch.demo.towns import EAST, TOWNS
from psapwatch.simulator.alertmanager import Page

TOO_PROTECTIVE: Final = Block(EAST, "invite")
NOTHING_LEFT: Final = Left(0, 0)
LOOK_EVERY_S: Final = 0.05
PAGED: Final = {"alertname": "CallsBlocked", "scope": "firewall", "member": EAST}
CAUSE: Final = "invite_blocked"


@dataclass(frozen=True, slots=True)
class Plan:
    """When what happens, in seconds, and how long the daemon may take."""

    rhythm: Rhythm
    quiet_s: float
    """All is well for so long, counted from the start."""
    blocked_s: float
    """At least so long does the block last."""
    healthy_within_s: float = 60.0
    paged_within_s: float = 15.0
    over_within_s: float = 150.0
    """From the recovery until the alert is resolved and every path is up."""


FULL: Final = Plan(Rhythm(), quiet_s=60.0, blocked_s=45.0)
FAST: Final = Plan(
    Rhythm(
        options_every_s=3.0,
        calls_every_s=3.0,
        reference_every_s=3.0,
        clean_s=2.0,
        resolve_after_s=1.0,
    ),
    quiet_s=4.5,
    blocked_s=6.0,
    healthy_within_s=12.0,
    over_within_s=20.0,
)


@dataclass(slots=True)
class Record:
    """What happened; moments are Unix seconds, None for what did not happen in time."""

    healthy: int = 0
    """Paths that were up before the block."""
    healthy_after_s: float | None = None
    blocked_at: float | None = None
    known_at: float | None = None
    pages: list[Page] = field(default_factory=list)
    stopped: int = 0
    """Packets that the firewall stopped: the block was real."""
    lifted_at: float | None = None
    over_at: float | None = None
    resolved_at: float | None = None
    healthy_again: int = 0
    internal_errors: int = 0
    left: Left = NOTHING_LEFT


async def play(lab: Lab, plan: Plan) -> Record:
    """Let fw-east become too protective and recover; returns what came of it."""
    record, wall, loop = Record(), lab.world.clock.wall, asyncio.get_running_loop()
    began = loop.time()
    if await until(lambda: lab.healthy == len(TOWNS), plan.healthy_within_s):
        record.healthy_after_s = loop.time() - began
    await asyncio.sleep(max(0.0, began + plan.quiet_s - loop.time()))
    record.healthy = lab.healthy
    record.blocked_at = wall()
    lab.block(TOO_PROTECTIVE)
    lift_at = loop.time() + plan.blocked_s
    await until(lambda: bool(lab.receiver.pages), plan.paged_within_s)
    record.known_at = next((each.opened_at for each in lab.open_incidents), None)
    await asyncio.sleep(max(0.0, lift_at - loop.time()))
    record.stopped = await lab.lift(TOO_PROTECTIVE)
    record.lifted_at = wall()
    deadline = loop.time() + plan.over_within_s
    if await until(lambda: not lab.open_incidents, plan.over_within_s):
        record.over_at = wall()
    if await until(lambda: bool(lab.receiver.resolved), deadline - loop.time()):
        record.resolved_at = lab.receiver.resolved[-1].at
    await until(lambda: lab.healthy == len(TOWNS), deadline - loop.time())
    record.healthy_again = lab.healthy
    record.pages = list(lab.receiver.pages)
    record.internal_errors = lab.internal_errors
    return record


def wrong_with(record: Record, plan: Plan) -> list[str]:
    """Say what is not as it must be; nothing when the outage was told as it should be."""
    wrong = []
    if record.healthy < len(TOWNS):
        wrong.append(f"only {record.healthy} of {len(TOWNS)} paths were healthy before the block")
    if not record.stopped:
        wrong.append("the firewall stopped nothing: there was no block to find")
    wrong += _wrong_pages(record, plan)
    if record.over_at is None:
        wrong.append(f"the incident was not over {plan.over_within_s:g} s after the recovery")
    elif record.resolved_at is None:
        wrong.append("the alert was not resolved at the receiver")
    elif record.healthy_again < len(TOWNS):
        wrong.append(f"only {record.healthy_again} of {len(TOWNS)} paths are healthy again")
    if record.internal_errors:
        wrong.append(f"{record.internal_errors} internal errors: a bug, see --log")
    if record.left.calls_here or record.left.calls_there:
        wrong.append(left_words(record.left))
    return wrong


def _wrong_pages(record: Record, plan: Plan) -> list[str]:
    if not record.pages or record.blocked_at is None:
        return [f"nobody was paged within {plan.paged_within_s:g} s of the block"]
    page, labels = record.pages[0], dict(record.pages[0].labels)
    wrong, after_s = [], page.at - record.blocked_at
    if not 0 <= after_s <= plan.paged_within_s:
        wrong.append(f"the page came after {after_s:.1f} s, not within {plan.paged_within_s:g} s")
    wrong += [
        f"the page says {name} {labels.get(name, '')!r}, not {value!r}"
        for name, value in PAGED.items()
        if labels.get(name) != value
    ]
    if page.annotations.get("cause") != CAUSE:
        wrong.append(f"the page names the cause {page.annotations.get('cause')!r}, not {CAUSE!r}")
    if len(record.pages) > 1:
        others = ", ".join(dict(each.labels).get("member", "?") for each in record.pages[1:])
        wrong.append(f"{len(record.pages)} pages for one failure: also {others}")
    return wrong


def left_words(left: Left) -> str:
    """Say how many test calls were left open, here and at the towns."""
    return (
        f"{left.calls_here} test calls left open by psapwatch, "
        f"{left.calls_there} open at the answering points"
    )


def compared(record: Record) -> list[str]:
    """Set the times beside those of 2024, as far as they were published."""
    blocked_at = record.blocked_at or 0.0

    def after(at: float | None) -> str:
        return "never" if at is None else f"{at - blocked_at:.1f} s after"

    paged_at = record.pages[0].at if record.pages else None
    rows = (
        ("", "here", "Massachusetts, 18 June 2024"),
        ("blocked", f"calls behind {EAST}", "13:15, calls to all 204 answering points"),
        (
            "known",
            after(record.known_at),
            "about 13:15, says the state; as a firewall: unknown",
        ),
        (
            "told",
            f"{after(paged_at)}, a page",
            "75 min after, the first public warning (14:30)",
        ),
        ("calls pass", f"{after(record.lifted_at)}, as played", "2 h after (15:15)"),
        ("all clear", after(record.resolved_at), "about 3 h after, all-clear alerts (16:20)"),
    )
    width = max(len(here) for _what, here, _then in rows) + 3
    return [
        *(f"  {what:<13}{here:<{width}}{then}" for what, here, then in rows),
        "  A page to those who run the firewall is not yet a warning to the public.",
    ]


async def until(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait for something, and return whether it came about in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return True


def processor_s() -> float:
    """Processor time of this process so far: the daemon, the towns and the firewalls together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
