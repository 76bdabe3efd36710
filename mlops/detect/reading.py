"""The file as series of readings: which column is what, which rows can be judged, and what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from sensors.quality import MAX_CHANNELS
from sensors.readings import Floats, Ints, Profile, micros
from sensors.tables import figures, files, times
from sensors.tables.figures import Notation

TIME_NAMES = ("timestamp", "time", "datetime", "date time", "date", "ts", "at", "utc", "measured at")
# What somebody already knew of a row is no measurement.
LABELS = ("label", "labels", "anomaly", "is_anomaly", "outlier", "changepoint", "target", "class", "fault", "event",
          "fire alarm")  # fmt: skip
ENGINE = "engine"  # the detector that judges live readings, too
MOSTLY = 0.5  # of a column's cells must be numbers, for it to be a channel unasked


class CannotJudge(Exception):
    """Why a file was not judged, and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody says about a file; empty where the data shall decide."""

    time: str = ""
    interval_s: float | None = None
    start: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    values: Sequence[str] = ()
    by: str = ""
    train_fraction: float = 0.15
    train_rows: int | None = None
    train_until: datetime | None = None
    profile: Profile | None = None
    zone: str = "UTC"
    decimal: str = ""
    date_order: str = ""
    without: Sequence[str] = ()  # layers that shall say nothing
    detector: str = ENGINE


@dataclass(frozen=True)
class Readings:
    """Judgeable rows in order of time. `row` is each one's place in `table`, `series` its place in `codes`."""

    table: pl.DataFrame
    row: Ints
    at: Ints
    series: Ints
    codes: tuple[str, ...]
    names: tuple[str, ...]
    values: Floats
    words: tuple[str, ...]  # how the file was understood
    notes: tuple[str, ...]  # what its owner should know

    def __len__(self) -> int:
        return len(self.row)


def read(path: Path, ask: Request) -> Readings:
    """Raises CannotJudge."""
    try:
        source = files.read(path)
    except files.BadFile as error:
        raise CannotJudge(str(error)) from None
    table = source.table
    notes = (
        [f"{len(source.misfits):,} lines have more fields than the header and were left out"] if source.misfits else []
    )
    time = _time_column(table, ask)
    by = _named(table, ask.by, "--by") if ask.by else None
    columns, left_out = _channels(table, ask, {time, by})
    if ask.profile is not None and len(columns) < len(ask.profile.channels):
        missing = [name for name in ask.profile.names if name not in columns]
        notes.append(f"not in the file, so not judged: {', '.join(missing)}")
    notes += left_out
    values, notation, unread = _values(table, columns, ask)
    notes += unread
    series, codes = _series(table, by)
    at, said = _instants(table, time, series, ask)
    notes += said
    has_time = np.flatnonzero(at != NO_TIME)
    if not len(has_time):
        example = table[time][0] if time else ""
        raise CannotJudge(f"no cell of the column “{time}” is a time, such as “{example}”; it has {_listed(table)}")
    if len(has_time) < len(at):
        notes.append(f"{len(at) - len(has_time):,} rows have no readable time and are not judged")
    order = has_time[np.argsort(at[has_time], kind="stable")]
    if (np.diff(at[has_time]) < 0).any() and by is None:
        notes.append("rows are not in order of time; they were judged in that order")
    keys = pl.DataFrame({"series": series[order], "at": at[order]})
    if n_twice := len(keys) - keys.n_unique():
        notes.append(
            f"{n_twice:,} rows have the same time as another row of their series and are judged without their order"
            + ("" if by else "; if they are several series, name the column that tells them apart with --by")
        )
    words = [f"{len(table):,} rows; {source.words}; {notation.words}"]
    words.append(f"time: {time}" if time else f"time: every {ask.interval_s:g} s from {ask.start:%Y-%m-%d %H:%M:%S}")
    words += [f"series by {by}: {len(codes):,}"] if by else []
    words.append(f"channels: {', '.join(columns.values())}")
    return Readings(
        table=table,
        row=order,
        at=at[order],
        series=series[order],
        codes=codes,
        names=tuple(columns),
        values=values[order],
        words=tuple(words),
        notes=tuple(notes),
    )


NO_TIME = np.iinfo(np.int64).min


def _listed(table: pl.DataFrame) -> str:
    return f"the columns {', '.join(table.columns)}"


def _named(table: pl.DataFrame, name: str, option: str) -> str:
    if name in table.columns:
        return name
    close = [each for each in table.columns if each.strip().casefold() == name.strip().casefold()]
    if len(close) == 1:
        return close[0]
    raise CannotJudge(f"{option} names “{name}”, but the file has {_listed(table)}")


def _time_column(table: pl.DataFrame, ask: Request) -> str | None:
    if ask.interval_s is not None:
        if not ask.interval_s > 0:
            raise CannotJudge(f"--interval is {ask.interval_s:g} s; expected more than 0, such as 1s, 30s or 5min")
        return None
    if ask.time:
        return _named(table, ask.time, "--time")
    plain = {name.strip().casefold().replace("_", " "): name for name in table.columns}
    for usual in TIME_NAMES:
        if usual in plain:
            return plain[usual]
    for name in table.columns:
        if table[name].dtype in (pl.Datetime, pl.Date):
            return name
    raise CannotJudge(
        f"no column is called as times usually are; the file has {_listed(table)}. Name it with --time COLUMN, or say "
        "how far rows are apart with --interval 1s"
    )


def _channels(table: pl.DataFrame, ask: Request, taken: set[str | None]) -> tuple[dict[str, str], list[str]]:
    """The channels' names and their columns; and which columns are none, and why."""
    if ask.profile is not None:
        return _of_profile(table, ask.profile, ask.values), []
    if ask.values:
        chosen = [_named(table, name, "--values") for name in ask.values]
        if twice := {name for name in chosen if name in taken or chosen.count(name) > 1}:
            raise CannotJudge(f"“{sorted(twice)[0]}” is named for two things; the file has {_listed(table)}")
        return _checked({name: name for name in chosen}), []
    found, notes, texts = [], [], []
    for name in table.columns:
        if name in taken:
            continue
        if name.strip().casefold() in LABELS:
            notes.append(f"“{name}” looks like a label and was left out; name it with --values to judge it")
        elif _counts_rows(table[name]):
            notes.append(f"“{name}” counts the rows and was left out")
        elif _is_number(table[name]):
            found.append(name)
        else:
            texts.append(name)
    if texts:
        notes.append(f"no numbers, so left out: {', '.join(texts)}")
    if not found:
        raise CannotJudge(f"no column has numbers to judge; the file has {_listed(table)}")
    return _checked({name: name for name in found}), notes


def _checked(columns: dict[str, str]) -> dict[str, str]:
    if len(columns) > MAX_CHANNELS:
        raise CannotJudge(
            f"{len(columns)} columns have numbers; at most {MAX_CHANNELS} are judged together: name them with --values"
        )
    return columns


def _of_profile(table: pl.DataFrame, profile: Profile, wanted: Sequence[str]) -> dict[str, str]:
    """By code, label or alias, whatever the case."""
    plain = {name.strip().casefold(): name for name in table.columns}
    found: dict[str, str] = {}
    for channel in profile.channels:
        for name in (channel.code, channel.label, *channel.aliases):
            if column := plain.get(name.casefold()):
                found.setdefault(channel.code, column)
    if unknown := [name for name in wanted if name not in found and name not in found.values()]:
        raise CannotJudge(f"--values names “{unknown[0]}”, which is no channel of {profile.code} in {_listed(table)}")
    if not found:
        raise CannotJudge(
            f"no column is a channel of {profile.code} ({', '.join(profile.names)}); the file has {_listed(table)}"
        )
    return {code: name for code, name in found.items() if not wanted or code in wanted or name in wanted}


def _counts_rows(column: pl.Series) -> bool:
    whole = column.cast(pl.Int64, strict=False)
    return len(whole) > 2 and not whole.null_count() and bool((whole.diff().drop_nulls() == 1).all())


def _is_number(column: pl.Series) -> bool:
    if column.dtype.is_numeric():
        return True
    if column.dtype != pl.String:
        return False
    some = column.head(2000).append(column.tail(2000))
    numbers, text = figures.read(some, figures.recognise([some]))
    n_numbers, n_text = len(numbers) - numbers.null_count(), len(text) - text.null_count()
    return n_numbers > 0 and n_numbers >= MOSTLY * (n_numbers + n_text)


def _values(table: pl.DataFrame, columns: dict[str, str], ask: Request) -> tuple[Floats, Notation, list[str]]:
    cells = [table[name] for name in columns.values()]
    notation = Notation(ask.decimal) if ask.decimal else figures.recognise(cells)
    if notation.doubt:
        raise CannotJudge(notation.doubt)
    notes, numbers = [], []
    for column in cells:
        number, text = figures.read(column, notation)
        if n_text := len(text) - text.null_count():
            example = text.drop_nulls()[0]
            notes.append(
                f"“{column.name}”: {n_text:,} cells are no numbers, such as “{example}”; taken as not measured"
            )
        if n_empty := number.null_count() - n_text:
            notes.append(f"“{column.name}”: {n_empty:,} cells are empty; taken as not measured")
        numbers.append(number.fill_null(float("nan")).to_numpy())
    if all(np.isnan(each).all() for each in numbers):
        raise CannotJudge(f"no cell of {', '.join(columns.values())} is a number; the file has {_listed(table)}")
    return np.ascontiguousarray(np.column_stack(numbers), dtype=np.float64), notation, notes


def _series(table: pl.DataFrame, by: str | None) -> tuple[Ints, tuple[str, ...]]:
    """Numbered in the order in which they appear; 0 is nobody's key inside the engine's states, so it starts at 1."""
    if by is None:
        return np.ones(len(table), dtype=np.int64), ("",)
    codes = table[by].cast(pl.String, strict=False).fill_null("")
    names = codes.unique(maintain_order=True)
    places = pl.DataFrame({"code": names}).with_row_index("place", offset=1)
    joined = pl.DataFrame({"code": codes}).join(places, on="code", how="left", maintain_order="left")
    return joined["place"].cast(pl.Int64).to_numpy().copy(), tuple(names)


def _instants(table: pl.DataFrame, time: str | None, series: Ints, ask: Request) -> tuple[Ints, list[str]]:
    if time is None:
        assert ask.interval_s is not None
        place = pl.Series(series).to_frame("s").select(pl.int_range(pl.len()).over("s")).to_series().to_numpy()
        return micros(ask.start) + np.rint(place * (ask.interval_s * 1e6)).astype(np.int64), []
    column = table[time]
    order = times.order_of([column])
    if ask.date_order:
        order = replace(order, chosen=ask.date_order, doubt="")
    if order.doubt:
        raise CannotJudge(order.doubt)
    found = times.read(column, zone=ask.zone, motes=pl.Series(series).cast(pl.String), order=order)
    notes = [f"times have no offset; taken as {ask.zone}"] if found.n_local else []
    return found.at.fill_null(NO_TIME).to_numpy().astype(np.int64), notes
