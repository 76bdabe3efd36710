"""A file as it lies there: Parquet with its types, CSV as text with separator, encoding and header recognised."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
# The comma comes last: it also is a decimal mark.
SEPARATORS = {"\t": "tab", ";": "“;”", "|": "“|”", ",": "“,”"}
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
FOREIGN = {
    b"\x1f\x8b": "is compressed; unpack it first (gunzip)",
    b"PK\x03\x04": "is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save the sheet as CSV",
}
HEAD_BYTES = 1 << 16
LOOKED_AT = 100  # lines
# A first line with a number or a date in it is no header.
DATUM = re.compile(r"[+-]?[\d.,' ]*\d|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}\b.*")


class BadFile(Exception):
    """What is wrong with a file, for whoever gave it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file's rows. Misfits are lines with more fields than there are columns, as they stand."""

    path: Path
    sha256: str
    table: pl.DataFrame
    words: str
    misfits: tuple[bytes, ...] = ()
    n_empty: int = 0

    @property
    def n_rows(self) -> int:
        return len(self.table) + len(self.misfits)


def find(paths: Sequence[str | Path]) -> list[Path]:
    """The files, and those in the folders, each once."""
    found: list[Path] = []
    for path in map(Path, paths):
        inside = (
            sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        )
        if not inside:
            raise BadFile(f"the folder {path} has no file that ends in {', '.join(SUFFIXES)}")
        found += inside
    return list(dict.fromkeys(found))


def read(path: Path) -> Source:
    """The file's rows, with what was recognised in words. Raises BadFile."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(raw).hexdigest()
    _refuse_foreign(path, raw)
    if raw.startswith(b"PAR1"):
        return Source(path, digest, _parquet(path, raw), "Parquet")
    return _text(path, digest, raw)


def _parquet(path: Path, raw: bytes) -> pl.DataFrame:
    try:
        table = pl.read_parquet(io.BytesIO(raw))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(f"{path} begins as Parquet does, but cannot be read: {str(error).splitlines()[0]}") from None
    return table.with_columns(_as_text(column) for column in table if not _is_plain(column.dtype))


def _is_plain(dtype: pl.DataType) -> bool:
    """Numbers, texts and times; anything else (categories, lists, durations …) is read as the text that shows it."""
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Date, pl.Datetime, pl.Null)


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    cells = (None if cell is None else str(cell) for cell in column.to_list())
    return pl.Series(column.name, cells, dtype=pl.String)


# ---- text ---------------------------------------------------------------------------------------------------


def text_of(path: Path, raw: bytes) -> tuple[str, str]:
    """A small text file's text as it stands, and what separates its fields. Raises BadFile."""
    _refuse_foreign(path, raw)
    text, _ = _decoded(path, raw)
    if "\x00" in text:
        raise BadFile(f"{path} is no text")
    return text, _separator(path, _head(text.replace("\r\n", "\n").replace("\r", "\n")))


def _refuse_foreign(path: Path, raw: bytes) -> None:
    if not raw.strip():
        raise BadFile(f"{path} is empty")
    for magic, words in FOREIGN.items():
        if raw.startswith(magic):
            raise BadFile(f"{path} {words}")


def _text(path: Path, digest: str, raw: bytes) -> Source:
    text, encoding = _decoded(path, raw)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    separator = _separator(path, _head(text))
    before = _preamble(_head(text), separator)
    text = text.split("\n", before)[before]
    first = next(csv.reader(_head(text), delimiter=separator))
    has_header = not any(DATUM.fullmatch(cell.strip()) for cell in first)
    names = _names(first) if has_header else [str(i + 1) for i in range(len(first))]
    if has_header and "\n" not in text.strip():
        raise BadFile(f"{path} has a header ({', '.join(names)}) and no row below it")
    table, misfits = _rows(text, separator, has_header, names)
    is_empty = pl.all_horizontal(pl.all().is_null())
    filled = table.filter(~is_empty)
    words = [f"CSV, separated by {SEPARATORS[separator]}, {encoding}"]
    words += [] if has_header else ["without a header"]
    words += [f"{before} {'line' if before == 1 else 'lines'} before the header left out"] if before else []
    return Source(path, digest, filled, ", ".join(words), misfits, len(table) - len(filled))


def _head(text: str) -> list[str]:
    return text[:HEAD_BYTES].split("\n")[:LOOKED_AT]


def _decoded(path: Path, raw: bytes) -> tuple[str, str]:
    for mark, name in BOMS:
        if raw.startswith(mark):
            try:
                return raw.decode(name), name.removesuffix("-sig").upper() + " with a byte order mark"
            except UnicodeDecodeError as error:
                raise BadFile(f"{path} begins as {name} does, but is none: {error}") from None
    if b"\x00" in raw[:HEAD_BYTES]:
        raise BadFile(f"{path} is neither text nor Parquet")
    try:
        return raw.decode(), "UTF-8"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "Latin-1"


def _separator(path: Path, head: Sequence[str]) -> str:
    """The one by which most lines have equally many fields."""
    best, best_share = "", 0.0
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in csv.reader(head, delimiter=separator) if row)
        share = max((n for width, n in widths.items() if width > 1), default=0) / max(widths.total(), 1)
        if share > best_share:
            best, best_share = separator, share
    if not best:
        raise BadFile(
            f"{path} has one column only (it begins “{head[0][:60]}”): expected fields separated by , ; | or tab"
        )
    return best


def _preamble(head: Sequence[str], separator: str) -> int:
    """How many lines before the first one with several fields: blank ones, titles, comments, Excel's sep=;."""
    rows = [next(csv.reader([line], delimiter=separator), []) for line in head]
    return next(i for i, row in enumerate(rows) if len(row) > 1 and not row[0].startswith(("#", "sep=")))


def _names(first: Sequence[str]) -> list[str]:
    """The header's names, each once: a nameless column has its number, a repeated name its number behind it."""
    names: list[str] = []
    for i, name in enumerate(map(str.strip, first), 1):
        names.append(str(i) if not name else f"{name} ({i})" if name in names else name)
    return names


def _rows(text: str, separator: str, has_header: bool, names: list[str]) -> tuple[pl.DataFrame, tuple[bytes, ...]]:
    try:
        table = pl.read_csv(
            text.encode(), separator=separator, has_header=False, skip_rows=0, infer_schema=False, new_columns=names
        )
    except pl.exceptions.PolarsError:
        return _line_by_line(text, separator, has_header, names)
    if table.width != len(names) or _has_swallowed(table, separator):
        return _line_by_line(text, separator, has_header, names)
    return table.slice(1) if has_header else table, ()


def _has_swallowed(table: pl.DataFrame, separator: str) -> bool:
    """Whether a quote that nobody closed made a field of whole lines."""
    cell = pl.all().str
    is_lines = cell.contains("\n", literal=True) & (cell.count_matches(separator, literal=True) >= table.width - 1)
    return bool(table.select(pl.any_horizontal(is_lines.any())).item())


def _line_by_line(
    text: str, separator: str, has_header: bool, names: list[str]
) -> tuple[pl.DataFrame, tuple[bytes, ...]]:
    """For a file with lines that do not fit: those are kept aside, and the others read each for itself."""
    rows: list[list[str | None]] = []
    misfits = []
    for line in text.rstrip("\n").split("\n")[1 if has_header else 0 :]:
        cells = next(csv.reader([line], delimiter=separator), [])
        while len(cells) > len(names) and not cells[-1]:  # a separator that ends the line
            cells.pop()
        if len(cells) > len(names):
            misfits.append(line.encode())
        else:
            rows.append([cell or None for cell in cells] + [None] * (len(names) - len(cells)))
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), tuple(misfits)
