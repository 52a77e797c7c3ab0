"""A document cut into pieces, each checked against its model by itself.

One bad PSAP must not hide what is wrong with the next, so every firewall, check, PSAP, window and
sink is validated alone. What passes goes on to ``rules``; what does not is known by name at least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from psapwatch.config.document import Document
from psapwatch.config.errors import ConfigError, Loc
from psapwatch.config.explain import explain, required, show, unknown_key
from psapwatch.config.fields import alternatives, keys_of, tag_of
from psapwatch.config.models import CheckModel, FirewallModel, PsapModel
from psapwatch.probes import AnyProbe

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Piece(Generic[M]):
    """One validated part, and where it stood."""

    document: Document
    loc: Loc
    model: M

    @property
    def name(self) -> str:
        """The last key of its place: a firewall's or check's id."""
        return str(self.loc[-1])

    def error(self, message: str, *loc: str | int) -> ConfigError:
        """Return an error at ``loc`` inside this piece."""
        return self.document.error((*self.loc, *loc), message)


@dataclass(slots=True)
class Pieces:
    """The valid pieces of a document by its top-level keys, and what was wrong with the rest."""

    document: Document
    sections: dict[str, list[Piece[Any]]] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)

    def all(self, section: str) -> list[Piece[Any]]:
        """Return the valid pieces of a section."""
        return self.sections.get(section, [])

    def one(self, section: str) -> Piece[Any] | None:
        """Return the piece of a section that is one value, or None where it is not valid."""
        return next(iter(self.all(section)), None)

    def names(self, section: str) -> set[str]:
        """Return the keys of a section as it was written, valid or not; none if no mapping."""
        written = self._written(section)
        return set(written) if isinstance(written, dict) else set()

    def entries(self, section: str) -> list[Any]:
        """Return the entries of a section as it was written, valid or not; none if no list."""
        written = self._written(section)
        return written if isinstance(written, list) else []

    def _written(self, section: str) -> Any:
        plain = self.document.plain
        return plain.get(section) if isinstance(plain, dict) else None


def cut(document: Document, model: type[BaseModel]) -> Pieces:
    """Validate ``document`` as ``model``, piece by piece."""
    pieces = Pieces(document)
    plain = document.plain
    if not isinstance(plain, dict):
        message = f"must be a mapping with {', '.join(keys_of(model))}, not {show(plain)[:20]}"
        pieces.errors.append(document.error((), message))
        return pieces
    fields = keys_of(model)
    for name in plain:
        if name not in fields:
            pieces.errors.append(document.error((name,), unknown_key(name, fields)))
    for name, info in fields.items():
        if name in plain:
            found = list(
                _check(document, name, plain[name], info.rebuild_annotation(), pieces.errors)
            )
        elif info.is_required():
            pieces.errors.append(document.error((name,), required(info)))
            found = []
        else:
            default = info.get_default(call_default_factory=True)
            found = [] if isinstance(default, list) else [Piece(document, (name,), default)]
        pieces.sections[name] = found
    return pieces


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _check(
    document: Document,
    name: str,
    written: Any,
    annotation: Any,
    errors: list[ConfigError],
) -> Iterator[Piece[Any]]:
    """Validate one section, entry by entry where it has entries."""
    container = alternatives(annotation)[0]
    key_and_value = get_args(container)
    entries: list[tuple[str | int, Any]]
    if get_origin(container) is dict and isinstance(written, dict) and written:
        entries = list(written.items())
    elif get_origin(container) is list and isinstance(written, list) and written:
        entries = list(enumerate(written))
    else:
        whole = _validate(document, (name,), written, annotation, errors)
        has_entries = get_origin(container) in (dict, list)
        yield from [piece for piece in whole if not has_entries]  # an empty section has none
        return
    for key, value in entries:
        loc = (name, key)
        if get_origin(container) is dict:
            yield from _validate_named(document, loc, value, key_and_value, errors)
        else:
            yield from _validate(document, loc, value, key_and_value[0], errors)


def _validate_named(
    document: Document,
    loc: Loc,
    value: Any,
    key_and_value: tuple[Any, ...],
    errors: list[ConfigError],
) -> Iterator[Piece[Any]]:
    named = list(_validate(document, loc, loc[-1], key_and_value[0], errors))
    if key_and_value[1] is CheckModel:
        valid = list(_validate_check(document, loc, value, errors))
    else:
        valid = list(_validate(document, loc, value, key_and_value[1], errors))
    if named:
        yield from valid


def _validate(
    document: Document,
    loc: Loc,
    value: Any,
    annotation: Any,
    errors: list[ConfigError],
) -> Iterator[Piece[Any]]:
    try:
        yield Piece(document, loc, _adapter(annotation).validate_python(value))
    except ValidationError as wrong:
        errors.extend(
            document.error((*loc, *place), message) for place, message in explain(wrong, annotation)
        )


_PROBES: Final = {tag_of(model): model for model in alternatives(AnyProbe)}


@dataclass(frozen=True, slots=True)
class CheckPieces:
    """A check: when and on what, and the settings of its probe."""

    when: CheckModel
    settings: Any


def _validate_check(
    document: Document,
    loc: Loc,
    value: Any,
    errors: list[ConfigError],
) -> Iterator[Piece[CheckPieces]]:
    """Validate a check's own keys by ``CheckModel``, all others by its probe's settings model."""
    found = len(errors)
    whens = list(_validate(document, loc, value, CheckModel, errors))
    probe = value.get("probe") if isinstance(value, dict) else None
    if isinstance(probe, str) and probe not in _PROBES:
        errors.append(
            document.error((*loc, "probe"), f"must be {' or '.join(_PROBES)}, not {show(probe)}")
        )
    if isinstance(value, dict) and "kind" in value:
        errors.append(document.error((*loc, "kind"), "unknown key (did you mean probe?)"))
    if not isinstance(probe, str) or probe not in _PROBES:
        return
    own = set(CheckModel.model_fields)
    settings = {"kind": probe} | {key: item for key, item in value.items() if key not in own}
    model = _PROBES[probe]
    try:
        valid = _adapter(model).validate_python(settings)
    except ValidationError as wrong:
        errors.extend(
            document.error((*loc, *place), message) for place, message in explain(wrong, model, own)
        )
        return
    if len(errors) == found:
        yield Piece(document, loc, CheckPieces(whens[0].model, valid))


@dataclass(frozen=True, slots=True)
class Parts:
    """The valid pieces of the main file and of the PSAP files, and what all of them declare."""

    main: Pieces
    psap_files: tuple[Pieces, ...]
    complete: bool
    """Whether everything could be read, so that what is not here was not written either."""

    @property
    def firewalls(self) -> dict[str, Piece[FirewallModel]]:
        """The valid firewalls by id."""
        return {piece.name: piece for piece in self.main.all("firewalls")}

    @property
    def checks(self) -> list[Piece[CheckPieces]]:
        """The valid checks."""
        return self.main.all("checks")

    @property
    def psaps(self) -> list[Piece[PsapModel]]:
        """The valid PSAPs of all files."""
        return [piece for pieces in (self.main, *self.psap_files) for piece in pieces.all("psaps")]

    def written_psaps(self) -> Iterator[Piece[dict[str, Any]]]:
        """Yield every PSAP as it was written, valid or not."""
        for pieces in (self.main, *self.psap_files):
            for position, entry in enumerate(pieces.entries("psaps")):
                if isinstance(entry, dict):
                    yield Piece(pieces.document, ("psaps", position), entry)
