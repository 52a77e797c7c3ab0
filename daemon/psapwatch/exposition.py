"""Metric values and their text, made for a loop that must not be held (layer L4).

A ``Family`` is a custom collector of prometheus_client: the registry, ``generate_latest`` and the
parsers see ordinary metrics. Values are kept here and not in the library's ``Counter`` and
``Histogram``, because each series remembers its line of text until its value changes, costs a
sixth of the memory, and can be rendered one by one: ``in_slices`` gives the loop back every
``SLICE_S``, where ``generate_latest`` would hold it for most of a second at 2,000 paths.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from psapwatch.metrics_names import Row

SLICE_S: Final = 0.001
"""The loop is given back after this long, and what joining and encoding the slice take."""
SLICE_PIECES_MAX: Final = 4_096
"""And after so many pieces where the loop's clock stands still (the simulator)."""
EXEMPLAR_CHARACTERS_MAX: Final = 100
"""OpenMetrics allows 128 for all names and values of an exemplar."""

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Mark(NamedTuple):
    """What becomes an exemplar when somebody asks: one short label, the value, Unix seconds."""

    name: str
    value: str
    measured: float
    at: float


class Series:
    """One counter or gauge: a value, and its line until the value changes."""

    __slots__ = ("_head", "_line", "value")

    def __init__(self, head: str) -> None:
        self._head = head
        self._line = ""
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        """Add ``by``; counters never take a negative one."""
        self.value += by
        self._line = ""

    def set(self, value: float) -> None:
        """Take a new value."""
        if value != self.value:
            self.value = value
            self._line = ""

    def text(self, *, exemplars: bool) -> str:  # noqa: ARG002 - the shape of every child
        """Return the line of this series."""
        if not self._line:
            self._line = f"{self._head} {_number(self.value)}\n"
        return self._line

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        """Give the library's view of this series."""
        yield Sample(name, labels, self.value)


class Buckets:
    """One classic histogram: counts by bound, their sum, and the newest exemplar of each."""

    __slots__ = ("_bounds", "_counts", "_heads", "_marks", "_plain", "_rich", "sum")

    def __init__(self, bounds: tuple[float, ...], heads: tuple[str, ...]) -> None:
        self._bounds = bounds
        self._heads = heads
        self._counts = [0] * (len(bounds) + 1)
        self._marks: list[Mark | None] = [None] * (len(bounds) + 1)
        self._plain = self._rich = ""
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    def observe(self, value: float, mark: Mark | None = None) -> None:
        """Count one value; its mark takes the place of the bucket's older one."""
        at = bisect_left(self._bounds, value)
        self._counts[at] += 1
        self.sum += value
        if mark is not None:
            self._marks[at] = mark
        self._plain = self._rich = ""

    def text(self, *, exemplars: bool) -> str:
        """Return the lines of this histogram, with its exemplars or without."""
        if exemplars:
            self._rich = self._rich or self._lines(exemplars=True)
            return self._rich
        self._plain = self._plain or self._lines(exemplars=False)
        return self._plain

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        """Give the library's view of this histogram."""
        for bound, total, mark in zip(
            (*self._bounds, float("inf")), self._running(), self._marks, strict=True
        ):
            named = {**labels, "le": _number(bound)}
            yield Sample(f"{name}_bucket", named, total, None, mark and _exemplar(mark))
        yield Sample(f"{name}_count", labels, self.count)
        yield Sample(f"{name}_sum", labels, self.sum)

    def _running(self) -> Iterator[float]:
        total = 0.0
        for count in self._counts:
            total += count
            yield total

    def _lines(self, *, exemplars: bool) -> str:
        values = (*self._running(), float(self.count), self.sum)
        lines = [
            f"{head} {_number(value)}" for head, value in zip(self._heads, values, strict=True)
        ]
        if exemplars:
            for at, mark in enumerate(self._marks):
                if mark is not None:
                    lines[at] += _exemplar_text(_exemplar(mark))
        return "\n".join((*lines, ""))


class Child(Protocol):
    """What a family holds for each set of label values."""

    def text(self, *, exemplars: bool) -> str:
        """Return this child's lines."""
        ...

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        """Give the library's view."""
        ...


ChildT = TypeVar("ChildT", bound=Child)


class Family(Collector, Generic[ChildT]):
    """One metric with all its label values: what the registry collects and a scrape renders."""

    def __init__(
        self,
        row: Row,
        registry: CollectorRegistry,
        make: Callable[[Row, tuple[str, ...]], ChildT],
    ) -> None:
        self.row = row
        self._make = make
        self._children: dict[tuple[str, ...], ChildT] = {}
        registry.register(self)
        if not row.labels:
            self.at()

    def at(self, *values: str) -> ChildT:
        """Return the child with these label values, made at zero where there is none yet."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self.row.labels):
                message = f"{self.row.name} takes {self.row.labels}, not {values}"
                raise ValueError(message)
            child = self._children[values] = self._make(self.row, values)
        return child

    def drop(self, *values: str) -> None:
        """Forget the child with these label values."""
        self._children.pop(values, None)

    def keep(self, stays: Callable[[tuple[str, ...]], bool]) -> None:
        """Forget every child whose label values are no longer watched."""
        for values in [*self._children]:
            if not stays(values):
                del self._children[values]

    def reshape(self, row: Row) -> None:
        """Begin anew with other labels under the same name."""
        self.row = row
        self._children.clear()

    def __contains__(self, values: tuple[str, ...]) -> bool:
        return values in self._children

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self._children)

    def describe(self) -> list[Metric]:
        """Name this metric to the registry, which refuses a second one."""
        return [self._metric()]

    def collect(self) -> list[Metric]:
        """Give the library's view of everything; ``generate_latest`` and parsers read it."""
        metric = self._metric()
        for values, child in self._children.items():
            labels = dict(zip(self.row.labels, values, strict=True))
            metric.samples.extend(child.samples(self.row.name, labels))
        return [metric]

    def pieces(self, *, openmetrics: bool) -> Iterator[str]:
        """Yield the head of this metric, then the text of each child."""
        name = self._metric_name() if openmetrics else self.row.name
        yield f"# HELP {name} {self.row.about}\n# TYPE {name} {self.row.kind}\n"
        for child in [*self._children.values()]:
            yield child.text(exemplars=openmetrics)

    def _metric_name(self) -> str:
        is_counter = self.row.kind == "counter"
        return self.row.name.removesuffix("_total") if is_counter else self.row.name

    def _metric(self) -> Metric:
        return Metric(self._metric_name(), self.row.about, self.row.kind)


class Children(dict[str, ChildT]):
    """The children of a family by their last label value, made as they are asked for."""

    def __init__(self, family: Family[ChildT], labels: tuple[str, ...]) -> None:
        super().__init__()
        self._family, self._labels = family, labels

    def __missing__(self, value: str) -> ChildT:
        child = self[value] = self._family.at(*self._labels, value)
        return child


AnyFamily = Family[Series] | Family[Buckets]


def series(row: Row, registry: CollectorRegistry) -> Family[Series]:
    """Make a counter or gauge family."""
    return Family(row, registry, lambda row, values: Series(_head(row.name, row.labels, values)))


def histogram(row: Row, registry: CollectorRegistry) -> Family[Buckets]:
    """Make a histogram family with the bounds of its row."""
    return Family(row, registry, _buckets)


def _buckets(row: Row, values: tuple[str, ...]) -> Buckets:
    bounds = [_number(bound) for bound in (*row.bounds, float("inf"))]
    labels = (*row.labels, "le")
    return Buckets(
        row.bounds,
        (
            *(_head(f"{row.name}_bucket", labels, (*values, bound)) for bound in bounds),
            _head(f"{row.name}_count", row.labels, values),
            _head(f"{row.name}_sum", row.labels, values),
        ),
    )


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _head(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not labels:
        return name
    pairs = sorted(zip(labels, values, strict=True))
    return f"{name}{{{','.join(f'{label}={_quoted(value)}' for label, value in pairs)}}}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'"{escaped}"'


def _exemplar(mark: Mark) -> Exemplar:
    labels = {mark.name: mark.value[:EXEMPLAR_CHARACTERS_MAX]}
    return Exemplar(labels, mark.measured, round(mark.at, 3))


def _exemplar_text(shown: Exemplar) -> str:
    labels = ",".join(f"{name}={_quoted(value)}" for name, value in sorted(shown.labels.items()))
    return f" # {{{labels}}} {_number(shown.value)} {shown.timestamp}"


def prefers_openmetrics(accept: str) -> bool:
    """Return whether the scraper prefers OpenMetrics to the text format (RFC 9110 12.5.1)."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0, "*/*": 0.0}
    for offer in accept.split(","):
        media, *parameters = (part.strip() for part in offer.lower().split(";"))
        named = dict(part.partition("=")[::2] for part in parameters)
        if media in best and named.get("version", "") in _VERSIONS:
            best[media] = max(best[media], _quality(named.get("q", "1")))
    text = best["text/plain"] or best["*/*"]
    return best["application/openmetrics-text"] > 0 and best["application/openmetrics-text"] >= text


def collected(collector: Collector, *, openmetrics: bool) -> Iterator[str]:
    """Yield the text of a small collector of the library's own, metric by metric."""
    for metric in collector.collect():
        is_counter = metric.type == "counter" and not openmetrics
        name = f"{metric.name}_total" if is_counter else metric.name
        yield f"# HELP {name} {metric.documentation}\n# TYPE {name} {metric.type}\n"
        for sample in metric.samples:
            labels, values = tuple(sample.labels), tuple(sample.labels.values())
            yield f"{_head(sample.name, labels, values)} {_number(sample.value)}\n"


_VERSIONS: Final = frozenset({"", "0.0.1", "0.0.4", "1.0.0"})


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


async def in_slices(pieces: Iterator[str]) -> AsyncIterator[bytes]:
    """Join pieces for at most ``SLICE_S`` at a time, and let the loop run between slices."""
    now = asyncio.get_running_loop().time
    joined: list[str] = []
    until = now() + SLICE_S
    for piece in pieces:
        joined.append(piece)
        if now() >= until or len(joined) >= SLICE_PIECES_MAX:
            yield "".join(joined).encode()
            joined.clear()
            await asyncio.sleep(0)
            until = now() + SLICE_S
    yield "".join(joined).encode()
