"""What a reload changes: paths and checks that come, go or stay, and what needs a restart.

A path keeps its state, counters and incidents while its road is the same: the URI, the hops and
everything that packets depend on. A new name or location is taken over without starting anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from psapwatch.config.errors import BadConfig, ConfigError
from psapwatch.config.shape import Config
from psapwatch.endpoint import Path

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys by what happens to them; each in the order of its configuration."""

    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What going from one configuration to another means."""

    paths: Changes
    """By ``(psap, path)`` key, references and controls included."""
    checks: Changes
    """By name."""
    revoked: tuple[str, ...]
    """PSAPs to commission again: a URI or next hop of theirs is another one now, or a new one."""
    restart: tuple[str, ...]
    """Keys that differ and cannot change while running."""


def difference(old: Config, new: Config) -> Difference:
    """Return what changes from ``old`` to ``new``."""
    return Difference(
        paths=_compare(_by_key(old.all_paths), _by_key(new.all_paths), _road),
        checks=_compare(
            {check.name: check for check in old.checks},
            {check.name: check for check in new.checks},
            lambda check: check,
        ),
        revoked=_revoked(old, new),
        restart=tuple(
            key for key, value_of in NEED_RESTART.items() if value_of(old) != value_of(new)
        ),
    )


def replacement(old: Config, new: Config) -> Difference:
    """Return what a reload changes, for a configuration that may replace the running one.

    Raises:
        BadConfig: a key differs that needs a restart; one error each, naming it.
    """
    found = difference(old, new)
    if found.restart:
        raise BadConfig(
            ConfigError(
                new.file,
                new.lines.get(key, 1),
                key,
                f"runs as {NEED_RESTART[key](old)}; changing it needs a restart",
            )
            for key in found.restart
        )
    return found


NEED_RESTART: Final[Mapping[str, Callable[[Config], Any]]] = {
    "vantage": lambda config: config.vantage,
    "web.listen": lambda config: config.web.listen,
    "store.path": lambda config: config.store.path,
}


def _compare(old: Mapping[str, T], new: Mapping[str, T], counts: Callable[[T], Any]) -> Changes:
    same = {key for key in old.keys() & new.keys() if counts(old[key]) == counts(new[key])}
    return Changes(
        new=tuple(key for key in new if key not in old),
        gone=tuple(key for key in old if key not in new),
        changed=tuple(key for key in new if key in old and key not in same),
        unchanged=tuple(key for key in new if key in same),
    )


def _by_key(paths: Iterable[Path]) -> dict[str, Path]:
    return {path.key: path for path in paths}


def _road(path: Path) -> tuple[Any, ...]:
    """Return everything that decides which packets a path sends where."""
    return (
        path.uri,
        path.next_hop,
        path.transport,
        path.firewall.id,
        path.leaves_from,
        path.kind,
        path.tls or path.firewall.tls,
        path.auth or path.firewall.auth,
    )


def _revoked(old: Config, new: Config) -> tuple[str, ...]:
    before = {path.key: (path.uri, path.next_hop) for path in old.paths}
    known = {psap.id for psap in old.psaps}
    moved = (
        path.psap.id
        for path in new.paths
        if path.psap.id in known and before.get(path.key) != (path.uri, path.next_hop)
    )
    return tuple(dict.fromkeys(moved))
