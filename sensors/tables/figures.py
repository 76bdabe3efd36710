"""Numbers as people and programs write them: decimal comma or point, thousands marks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

SPACES = " \u00a0\u202f\u2009'’"  # between thousands, whatever the decimal mark is
MISSING = ("", "na", "n/a", "null", "none", "\\n", "-", "--")
SIGN, POWER = r"^[+\-−]?", r"(?:[eE][+-]?\d+)?$"


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file writes numbers; doubt says what speaks for both ways, and is empty where the data decide."""

    decimal: str = "."
    doubt: str = ""

    @property
    def thousands(self) -> str:
        return "," if self.decimal == "." else "."

    @property
    def words(self) -> str:
        return "decimal comma" if self.decimal == "," else "decimal point"


def recognise(columns: Sequence[pl.Series]) -> Notation:
    """From all channels of a file at once: one value such as “21,5” decides for all."""
    texts = [column.str.strip_chars() for column in columns if column.dtype == pl.String]
    with_comma = [text.filter(text.str.contains(",", literal=True)) for text in texts]
    if not sum(map(len, with_comma)):
        return Notation()
    n_comma, n_point = (sum(int(text.str.contains(_sure(mark)).sum()) for text in texts) for mark in ",.")
    if n_comma or n_point:
        return Notation("," if n_comma > n_point else ".")
    example = next(text[0] for text in with_comma if len(text))
    doubt = (
        f"“{example}” may be {example.replace(',', '.')} or {example.replace(',', '')}: say --decimal , or --decimal ."
    )
    return Notation(".", doubt)


def _sure(mark: str) -> str:
    """Matches numbers in which the mark can only be decimal."""
    other = "." if mark == "," else ","
    lead = rf"{SIGN}(?:\d{{1,3}}(?:[{other}{SPACES}]\d{{3}})+|\d+)?"
    short = rf"{lead}[{mark}](?:\d{{0,2}}|\d{{4,}}){POWER}"
    long_lead = rf"{SIGN}(?:0\d*|\d{{4,}})?[{mark}]\d+{POWER}"
    grouped = rf"{SIGN}\d{{1,3}}(?:[{other}{SPACES}]\d{{3}})+[{mark}]\d*{POWER}"
    twice = rf"{SIGN}\d{{1,3}}(?:[{other}]\d{{3}}){{2,}}{POWER}"
    return f"(?:{short})|(?:{long_lead})|(?:{grouped})|(?:{twice})"


def read(column: pl.Series, notation: Notation) -> tuple[pl.Series, pl.Series]:
    """The numbers, and the text of what is none; both null where nothing stands."""
    if column.dtype != pl.String:
        return _typed(column)
    text = column.str.strip_chars(" \t\u00a0")
    is_missing = text.is_null() | text.str.to_lowercase().is_in(list(MISSING))
    plain = (
        text.cast(pl.Float64, strict=False)
        if notation.decimal == "."
        else pl.Series([None] * len(text), dtype=pl.Float64)
    )
    if (plain.is_null() & ~is_missing).any():
        plain = plain.fill_null(_written(text, notation))
    number = pl.select(pl.when(plain.is_finite()).then(plain)).to_series()
    said = pl.select(pl.when(~is_missing & number.is_null()).then(column)).to_series()
    return number, said


def _written(text: pl.Series, notation: Notation) -> pl.Series:
    marks = f"[{notation.thousands}{SPACES}]"
    mark = f"[{notation.decimal}]"
    shape = rf"{SIGN}(?:(?:\d+|\d{{1,3}}(?:{marks}\d{{3}})+)(?:{mark}\d*)?|{mark}\d+){POWER}"
    is_number = text.str.contains(shape)
    bare = text.str.replace_all(marks, "").str.replace(mark, ".").str.replace("−", "-", literal=True)
    return pl.select(pl.when(is_number).then(bare)).to_series().cast(pl.Float64, strict=False)


def _typed(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """A Parquet column: whole numbers and floats are read, anything else is said as text."""
    if column.dtype.is_numeric():
        number = column.cast(pl.Float64)
        fine = pl.select(pl.when(number.is_finite()).then(number)).to_series()
        odd = number.is_not_null() & ~number.is_finite()
        return fine, pl.select(pl.when(odd).then(number.cast(pl.String))).to_series()
    nothing = pl.Series([None] * len(column), dtype=pl.Float64)
    return nothing, column.cast(pl.String, strict=False)
