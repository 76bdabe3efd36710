"""How far a day lies from the days that a model knows, hour by hour and mote by mote. Pure.

A p-value finds any difference of a million readings. Here a day counts only if it is far away in its own unit (a share
of the normal band) and also by the spread that such days have among themselves; and only days in a row are a drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile

import numpy as np
import polars as pl

EFFECT = 3.0  # spreads of the reference days among themselves
CHANNEL, RESIDUAL, SCORE = "channel", "residual", "score"
# What is far: of a channel in widths of its normal band, of a residual in half widths of the model's own band, of the
# score in powers of ten of the share of readings that are a surprise.
FAR: Mapping[str, float] = {CHANNEL: 0.1, RESIDUAL: 0.25, SCORE: 0.7}
DAYS = 3  # in a row
LEAST_HOURS = 12  # of a mote's day, to say something of the day
LEAST_DAYS = 3  # of the reference
NOISE: Mapping[str, float] = {CHANNEL: 0.005, RESIDUAL: 0.02, SCORE: 0.1}  # days never lie closer than this for sure


@dataclass(frozen=True, slots=True)
class Shift:
    """One figure of one day against the reference."""

    day: date
    kind: str
    name: str
    shift: float  # in the unit of FAR
    effect: float  # in spreads of the reference days
    n_motes: int
    worst: tuple[int, ...]  # motes that are farthest the same way

    @property
    def is_over(self) -> bool:
        return abs(self.shift) >= FAR[self.kind] and abs(self.effect) >= EFFECT


def shifts(reference: pl.DataFrame, recent: pl.DataFrame, kind: str, name: str) -> list[Shift]:
    """Each recent day against the reference; both have mote, hour (UTC) and value, in the unit of FAR.

    The season is taken out by comparing an hour with the same hour of the day on the mote's reference days.
    """
    known = _hours(reference).group_by("mote", "hour_of_day").agg(pl.col("value").median().alias("usual"))
    before, now = (_by_day(_hours(table).join(known, on=["mote", "hour_of_day"])) for table in (reference, recent))
    fleet = _of_fleet(before)
    if len(fleet) < LEAST_DAYS:
        return []
    centre, spread = _centre_and_spread(fleet["away"].to_numpy(), NOISE[kind])
    found = []
    for (day,), motes in now.group_by("day", maintain_order=True):
        away = float(np.median(motes["away"].to_numpy())) - centre
        order = motes.sort(pl.col("away") * (-1 if away > 0 else 1))
        found.append(Shift(day, kind, name, away, away / spread, len(motes), tuple(order["mote"].head(5).to_list())))
    return found


def _hours(table: pl.DataFrame) -> pl.DataFrame:
    clean = table.filter(pl.col("value").is_finite())
    return clean.with_columns(pl.col("hour").dt.hour().alias("hour_of_day"), pl.col("hour").dt.date().alias("day"))


def _by_day(hours: pl.DataFrame) -> pl.DataFrame:
    """How far each mote's day is away, of those that were there for most of it."""
    away = (pl.col("value") - pl.col("usual")).median().alias("away")
    days = hours.group_by("day", "mote").agg(away, pl.len().alias("n"))
    return days.filter(pl.col("n") >= LEAST_HOURS).sort("day", "mote")


def _of_fleet(days: pl.DataFrame) -> pl.DataFrame:
    return days.group_by("day").agg(pl.col("away").median()).sort("day")


def _centre_and_spread(days: np.ndarray[tuple[int], np.dtype[np.float64]], noise: float) -> tuple[float, float]:
    """Few days say little of how days differ: the fewer, the wider."""
    n = len(days)
    return float(np.median(days)), max(float(days.std(ddof=1)) * (1.0 + 2.0 / n), noise)


def days_in_a_row(found: Sequence[Shift]) -> int:
    """For how many days, up to the last one, the figure has been over and on the same side."""
    newest = sorted(found, key=lambda one: one.day, reverse=True)
    return len(list(takewhile(lambda one: one.is_over and one.shift * newest[0].shift > 0, newest)))


def has_drifted(found: Sequence[Shift]) -> bool:
    return days_in_a_row(found) >= DAYS
