"""What a reload changes: paths and checks that come, go or stay, and what needs a restart.

A path keeps its state, counters and incidents while its road is the same: the URI, the hops and
everything that packets depend on. A new name or location is taken over without starting anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
    """Paths whose URI or next hop is another one now, so that their commissioning is void."""
    restart: tuple[str, ...]
    """Keys that differ and cannot change while running."""


def difference(old: Config, new: Config) -> Difference:
    """Return what changes from ``old`` to ``new``."""
    roads_before = _by_key(old.all_paths)
    paths = _compare(roads_before, _by_key(new.all_paths), _road)
    return Difference(
        paths=paths,
        checks=_compare(
            {check.name: check for check in old.checks},
            {check.name: check for check in new.checks},
            lambda check: check,
        ),
        revoked=tuple(
            path.key
            for path in new.paths
            if path.key in paths.changed
            and (path.uri, path.next_hop)
            != (roads_before[path.key].uri, roads_before[path.key].next_hop)
        ),
        restart=tuple(key for key, value in NEED_RESTART.items() if value(old) != value(new)),
    )


def replacement(old: Config, new: Config) -> Difference:
    """Return what a reload changes, for a configuration that may replace the running one.

    Raises:
        BadConfig: a key differs that needs a restart; one error each, naming it.
    """
    if old.listen_given:
        new = replace(new, web=replace(new.web, listen=old.web.listen))
    found = difference(old, new)
    if found.restart:
        raise BadConfig(
            ConfigError(new.file, new.lines.get(key, 1), key, "changing it needs a restart")
            for key in found.restart
        )
    return found


NEED_RESTART: Final[Mapping[str, Callable[[Config], object]]] = {
    "vantage": lambda config: config.vantage,
    "web.listen": lambda config: config.web.listen,
    "web.tls": lambda config: config.web.tls,
    "web.users_file": lambda config: config.web.users_file,
    "web.lifecycle": lambda config: config.web.lifecycle,
    "store.path": lambda config: config.store.path,
    "dns.servers": lambda config: config.dns.servers,
}
"""What is set up once, when the daemon starts. The refusal names such keys; nothing is ignored."""


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
