"""What must hold for PSAPs and their paths. See ``rules``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from psapwatch.config.build import path_ids
from psapwatch.config.errors import ConfigError
from psapwatch.config.explain import did_you_mean
from psapwatch.config.models import FirewallModel, PathModel, PsapModel
from psapwatch.config.pieces import Parts, Piece
from psapwatch.config.words import transport_of
from psapwatch.duration import print_duration
from psapwatch.endpoint import CALL_FLOOR_S, CONTROL, REFERENCE
from psapwatch.sip.uri import parse_uri

Errors = Iterator[ConfigError]


def attributes_of(psap: PsapModel) -> set[str]:
    """Return the fault domains of a PSAP and its paths, each as ``name=value``."""
    attributes = [psap.attributes, *(path.attributes for path in psap.paths)]
    return {f"{name}={value}" for each in attributes for name, value in each.items()}


def path_keys(parts: Parts) -> Iterator[str]:
    """Yield the PSAP/PATH keys of all valid PSAPs."""
    for piece in parts.psaps:
        for path in piece.model.paths:
            crossed = parts.firewalls.get(path.firewall)
            for path_id in path_ids(path, crossed.model.next_hops if crossed else ()):
                yield f"{piece.model.id}/{path_id}"


def _first_hops(parts: Parts, path: PathModel) -> list[str]:
    """Return where messages of a path go first: the next hops of its firewall, or its URI."""
    crossed = parts.firewalls.get(path.firewall)
    return (crossed.model.next_hops if crossed else []) or [path.uri]


def _psap_ids(parts: Parts) -> Errors:
    seen: dict[str, Piece[dict[str, Any]]] = {}
    for piece in parts.written_psaps():
        psap_id = piece.model.get("id")
        if not isinstance(psap_id, str):
            continue
        if psap_id in (REFERENCE, CONTROL):
            yield piece.error(f"{psap_id} is reserved for checks of our own responders", "id")
        if psap_id in seen:
            first = seen[psap_id].error("", "id")
            yield piece.error(f"{psap_id} is taken by the PSAP at {first.file}:{first.line}", "id")
        seen.setdefault(psap_id, piece)


def _firewall_names(parts: Parts) -> Errors:
    known = sorted(parts.main.names("firewalls"))
    for piece in parts.written_psaps():
        paths = piece.model.get("paths")
        for position, path in enumerate(paths if isinstance(paths, list) else ()):
            name = path.get("firewall") if isinstance(path, dict) else None
            if isinstance(name, str) and name not in known:
                hint = did_you_mean(name, known)
                message = f"there is no firewall {name}{hint}; firewalls: {', '.join(known)}"
                yield piece.error(message, "paths", position, "firewall")


def _psap_paths(parts: Parts) -> Errors:
    for piece in parts.psaps:
        taken: dict[str, int] = {}
        for position, path in enumerate(piece.model.paths):
            crossed = parts.firewalls.get(path.firewall)
            for path_id in path_ids(path, crossed.model.next_hops if crossed else ()):
                if path_id in taken:
                    first = piece.error("", "paths", taken[path_id], "id").line
                    message = f"{piece.model.id}/{path_id} is on line {first} already; give an id"
                    yield piece.error(message, "paths", position, "id")
                taken.setdefault(path_id, position)
            if crossed:
                yield from _first_hop(piece, position, crossed.model)


def _first_hop(piece: Piece[PsapModel], position: int, crossed: FirewallModel) -> Errors:
    """A sips URI is TLS on every hop (RFC 3261 26.2.2); a literal needs a source of its family."""
    path = piece.model.paths[position]
    at = ("paths", position, "uri")
    if transport_of(path.uri) == "tls" and path.uri[:5].lower() == "sips:":
        plain = [hop for hop in crossed.next_hops if transport_of(hop) != "tls"]
        if plain:
            yield piece.error(f"sips: needs TLS on the next hop too, and {plain[0]} has none", *at)
    for hop in crossed.next_hops or [path.uri]:
        host = parse_uri(hop).host
        try:
            version = ip_address(host).version
        except ValueError:
            continue
        if version not in {ip_address(source.address).version for source in crossed.sources}:
            yield piece.error(f"{host} is IPv{version}; {path.firewall} has no such source", *at)


def _agreements(parts: Parts) -> Errors:
    for piece in parts.psaps:
        agreement = piece.model.test_calls
        if not agreement:
            continue
        if all(path.kind == "legacy_gateway" for path in piece.model.paths):
            message = "legacy_gateway allows OPTIONS only: a call would ring a CAMA trunk"
            yield piece.error(message, "test_calls")
        if agreement.every < CALL_FLOOR_S and not agreement.short_interval_agreed:
            floor = print_duration(CALL_FLOOR_S)
            message = (
                f"{print_duration(agreement.every)} is under {floor}; "
                "shorter needs short_interval_agreed: true, where the PSAP agreed to it"
            )
            yield piece.error(message, "test_calls", "every")


def _locations(parts: Parts) -> Errors:
    """Location goes over streams only: a UDP path alone does not need it (RFC 3261 18.1.1)."""
    sends = [
        piece.name
        for piece in parts.checks
        if piece.model.when.on == "psaps" and getattr(piece.model.settings, "location", False)
    ]
    for piece in parts.psaps if sends else ():
        hops = (hop for path in piece.model.paths for hop in _first_hops(parts, path))
        streams = any(transport_of(hop) != "udp" for hop in hops)
        if piece.model.test_calls and streams and not piece.model.location:
            yield piece.error(f"is required: check {sends[0]} sends it", "location")


PSAP_RULES: Final[tuple[Callable[[Parts], Errors], ...]] = (
    _psap_ids,
    _firewall_names,
    _psap_paths,
    _agreements,
    _locations,
)
