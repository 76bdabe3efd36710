"""Times as people and programs write them, to UTC microseconds. Pure.

ISO 8601 with and without an offset, 28.02.2004 13:45, 02/28/2004 or 28/02/2004, numbers since 1970. What has no offset
is local time of a zone; hours that its clocks pass twice or never are told apart and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

CLOCK = r"(?:[T, ]+(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
OFFSET = r"\s*(?P<z>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
ISO = rf"^(?P<y>\d{{4}})[-/](?P<a>\d{{1,2}})[-/](?P<b>\d{{1,2}}){CLOCK})?{OFFSET}$"
DAY_FIRST = rf"^(?P<a>\d{{1,2}})(?P<mark>[./-])(?P<b>\d{{1,2}})[./-](?P<y>\d{{4}}){CLOCK}\s*(?P<half>[AaPp][Mm])?)?$"
NUMBER = r"^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$"
DMY, MDY = "dmy", "mdy"
ORDERS = {DMY: "day/month/year", MDY: "month/day/year"}
US = 1_000_000
DAY_US = 86_400 * US
SLICE = 200_000


@dataclass(frozen=True, slots=True)
class Order:
    """Which comes first in 02/03/2004; doubt says why the data do not decide, empty where they do."""

    chosen: str = DMY
    doubt: str = ""
    words: str = ""


@dataclass(slots=True)
class Times:
    """Instants in UTC microseconds, and the text of what is none; both null where nothing stands."""

    at: pl.Series
    said: pl.Series
    kinds: dict[str, int] = field(default_factory=dict)
    n_first: int = 0  # in an hour that the clocks passed twice, taken for the first time
    n_second: int = 0
    n_never: int = 0  # in an hour that the clocks left out

    @property
    def n_local(self) -> int:
        return self.kinds.get("without an offset", 0)


# ---- 02/03/2004 ---------------------------------------------------------------------------------------------


def order_of(columns: Sequence[pl.Series]) -> Order:
    """Decided by the data: by a day above 12, else by which order leaves the smaller holes between days."""
    texts = [column.str.strip_chars() for column in columns if column.dtype == pl.String]
    dates = [text.str.extract(r"^(\d{1,2}[/-]\d{1,2}[/-]\d{4})").unique() for text in texts]
    parts = [each.str.extract_groups(DAY_FIRST).struct.unnest() for each in dates]
    found = pl.concat(parts).filter(pl.col("mark").is_in(["/", "-"])) if parts else pl.DataFrame()
    if not len(found):
        return Order()
    first, second = (found[name].cast(pl.Int64) for name in "ab")
    n_dmy, n_mdy = int((first > 12).sum()), int((second > 12).sum())
    if n_dmy or n_mdy:
        chosen = DMY if n_dmy > n_mdy else MDY
        return Order(chosen, words=ORDERS[chosen])
    holes = {order: _longest_hole(found, order) for order in ORDERS}
    near, far = sorted(holes, key=holes.__getitem__)
    if holes[far] > 3 * max(holes[near], 1):
        return Order(near, words=f"{ORDERS[near]}, because so its days follow each other")
    example = f"{first[0]:02d}/{second[0]:02d}/{found['y'][0]}"
    return Order(DMY, f"“{example}” may be {ORDERS[DMY]} or {ORDERS[MDY]}: say --date-order dmy or --date-order mdy")


def _longest_hole(found: pl.DataFrame, order: str) -> int:
    """Days between two days that follow each other; 0 for a single day."""
    days = _dates(found, order).unique().drop_nulls().sort().cast(pl.Int64)
    return int(days.diff().max() or 0) if len(days) > 1 else 0  # type: ignore[arg-type]


def _dates(parts: pl.DataFrame, order: str) -> pl.Series:
    day, month = ("a", "b") if order == DMY else ("b", "a")
    joined = parts.select(pl.concat_str("y", pl.lit("-"), month, pl.lit("-"), day)).to_series()
    return joined.str.to_date("%Y-%m-%d", strict=False)


# ---- reading ------------------------------------------------------------------------------------------------


def read(column: pl.Series, *, zone: str, motes: pl.Series, order: Order) -> Times:
    """The column's instants; what has no offset is local time of the zone, in the order in which each mote sent it."""
    if column.dtype == pl.String:
        return _texts(column, zone, motes, order)
    nothing = pl.Series([None] * len(column), dtype=pl.String)
    if column.dtype.is_numeric():
        at, said = _epochs(column.cast(pl.Float64), column.cast(pl.Float64).cast(pl.String))
        return Times(at, said, {"as numbers since 1970": int(at.is_not_null().sum())})
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        at = column.dt.convert_time_zone("UTC").dt.cast_time_unit("us").cast(pl.Int64)
        return Times(at, nothing, {"with an offset": int(at.is_not_null().sum())})
    if column.dtype in (pl.Datetime, pl.Date):
        naive = column.cast(pl.Datetime("us"))
        times = Times(naive.cast(pl.Int64), nothing)
        _localise(times, naive, naive.is_not_null(), column.cast(pl.String), zone, motes)
        return times
    return Times(pl.Series([None] * len(column), dtype=pl.Int64), column.cast(pl.String, strict=False))


def _texts(column: pl.Series, zone: str, motes: pl.Series, order: Order) -> Times:
    text = column.str.strip_chars()
    text = pl.select(pl.when(text.str.len_bytes() > 0).then(text)).to_series()
    # In slices: the pieces of a time take ten times its own memory.
    parts = pl.concat([_parsed(text.slice(i, SLICE), order) for i in range(0, max(len(text), 1), SLICE)])
    naive, offset, epochs = parts.get_columns()
    at = (naive.cast(pl.Int64) - offset.fill_null(0)).fill_null(epochs)
    said = pl.select(pl.when(at.is_null() & text.is_not_null()).then(text)).to_series()
    is_local = naive.is_not_null() & offset.is_null()
    counts = {
        "with an offset": offset.is_not_null() & naive.is_not_null(),
        "as numbers since 1970": epochs.is_not_null(),
    }
    times = Times(at, said, {name: int(mask.sum()) for name, mask in counts.items() if mask.any()})
    _localise(times, naive, is_local, text, zone, motes)
    return times


def _parsed(text: pl.Series, order: Order) -> pl.DataFrame:
    """Date and time as they are written, the offset from UTC beside them, and instants that are written as numbers."""
    iso = text.str.extract_groups(ISO).struct.unnest()
    other = text.str.extract_groups(DAY_FIRST).struct.unnest()
    iso_date = iso.select(pl.concat_str("y", pl.lit("-"), "a", pl.lit("-"), "b")).to_series()
    other_date = pl.select(
        pl.when(other["mark"] == ".").then(_dates(other, DMY)).otherwise(_dates(other, order.chosen))
    ).to_series()
    naive = (_dated(iso_date.str.to_date("%Y-%m-%d", strict=False), iso)).fill_null(_dated(other_date, other))
    epochs, _ = _epochs(pl.select(pl.when(text.str.contains(NUMBER)).then(text)).to_series().cast(pl.Float64), text)
    return pl.DataFrame({"naive": naive, "offset": _offsets(iso["z"]), "epoch": epochs})


def _dated(date: pl.Series, parts: pl.DataFrame) -> pl.Series:
    """Date and time of day; midnight where none stands, nothing where it cannot be."""
    hour = pl.col("h").cast(pl.Int64).fill_null(0)
    if "half" in parts.columns:
        is_pm = pl.col("half").str.to_lowercase() == "pm"
        twelve = pl.when(hour.is_between(1, 12)).then(hour % 12 + pl.when(is_pm).then(12).otherwise(0))
        hour = pl.when(pl.col("half").is_null()).then(hour).otherwise(twelve)
    minute, second = (pl.col(name).cast(pl.Int64).fill_null(0) for name in "ms")
    fraction = pl.col("f").fill_null("").str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64)
    fits = (hour < 24) & (minute < 60) & (second < 60)
    us = pl.when(fits).then(((hour * 60 + minute) * 60 + second) * US + fraction)
    clock = parts.select(us).to_series()
    return (date.cast(pl.Int64) * DAY_US + clock).cast(pl.Datetime("us"))


def _offsets(written: pl.Series) -> pl.Series:
    """Microseconds east of UTC."""
    digits = written.str.replace(":", "", literal=True).str.pad_end(5, "0")
    signed = digits.str.contains(r"^[+-]\d{4}$")
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    )
    sign = pl.select(pl.when(digits.str.starts_with("-")).then(-1).otherwise(1)).to_series()
    return (
        pl.select(pl.when(signed).then(minutes * sign * 60 * US).when(written.is_not_null()).then(0))
        .to_series()
        .cast(pl.Int64)
    )


def _epochs(numbers: pl.Series, text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """By magnitude, as on the wire: seconds until the year 5138, then ms, µs, ns."""
    value = numbers.to_numpy().astype(np.float64)
    size = np.abs(value)
    scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
    with np.errstate(invalid="ignore"):
        scaled = np.rint(value * scale)
        fits = np.isfinite(scaled) & (np.abs(scaled) < 2**62)
    at = pl.Series(np.where(fits, scaled, 0).astype(np.int64))
    found = pl.select(pl.when(pl.Series(fits)).then(at)).to_series()
    said = pl.select(pl.when(found.is_null() & numbers.is_not_null()).then(text)).to_series()
    return found, said


# ---- local time ---------------------------------------------------------------------------------------------


def _localise(
    times: Times, naive: pl.Series, is_local: pl.Series, text: pl.Series, zone: str, motes: pl.Series
) -> None:
    """Puts local times into UTC; one that never was is none."""
    if not is_local.any():
        return
    times.kinds["without an offset"] = int(is_local.sum())
    local = pl.select(pl.when(is_local).then(naive)).to_series()
    first = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    second = local.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    never = is_local & first.is_null()
    is_second = _second_pass(local, first != second, motes)
    chosen = pl.select(pl.when(is_second).then(second).otherwise(first)).to_series()
    at = chosen.dt.convert_time_zone("UTC").cast(pl.Int64)
    times.at = pl.select(pl.when(is_local).then(at).otherwise(times.at)).to_series()
    times.said = pl.select(pl.when(never).then(text + f" never was in {zone}").otherwise(times.said)).to_series()
    times.n_never, times.n_second = int(never.sum()), int(is_second.sum())
    times.n_first = int((first != second).sum()) - times.n_second


def _second_pass(local: pl.Series, is_twice: pl.Series, motes: pl.Series) -> pl.Series:
    """Which readings of an hour that was passed twice belong to its second pass: those after the clock went back.

    Only where a mote's clock goes back once in that hour; otherwise the file is in no order that could tell. Of just
    two at the same time, as a logger makes that speaks once an hour, the second is of the second pass.
    """
    table = pl.DataFrame({"mote": motes, "local": local, "is_twice": is_twice.fill_null(False)}).with_row_index("row")
    steps = table.filter("is_twice").with_columns(day=pl.col("local").dt.date())
    before = pl.col("local").shift(1)
    is_back = (pl.col("local") < before) | ((pl.col("local") == before) & (pl.len() == 2))
    back = is_back.fill_null(False).cast(pl.Int64).cum_sum()
    steps = steps.with_columns(n_back=back.over("mote", "day"))
    after = steps.filter((pl.col("n_back") == 1) & (pl.col("n_back").max().over("mote", "day") == 1))["row"]
    return table["row"].is_in(after.implode())
