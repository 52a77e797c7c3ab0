"""pydantic's findings in the words of the file's writer; what may be secret is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from psapwatch.config.errors import Loc
from psapwatch.config.fields import Model, keys_of, trace

VALUE_CHARACTERS_MAX: Final = 40
_YAML_1_1_BOOLEANS: Final = frozenset({"yes", "no", "on", "off", "y", "n"})


def explain(
    error: ValidationError,
    annotation: Any,  # noqa: ANN401 - any annotation
    more_keys: Iterable[str] = (),
) -> list[tuple[Loc, str]]:
    """Return place and message of each finding; ``more_keys`` are allowed beside the model's."""
    found = []
    for detail in error.errors(include_url=False):
        place, model = trace(annotation, detail["loc"])
        found.append((place, _message(detail, place, model, tuple(more_keys))))
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


def show(value: Any) -> str:  # noqa: ANN401 - whatever was written
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


def _message(
    detail: ErrorDetails, place: Loc, model: Model | None, more_keys: tuple[str, ...]
) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(
            str(place[-1]), {*(keys_of(model) if model else ()), *more_keys} - {"kind"}
        )
    if kind == "missing":
        field = keys_of(model).get(str(place[-1])) if model else None
        return f"is required: {field.description}" if field and field.description else "is required"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}, not {show(value)}"
    if kind in _WRONG_TYPE:
        return f"must be {_WRONG_TYPE[kind](value)}"
    if kind in _WRONG_SIZE:
        return _WRONG_SIZE[kind].format(**context)
    return detail["msg"][0].lower() + detail["msg"][1:]


def _text(value: Any) -> str:  # noqa: ANN401 - whatever was written
    if isinstance(value, bool | int | float):
        return f"text, not {show(value)}; put it in quotes"
    return f"text, not {_kind(value)}"


def _boolean(value: Any) -> str:  # noqa: ANN401 - whatever was written
    if isinstance(value, str) and value.lower() in _YAML_1_1_BOOLEANS:
        return f"true or false; {value} is text in YAML 1.2"
    return f"true or false, not {_kind(value)}"


def _kind(value: Any) -> str:  # noqa: ANN401 - whatever was written
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
    "model_type": _of("a mapping (key: value)"),
    "model_attributes_type": _of("a mapping (key: value)"),
    "list_type": _of("a list"),
    "tuple_type": _of("a list"),
}
_WRONG_SIZE: Final = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}, not {tag}",
    "union_tag_not_found": "{discriminator} is required",
}
