"""Who usually answers on a path, so that an element answering in its place is noticed (layer L1).

A firewall or SBC can block by answering. What tells it from the far end are the things that a
product writes in every answer and a far end keeps: Server, the host of Contact, the address that
the answer comes from, the certificate, the length of its To tags. A hop count is not among them:
a response carries none (its one Via is ours), and the kernel is not asked for the received TTL.

A far end may be a cluster: up to ``ANSWERERS_MAX`` answerers are usual at the same time. The first
``LEARNING_PASSES`` are taken as they come; later a newcomer is usual only after
``NEW_ANSWERER_PASSES``, or when a person accepts it (``psapwatch baseline accept``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.frozen import frozen
from psapwatch.remote_text import printable
from psapwatch.walks import Walk

LEARNING_PASSES: Final = 10
"""Answers from the first on that are taken as usual, whoever gives them."""
NEW_ANSWERER_PASSES: Final = 20
"""A new answerer, or a new answer, is the usual one after this many passes (detection.md 2)."""
ANSWERERS_MAX: Final = 8
"""As many as a name has addresses at most."""
VARIES: Final = -1
"""A To tag whose length changes from answer to answer: it tells nothing."""

_CONTACT_HOST: Final = re.compile(
    r"sips?:(?:[^@>;]*@)?(\[[0-9a-fA-F:.]+\]|[^:;>?\s]+)", re.IGNORECASE
)


class Difference(NamedTuple):
    """One thing in which an answer differs from the usual one."""

    what: str
    seen: str
    usual: str

    def __str__(self) -> str:
        return f"{self.what} {self.seen or 'none'}, usually {self.usual or 'none'}"


@frozen
class Answerer:
    """What one final response tells of who gave it; ``""`` and 0 where it tells nothing."""

    server: str = ""
    """Server, or User-Agent, as written; that it is missing tells something too."""
    contact: str = ""
    """Host of Contact; a refusal need not carry one (RFC 3261 20.10)."""
    source: str = ""
    """Address that it came from, where that is not the one that was asked."""
    certificate: str = ""
    """SHA-256 of the certificate; a connection that is used again does not show it."""
    to_tag: int = 0
    """Length of the To tag (RFC 3261 19.3), or ``VARIES``."""

    @classmethod
    def of(cls, evidence: Evidence, final: Observation) -> Answerer:
        """Read it from an attempt and the final response that came in time."""
        said = final.facts.get
        contact = _CONTACT_HOST.search(str(said("contact") or ""))
        shown = evidence.last(Kind.TLS_UP)
        return cls(
            server=str(said("server") or ""),
            contact=contact[1].lower() if contact else "",
            source="" if final.get("from_peer", True) else str(said("source") or ""),
            certificate=str(shown.get("fingerprint") or "") if shown else "",
            to_tag=len(str(said("to_tag") or "")),
        )

    def differs(self, usual: Answerer) -> tuple[Difference, ...]:
        """Name what differs from ``usual``; what one of the two does not tell does not differ."""
        found = [
            Difference(what, printable(seen), printable(known))
            for what, seen, known, must_tell in (
                ("Server", self.server, usual.server, False),
                ("source", self.source, usual.source, False),
                ("Contact", self.contact, usual.contact, True),
                ("certificate", self.certificate, usual.certificate, True),
            )
            if seen != known and (not must_tell or (seen and known))
        ]
        if min(self.to_tag, usual.to_tag) > 0 and self.to_tag != usual.to_tag:
            found.append(Difference("To tag length", str(self.to_tag), str(usual.to_tag)))
        return tuple(found)

    def is_another(self, usual: Answerer) -> bool:
        """Whether somebody else answers: a renewed certificate or another To tag is not enough."""
        return (self.server, self.source) != (usual.server, usual.source) or (
            self.contact != usual.contact and bool(self.contact and usual.contact)
        )

    def known_better(self, seen: Answerer) -> Answerer:
        """This answerer with what a further answer of its own tells."""
        tag = seen.to_tag if self.to_tag in (0, seen.to_tag) or not seen.to_tag else VARIES
        certificate = seen.certificate or self.certificate
        contact = self.contact or seen.contact
        return replace(self, contact=contact, certificate=certificate, to_tag=tag or self.to_tag)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who has begun to answer, or what: not usual yet."""

    answerer: Answerer
    code: int
    passes: int = 1
    alone: bool = True
    """Nobody usual has answered since."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Who usually answers a check on a path, and with what final code."""

    usual_code: int = 0
    answerers: tuple[Answerer, ...] = ()
    """The usual answerers, the one that was learnt last first."""
    passes: int = 0
    """Answers while learning; stops at ``LEARNING_PASSES``."""
    newcomer: Newcomer | None = None
    target: str = ""
    """Next hop and URI that were asked: another target has other answerers."""
    accepted_by: str = ""
    accepted_at: float = 0.0
    """By whom and when (Unix seconds) a new answerer was last taken as right."""
    walk: tuple[str, ...] = ()
    """The hops of the last good walk."""
    walked_by: str = ""
    """Which hops those are, as ``probe: walk`` has it."""

    @property
    def usual_pass(self) -> bool:
        """Whether this path used to answer 2xx."""
        return self.usual_code // 100 == 2

    @property
    def is_learnt(self) -> bool:
        """Whether enough answers were heard for another answerer to be told."""
        return self.passes >= LEARNING_PASSES

    def is_usual(self, code: int) -> bool:
        """Whether this final code is the usual one; any 2xx is as good as another."""
        return code == self.usual_code or (self.usual_pass and code // 100 == 2)

    def stranger(self, answerer: Answerer) -> str:
        """Say how an answerer differs from the usual one it is nearest to; "" if it is usual."""
        if not self.is_learnt or not all(map(answerer.is_another, self.answerers)):
            return ""
        nearest = min(map(answerer.differs, self.answerers), key=len, default=())
        return ", ".join(map(str, nearest))

    def learn(self, answerer: Answerer, code: int) -> Baseline:
        """Take one answer that proved the path; failures teach nothing."""
        usual = next((each for each in self.answerers if not answerer.is_another(each)), None)
        if usual is None and not self.is_learnt:
            return self._with(answerer, code)
        if usual is None or not self.is_usual(code):
            return self._met(answerer, code, usual)
        better = usual if usual == answerer else usual.known_better(answerer)
        if better == usual and self.newcomer is None and self.is_learnt:
            return self
        newcomer = replace(self.newcomer, alone=False) if self.newcomer else None
        answerers = tuple(better if each is usual else each for each in self.answerers)
        passes = min(self.passes + 1, LEARNING_PASSES)
        return replace(self, answerers=answerers, newcomer=newcomer, passes=passes)

    def walking(self, evidence: Evidence) -> Baseline:
        """With the hops of this good walk; unchanged where it is none."""
        if evidence.probe != "walk":
            return self
        walk = Walk.of(evidence)
        return replace(self, walk=walk.hops, walked_by=walk.by)

    def accept(self, answerer: Answerer, code: int, by: str, at: float) -> Baseline:
        """Take this answerer, and no other, as the right one."""
        alone = Baseline(code, (answerer,), LEARNING_PASSES, target=self.target)
        return replace(alone, accepted_by=by, accepted_at=at)

    def is_worth_keeping(self, before: Baseline) -> bool:
        """Whether so much has changed that it must outlive the process."""
        return _lasting(self) != _lasting(before)

    def _with(self, answerer: Answerer, code: int) -> Baseline:
        """One more usual answerer."""
        return replace(
            self,
            usual_code=self.usual_code or code,
            answerers=(answerer, *self.answerers)[:ANSWERERS_MAX],
            passes=min(self.passes + 1, LEARNING_PASSES),
            newcomer=None,
        )

    def _met(self, answerer: Answerer, code: int, usual: Answerer | None) -> Baseline:
        """Count an answer of a newcomer; after enough of them it is usual."""
        known = self.newcomer
        if known is None or known.code != code or answerer.is_another(known.answerer):
            return replace(self, newcomer=Newcomer(answerer, code))
        newcomer = replace(known, passes=known.passes + 1)
        if newcomer.passes < NEW_ANSWERER_PASSES:
            return replace(self, newcomer=newcomer)
        if newcomer.alone:
            return replace(self, usual_code=code, answerers=(answerer,), newcomer=None)
        return replace(self, newcomer=None) if usual else self._with(answerer, code)


NOTHING_KNOWN: Final = Baseline()


def of_walk(known: Iterable[tuple[tuple[str, str], Baseline]], path: str, by: str) -> Baseline:
    """Find the baseline of a path's walks by these hops among those of all paths and checks."""
    fitting = (each for (key, _check), each in known if (key, each.walked_by) == (path, by))
    return next(fitting, NOTHING_KNOWN) if by else NOTHING_KNOWN


def to_json(baseline: Baseline) -> dict[str, Any]:
    """Baseline as JSON-ready data, every field under its own name."""
    return asdict(baseline)


def from_json(plain: Mapping[str, Any]) -> Baseline:
    """Read a baseline.

    Raises:
        ValueError: it is none.
    """
    try:
        newcomer = plain["newcomer"]
        return Baseline(
            **{
                **plain,
                "answerers": tuple(Answerer(**each) for each in plain["answerers"]),
                "walk": tuple(plain.get("walk", ())),
                "newcomer": newcomer
                and Newcomer(**{**newcomer, "answerer": Answerer(**newcomer["answerer"])}),
            }
        )
    except (KeyError, TypeError) as why:
        message = f"not a baseline: {why}"
        raise ValueError(message) from None


def _lasting(baseline: Baseline) -> tuple[object, ...]:
    """All but the counts: those may begin again after a restart."""
    newcomer = baseline.newcomer and (baseline.newcomer.answerer, baseline.newcomer.code)
    return baseline.usual_code, baseline.answerers, baseline.is_learnt, newcomer, baseline.walk
