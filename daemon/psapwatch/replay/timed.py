"""What all faults of a scenario share: when they begin, how long they last, whom they concern."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Final

from pydantic import Field

from psapwatch.config.models import Strict
from psapwatch.config.words import Text
from psapwatch.duration import Duration
from psapwatch.replay.stage import Stage
from psapwatch.simulator.psap import SimulatedPsap

TIMES_MAX: Final = 10_000
RESPONDERS: Final = ("reference", "witness")

Undo = Callable[[], Awaitable[None]]
"""Mends what a fault broke."""
Who = Annotated[
    list[Text],
    Field(
        min_length=1,
        description="`all` PSAPs, some by id or by attribute (`county=county-03`), "
        "`reference` or `witness`",
    ),
]
Span = Annotated[Duration, Field(gt=0)]


class Timed(Strict):
    """When a fault is there; moments are after the quiet."""

    at: Duration = Field(0.0, description="when it begins, after the quiet")
    for_: Span | None = Field(
        None, alias="for", description="how long it lasts; to the end when left out"
    )
    every: Span | None = Field(None, description="from one beginning to the next")
    times: int = Field(1, ge=1, le=TIMES_MAX, description="how often it comes, with `every`")

    def beginnings(self) -> Iterator[float]:
        """When it begins, each time."""
        return (self.at + nth * (self.every or 0.0) for nth in range(self.times))

    @property
    def over_at(self) -> float | None:
        """When it has ended for the last time; None where it stays to the end."""
        return None if self.for_ is None else max(self.beginnings()) + self.for_

    async def begin(self, stage: Stage, label: str) -> Undo:
        """Break it, under a name of its own, and return what mends it."""
        raise NotImplementedError

    def touched(self, stage: Stage, label: str) -> int:  # noqa: ARG002 - most need not look
        """How often it was felt; what is broken by hand counts once."""
        return 1


def concerned(stage: Stage, who: list[str]) -> list[SimulatedPsap]:
    """The answering points that ``who`` names, each once."""
    built = stage.topology
    found: dict[str, SimulatedPsap] = {}
    for word in who:
        name, is_attribute, value = word.partition("=")
        if word == "reference":
            found.update(built.references)
        elif word == "witness":
            found.update(built.witnesses)
        else:
            for psap in stage.config.psaps:
                if word in ("all", psap.id) or (
                    is_attribute and dict(psap.attributes).get(name) == value
                ):
                    found[psap.id] = built.psaps[psap.id]
    return list(found.values())


def hosts_of(stage: Stage, who: list[str]) -> frozenset[str]:
    """The addresses of those whom ``who`` names."""
    return frozenset(host for each in concerned(stage, who) for host in each.hosts)


async def nothing() -> None:
    """Mend nothing: there is no way back, or none is needed."""
