"""The configuration reference, printed from the models: docs/configuration.md.

``python -m psapwatch.config.reference > docs/configuration.md`` writes it anew; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from psapwatch.config.fields import Model, alternatives, is_duration, is_model, keys_of, tag_of
from psapwatch.config.models import CheckModel, FileModel
from psapwatch.config.reload import NEED_RESTART
from psapwatch.config.table import LIST_SEPARATOR, PATH_COLUMNS, PSAP_COLUMNS, REQUIRED
from psapwatch.config.words import WRITTEN_AS
from psapwatch.duration import print_duration
from psapwatch.endpoint import PortRange
from psapwatch.probes import AnyProbe
from psapwatch.sinks import AnySink

_HEAD: Final = """\
# Configuration reference

Printed from the code by `python -m psapwatch.config.reference`; `config/psapwatch.yml` is an
example with every part.

YAML with the YAML 1.2 core booleans: `true` and `false`; `on`, `no` and `1:30` are text. Durations
are `500ms`, `15s`, `5m`, `2h` or `7d`; times carry a zone (`2026-12-01T02:00:00-05:00`). Unknown
keys, duplicate keys and times without a zone are errors. Secrets come from files; file names are
relative to the file that names them. `--config -` reads standard input.

`psapwatch check-config` prints every error as `FILE:LINE: path.to.key: what is wrong`, or the load
that the schedule comes to, and refuses one above `limits`.

`[]` stands for an entry of a list, `NAME` for an id of your choice. A key whose default is
*required* must be written.
"""

_TABLE: Final = "| key | type | default | meaning |\n|---|---|---|---|\n"

_CSV: Final = """\
## CSV tables of `psap_files`

One row is one path; rows with the same `id` are paths of one PSAP, and only the first of them has
to say what the PSAP is. Cells may be empty. Required columns: {required}. Several `alternates` are
separated by `{separator}`.

| column | key |
|---|---|
{rows}"""

_RELOAD: Final = """\
## Reload

SIGHUP and `POST /-/reload` load the file anew. A bad file is refused whole and the running
configuration kept. Paths, checks and incidents that did not change keep their state. A changed URI
or next hop makes the supervised first call necessary again. These keys need a restart, and a
reload that changes one is refused and names it: {keys}.
"""


def reference() -> str:
    """Return the whole page."""
    sections = [_HEAD, *_main_sections(), _probe_sections(), _sink_sections(), _csv(), _reload()]
    return "\n".join(sections)


def rows_of(model: Model, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of every key below ``model``."""
    for name, field in keys_of(model).items():
        if name == "kind" and "kind" in model.model_fields and is_tag(field):
            continue
        kinds = alternatives(field.annotation)
        below, step = _below(kinds)
        key = f"{prefix}{name}"
        yield key, _type(field), _default(field), field.description or ""
        if below and not len(kinds) > 1:
            yield from rows_of(below, f"{key}{step}.")


def is_tag(field: FieldInfo) -> bool:
    """Whether a field is the one that chooses a model in a union: one literal value."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _below(kinds: list[Any]) -> tuple[Model | None, str]:
    """Return the model of a field's value or entries, and how a key goes on to it."""
    kind = kinds[0]
    if is_model(kind):
        return kind, ""
    step = {list: "[]", dict: ".NAME"}.get(get_origin(kind), "")
    inner = alternatives(get_args(kind)[-1]) if step else []
    return (inner[0], step) if len(inner) == 1 and is_model(inner[0]) else (None, "")


def _main_sections() -> list[str]:
    sections = []
    for name, field in keys_of(FileModel).items():
        below, step = _below(alternatives(field.annotation))
        rows = [(name, _type(field), _default(field), field.description or "")]
        if below:
            rows += rows_of(below, f"{name}{step}.")
        sections.append(f"## `{name}`\n\n{_table(rows)}")
    return sections


def _probe_sections() -> str:
    return _kinds("checks.NAME", "probe", alternatives(AnyProbe), set(CheckModel.model_fields))


def _sink_sections() -> str:
    return _kinds("sinks[]", "kind", alternatives(AnySink), set())


def _kinds(key: str, tag: str, models: list[Model], own: set[str]) -> str:
    texts = []
    for model in models:
        rows = [row for row in rows_of(model, f"{key}.") if row[0][len(key) + 1 :] not in own]
        body = _table(rows) if rows else "No settings of its own.\n"
        texts.append(f"## `{key}` with `{tag}: {tag_of(model)}`\n\n{body}")
    return "\n".join(texts)


def _csv() -> str:
    columns = [(name, "psaps[]." + ".".join(map(str, loc))) for name, loc in PSAP_COLUMNS.items()]
    columns += [(name, f"psaps[].paths[].{key}") for name, key in PATH_COLUMNS.items()]
    columns += [
        ("attributes.NAME", "psaps[].attributes.NAME"),
        ("path_attributes.NAME", "psaps[].paths[].attributes.NAME"),
    ]
    return _CSV.format(
        required=", ".join(f"`{name}`" for name in REQUIRED),
        separator=LIST_SEPARATOR,
        rows="".join(f"| `{column}` | `{key}` |\n" for column, key in columns),
    )


def _reload() -> str:
    return _RELOAD.format(keys=", ".join(f"`{key}`" for key in NEED_RESTART))


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    cells = (
        f"| `{key}` | {_cell(kind)} | {_cell(default)} | {_cell(meaning)} |\n"
        for key, kind, default, meaning in rows
    )
    return _TABLE + "".join(cells)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(field: FieldInfo) -> str:
    if is_duration(field):
        return "duration"
    return _type_of(field.annotation, field.metadata)


def _type_of(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    marks = [*metadata, *getattr(annotation, "__metadata__", ())]
    words = next((words for known, words in WRITTEN_AS if known in marks), "")
    if words:
        return words
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_of(arguments[0])
    if origin in (Union, UnionType):
        return _type_of(next(part for part in arguments if part is not type(None)))
    if is_model(annotation):
        return "mapping"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (list, tuple):
        return f"list of {_type_of(arguments[0])}"
    if origin is dict:
        return f"mapping of NAME to {_type_of(arguments[1])}"
    return _PLAIN.get(annotation, "text")


_PLAIN: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return ""
    if isinstance(default, BaseModel):
        return "see below"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if is_duration(field) and default is not None:
        return f"`{print_duration(default)}`"
    if default is None or default in ("", [], {}, ()):
        return "none"
    return f"`{_plain(default)}`"


def _plain(default: Any) -> str:
    match default:
        case float():
            return f"{default:g}"
        case PortRange():
            return f"{default.low}-{default.high}"
        case tuple():
            return "/".join(map(str, default))
        case _:
            return str(default)


if __name__ == "__main__":
    sys.stdout.write(reference())
