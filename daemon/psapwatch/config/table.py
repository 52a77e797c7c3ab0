"""PSAPs as a CSV table: one row a path; rows with the same id are paths of one PSAP.

The first row of a PSAP says what it is; on its other rows those columns may be empty or equal.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any, Final

from psapwatch.config.document import FILE_OCTETS_MAX
from psapwatch.config.errors import WHOLE_FILE, ConfigError, Loc, print_key
from psapwatch.config.explain import did_you_mean

LIST_SEPARATOR: Final = "|"
ATTRIBUTE: Final = "attributes."
PATH_ATTRIBUTE: Final = "path_attributes."

PSAP_COLUMNS: Final[dict[str, Loc]] = {
    "id": ("id",),
    "name": ("name",),
    "business_line": ("business_line",),
    "consent": ("test_calls", "consent"),
    "every": ("test_calls", "every"),
    "turn": ("test_calls", "turn"),
    "short_interval_agreed": ("test_calls", "short_interval_agreed"),
    "commissioned": ("test_calls", "commissioned"),
    "expect_name": ("expect", "name"),
    "alternates": ("expect", "alternates"),
    "lat": ("location", "lat"),
    "lon": ("location", "lon"),
}
"""Columns of a PSAP, and where in ``psaps[]`` each belongs."""
PATH_COLUMNS: Final = {
    "path": "id",
    "firewall": "firewall",
    "uri": "uri",
    "kind": "kind",
    "answered_by": "answered_by",
}
"""Columns of a path, and their keys in ``paths[]``."""
REQUIRED: Final = ("id", "name", "firewall", "uri")

_NUMBERS: Final = frozenset({"lat", "lon"})
_BOOLEANS: Final = frozenset({"short_interval_agreed", "commissioned"})


@dataclass(slots=True)
class TableDocument:
    """A ``Document`` read from CSV: ``{"psaps": [...]}`` as YAML would have it."""

    file: str
    plain: dict[str, Any] = field(default_factory=lambda: {"psaps": []})
    lines: dict[Loc, int] = field(default_factory=dict)
    columns: dict[Loc, str] = field(default_factory=dict)

    def error(self, loc: Loc, message: str) -> ConfigError:
        """Return an error in the row and column that ``loc`` came from."""
        line = next(
            (self.lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in self.lines), 1
        )
        return ConfigError(self.file, line, self.columns.get(loc, print_key(loc)), message)

    def put(self, loc: Loc, value: Any, line: int, column: str) -> None:
        """Set the value at ``loc``, making the mappings on the way."""
        into: Any = self.plain
        for part in loc[:-1]:
            into = into[part] if isinstance(part, int) else into.setdefault(part, {})
        into[loc[-1]] = value
        self.lines[loc] = line
        self.columns[loc] = column


def read_table(octets: bytes, file: str) -> tuple[TableDocument | None, list[ConfigError]]:
    """Return the PSAPs of a CSV file, or ``None`` when it has no usable header, and all errors."""
    if len(octets) > FILE_OCTETS_MAX:
        return None, [
            ConfigError(
                file, 1, WHOLE_FILE, f"is larger than {FILE_OCTETS_MAX // 1024 // 1024} MiB"
            )
        ]
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = octets.count(b"\n", 0, wrong.start) + 1
        return None, [ConfigError(file, line, WHOLE_FILE, "is not UTF-8 text")]
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    table = _Table(TableDocument(file))
    try:
        header = next(rows, [])
        if not table.take_header(header):
            return None, table.errors
        line = rows.line_num + 1
        for row in rows:
            if any(cell.strip() for cell in row):
                table.take_row(line, row)
            line = rows.line_num + 1
    except csv.Error as wrong:
        table.errors.append(ConfigError(file, rows.line_num, WHOLE_FILE, f"is not CSV: {wrong}"))
    return table.document, table.errors


class _Table:
    """Takes rows one by one into a document."""

    def __init__(self, document: TableDocument) -> None:
        self.document = document
        self.errors: list[ConfigError] = []
        self._header: list[str] = []
        self._psaps: dict[str, int] = {}

    def take_header(self, header: list[str]) -> bool:
        """Check the columns; return whether the rows can be read at all."""
        self._header = [name.strip() for name in header]
        known = [*PSAP_COLUMNS, *PATH_COLUMNS, f"{ATTRIBUTE}NAME", f"{PATH_ATTRIBUTE}NAME"]
        for position, name in enumerate(self._header):
            if name in self._header[:position]:
                self._wrong(1, name, "the column is there twice")
            elif not self._is_column(name):
                hint = did_you_mean(name, known)
                self._wrong(
                    1, name or "(no name)", f"unknown column{hint}; allowed: {', '.join(known)}"
                )
        missing = [name for name in REQUIRED if name not in self._header]
        if missing:
            self._wrong(1, WHOLE_FILE, f"has no column {', '.join(missing)}")
        return not self.errors

    def take_row(self, line: int, row: list[str]) -> None:
        """Add a row's path, and its PSAP if this is the first row of it."""
        if len(row) != len(self._header):
            message = f"has {len(row)} cells where the header has {len(self._header)} columns"
            self._wrong(line, "(row)", message)
            return
        cells = {
            name: cell.strip() for name, cell in zip(self._header, row, strict=True) if cell.strip()
        }
        psap_id = cells.get("id")
        psaps = self.document.plain["psaps"]
        if psap_id is None or psap_id not in self._psaps:
            psap = ("psaps", len(psaps))
            if psap_id is not None:
                self._psaps[psap_id] = len(psaps)
            psaps.append({"paths": []})
            self.document.lines[psap] = line
            self._take_psap(psap, cells, line)
        else:
            psap = ("psaps", self._psaps[psap_id])
            self._compare(psap, cells, line)
        self._take_path(psap, cells, line)

    def _take_psap(self, psap: Loc, cells: dict[str, str], line: int) -> None:
        self.document.columns.update({(*psap, *at): name for name, at in PSAP_COLUMNS.items()})
        for name, cell in cells.items():
            place = self._place(name)
            if place:
                self.document.put((*psap, *place), self._value(name, cell, line), line, name)

    def _take_path(self, psap: Loc, cells: dict[str, str], line: int) -> None:
        paths = self.document.plain["psaps"][psap[1]]["paths"]
        path: Loc = (*psap, "paths", len(paths))
        paths.append({})
        self.document.lines[path] = line
        for column, key in PATH_COLUMNS.items():
            self.document.columns[(*path, key)] = column
            if column in cells:
                self.document.put((*path, key), cells[column], line, column)
        for name, cell in cells.items():
            if name.startswith(PATH_ATTRIBUTE):
                place = (*path, "attributes", name.removeprefix(PATH_ATTRIBUTE))
                self.document.put(place, cell, line, name)

    def _compare(self, psap: Loc, cells: dict[str, str], line: int) -> None:
        """Refuse a further row of a PSAP that says something else about it than the first."""
        for name, cell in cells.items():
            place = self._place(name)
            if not place:
                continue
            known: Any = self.document.plain["psaps"][psap[1]]
            for part in place:
                known = known.get(part) if isinstance(known, dict) else None
            if known != self._value(name, cell, line):
                first = self.document.lines[psap]
                self._wrong(
                    line, name, f"differs from line {first}, the first row of {cells['id']}"
                )

    def _value(self, name: str, cell: str, line: int) -> Any:
        if name == "alternates":
            return [part.strip() for part in cell.split(LIST_SEPARATOR) if part.strip()]
        if name in _BOOLEANS:
            if cell.lower() in ("true", "false"):
                return cell.lower() == "true"
            self._wrong(line, name, f"must be true or false, not {cell[:20]!r}")
            return False
        if name in _NUMBERS:
            try:
                return float(cell)
            except ValueError:
                self._wrong(line, name, f"must be a number, not {cell[:20]!r}")
                return 0.0
        return cell

    def _place(self, name: str) -> Loc | None:
        """Return where in ``psaps[]`` a column of the PSAP belongs; None for one of the path."""
        if name.startswith(ATTRIBUTE):
            return ("attributes", name.removeprefix(ATTRIBUTE))
        return PSAP_COLUMNS.get(name)

    def _is_column(self, name: str) -> bool:
        prefixed = name.startswith((ATTRIBUTE, PATH_ATTRIBUTE)) and not name.endswith(".")
        return name in PSAP_COLUMNS or name in PATH_COLUMNS or prefixed

    def _wrong(self, line: int, key: str, message: str) -> None:
        self.errors.append(ConfigError(self.document.file, line, key, message))
