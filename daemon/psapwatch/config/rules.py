"""What must hold between keys: each rule a function that yields what breaks it.

A rule sees only valid pieces. It must not call missing what is merely invalid, so ids are looked
up among everything that was declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from psapwatch.config.build import path_ids
from psapwatch.config.errors import ConfigError
from psapwatch.config.explain import did_you_mean
from psapwatch.config.models import FirewallModel, PsapModel, SourceModel, WindowModel
from psapwatch.config.pieces import CheckPieces, Piece, Pieces
from psapwatch.config.words import transport_of
from psapwatch.duration import print_duration
from psapwatch.endpoint import CALL_FLOOR_S, CONTROL, REFERENCE, PortRange
from psapwatch.sip.uri import parse_uri

Errors = Iterator[ConfigError]


@dataclass(frozen=True, slots=True)
class Parts:
    """The valid pieces of the main file and of the PSAP files, and the ids of all of them."""

    main: Pieces
    psaps: list[Piece[PsapModel]]
    psap_ids: set[str]

    @property
    def firewalls(self) -> dict[str, Piece[FirewallModel]]:
        """The valid firewalls by id."""
        return {piece.name: piece for piece in self.main.all("firewalls")}

    @property
    def checks(self) -> list[Piece[CheckPieces]]:
        """The valid checks."""
        return self.main.all("checks")

    @property
    def all_valid(self) -> bool:
        """Whether nothing that was declared is missing here."""
        return self.psap_ids == {piece.model.id for piece in self.psaps} and not self.main.errors


def broken(parts: Parts) -> Errors:
    """Yield everything that breaks a rule."""
    for rule in _RULES:
        yield from rule(parts)


def _sources(parts: Parts) -> Errors:
    for piece in parts.firewalls.values():
        seen: dict[str, int] = {}
        for position, source in enumerate(piece.model.sources):
            at = ("sources", position)
            if source.address in seen:
                message = f"{source.address} is a source of this firewall already"
                yield piece.error(message, *at, "address")
            seen[source.address] = position
            yield from _ports(piece, source, at)
        control = piece.model.control
        if control and control.source:
            yield from _ports(piece, control.source, ("control", "source"))


def _ports(piece: Piece[FirewallModel], source: SourceModel, at: tuple[str | int, ...]) -> Errors:
    sip, rtp = source.sip_ports, source.rtp_ports
    any_port = PortRange(0, 0)
    if sip != any_port != rtp and sip.low <= rtp.high and rtp.low <= sip.high:
        yield piece.error("overlaps sip_ports; the two need ports of their own", *at, "rtp_ports")
    if (
        source.advertise
        and ip_address(source.advertise).version != ip_address(source.address).version
    ):
        yield piece.error("must be of the same address family as address", *at, "advertise")


def _controls(parts: Parts) -> Errors:
    for piece in parts.firewalls.values():
        control = piece.model.control
        if not control:
            continue
        if (control.source is None) == (control.status_url is None):
            yield piece.error("needs exactly one of source and status_url", "control")
        if not piece.model.reference:
            yield piece.error("a control reaches the reference; this firewall has none", "control")
        if control.status_url:
            problem = web_problem(control.status_url)
            if problem:
                yield piece.error(problem, "control", "status_url")


def _psap_ids(parts: Parts) -> Errors:
    seen: dict[str, Piece[PsapModel]] = {}
    for piece in parts.psaps:
        psap_id = piece.model.id
        if psap_id in (REFERENCE, CONTROL):
            yield piece.error(f"{psap_id} is reserved for checks of our own responders", "id")
        if psap_id in seen:
            first = seen[psap_id].error("", "id")
            yield piece.error(f"{psap_id} is taken by the PSAP at {first.file}:{first.line}", "id")
        seen.setdefault(psap_id, piece)


def _psap_paths(parts: Parts) -> Errors:
    known = parts.main.declared("firewalls")
    for piece in parts.psaps:
        taken: dict[str, int] = {}
        for position, path in enumerate(piece.model.paths):
            if path.firewall not in known:
                yield piece.error(
                    f"there is no firewall {path.firewall}{did_you_mean(path.firewall, known)}; "
                    f"firewalls: {', '.join(sorted(known)) or 'none'}",
                    *("paths", position, "firewall"),
                )
                continue
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


def _checks(parts: Parts) -> Errors:
    consents = any(piece.model.test_calls for piece in parts.psaps)
    firewalls = [piece.model for piece in parts.firewalls.values()]
    for piece in parts.checks:
        when, settings = piece.model.when, piece.model.settings
        if when.give_up_after and when.give_up_after > when.every:
            message = (
                f"must be at most every ({print_duration(when.every)}): never two attempts at once"
            )
            yield piece.error(message, "give_up_after")
        if not parts.all_valid:
            continue
        if when.on == "psaps" and settings.kind == "call" and not consents:
            yield piece.error(
                "no PSAP has test_calls with consent, so there is nobody to call", "probe"
            )
        if when.on == "reference" and not any(crossed.reference for crossed in firewalls):
            yield piece.error("no firewall has a reference", "on")
        if when.on == "control" and not any(
            crossed.control and crossed.control.source for crossed in firewalls
        ):
            yield piece.error("no firewall has a control with a source", "on")


def _locations(parts: Parts) -> Errors:
    """Location goes over streams only: a UDP path alone does not need it (RFC 3261 18.1.1)."""
    sends = [
        piece.name
        for piece in parts.checks
        if piece.model.when.on == "psaps" and getattr(piece.model.settings, "location", False)
    ]
    for piece in parts.psaps if sends else ():
        streams = any(transport_of(path.uri) != "udp" for path in piece.model.paths)
        if piece.model.test_calls and streams and not piece.model.location:
            yield piece.error(f"is required: check {sends[0]} sends it", "location")


def _windows(parts: Parts) -> Errors:
    for piece in parts.main.all("maintenance"):
        model: WindowModel = piece.model
        if model.until <= model.from_:
            yield piece.error("must be later than from", "until")
        named = {
            key: getattr(model, key)
            for key in ("firewall", "psap", "path", "attribute")
            if getattr(model, key) is not None
        }
        if len(named) != 1 or (model.attribute is not None and len(model.attribute) != 1):
            yield piece.error(
                "names exactly one firewall, psap, path or attribute that may be down"
            )
            continue
        scope, member = next(iter(named.items()))
        yield from _member(parts, piece, scope, member)


def _member(parts: Parts, piece: Piece[WindowModel], scope: str, member: Any) -> Errors:  # noqa: ANN401
    """Yield an error where a window names something that does not exist."""
    known: set[str]
    if scope == "firewall":
        known = parts.main.declared("firewalls")
    elif scope == "psap":
        known = parts.psap_ids
    elif scope == "path":
        known = set(_path_keys(parts))
        if not parts.all_valid:
            return
    else:
        name, value = next(iter(member.items()))
        member = f"{name}={value}"
        known = {
            f"{key}={there}"
            for psap in parts.psaps
            for attributes in (psap.model.attributes, *_of_paths(psap.model))
            for key, there in attributes.items()
        }
        if not parts.all_valid:
            return
    if member not in known:
        yield piece.error(f"there is no {scope} {member}{did_you_mean(member, known)}", scope)


def _of_paths(model: PsapModel) -> Iterator[dict[str, str]]:
    return (path.attributes for path in model.paths)


def _path_keys(parts: Parts) -> Iterator[str]:
    for piece in parts.psaps:
        for path in piece.model.paths:
            crossed = parts.firewalls.get(path.firewall)
            for path_id in path_ids(path, crossed.model.next_hops if crossed else ()):
                yield f"{piece.model.id}/{path_id}"


def _sinks(parts: Parts) -> Errors:
    for piece in parts.main.all("sinks"):
        for key in ("urls", "url"):
            written = getattr(piece.model, key, None)
            urls = [written] if isinstance(written, str) else written or ()
            for position, url in enumerate(urls):
                problem = web_problem(str(url))
                if problem:
                    yield piece.error(problem, key, *([position] if key == "urls" else []))


def web_problem(url: str) -> str:
    """Return what is wrong with an http or https URL, or nothing; never shows a password."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            return "holds a user name or password; secrets come from files"
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return ""
    except ValueError:
        pass
    return "is no http:// or https:// URL, such as http://127.0.0.1:9093"


def _something(parts: Parts) -> Errors:
    references = any(piece.model.reference for piece in parts.firewalls.values())
    if parts.all_valid and not parts.psaps and not references:
        message = "there is nothing to watch: no PSAP and no firewall with a reference"
        yield parts.main.document.error(("psaps",), message)


_RULES: Final[tuple[Callable[[Parts], Errors], ...]] = (
    _sources,
    _controls,
    _psap_ids,
    _psap_paths,
    _agreements,
    _checks,
    _locations,
    _windows,
    _sinks,
    _something,
)
