"""What a mote owes and what of it came: the one rule of quality reports, sensor grades and the list of motes. Pure.

Who reports more often than its profile promises owes the promise; who keeps a slower rhythm is judged by that. Counting
begins with the first reading, and an hour that brought more than it owed does not make up for another.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from sensors.readings import Profile

BINS = 20  # of an interval: how finely a mote's own rhythm is looked for
LEAST_INTERVALS = 10  # fewer say nothing of a rhythm


def expected_interval_s(profile: Profile, own_s: float | None) -> float:
    """What a mote is judged by: the promise, or its own slower rhythm."""
    return max(profile.interval_s, own_s or 0.0)


def owed(span_s: float, interval_s: float) -> float:
    """Readings between two that are so far apart, both counted.

    >>> owed(3600.0, 30.0)
    121.0
    """
    return span_s / interval_s + 1


def delivered(expected: float, hours: Iterable[tuple[int, int, float]], interval_s: float) -> float:
    """Of so many expected ones; `hours` says how many readings came in each, in how many such hours, of which length.

    >>> delivered(241.0, [(3600, 1, 3600.0), (0, 1, 3600.0)], 30.0)
    121.0
    """
    return min(expected, sum(min(n, owed(length_s, interval_s)) * times for n, times, length_s in hours))


def rhythm(rows: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """How often each mote waited how long, from rows with `mote` and `waited_s`; such tables may be added up."""
    bin_s = profile.interval_s / BINS
    waited = pl.col("waited_s")
    return (
        rows.lazy()
        .filter((waited > 0) & (waited <= profile.silent_after_s))
        .group_by("mote", (waited / bin_s).round().cast(pl.Int64).alias("bin"))
        .agg(pl.len().alias("n"), waited.sum().alias("seconds"))
        .collect()
    )


def own_intervals(rhythm: pl.DataFrame) -> dict[int, float]:
    """Of each mote's intervals the mean of those in the fullest bin: losses lengthen a mean, and not this."""
    enough = rhythm.filter(pl.col("n").sum().over("mote") >= LEAST_INTERVALS)
    fullest = enough.sort("n", "bin", descending=[False, True]).group_by("mote").tail(1)
    return {mote: round(seconds / n, 3) for mote, n, seconds in fullest.select("mote", "n", "seconds").iter_rows()}
