"""YAML text into plain data that remembers its lines.

PyYAML's C parser composes nodes; the construction is ours, because ``safe_load`` reads ``on:`` as
True, ``1:30`` as 90, keeps the last of two equal keys and forgets where anything stood. Scalars
follow the YAML 1.2 core schema (10.3.2); a duplicate key, a tag, a second document and an alias
to itself are errors. Everything found is reported, not only the first.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import yaml

from psapwatch.config.errors import WHOLE_FILE, BadConfig, ConfigError, Loc, print_key

FILE_OCTETS_MAX: Final = 16 * 1024 * 1024
VALUES_MAX: Final = 2_000_000
"""Values one file may come to once its aliases are expanded."""
DEPTH_MAX: Final = 40

_TAG: Final = "tag:yaml.org,2002:"
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


class _CoreLoader(yaml.CSafeLoader):
    """The C parser, resolving plain scalars by the YAML 1.2 core schema only."""


_CoreLoader.yaml_implicit_resolvers = {}
for _name, _written, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_written})$"), _first)


class Document(Protocol):
    """Plain data of one file, and where each part of it stood."""

    @property
    def file(self) -> str:
        """The file as it was named."""
        ...

    @property
    def plain(self) -> Any:
        """Mappings, lists, text, numbers, booleans and None."""
        ...

    def error(self, loc: Loc, message: str) -> ConfigError:
        """Return an error at ``loc``, or at the nearest thing above it that was written."""
        ...


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A ``Document`` read from YAML."""

    file: str
    plain: Any
    root: yaml.Node = field(repr=False)

    def error(self, loc: Loc, message: str) -> ConfigError:
        """Return an error at ``loc``, or at the nearest thing above it that was written."""
        node, line = self.root, self.root.start_mark.line
        for part in loc:
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == part:
                        node, line = value, key.start_mark.line
                        break
                else:
                    break
            elif (
                isinstance(node, yaml.SequenceNode)
                and isinstance(part, int)
                and part < len(node.value)
            ):
                node = node.value[part]
                line = node.start_mark.line
            else:
                break
        return ConfigError(self.file, line + 1, print_key(loc), message)


def read_yaml(octets: bytes, file: str) -> tuple[YamlDocument | None, list[ConfigError]]:
    """Return the document, or ``None`` when not even its syntax can be read, and all errors."""
    try:
        root = _compose(octets, file)
    except BadConfig as bad:
        return None, list(bad.errors)
    construction = _Construction(file)
    plain = construction.build(root, (), ())
    return YamlDocument(file, plain, root), construction.errors


def _compose(octets: bytes, file: str) -> yaml.Node:
    """Return the top node.

    Raises:
        BadConfig: not UTF-8, not YAML, empty, or too big.
    """
    if len(octets) > FILE_OCTETS_MAX:
        raise _bad(file, 1, f"is larger than {FILE_OCTETS_MAX // 1024 // 1024} MiB")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = octets.count(b"\n", 0, wrong.start) + 1
        raise _bad(file, line, "is not UTF-8 text") from None
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        raise _bad(file, line, f"holds the control character U+{ord(forbidden[0]):04X}")
    try:
        _check_depth(text, file)
        loader = _CoreLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError:
        raise _bad(file, 1, "holds a character that YAML does not allow") from None
    except yaml.MarkedYAMLError as wrong:
        raise _bad_syntax(file, text, wrong) from None
    if root is None:
        raise _bad(file, 1, "is empty; config/psapwatch.yml is an example with every key")
    return root


def _check_depth(text: str, file: str) -> None:
    """Look at the depth before composing: the C composer recurses, and would overrun its stack."""
    depth = 0
    loader = _CoreLoader(text)
    try:
        while loader.check_event():
            event: Any = loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEPTH_MAX:
                line = event.start_mark.line + 1
                raise _bad(file, line, f"is nested deeper than {DEPTH_MAX} levels")
    finally:
        loader.dispose()


def _bad(file: str, line: int, message: str) -> BadConfig:
    return BadConfig([ConfigError(file, line, WHOLE_FILE, message)])


def _bad_syntax(file: str, text: str, wrong: yaml.MarkedYAMLError) -> BadConfig:
    mark = wrong.problem_mark or wrong.context_mark
    line = mark.line if mark else 0
    lines = text.splitlines() or [""]
    shown = lines[min(line, len(lines) - 1)]
    if shown.startswith("\t") or shown.lstrip(" ").startswith("\t"):
        return _bad(file, line + 1, "a tab cannot indent YAML; use spaces")
    if isinstance(wrong, yaml.composer.ComposerError) and "another document" in str(wrong.problem):
        return _bad(file, line + 1, "begins a second document; a configuration is one")
    problem = wrong.problem or "cannot be read"
    begun = wrong.context_mark
    if begun and begun.line != line:
        problem += f" ({wrong.context}, begun on line {begun.line + 1})"
    return _bad(file, line + 1, f"is not YAML: {problem}")


class _Construction:
    """Builds plain data from nodes, and gathers what is wrong on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.errors: list[ConfigError] = []
        self._values = 0

    def build(self, node: yaml.Node, loc: Loc, above: tuple[yaml.Node, ...]) -> Any:
        """Return the plain value of ``node``; ``above`` are the nodes that hold it."""
        self._values += 1
        if node in above:
            return self._wrong(node, loc, "an alias cannot hold itself")
        if len(above) >= DEPTH_MAX:
            return self._wrong(node, loc, f"is nested deeper than {DEPTH_MAX} levels")
        if self._values > VALUES_MAX:
            if self._values == VALUES_MAX + 1:
                self._wrong(node, loc, f"the file comes to more than {VALUES_MAX:,} values")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(item, (*loc, position), (*above, node))
                for position, item in enumerate(node.value)
            ]
        return self._scalar(node, loc)

    def _mapping(
        self, node: yaml.MappingNode, loc: Loc, above: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, loc, "a key must be text, not a list or mapping")
                continue
            name = key.value
            at = (*loc, name)
            if name in plain:
                self._wrong(key, at, f"is written twice; the first is on line {lines[name]}")
                continue
            lines[name] = key.start_mark.line + 1
            plain[name] = self.build(value, at, above)
        return plain

    def _scalar(self, node: yaml.Node, loc: Loc) -> str | int | float | bool | None:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return self._int(node, loc)
            case "float":
                return _float(text)
            case _:
                self._wrong(
                    node, loc, f"the tag {node.tag[:60]} means nothing here; write the plain value"
                )
                return None

    def _int(self, node: yaml.Node, loc: Loc) -> int | None:
        text = node.value
        digits_max = 18
        if len(text) > digits_max:
            self._wrong(
                node, loc, f"is a number of more than {digits_max} digits; put text in quotes"
            )
            return None
        try:
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        except ValueError:
            self._wrong(node, loc, "is tagged as a whole number and is none")
            return None

    def _wrong(self, node: yaml.Node, loc: Loc, message: str) -> None:
        self.errors.append(
            ConfigError(self.file, node.start_mark.line + 1, print_key(loc), message)
        )


def _float(text: str) -> float:
    word = text.lower().lstrip("+-")
    if word in (".inf", ".nan"):
        return math.copysign(math.inf, -1) if text.startswith("-") else float(word[1:])
    try:
        return float(text)
    except ValueError:
        return math.nan  # an explicit !!float round something else: the models refuse nan
