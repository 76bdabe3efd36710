"""Readings as files: a day at a time, so that a download of years takes the memory of one."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
import pyarrow.parquet as pq
from channels.db import database_sync_to_async

from sensors import quality
from sensors.readings import INSTANT
from sensors.selection import Selection
from sensors.stores import StoreUnavailable
from sensors.tiers import LAKE, Tiers

DAY = timedelta(days=1)
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "ndjson": "application/x-ndjson",
}
INSTANTS = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")


@dataclass(frozen=True, slots=True)
class Export:
    """A selection as a file: site, mote, at, each channel, flags and suspect channels in words, surprise, verdict."""

    selected: Selection
    tiers: Tiers
    now: datetime

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        motes = f"mote-{self.selected.motes[0].code}" if len(self.selected.motes) == 1 else self.selected.profile.code
        return f"sieis-{motes}-{self.selected.start:%Y%m%dT%H%M}-{self.selected.end:%Y%m%dT%H%M}Z"

    def tables(self) -> Iterator[pl.DataFrame]:
        """Day by day, sorted by mote and time; empty days are left out.

        StoreUnavailable where a store that may hold some of them cannot be read: a file that ends early is seen to be
        broken, one with a hole is not.
        """
        start = self.selected.start
        while start < self.selected.end:
            end = min(start + DAY, self.selected.end)
            found = self.tiers.between(self.selected.profile, self.selected.ids, start, end, now=self.now)
            if found.fault and found.tier != LAKE:
                raise StoreUnavailable(found.fault)
            if len(found.table):
                yield self.spoken(found.table)
            start = end

    def spoken(self, table: pl.DataFrame) -> pl.DataFrame:
        kinds, profile = table["flags"].unique().to_list(), self.selected.profile
        motes = self.selected.motes
        return table.select(
            _said("mote", {mote.id: mote.site for mote in motes}).alias("site"),
            _said("mote", {mote.id: mote.code for mote in motes}),
            pl.col("at"),
            *(pl.col(channel.code) for channel in self.selected.channels),
            _said("flags", {flags: " ".join(quality.names(flags)) for flags in kinds}),
            _said("flags", {flags: " ".join(quality.channels(flags, profile)) for flags in kinds}).alias("suspect"),
            "surprise", "is_anomaly", pl.col("model_version").cast(pl.Int64),
        )  # fmt: skip

    @property
    def empty(self) -> pl.DataFrame:
        """What a file without a reading has: its columns."""
        text = pl.String()
        columns: dict[str, pl.DataType] = {"site": text, "mote": text, "at": INSTANT}
        columns |= {channel.code: pl.Float64() for channel in self.selected.channels}
        columns |= {"flags": text, "suspect": text, "surprise": pl.Float64(), "is_anomaly": pl.Boolean()}
        return pl.DataFrame(schema=columns | {"model_version": pl.Int64()})

    def with_units(self, table: pl.DataFrame) -> pl.DataFrame:
        """Channels by a name that says their unit, such as “temperature [°C]”."""
        return table.rename({one.code: f"{one.code} [{one.unit}]" for one in self.selected.channels if one.unit})


def _said(column: str, words: dict[int, str]) -> pl.Expr:
    return pl.col(column).replace_strict(words, return_dtype=pl.String)


def pieces(export: Export, form: str) -> Iterator[bytes]:
    return WRITERS[form](export)


async def streamed(export: Export, form: str) -> AsyncIterator[bytes]:
    """The same for a server's loop, each piece made in a thread."""
    made = pieces(export, form)
    following = database_sync_to_async(lambda: next(made, None), thread_sensitive=False)
    while (piece := await following()) is not None:
        yield piece


def _csv(export: Export) -> Iterator[bytes]:
    yield export.with_units(export.empty).write_csv().encode()
    for table in export.tables():
        yield table.with_columns(INSTANTS).write_csv(include_header=False).encode()


def _ndjson(export: Export) -> Iterator[bytes]:
    for table in export.tables():
        yield table.with_columns(INSTANTS).write_ndjson().encode()


class _Drain(io.RawIOBase):
    """Where a Parquet writer writes; what it wrote since is taken out."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(piece))
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        found, self._pieces = b"".join(self._pieces), []
        return found


def _parquet(export: Export) -> Iterator[bytes]:
    sink = _Drain()
    schema = export.with_units(export.empty).to_arrow().schema
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for table in export.tables():
            writer.write_table(export.with_units(table).to_arrow().cast(schema))
            yield sink.taken()
    yield sink.taken()


WRITERS: dict[str, Callable[[Export], Iterator[bytes]]] = {"csv": _csv, "parquet": _parquet, "ndjson": _ndjson}
