"""Valid pieces into the frozen nouns of ``endpoint``; each path once for every next hop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Final, TypeVar

from pydantic import BaseModel

from psapwatch.announced import Window
from psapwatch.config import files
from psapwatch.config.errors import Loc
from psapwatch.config.models import (
    AgreementModel,
    AuthModel,
    DetectionModel,
    FirewallModel,
    IdentityModel,
    PathModel,
    PsapModel,
    SourceModel,
    StoreModel,
    TlsModel,
    WebModel,
    WindowModel,
)
from psapwatch.config.pieces import CheckPieces, Piece
from psapwatch.config.shape import OWN_RESPONDER, Detection, StoreSettings, Web
from psapwatch.config.words import transport_of
from psapwatch.endpoint import (
    CONTROL,
    MUST_BLOCK,
    REFERENCE,
    Agreement,
    Check,
    Control,
    Credentials,
    Firewall,
    Identity,
    Limits,
    Path,
    Psap,
    Source,
    Tls,
)
from psapwatch.sip.uri import parse_uri

GIVE_UP_AFTER_S: Final = {"options": 4.0, "call": 8.0, "walk": 1.0}
"""RFC 4320 demands a 100 after 3.5 s; a call's deadline is its own (detection: one attempt).

A walk has it for each of its steps."""

W = TypeVar("W")
B = TypeVar("B")
Wrong = Callable[[Loc, str], None]
"""Takes what is wrong with a file: the place below the piece, and the message."""


def identity(model: IdentityModel) -> Identity:
    """Return who says so."""
    reporter = model.reporter
    return Identity(model.from_, model.provider, reporter.name, reporter.phone, reporter.email)


def web(file: str, model: WebModel) -> Web:
    """Return the settings of the page; its files as seen from here."""
    material = None
    if model.tls:
        material = Tls(
            cert_file=files.beside(file, model.tls.cert_file),
            key_file=files.beside(file, model.tls.key_file),
        )
    users_file = files.beside(file, model.users_file) if model.users_file else None
    return Web(model.listen, material, users_file, model.lifecycle)


def store(file: str, model: StoreModel) -> StoreSettings:
    """Return where results are kept, as seen from here."""
    return StoreSettings(files.beside(file, model.path), model.keep_days)


def sink(piece: Piece[BaseModel]) -> BaseModel:
    """Return a sink's settings; the file of its headers as seen from here."""
    headers_file = getattr(piece.model, "headers_file", None)
    if headers_file is None:
        return piece.model
    here = files.absolute(piece.document.file, headers_file)
    return piece.model.model_copy(update={"headers_file": here})


def detection(model: DetectionModel) -> Detection:
    """Return when failures become a state."""
    return Detection(model.fall, model.rise, model.clean, model.confirm)


def window(model: WindowModel) -> Window:
    """Return a maintenance window with the one fault domain it names."""
    if model.attribute:
        scope, member = next(iter(model.attribute.items()))
    else:
        scope, member = next(
            (scope, member)
            for scope in ("firewall", "psap", "path")
            if (member := getattr(model, scope)) is not None
        )
    return Window(scope, member, model.from_, model.until, model.why)


def source(model: SourceModel) -> Source:
    """Return an address that we send from."""
    return Source(
        model.address,
        model.advertise,
        model.interface,
        model.dscp,
        model.sip_ports,
        model.rtp_ports,
        model.witness,
    )


def firewall(piece: Piece[FirewallModel], wrong: Wrong) -> Firewall:
    """Return a firewall; what is wrong with its files goes to ``wrong``."""
    model, file = piece.model, piece.document.file
    control = None
    if model.control:
        road_round = model.control.source
        control = Control(source(road_round) if road_round else None, model.control.status_url)
    limits = model.limits
    return Firewall(
        piece.name,
        tuple(map(source, model.sources)),
        tuple(model.next_hops),
        model.reference,
        control,
        Limits(limits.messages_per_second, limits.calls_per_second, limits.concurrent_calls),
        tls(file, model.tls, ("tls",), wrong) or Tls(),
        auth(file, model.auth, ("auth",), wrong),
        model.must_block,
        model.rate_burst,
    )


def tls(file: str, model: TlsModel | None, loc: Loc, wrong: Wrong) -> Tls | None:
    """Return TLS material, or None where there is none or it is wrong."""
    return _from_file(files.tls, file, model, loc, wrong)


def auth(file: str, model: AuthModel | None, loc: Loc, wrong: Wrong) -> Credentials | None:
    """Return credentials, or None where there are none or they are wrong."""
    return _from_file(files.credentials, file, model, loc, wrong)


def _from_file(
    read: Callable[[str, W], B], file: str, model: W | None, loc: Loc, wrong: Wrong
) -> B | None:
    if model is None:
        return None
    try:
        return read(file, model)
    except files.BadFile as bad:
        wrong(loc, str(bad))
        return None


def check(piece: Piece[CheckPieces]) -> Check:
    """Return a check."""
    when, settings = piece.model.when, piece.model.settings
    give_up_after_s = when.give_up_after or GIVE_UP_AFTER_S[settings.kind]
    return Check(piece.name, when.every, give_up_after_s, settings, when.on, when.flow)


def psap(model: PsapModel) -> Psap:
    """Return an answering point."""
    return Psap(
        id=model.id,
        name=model.name,
        attributes=tuple(model.attributes.items()),
        business_line=model.business_line,
        agreement=agreement(model.test_calls) if model.test_calls else None,
        expected_name=model.expect.name if model.expect else None,
        alternates=tuple(model.expect.alternates) if model.expect else (),
        location=(model.location.lat, model.location.lon) if model.location else None,
        civic=tuple(model.location.civic.items()) if model.location else (),
    )


def agreement(model: AgreementModel) -> Agreement:
    """Return a PSAP's consent."""
    return Agreement(
        model.consent, model.every, model.turn, model.short_interval_agreed, model.commissioned
    )


def path_ids(model: PathModel, next_hops: Iterable[str]) -> list[str]:
    """Return the ids of the paths that one entry makes: one, or one for each next hop."""
    first = model.id or model.firewall
    hops = list(next_hops)
    return [first, *(f"{first}-{nth}" for nth in range(2, len(hops) + 1))]


def paths(
    piece: Piece[PsapModel], firewalls: Mapping[str, Firewall], vantage: str, wrong: Wrong
) -> list[Path]:
    """Return the paths of a PSAP, one for every next hop of their firewall."""
    built, answering, file = [], psap(piece.model), piece.document.file
    for position, model in enumerate(piece.model.paths):
        crossed = firewalls[model.firewall]
        base = Path(
            answering,
            "",
            vantage,
            crossed,
            model.uri,
            "udp",
            kind=model.kind,
            answered_by=model.answered_by,
            attributes=tuple(model.attributes.items()),
            tls=tls(file, model.tls, ("paths", position, "tls"), wrong),
            auth=auth(file, model.auth, ("paths", position, "auth"), wrong),
        )
        hops = crossed.next_hops or (None,)
        for path_id, hop in zip(path_ids(model, crossed.next_hops), hops, strict=True):
            built.append(_over(replace(base, id=path_id, next_hop=hop)))
    return built


def _over(path: Path) -> Path:
    """Complete a path with the transport of its first hop and a source of that hop's family."""
    first_hop = path.next_hop or path.uri
    return replace(
        path, transport=transport_of(first_hop), source=matching_source(path.firewall, first_hop)
    )


def matching_source(crossed: Firewall, uri: str) -> Source | None:
    """Return the source to use where the firewall's first is of the other address family."""
    try:
        version = ip_address(parse_uri(uri).reaches).version
    except ValueError:
        return None  # a name: its addresses are known later
    usual = crossed.sources[0]
    if ip_address(usual.address).version == version:
        return None
    return next(
        (other for other in crossed.sources if ip_address(other.address).version == version), None
    )


def references(vantage: str, firewalls: Iterable[Firewall]) -> tuple[Path, ...]:
    """Return the paths to our own responders, through their firewalls."""
    return tuple(
        _over(
            Path(
                _responder(REFERENCE, crossed),
                crossed.id,
                vantage,
                crossed,
                crossed.reference,
                "udp",
            )
        )
        for crossed in firewalls
        if crossed.reference
    )


def controls(vantage: str, firewalls: Iterable[Firewall]) -> tuple[Path, ...]:
    """Return the paths to the same responders that do not cross their firewalls."""
    return tuple(
        Path(
            _responder(CONTROL, crossed),
            crossed.id,
            vantage,
            crossed,
            crossed.reference,
            transport_of(crossed.reference),
            source=crossed.control.source,
        )
        for crossed in firewalls
        if crossed.reference and crossed.control and crossed.control.source
    )


def must_blocks(vantage: str, firewalls: Iterable[Firewall]) -> tuple[Path, ...]:
    """Return the paths to what the firewalls have to block; nobody is called there."""
    return tuple(
        _over(
            Path(
                Psap(MUST_BLOCK, MUST_BLOCK),
                crossed.id,
                vantage,
                crossed,
                crossed.must_block,
                "udp",
            )
        )
        for crossed in firewalls
        if crossed.must_block
    )


def _responder(psap_id: str, crossed: Firewall) -> Psap:
    where = "behind" if psap_id == REFERENCE else "behind, but reached without crossing,"
    return Psap(psap_id, f"our responder {where} {crossed.id}", agreement=OWN_RESPONDER)
