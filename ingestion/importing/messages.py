"""Rows as the JSON that travels, built as columns. What was no number or no time travels as the text it was. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from ingestion.importing.rows import Rows, said

# The wire would read some texts as UTC that were not read here: it must not guess.
NO_TIME = " (no time that import_readings knows)"
# Of what is no reading: enough to see what it was, and never more than a stream takes.
SHOWN, SHOWN_BYTES = 200, 4096


def write(rows: Rows, first: int, n: int, *, site: str, keys: Mapping[str, bytes]) -> tuple[list[bytes], list[bytes]]:
    """Messages and keys of n rows from the first on; misfits come last, as they stand."""
    part = rows.table.slice(first, n)
    values = pl.DataFrame().select(_message(part, rows, site)).to_series().to_list() if len(part) else []
    default = site.encode()
    routes = [keys.get(code, default) for code in part["mote"].to_list()]
    after = max(first - len(rows.table), 0)
    misfits = [line[:SHOWN_BYTES] for line in rows.misfits[after : after + n - len(values)]]
    return values + misfits, routes + [default] * len(misfits)


def _message(part: pl.DataFrame, rows: Rows, site: str) -> pl.Expr:
    stamp = (part["at"] / 1_000_000).cast(pl.String)
    unread = _quoted(part[said("at")].str.slice(0, SHOWN - len(NO_TIME)) + NO_TIME)
    parts: list[Any] = [
        pl.lit('{"timestamp": '), stamp.fill_null(unread).fill_null("null"),
        pl.lit(', "mote_id": '), _quoted(part["mote"]).fill_null("null"),
        pl.lit(f', "site": {msgspec.json.encode(site).decode()}'),
    ]  # fmt: skip
    for code in rows.channels:
        number = part[code].cast(pl.String).fill_null(_quoted(part[said(code)])).fill_null("null")
        parts += [pl.lit(f', "{code}": '), number]
    return pl.concat_str([*parts, pl.lit("}")]).cast(pl.Binary)


def _quoted(text: pl.Series) -> pl.Series:
    """As JSON strings; null stays null."""
    different = text.unique().drop_nulls().to_list()
    quoted = [msgspec.json.encode(each[:SHOWN]).decode() for each in different]
    return text.replace_strict(different, quoted, default=None, return_dtype=pl.String)
