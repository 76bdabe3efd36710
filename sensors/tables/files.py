"""A file as it lies there: Parquet with its types, CSV as text with separator, encoding and header recognised."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
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
# A quote that is never closed swallows line after line.
SWALLOWED = 1_000


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
    if not raw.strip():
        raise BadFile(f"{path} is empty")
    for magic, words in FOREIGN.items():
        if raw.startswith(magic):
            raise BadFile(f"{path} {words}")
    if raw.startswith(b"PAR1"):
        return Source(path, digest, _parquet(path, raw), "Parquet")
    return _text(path, digest, raw)


def _parquet(path: Path, raw: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(raw))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(f"{path} begins as Parquet does, but cannot be read: {str(error).splitlines()[0]}") from None


# ---- text ---------------------------------------------------------------------------------------------------


def _text(path: Path, digest: str, raw: bytes) -> Source:
    text, encoding = _decoded(path, raw)
    head = text[:HEAD_BYTES].splitlines()[:LOOKED_AT]
    separator = _separator(path, head)
    first = next(csv.reader(head, delimiter=separator))
    has_header = not any(DATUM.fullmatch(cell.strip()) for cell in first)
    names = _names(first) if has_header else [str(i + 1) for i in range(len(first))]
    if has_header and "\n" not in text.strip():
        raise BadFile(f"{path} has a header ({', '.join(names)}) and no row below it")
    table, misfits = _rows(text, separator, has_header, names)
    is_empty = pl.all_horizontal(pl.all().is_null())
    filled = table.filter(~is_empty)
    words = f"CSV, separated by {SEPARATORS[separator]}, {encoding}" + ("" if has_header else ", without a header")
    return Source(path, digest, filled, words, misfits, len(table) - len(filled))


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
    """The one by which most lines have as many fields as the first one."""
    best, best_share = "", 0.0
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(head, delimiter=separator) if row]
        share = sum(width == widths[0] for width in widths) / len(widths) if widths and widths[0] > 1 else 0.0
        if share > best_share:
            best, best_share = separator, share
    if not best:
        raise BadFile(
            f"{path} has one column only (it begins “{head[0][:60]}”): expected fields separated by , ; | or tab"
        )
    return best


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
    longest = table.select(pl.max_horizontal(pl.all().str.len_bytes().max())).item() or 0
    if table.width != len(names) or longest > SWALLOWED:
        return _line_by_line(text, separator, has_header, names)
    return table.slice(1) if has_header else table, ()


def _line_by_line(
    text: str, separator: str, has_header: bool, names: list[str]
) -> tuple[pl.DataFrame, tuple[bytes, ...]]:
    """For a file with lines that do not fit: those are kept aside, and the others read each for itself."""
    rows: list[list[str | None]] = []
    misfits = []
    for line in text.splitlines()[1 if has_header else 0 :]:
        cells = next(csv.reader([line], delimiter=separator), [])
        if len(cells) > len(names):
            misfits.append(line.encode())
        else:
            rows.append([cell or None for cell in cells] + [None] * (len(names) - len(cells)))
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), tuple(misfits)
