"""pydantic's findings in the words of the file's writer; what may be secret is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from psapwatch.config.errors import Loc
from psapwatch.config.fields import Model, alternatives, is_duration, keys_of, tag_of, trace
from psapwatch.duration import print_duration

VALUE_CHARACTERS_MAX: Final = 40
_YAML_1_1_BOOLEANS: Final = frozenset({"yes", "no", "on", "off", "y", "n"})


def explain(
    error: ValidationError,
    annotation: Any,
    more_keys: Iterable[str] = (),
) -> list[tuple[Loc, str]]:
    """Return place and message of each finding; ``more_keys`` are allowed beside the model's."""
    found = []
    for detail in error.errors(include_url=False):
        place, model, wanted = trace(annotation, detail["loc"])
        if detail["type"].startswith("union_tag"):
            found.append(((*place, "kind"), _wrong_tag(detail["input"], wanted)))
        else:
            found.append((place, _message(detail, _Spot(place, model, wanted, tuple(more_keys)))))
    return found


def unknown_key(name: str, allowed: Iterable[str]) -> str:
    """Say that a key is unknown, what may have been meant, and what there is."""
    keys = sorted(allowed)
    if f"{name}_file" in keys:
        return f"unknown key; secrets come from files: write {name}_file, the file's name"
    return f"unknown key{did_you_mean(name, keys)}; allowed: {', '.join(keys)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean X?`` where something known is close, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def required(field: FieldInfo | None) -> str:
    """Say that a key is missing, and what belongs there."""
    return f"is required: {field.description}" if field and field.description else "is required"


def show(value: Any) -> str:
    """Return a short text of a value that is no secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return repr(value[:VALUE_CHARACTERS_MAX])
        case _:
            return str(value)[:VALUE_CHARACTERS_MAX]


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where something is wrong: its place, the model it is in, and what is wanted there."""

    place: Loc
    model: Model | None
    wanted: Any
    more_keys: tuple[str, ...]

    def keys(self) -> dict[str, FieldInfo]:
        return keys_of(self.model) if self.model else {}


def _wrong_tag(value: Any, wanted: Any) -> str:
    kinds = " or ".join(tag_of(model) for model in alternatives(wanted))
    written = value.get("kind") if isinstance(value, dict) else None
    return f"must be {kinds}, not {show(written)}"


def _message(detail: ErrorDetails, spot: _Spot) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(str(spot.place[-1]), {*spot.keys(), *spot.more_keys} - {"kind"})
    if kind == "missing":
        return required(spot.keys().get(str(spot.place[-1])))
    if kind == "model_type":
        keys = ", ".join(keys_of(alternatives(spot.wanted)[0]))
        return f"must be a mapping with {keys}, not {_kind(value)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}, not {show(value)}"
    if kind in _WRONG_TYPE:
        return f"must be {_WRONG_TYPE[kind](value)}"
    if kind in _WRONG_SIZE:
        limit = next(context[name] for name in _LIMITS if name in context)
        field = spot.keys().get(str(spot.place[-1])) if spot.place else None
        in_time = field is not None and is_duration(field)
        return _WRONG_SIZE[kind].format(print_duration(limit) if in_time else f"{limit:g}")
    return detail["msg"][0].lower() + detail["msg"][1:]


def _text(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return f"text, not {show(value)}; put it in quotes"
    return f"text, not {_kind(value)}"


def _boolean(value: Any) -> str:
    if isinstance(value, str) and value.lower() in _YAML_1_1_BOOLEANS:
        return f"true or false; {value} is text in YAML 1.2"
    return f"true or false, not {_kind(value)}"


def _kind(value: Any) -> str:
    if isinstance(value, bool | int | float) or value is None:
        return show(value)
    return "text" if isinstance(value, str) else show(value)


def _of(what: str) -> Callable[[Any], str]:
    return lambda value: f"{what}, not {_kind(value)}"


_WRONG_TYPE: Final[dict[str, Callable[[Any], str]]] = {
    "string_type": _text,
    "bool_type": _boolean,
    "int_type": _of("a whole number"),
    "int_from_float": _of("a whole number"),
    "float_type": _of("a number"),
    "finite_number": _of("a finite number"),
    "dict_type": _of("a mapping (key: value)"),
    "list_type": _of("a list"),
    "tuple_type": _of("a list"),
}
_LIMITS: Final = ("ge", "gt", "le", "lt", "min_length", "max_length")
_WRONG_SIZE: Final = {
    "greater_than_equal": "must be at least {}",
    "greater_than": "must be more than {}",
    "less_than_equal": "must be at most {}",
    "less_than": "must be less than {}",
    "too_short": "needs at least {} entry",
    "too_long": "has room for {} entries",
}
