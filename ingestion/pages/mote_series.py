"""What a chart of a mote's channel shows of a stretch: a line with its gaps, flagged points, figures in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from sensors import quality
from sensors.readings import Bools, Channel, Floats, Ints, Profile

MOST_POINTS = 1600  # of a line; more than a wide screen has pixels
MOST_FLAGGED = 400
NEXT = 1.5  # intervals: imputed values further apart belong to different gaps
Point = list[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """A channel over a stretch. Figures are of the clean readings only; `line` has a null wherever it breaks."""

    channel: Channel
    n: int
    n_left_out: int
    left_out: Mapping[str, int]
    low: float | None
    mean: float | None
    high: float | None
    coverage: float
    n_gaps: int
    line: list[Point]
    flagged: list[list[float]]

    @property
    def n_clean(self) -> int:
        return self.n - self.n_left_out

    @property
    def n_drawn(self) -> int:
        return sum(value is not None for _, value in self.line)

    @property
    def is_thinned(self) -> bool:
        return self.n_drawn + len(self.flagged) < self.n


def series(profile: Profile, table: pl.DataFrame, starts_us: int, ends_us: int) -> list[Series]:
    """Of every channel, from readings of one mote in order of time as sensors.overlay gives them."""
    at = table["at"].cast(pl.Int64).to_numpy()
    flags = table["flags"].to_numpy()
    suspects = quality.suspects(flags, len(profile.channels))
    return [
        _series(profile, channel, at, _column(table, channel.code), flags, suspects[:, place], (starts_us, ends_us))
        for place, channel in enumerate(profile.channels)
    ]


def imputed_lines(profile: Profile, table: pl.DataFrame, filled: pl.DataFrame) -> dict[str, list[Point]]:
    """By channel what the filled table has and the other has not: lines of their own, in no figure."""
    there = table.select("at", *profile.names)
    both = filled.select("at", *profile.names).join(there, on="at", how="left", suffix="_told")
    at = both["at"].cast(pl.Int64)
    found = {}
    for name in profile.names:
        is_new = (both[name].is_not_null() & both[f"{name}_told"].is_null()).to_numpy()
        if is_new.any():
            own, values = at.to_numpy()[is_new], _column(both, name)[is_new]
            found[name] = _line(own, values, _breaks(own, NEXT * profile.interval_s), (int(own[0]), int(own[-1])))
    return found


def _column(table: pl.DataFrame, name: str) -> Floats:
    return table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _series(
    profile: Profile, channel: Channel, at: Ints, values: Floats, flags: Ints, suspect: Bools, span: tuple[int, int]
) -> Series:
    known = ~np.isnan(values)
    clean, doubtful = known & ~suspect, known & suspect
    figures = values[clean]
    breaks = _breaks(at[clean], profile.silent_after_s)
    return Series(
        channel=channel,
        n=int(known.sum()),
        n_left_out=int(doubtful.sum()),
        left_out=_reasons(channel, values[doubtful], flags[doubtful]),
        low=float(figures.min()) if len(figures) else None,
        mean=float(figures.mean()) if len(figures) else None,
        high=float(figures.max()) if len(figures) else None,
        coverage=coverage(at[known], profile.interval_s, *span),
        n_gaps=int(_breaks(at[known], profile.silent_after_s).max(initial=0)),
        line=_line(at[clean], figures, breaks, span),
        flagged=_points(at[doubtful], values[doubtful], flags[doubtful], span),
    )


def coverage(at: Ints, interval_s: float, starts_us: int, ends_us: int) -> float:
    """The share of the stretch that was reported: a reading counts for its interval, however many come in it."""
    if ends_us <= starts_us:
        return 0.0
    reported = np.minimum(np.diff(at, append=ends_us), int(interval_s * 1e6))
    return float(min(1.0, reported.sum() / (ends_us - starts_us)))


def _breaks(at: Ints, silent_after_s: float) -> Ints:
    """For each reading how many silences came before it."""
    return np.cumsum(np.diff(at, prepend=at[:1]) > silent_after_s * 1e6).astype(np.int64)


def _reasons(channel: Channel, values: Floats, flags: Ints) -> dict[str, int]:
    """How many readings each kind of trouble took out; one may have several."""
    found: dict[str, int] = {}
    low, high = channel.physical
    for kind, name in quality.NAMES.items():
        if kind & quality.OF_CHANNELS:
            has = (flags & kind) != 0
            if kind == quality.OUT_OF_RANGE and channel.formula is None:  # the row's other channels may be the cause
                has &= (values < low) | (values > high)
            if has.any():
                found[name] = int(has.sum())
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _line(at: Ints, values: Floats, breaks: Ints, span: tuple[int, int]) -> list[Point]:
    rows = thinned(at, values, span, MOST_POINTS)
    # Two points of one pixel are drawn together, whatever silence lies between them: it has no width there.
    place = _pixels(at[rows], span, MOST_POINTS) if len(rows) < len(at) else rows
    points: list[Point] = []
    for i, row in enumerate(rows.tolist()):
        if i and breaks[row] != breaks[rows[i - 1]] and place[i] != place[i - 1]:
            points.append([int(at[row]) / 1000 - 1, None])
        points.append([int(at[row]) / 1000, float(values[row])])
    return points


def _points(at: Ints, values: Floats, flags: Ints, span: tuple[int, int]) -> list[list[float]]:
    """Instant, value and kinds of trouble of each."""
    rows = thinned(at, values, span, MOST_FLAGGED)
    kinds = (flags & quality.KINDS)[rows]
    return [list(one) for one in zip((at[rows] / 1000).tolist(), values[rows].tolist(), kinds.tolist(), strict=True)]


def _pixels(at: Ints, span: tuple[int, int], most: int) -> Ints:
    starts_us, ends_us = span
    return (at - starts_us) * (most // 2) // max(ends_us - starts_us, 1)


def thinned(at: Ints, values: Floats, span: tuple[int, int], most: int) -> Ints:
    """Rows to draw: of each pixel's stretch the lowest and the highest, so that no spike is lost."""
    if len(at) <= most:
        return np.arange(len(at))
    table = pl.DataFrame({"row": np.arange(len(at)), "value": values, "pixel": _pixels(at, span, most)})
    ends = table.group_by("pixel").agg(
        pl.col("row").get(pl.col("value").arg_min()).alias("low"),
        pl.col("row").get(pl.col("value").arg_max()).alias("high"),
    )
    return np.unique(ends.select("low", "high").to_numpy())
