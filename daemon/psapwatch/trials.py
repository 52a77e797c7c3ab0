"""Runs the battery: when something behind a firewall begins to fail, each row is tried (layer L4).

Once for a firewall, however many paths fail, and again only while failures go on. OPTIONS rows go
along a path that fails; calls go to our own responders alone. Everything runs within the firewall's
budget. What the rows mean is ``battery``'s to say.

The burst is no part of a run: where a firewall's ``rate_burst`` allows it, it is sent once, while
calls fail, and only once single calls have been seen to pass.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from psapwatch.battery import WALKS, Row
from psapwatch.endpoint import (
    CONTROL,
    MUST_BLOCK,
    REFERENCE,
    WITNESS,
    Check,
    Path,
    Psap,
    TransportName,
)
from psapwatch.probes.burst import BurstSettings
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.probes.walk import WalkSettings

BATTERY: Final = "battery"
"""The check's name of every attempt that belongs to the battery."""
TRIES: Final = {"options": 3, "call": 2, "walk": 1}
"""Attempts of one row in one run: one alone may be lost by chance."""
BETWEEN_S: Final = 0.3
RUN_EVERY_S: Final = 8.0
RUNS_MAX: Final = 6
"""Of one episode; it ends when nothing has failed for ``EPISODE_S``."""
EPISODE_S: Final = 60.0
BURST_AGAIN_S: Final = 600.0
"""A burst is over and done with until nothing has failed for so long: all incidents are closed."""
ASKED_EVERY_S: Final = 5.0
"""How often what alone can tell is asked again: a silent witness, say."""
MUST_BLOCK_EVERY_S: Final = 30.0
"""How often a firewall is asked for what it has to block: a detour shows within a minute."""

_OPTIONS: Final = Check(BATTERY, 0.0, 4.0, OptionsSettings())
_WITNESS: Final = Check(BATTERY, 0.0, 2.0, OptionsSettings())
"""On our own network: who is silent for so long is not there."""
_SMALL: Final = Check(BATTERY, 0.0, 5.0, CallSettings())
_LARGE: Final = Check(BATTERY, 0.0, 5.0, CallSettings(location=True))
_PADDED: Final = Check(BATTERY, 0.0, 5.0, CallSettings(padding=True))

_BURST: Final = Check(BATTERY, 0.0, 5.0, BurstSettings())
_WALK: Final = Check(BATTERY, 0.0, 1.0, WalkSettings())
_WALK_IP: Final = Check(BATTERY, 0.0, 1.0, WalkSettings(by="ttl"))

_TRANSPORT: Final = re.compile(r";transport=[a-z]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a battery may use: the path that fails, and our responders behind its firewall."""

    path: Path
    reference: Path | None
    control: Path | None
    must_block: Path | None = None
    call_failed_at: float | None = field(default=None, kw_only=True)
    """Unix seconds: when a call failed on the path; None where it was no call."""


RESPONDERS: Final = (REFERENCE, CONTROL, MUST_BLOCK)
"""Whom the paths of a ``Ground`` lead to, after the first."""

Attempt = tuple[Path, Check]


def _second_source(ground: Ground) -> Attempt | None:
    path = ground.path
    used = path.leaves_from.address
    others = [
        source
        for source in path.firewall.sources
        if source.address != used and (":" in source.address) == (":" in used)
    ]
    return (replace(path, source=others[0]), _OPTIONS) if others else None


def _witness(ground: Ground) -> Attempt | None:
    path = ground.path
    where = path.leaves_from.witness
    if where is None:
        return None
    return (
        Path(
            Psap(WITNESS, WITNESS), path.firewall.id, path.vantage, path.firewall, where, "udp",
            source=path.leaves_from,
        ),
        _WITNESS,
    )  # fmt: skip


def has_witness(ground: Ground) -> bool:
    """Whether somebody can tell that our own side works."""
    return ground.path.leaves_from.witness is not None


def _new_connection(ground: Ground) -> Attempt | None:
    return (ground.path, _OPTIONS) if ground.path.transport != "udp" else None


def _over(path: Path | None, transport: TransportName) -> Path | None:
    """The same responder over another transport; None where it insists on TLS."""
    if path is None or path.uri.lower().startswith("sips:") or path.transport == "tls":
        return None
    uri = f"{_TRANSPORT.sub('', path.uri)};transport={transport}"
    return replace(path, transport=transport, uri=uri)


def _call(
    check: Check, transport: TransportName | None = None
) -> Callable[[Ground], Attempt | None]:
    def plan(ground: Ground) -> Attempt | None:
        path = ground.reference if transport is None else _over(ground.reference, transport)
        return (path, check) if path else None

    return plan


PLANS: Final[dict[Row, Callable[[Ground], Attempt | None]]] = {
    "witness": _witness,
    "second_source": _second_source,
    "new_connection": _new_connection,
    "reference": lambda ground: (ground.reference, _OPTIONS) if ground.reference else None,
    "control": lambda ground: (ground.control, _OPTIONS) if ground.control else None,
    "must_block": lambda ground: (ground.must_block, _OPTIONS) if ground.must_block else None,
    "small_call": _call(_SMALL),
    "large_call": _call(_LARGE, "udp"),
    "padded_call": _call(_PADDED, "udp"),
    "large_call_tcp": _call(_LARGE, "tcp"),
    "padded_call_tcp": _call(_PADDED, "tcp"),
    "walk": lambda ground: (ground.path, _WALK),
    "walk_ip": lambda ground: (ground.path, _WALK_IP) if ground.path.transport == "udp" else None,
}
"""What is sent for each row, and along which path; None where the configuration has no such thing.

Rows that scheduled checks fill (``call``, ``options``, ``kept``, a reference check with its own
content or delay) are not sent a second time.
"""


Try = Callable[[Path, Check, Row], Awaitable[None]]


@dataclass(slots=True)
class _Episode:
    last_failure_at: float
    runs: int = 0
    ran_at: float = float("-inf")
    task: asyncio.Task[None] | None = None
    calls_fail_since: float | None = None
    """Unix seconds."""
    burst: asyncio.Task[None] | None = None
    """Also that of an episode shortly before: there is one burst for what goes on and off."""


class Trials:
    """Told of failures, it runs the rows; ``send`` makes one attempt and keeps its result."""

    def __init__(
        self,
        send: Try,
        asks: Callable[[str], Row | None],
        singles_pass: Callable[[str, float], bool],
    ) -> None:
        """``asks``: which row to try again and again through a firewall, if there is one.

        ``singles_pass``: whether single calls through a firewall have all passed since (wall).
        """
        self._send, self._asks, self._singles_pass = send, asks, singles_pass
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._episodes: dict[str, _Episode] = {}
        self._guards: list[asyncio.Task[None]] = []

    def guard(self, responders: Iterable[Path]) -> None:
        """From now on ask what of these is to be blocked, for ever, and nothing else."""
        loop = asyncio.get_running_loop()
        while self._guards:
            self._guards.pop().cancel()
        self._guards = [
            loop.create_task(self._ask_for_ever(path))
            for path in responders
            if path.psap.id == MUST_BLOCK
        ]

    def failed(self, ground: Ground, now: float) -> bool:
        """A path fails: run the battery of its firewall, unless that has just been done."""
        firewall = ground.path.firewall.id
        self._keep_asking(ground)
        episode = self._episodes.get(firewall)
        if episode is None or now - episode.last_failure_at > EPISODE_S:
            is_known = episode is not None and now - episode.last_failure_at < BURST_AGAIN_S
            episode = _Episode(now, burst=episode.burst if episode and is_known else None)
            self._episodes[firewall] = episode
        episode.last_failure_at = now
        self._call_at_once(ground, episode)
        is_running = episode.task is not None and not episode.task.done()
        if is_running or episode.runs >= RUNS_MAX or now - episode.ran_at < RUN_EVERY_S:
            return False
        episode.runs, episode.ran_at = episode.runs + 1, now
        episode.task = asyncio.get_running_loop().create_task(self._run(ground, episode.runs))
        return True

    def stop(self) -> None:
        """Begin no further attempt; calls that are open end by themselves."""
        self.guard(())
        runs = (task for each in self._episodes.values() for task in (each.task, each.burst))
        for task in (*runs, *self._asking.values()):
            if task is not None:
                task.cancel()
        self._episodes.clear()
        self._asking.clear()

    def _call_at_once(self, ground: Ground, episode: _Episode) -> None:
        """Send the burst, once: where it is allowed, calls fail, and no single one does."""
        firewall, at = ground.path.firewall, ground.call_failed_at
        if at is None or ground.reference is None or not firewall.rate_burst or episode.burst:
            return
        if episode.calls_fail_since is None:
            episode.calls_fail_since = at
        if self._singles_pass(firewall.id, episode.calls_fail_since):
            sent = self._send(ground.reference, _BURST, "burst_call")
            episode.burst = asyncio.ensure_future(sent)

    async def _run(self, ground: Ground, nth: int) -> None:
        """Try every row; where it ends is asked once an episode."""
        planned = [
            (row, found)
            for row, plan in PLANS.items()
            if (nth == 1 or row not in WALKS) and (found := plan(ground))
        ]
        await asyncio.gather(*(self._row(row, *found) for row, found in planned))
        self._keep_asking(ground)

    def _keep_asking(self, ground: Ground) -> None:
        """See to it that what is asked for is tried as long as that is so."""
        firewall = ground.path.firewall.id
        task = self._asking.get(firewall)
        if self._asks(firewall) and (task is None or task.done()):
            task = asyncio.get_running_loop().create_task(self._ask(ground))
            self._asking[firewall] = task

    async def _ask(self, ground: Ground) -> None:
        """Ask our own responder where there is one: the path that fails may have more reasons."""
        if ground.reference is not None:
            ground = replace(ground, path=replace(ground.reference, source=ground.path.source))
        while (row := self._asks(ground.path.firewall.id)) and (found := PLANS[row](ground)):
            await self._row(row, *found)
            await asyncio.sleep(ASKED_EVERY_S)

    async def _ask_for_ever(self, path: Path) -> None:
        while True:
            await self._send(path, _OPTIONS, "must_block")
            await asyncio.sleep(MUST_BLOCK_EVERY_S)

    async def _row(self, row: Row, path: Path, check: Check) -> None:
        tries = TRIES[check.settings.kind]
        attempts: Sequence[Awaitable[None]] = [
            self._later(nth * BETWEEN_S, path, check, row) for nth in range(tries)
        ]
        await asyncio.gather(*attempts)

    async def _later(self, after_s: float, path: Path, check: Check, row: Row) -> None:
        await asyncio.sleep(after_s)
        await self._send(path, check, row)
