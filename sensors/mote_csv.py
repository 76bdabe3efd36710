"""A fleet as a CSV file: what each line says of a mote, and the file that says the same again. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sensors.tables import files
from sensors.tables.cells import guarded, unguarded

COLUMNS = ("site", "code", "label", "profile", "zone", "x", "y", "state", "interval_s")
NUMBERS = ("x", "y", "interval_s")
MAX_BYTES = 1024 * 1024
MAX_ROWS = 2000
ALSO = {
    "mote": "code", "mote_id": "code", "moteid": "code", "id": "code", "sensor": "code", "sensor_id": "code",
    "name": "label", "kind": "profile", "type": "profile", "room": "zone", "status": "state", "interval": "interval_s",
    "expected_interval": "interval_s", "expected_interval_s": "interval_s",
}  # fmt: skip


class BadFleet(Exception):
    """Why the file cannot be read at all, for whoever brought it."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says, by column; a column that the file has not is not in it."""

    number: int
    cells: Mapping[str, str]
    wrong: tuple[str, ...] = ()

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def metres(self, column: str) -> float | None:
        return number(self.text(column)) if self.text(column) else None


@dataclass(frozen=True, slots=True)
class FleetFile:
    lines: Sequence[Line]
    columns: Sequence[str]  # that were recognised
    unused: Sequence[str]


def number(text: str) -> float:
    """2.5 or 2,5. ValueError where it is neither.

    >>> number("2,5"), number("-3")
    (2.5, -3.0)
    """
    found = float(text.replace(",", "."))
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def parse(raw: bytes, source: str) -> FleetFile:
    """The lines of a file. Raises BadFleet."""
    if len(raw) > MAX_BYTES:
        raise BadFleet(f"{source} has {len(raw):,} bytes; a fleet has {MAX_BYTES:,} at most: bring it in parts.")
    try:
        text, separator = files.text_of(Path(source), raw)
        return _lines(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), source)
    except files.BadFile as wrong:
        raise BadFleet(f"{wrong}.") from None
    except csv.Error as wrong:
        raise BadFleet(f"{source} is no CSV: {wrong}. Is a quotation mark left open?") from None


def _lines(reader: Iterable[list[str]], source: str) -> FleetFile:
    rows = iter(reader)
    head = next((row for row in rows if len(row) > 1 and not row[0].startswith(("#", "sep="))), [])
    names = [name.strip() for name in head]
    columns = [_column(name) for name in names]
    if "code" not in columns:
        raise BadFleet(
            f"{source} has no column “code”; its first line says {', '.join(names)[:200]}. "
            f"Expected a first line with some of {', '.join(COLUMNS)}."
        )
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise BadFleet(f"{source} has several columns for {' and '.join(sorted(twice))}: {', '.join(names)[:200]}.")
    lines: list[Line] = []
    before = reader.line_num  # type: ignore[attr-defined]
    for row in rows:
        if any(map(str.strip, row)):
            lines.append(_line(before + 1, row, columns))
        before = reader.line_num  # type: ignore[attr-defined]
    if not lines:
        raise BadFleet(f"{source} has a first line and nothing below it; expected a line for each mote.")
    if len(lines) > MAX_ROWS:
        raise BadFleet(f"{source} has {len(lines):,} motes; {MAX_ROWS:,} come at once: bring them in parts.")
    return FleetFile(
        lines, [name for name in columns if name], [n for n, c in zip(names, columns, strict=True) if not c]
    )


def _column(name: str) -> str:
    plain = name.lower().replace(" ", "_")
    return plain if plain in COLUMNS else ALSO.get(plain, "")


def _line(n: int, row: Sequence[str], columns: Sequence[str]) -> Line:
    cells = {name: unguarded(cell.strip()) for name, cell in zip(columns, row, strict=False) if name}
    wrong = [words for name in NUMBERS if (words := _no_number(name, cells.get(name, "")))]
    if not cells.get("code"):
        wrong.append("code: it is empty; expected the name that the mote's messages give.")
    extra = [cell for cell in row[len(columns) :] if cell.strip()]
    if extra:
        wrong.append(f"it has {len(row)} fields for {len(columns)} columns; “{extra[0][:40]}” belongs to none.")
    return Line(n, cells, tuple(wrong))


def _no_number(column: str, cell: str) -> str:
    try:
        number(cell or "0")
    except ValueError:
        return f"{column}: “{cell[:40]}” is no number; expected one such as 2.5, or nothing."
    return ""


def written(rows: Iterable[Mapping[str, object]]) -> str:
    """The file of these motes, by column; what is None stays empty."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(COLUMNS)
    out.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "" if value is None else guarded(str(value))
