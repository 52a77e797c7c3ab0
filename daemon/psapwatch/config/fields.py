"""What the models say about themselves: keys, the models inside an annotation, places in both.

pydantic reports where an error is in terms of its models (aliases, union tags, ``[key]``);
``trace`` turns that into the place in the document and the model that was being read there.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from psapwatch.config.errors import Loc
from psapwatch.duration import READS_TEXT

Model = type[BaseModel]


def keys_of(model: Model) -> dict[str, FieldInfo]:
    """Return the fields of ``model`` by the keys that a file has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def alternatives(annotation: Any) -> list[Any]:
    """Return what an annotation allows beside None, out of ``Annotated`` and unions."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [
            kind
            for part in get_args(annotation)
            for kind in alternatives(part)
            if kind is not type(None)
        ]
    return [annotation]


def is_model(kind: Any) -> bool:
    """Whether an annotation is a settings model."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_duration(field: FieldInfo) -> bool:
    """Whether a field is written as a duration."""
    parts = get_args(field.annotation)
    return READS_TEXT in field.metadata or any(
        READS_TEXT in getattr(part, "__metadata__", ()) for part in parts
    )


def tag_of(model: Model) -> str:
    """Return the ``kind`` that chooses ``model`` in a union."""
    return str(get_args(model.model_fields["kind"].annotation)[0])


def trace(annotation: Any, loc: Loc) -> tuple[Loc, Model | None, Any]:
    """Return the place in the document, the model it is in, and the annotation of what is there."""
    place: list[str | int] = []
    model: Model | None = None
    for part in loc:
        kinds = alternatives(annotation)
        if len(kinds) > 1 and all(map(is_model, kinds)):
            model = annotation = next((kind for kind in kinds if tag_of(kind) == part), kinds[0])
            continue
        kind = kinds[0]
        if is_model(kind):
            model = kind
            place.append(part)
            field = keys_of(kind).get(str(part))
            annotation = field.annotation if field else Any
        elif part == "[key]":
            continue
        else:
            place.append(part)
            annotation = get_args(kind)[-1] if get_args(kind) else Any
    return tuple(place), model, annotation
