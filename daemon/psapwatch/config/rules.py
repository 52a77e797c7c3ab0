"""What must hold between keys: each rule a function that yields what breaks it.

A rule sees only valid pieces. It must not call missing what is merely invalid, so ids are looked
up among everything that was declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from psapwatch.config import build
from psapwatch.config.errors import ConfigError
from psapwatch.config.explain import did_you_mean
from psapwatch.config.models import FirewallModel, PsapModel, SourceModel, WindowModel
from psapwatch.config.pieces import Parts, Piece
from psapwatch.config.psap_rules import PSAP_RULES, attributes_of, path_keys
from psapwatch.duration import print_duration as show
from psapwatch.endpoint import PortRange
from psapwatch.net.srtp import MISSING, is_available
from psapwatch.schedule import CALLS_PER_ATTEMPT, MESSAGES_PER_ATTEMPT
from psapwatch.sip.uri import parse_uri

ANSWERED_LATE_S: Final = 2.0
"""Patience that a call needs beyond the delay which it asks for."""

Errors = Iterator[ConfigError]


def broken(parts: Parts) -> Errors:
    """Yield everything that breaks a rule."""
    for rule in (*PSAP_RULES, *_RULES):
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


def _references(parts: Parts) -> Errors:
    """Our own responder is called without consent, so it must not be where a PSAP is reached.

    In a lab, where calls as often as one likes are agreed, one responder may be both.
    """
    reached = [
        (_place_of(path.uri), psap.model.id)
        for psap in parts.psaps
        if not _is_lab(psap.model)
        for path in psap.model.paths
    ]
    for piece in parts.firewalls.values():
        ours = piece.model.reference and _place_of(piece.model.reference)
        for place, psap_id in reached:
            # The Request-URI is the test URN, so that who is named without a user may be anybody.
            if (
                ours
                and ours[1:] == place[1:]
                and (ours[0] == place[0] or not (ours[0] and place[0]))
            ):
                why = f"is where {psap_id} is reached; our own responder is called without consent"
                yield piece.error(why, "reference")
                break


def _is_lab(psap: PsapModel) -> bool:
    agreed = psap.test_calls
    return bool(agreed and agreed.commissioned and agreed.short_interval_agreed)


def _place_of(text: str) -> tuple[str, str, int]:
    """User, host and port that a SIP URI leads to (RFC 3261 19.1.2; TLS has a port of its own)."""
    uri = parse_uri(text)
    is_tls = uri.scheme == "sips" or (uri.param("transport") or "").lower() == "tls"
    return unquote(uri.user), uri.reaches, uri.port or (5061 if is_tls else 5060)


def _must_blocks(parts: Parts) -> Errors:
    """What a firewall has to block is none of those that it has to let pass."""
    pass_ = {path.uri: psap.model.id for psap in parts.psaps for path in psap.model.paths}
    for piece in parts.firewalls.values():
        if piece.model.must_block is None:
            continue
        whose = "the reference" if piece.model.must_block == piece.model.reference else ""
        whose = whose or pass_.get(piece.model.must_block, "")
        if whose:
            yield piece.error(f"is where {whose} is reached; that has to pass", "must_block")


def _rate_bursts(parts: Parts) -> Errors:
    """Eight calls at once go to our own responder, and have to fit into the limits."""
    messages, calls = MESSAGES_PER_ATTEMPT["burst"], CALLS_PER_ATTEMPT["burst"]
    for piece in parts.firewalls.values():
        limits = piece.model.limits
        if not piece.model.rate_burst:
            continue
        if not piece.model.reference:
            yield piece.error("calls the reference; this firewall has none", "rate_burst")
        for limit, needed in (("messages_per_second", messages), ("concurrent_calls", calls)):
            if getattr(limits, limit) < needed:
                yield piece.error(f"needs limits.{limit} of at least {needed}", "rate_burst")


def _checks(parts: Parts) -> Errors:
    consents = any(piece.model.test_calls for piece in parts.psaps)
    firewalls = [piece.model for piece in parts.firewalls.values()]
    for piece in parts.checks:
        when, settings = piece.model.when, piece.model.settings
        if when.give_up_after and when.give_up_after > when.every:
            message = f"must be at most every ({show(when.every)}): never two attempts at once"
            yield piece.error(message, "give_up_after")
        if not parts.complete:
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


def _on_ours(parts: Parts) -> Errors:
    """Padding and delay mean nothing to a PSAP: only our own responders are there to be tried."""
    for piece in parts.checks:
        when, settings = piece.model.when, piece.model.settings
        for key in ("padding", "answer_after"):
            if getattr(settings, key, False) and when.on == "psaps":
                yield piece.error("is for checks on: reference or on: control", key)
        if getattr(settings, "padding", False) and settings.location:
            yield piece.error("takes the location's place; one of the two", "padding")
        late_s = getattr(settings, "answer_after", 0.0)
        patience_s = when.give_up_after or build.GIVE_UP_AFTER_S[settings.kind]
        if late_s and late_s + ANSWERED_LATE_S > patience_s:
            yield piece.error(
                f"{show(patience_s)} is too soon: the answer is asked for after {show(late_s)}; "
                f"at least {show(late_s + ANSWERED_LATE_S)}",
                "give_up_after",
            )


def _secured_media(parts: Parts) -> Errors:
    for piece in parts.checks:
        settings = piece.model.settings
        if getattr(settings, "srtp", "never") == "never":
            continue
        if not is_available():
            yield piece.error(MISSING, "srtp")
        if not settings.media:
            yield piece.error("secures media, and this check sends none (media: true)", "srtp")


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


def _member(parts: Parts, piece: Piece[WindowModel], scope: str, member: Any) -> Errors:
    """Yield an error where a window names something that does not exist."""
    known: set[str]
    if scope == "firewall":
        known = parts.main.names("firewalls")
    elif scope == "psap":
        known = {str(psap.model.get("id")) for psap in parts.written_psaps()}
    elif scope == "path":
        known = set(path_keys(parts))
        if not parts.complete:
            return
    else:
        name, value = next(iter(member.items()))
        member = f"{name}={value}"
        known = {name for psap in parts.psaps for name in attributes_of(psap.model)}
        if not parts.complete:
            return
    if member not in known:
        yield piece.error(f"there is no {scope} {member}{did_you_mean(member, known)}", scope)


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
    nothing = not parts.psaps and not references and not parts.main.entries("psap_files")
    if parts.complete and nothing:
        message = "there is nothing to watch: no PSAP and no firewall with a reference"
        yield parts.main.document.error(("psaps",), message)


_RULES: Final[tuple[Callable[[Parts], Errors], ...]] = (
    _sources,
    _controls,
    _references,
    _must_blocks,
    _rate_bursts,
    _checks,
    _on_ours,
    _secured_media,
    _windows,
    _sinks,
    _something,
)
