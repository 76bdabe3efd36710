"""The rows of all files as one table in order of time, with what was no value beside what was. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from ingestion.importing.columns import Columns, match
from ingestion.validation.words import plural
from sensors.readings import Profile
from sensors.tables import figures, times
from sensors.tables.figures import Notation
from sensors.tables.files import Source
from sensors.tables.times import Order, Times

WHOLE = r"^(\d+)\.0+$"


@dataclass(frozen=True, slots=True)
class How:
    """What the caller says about the files; empty where the data shall decide."""

    zone: str
    mapping: dict[str, str] = field(default_factory=dict)
    mote: str = ""
    decimal: str = ""
    date_order: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of `table`: mote, at (UTC µs), “at said”, and for each channel its code and “CODE said”, sorted by at.

    What is said is the text of a cell that is no time or no number. Misfits are lines that are no rows.
    """

    profile: Profile
    table: pl.DataFrame
    misfits: tuple[bytes, ...]
    channels: tuple[str, ...]
    words: tuple[str, ...]
    doubts: tuple[str, ...]
    kinds: dict[str, int]
    n_first: int
    n_second: int
    n_never: int

    def __len__(self) -> int:
        return len(self.table) + len(self.misfits)


def said(name: str) -> str:
    return f"{name} said"


def join(sources: Sequence[Source], profile: Profile, how: How) -> Rows:
    """Raises BadMap where a file has not the columns that are needed."""
    columns = [
        match(source.table.columns, how.mapping, profile, has_mote=bool(how.mote), file=source.path.name)
        for source in sources
    ]
    instants = [_instants(source, each) for source, each in zip(sources, columns, strict=True)]
    order = Order(how.date_order, words=times.ORDERS[how.date_order]) if how.date_order else times.order_of(instants)
    tables, words, found, doubts = [], [], [], [order.doubt]
    for source, each, instant in zip(sources, columns, instants, strict=True):
        cells = [source.table[name] for name in each.channels.values()]
        notation = Notation(how.decimal) if how.decimal else figures.recognise(cells)
        motes = _motes(source.table[each.mote]) if each.mote else _one_mote(how.mote, len(source.table))
        read = times.read(instant, zone=how.zone, motes=motes, order=order)
        tables.append(_table(source, each, motes, read, notation))
        words.append(_words(source, each, notation, order))
        doubts.append(notation.doubt)
        found.append(read)
    kinds = {name: sum(each.kinds.get(name, 0) for each in found) for each in found for name in each.kinds}
    return Rows(
        profile=profile,
        table=pl.concat(tables, how="diagonal").sort("at", nulls_last=True, maintain_order=True),
        misfits=tuple(line for source in sources for line in source.misfits),
        channels=tuple(name for name in profile.names if any(name in each.channels for each in columns)),
        words=tuple(words),
        doubts=tuple(dict.fromkeys(filter(None, doubts))),
        kinds=kinds,
        n_first=sum(each.n_first for each in found),
        n_second=sum(each.n_second for each in found),
        n_never=sum(each.n_never for each in found),
    )


def _instants(source: Source, columns: Columns) -> pl.Series:
    if len(columns.at) == 1:
        return source.table[columns.at[0]]
    return source.table.select(pl.concat_str(columns.at, separator=" ", ignore_nulls=True)).to_series()


def _motes(column: pl.Series) -> pl.Series:
    """Codes as text; a whole number that was written with .0 is whole."""
    text = column.cast(pl.String, strict=False).str.strip_chars()
    text = pl.select(pl.when(text.str.len_bytes() > 0).then(text)).to_series()
    if len(text) and text.drop_nulls().str.contains(WHOLE).all():
        text = text.str.replace(WHOLE, "$1")
    return text


def _one_mote(code: str, n: int) -> pl.Series:
    return pl.Series([code], dtype=pl.String).new_from_index(0, n)


def _table(source: Source, columns: Columns, motes: pl.Series, read: Times, notation: Notation) -> pl.DataFrame:
    cells = {"mote": motes, "at": read.at.cast(pl.Int64), said("at"): read.said.cast(pl.String)}
    for code, name in columns.channels.items():
        cells[code], text = figures.read(source.table[name], notation)
        cells[said(code)] = text.cast(pl.String)
    return pl.DataFrame(cells)


def _words(source: Source, columns: Columns, notation: Notation, order: Order) -> str:
    has_text = any(source.table[name].dtype == pl.String for name in columns.channels.values())
    parts = [plural(source.n_rows, "row"), source.words]
    parts += [notation.words] if has_text and not notation.doubt else []
    parts += [f"dates as {order.words}"] if order.words else []
    parts += [f"{source.n_empty:,} empty lines"] if source.n_empty else []
    parts += [f"not used: {', '.join(columns.unused)}"] if columns.unused else []
    return f"{source.path.name}: {'; '.join(parts)}"
