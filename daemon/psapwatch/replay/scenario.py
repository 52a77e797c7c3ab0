"""Scenarios as data: a network, what goes wrong and when, and what must come of it (layer L5).

One YAML file each, read like a configuration: durations as ``15s``, unknown keys refused, errors
as ``FILE:LINE: key: what is wrong``. Those that are shipped stand in ``simulator/scenarios``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from psapwatch.announced import Window
from psapwatch.config import build
from psapwatch.config.document import read_yaml
from psapwatch.config.errors import BadConfig, ConfigError
from psapwatch.config.models import CheckModel, DetectionModel, Positive, Strict
from psapwatch.config.pieces import Piece, Pieces, cut
from psapwatch.config.shape import Detection
from psapwatch.config.words import AttributeName, Id, Text
from psapwatch.duration import Duration
from psapwatch.endpoint import Check, TransportName
from psapwatch.replay.faults import AnyFault, LinkModel, ScriptName
from psapwatch.replay.rule_fault import ALL
from psapwatch.replay.stage import CHECKS
from psapwatch.replay.timed import RESPONDERS, Span, Timed
from psapwatch.simulator.topology import PSAPS_MAX, Plan
from psapwatch.simulator.world import EPOCH
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.verdict import Cause

Need = Literal["battery", "pooled", "self-proof"]

CauseName = Annotated[Cause, Field(strict=False)]

NEEDS: Final[Mapping[Need, str]] = {
    "battery": "differential probes: second source, kept flow, size, content, delayed answer, rate",
    "pooled": "pooled detection of partial loss",
    "self-proof": "witness, always-green and always-red targets",
}
"""Parts that a scenario may wait for; one that waits is listed, not run, and not called passing."""

DEFAULT_PLAN: Final = Plan()
CLOSING_S: Final = 600.0
"""How long after the last fault an incident may take to close (outages.md 6): a round of calls to
see that all is well, and five clean minutes."""
PAGING_S: Final = 5.0
"""From an incident's opening to the sink's having it."""


class NetworkModel(Strict):
    """What is built."""

    psaps: int = Field(204, ge=1, le=PSAPS_MAX, description="answering points")
    firewalls: list[Id] = Field(["fw-east"], min_length=1, description="each leads to all PSAPs")
    transports: list[TransportName] = Field(["udp"], min_length=1, description="udp, tcp, tls")
    attributes: dict[AttributeName, list[Text]] = Field(
        default_factory=dict, description="dealt out to the PSAPs in turn; 14 counties by default"
    )
    names: list[Text] = Field(default_factory=list, description="of the PSAPs, in order")
    must_block: bool = Field(
        default=False, description="each firewall has something that it has to block"
    )
    rate_burst: bool = Field(
        default=False, description="the references may be called eight times at once"
    )
    ipv6: bool = Field(default=False, description="every PSAP has an IPv6 address as well")
    answers: ScriptName = Field("multipart", description="what answering points play")
    calls_every: Duration = Field(300.0, ge=1, description="between test calls to one PSAP")
    messages_per_second: Positive = Field(
        DEFAULT_PLAN.messages_per_second, description="what may be put through each firewall"
    )
    link: LinkModel = Field(LinkModel(), description="delay, jitter, loss of every way")


class ExpectedModel(Strict):
    """An incident that must open."""

    alert: Text | list[Text] = Field(description="alertname; one of these where it is a list")
    severity: Literal["page", "ticket", "either"] = Field("page", description="page or ticket")
    scope: Text = Field("", description="firewall, psap, path or an attribute's name, if any")
    member: Text | None = Field(None, description="which one; any when left out")
    cause: list[CauseName] = Field(default_factory=list, description="one of these; any when empty")
    after: Duration = Field(0.0, description="what the times below count from, after the quiet")
    within: Span = Field(description="opens within this")
    paged_within: Span | None = Field(None, description="is told within this")
    closes_within: Span | None = Field(None, description="closes so soon after the last fault")
    stays_open: bool = Field(default=False, description="is still open in the end")
    count: int = Field(1, ge=1, description="so many of this kind, one a member")
    says: list[Text] = Field(default_factory=list, description="words of its summary")

    @property
    def alerts(self) -> list[str]:
        """The alertnames that will do."""
        return self.alert if isinstance(self.alert, list) else [self.alert]


class AllowedModel(Strict):
    """An incident that may open beside the expected ones."""

    alert: Text = Field(description="alertname")
    severity: Literal["page", "ticket"] = Field("ticket", description="page or ticket")
    scope: Text | None = Field(None, description="any when left out")
    member: Text | None = Field(None, description="any when left out")


class PlannedModel(Strict):
    """A maintenance window; moments are after the quiet."""

    firewall: Id | None = Field(None, description="everything behind it may be down")
    attribute: dict[AttributeName, Text] | None = Field(None, description="all that has it")
    psap: Id | None = Field(None, description="every path of this PSAP")
    from_: Duration = Field(0.0, alias="from", description="begin")
    for_: Span = Field(alias="for", description="how long")
    why: Text = Field("announced", description="change number")


class ScenarioModel(Strict):
    """One scenario."""

    title: Text = Field(description="one line: what happens")
    facts: Text = Field("", description="where the facts stand: outages.md M1, S02, ...")
    story: str = Field("", description="what happened, for people")
    needs: list[Need] = Field(default_factory=list, description="parts that do not exist yet")
    network: NetworkModel = Field(NetworkModel(), description="what is built")
    checks: dict[Id, CheckModel] = Field(
        default_factory=dict, description="as in a configuration; OPTIONS 15s, calls 5m by default"
    )
    detection: DetectionModel = Field(DetectionModel(), description="as in a configuration")
    maintenance: list[PlannedModel] = Field(default_factory=list, description="what may be down")
    quiet: Span = Field(330.0, description="all is well for so long first")
    faults: list[AnyFault] = Field(default_factory=list, description="what goes wrong, and when")
    runs: Span = Field(description="watched for so long after the quiet")
    expect: list[ExpectedModel] = Field(default_factory=list, description="what must be told")
    may: list[AllowedModel] = Field(default_factory=list, description="what may be told as well")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, ready to be played."""

    name: str
    title: str
    facts: str
    story: str
    needs: tuple[Need, ...]
    plan: Plan
    checks: tuple[Check, ...]
    detection: Detection
    maintenance: tuple[Window, ...]
    quiet_s: float
    faults: tuple[tuple[str, Timed], ...]
    """Each under a label of its own."""
    runs_s: float
    expected: tuple[ExpectedModel, ...]
    allowed: tuple[AllowedModel, ...]
    is_free: bool = False
    """Whatever is told is right: only the invariants are judged."""

    @property
    def pages(self) -> int:
        """How many pages are expected."""
        return sum(each.count for each in self.expected if each.severity == "page")

    @property
    def mended_at(self) -> float:
        """When the last fault has ended, after the quiet; 0 where none does."""
        return max((fault.over_at or 0.0 for _label, fault in self.faults), default=0.0)

    @property
    def beginning(self) -> Hashable:
        """What decides how it goes until the first fault: alike where this is the same.

        A store that is a file belongs to one process, so who restarts begins like nobody else.
        """
        alone = self.name if self.restarts else ""
        return (self.plan, self.checks, self.detection, self.maintenance, self.quiet_s, alone)

    @property
    def restarts(self) -> bool:
        """Whether the daemon ends in the middle, so that its store must be a file."""
        return any(getattr(fault, "kind", "") == "daemon" for _label, fault in self.faults)


def shipped() -> dict[str, Path]:
    """The scenarios that come with psapwatch, by name."""
    folder = Path(str(files("psapwatch.simulator"))) / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yml"))}


def read(file: str | Path) -> Scenario:
    """Read one scenario.

    Raises:
        BadConfig: with every error that could be found.
        OSError: the file cannot be read.
    """
    path = Path(file)
    return read_octets(path.read_bytes(), str(file), path.stem)


def read_octets(octets: bytes, file: str, name: str) -> Scenario:
    """Read a scenario from its text; ``file`` names it in errors.

    Raises:
        BadConfig: with every error that could be found.
    """
    document, errors = read_yaml(octets, file)
    if document is None:
        raise BadConfig(errors)
    pieces = cut(document, ScenarioModel)
    errors += pieces.errors
    if not errors:
        errors += _broken(pieces)
    if errors:
        raise BadConfig(errors)
    return _built(name, pieces)


def _broken(pieces: Pieces) -> Iterator[ConfigError]:
    """What several keys together get wrong: names of things that are not built."""
    plan = _plan(_one(pieces, "network"))
    psaps = {f"psap-{nth:03d}" for nth in range(1, plan.psaps + 1)}
    values = {f"{name}={value}" for name, found in plan.attributes for value in found}
    known = {"all", *RESPONDERS, *psaps, *values}
    for piece in pieces.all("faults"):
        firewall = getattr(piece.model, "firewall", ALL)
        if firewall not in (ALL, *plan.firewalls):
            yield piece.error(f"no firewall {firewall!r} is built", "firewall")
        for word in getattr(piece.model, "who", None) or ():
            if word not in known:
                yield piece.error(f"nobody is called {word!r} here", "who")
        for key in ("psap", "to"):
            named = getattr(piece.model, key, None)
            if piece.model.kind == "detour" and named not in psaps:
                yield piece.error(f"no PSAP {named!r} is built", key)
        if piece.model.times > 1 and piece.model.every is None:
            yield piece.error("`times` needs `every`", "times")
    for piece in pieces.all("maintenance"):
        named = [piece.model.firewall, piece.model.psap, piece.model.attribute]
        if sum(each is not None for each in named) != 1:
            yield piece.error("names exactly one of firewall, psap and attribute")


def _built(name: str, pieces: Pieces) -> Scenario:
    written = [piece for piece in pieces.all("checks") if len(piece.loc) > 1]  # none: its default
    checks = tuple(map(build.check, written)) or CHECKS
    quiet_s = _one(pieces, "quiet")
    return Scenario(
        name=name,
        title=_one(pieces, "title"),
        facts=_one(pieces, "facts"),
        story=_one(pieces, "story").strip(),
        needs=tuple(_models(pieces.all("needs"))),
        plan=_plan(_one(pieces, "network")),
        checks=checks,
        detection=build.detection(_one(pieces, "detection")),
        maintenance=tuple(
            _window(each, EPOCH + quiet_s) for each in _models(pieces.all("maintenance"))
        ),
        quiet_s=quiet_s,
        faults=tuple(
            (f"{fault.kind}-{nth}", fault)
            for nth, fault in enumerate(_models(pieces.all("faults")))
        ),
        runs_s=_one(pieces, "runs"),
        expected=tuple(_models(pieces.all("expect"))),
        allowed=tuple(_models(pieces.all("may"))),
    )


def _one(pieces: Pieces, section: str) -> Any:
    piece = pieces.one(section)
    assert piece is not None, section
    return piece.model


def _models(found: Sequence[Piece[Any]]) -> list[Any]:
    return [piece.model for piece in found]


def _plan(network: NetworkModel) -> Plan:
    return Plan(
        psaps=network.psaps,
        firewalls=tuple(network.firewalls),
        transports=tuple(network.transports),
        with_v6=network.ipv6,
        script=SCRIPTS[network.answers],
        link=network.link.link,
        attributes=tuple((name, tuple(each)) for name, each in network.attributes.items())
        or DEFAULT_PLAN.attributes,
        names=tuple(network.names),
        calls_every_s=network.calls_every,
        messages_per_second=network.messages_per_second,
        must_block=network.must_block,
        rate_burst=network.rate_burst,
    )


def _window(planned: PlannedModel, origin: float) -> Window:
    scope, member = next(
        (scope, member)
        for scope, member in (
            ("firewall", planned.firewall),
            ("psap", planned.psap),
            *(planned.attribute or {}).items(),
        )
        if member is not None
    )
    begin = origin + planned.from_
    return Window(scope, member, begin, begin + planned.for_, planned.why)
