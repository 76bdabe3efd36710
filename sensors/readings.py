"""What a reading is: profiles, channels and the Batch, the only form in which readings move. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

WEEK_S = 7 * 24 * 3600
LEAST_ONSET = 3.0  # one in 168, of hourly readings, is no surprise
MISSED_INTERVALS = 10
NOT_AN_INSTANT = np.iinfo(np.int64).min
INSTANT = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Formula:
    """How a derived channel follows from others of the same reading: sensors.derived computes it.

    `scale` multiplies the result: a change per second times 3600 is one per hour.
    """

    kind: str
    of: tuple[str, ...]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Imputation:
    """What may stand in a chart where nothing was measured, and for how long; never evidence, never counted."""

    method: str = "none"
    limit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Battery:
    """The channel that says how a mote is powered: below `low` its other channels are suspect, at `empty` it dies."""

    channel: str
    low: float
    empty: float


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity of a profile: measured, or derived by a formula.

    What is not detected is kept and shown, but the engine does not see it.
    """

    code: str
    label: str
    unit: str
    physical: tuple[float, float]
    normal: tuple[float, float]
    resolution: float
    max_rate_per_s: float
    flat_after_s: float
    aliases: tuple[str, ...] = ()
    formula: Formula | None = None
    is_detected: bool = True
    imputation: Imputation = Imputation()


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of mote, at one version. Channels keep their order for ever: stores rely on names, kernels on places."""

    code: str
    version: int
    label: str
    step_s: float
    interval_s: float
    channels: tuple[Channel, ...]
    battery: Battery | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(channel.code for channel in self.channels)

    @property
    def is_measured(self) -> Bools:
        """Which channels a mote sends itself."""
        return np.array([channel.formula is None for channel in self.channels], dtype=np.bool_)

    @property
    def is_detected(self) -> Bools:
        """Which channels the engine sees."""
        return np.array([channel.is_detected for channel in self.channels], dtype=np.bool_)

    @property
    def silent_after_s(self) -> float:
        """A longer time without a reading is a silence: no line is drawn across it, no change measured over it."""
        return MISSED_INTERVALS * self.interval_s

    @property
    def onset(self) -> float:
        """Surprise from which a reading counts as anomalous: one in a mote's week of steps, at most 1 in 1,000."""
        return max(math.log10(WEEK_S / self.step_s), LEAST_ONSET)

    def bounds(self, which: str) -> tuple[Floats, Floats]:
        """Lows and highs of all channels; which is "physical" or "normal"."""
        pairs = np.array([getattr(channel, which) for channel in self.channels], dtype=np.float64)
        return pairs[:, 0].copy(), pairs[:, 1].copy()


def score(surprise: Floats | float, onset: Floats | float) -> Floats:
    """Surprise on one 0..1 scale: 0.3 at onset, 0.6 at twice the onset, never quite 1.

    >>> score(np.array([0.0, 4.3, 8.6]), 4.3).round(3).tolist()
    [0.0, 0.3, 0.6]
    """
    ratio = np.asarray(surprise, dtype=np.float64) / onset
    above = 1.0 - 0.7 * np.exp(-math.log(1.75) * (ratio - 1.0))
    return np.where(ratio <= 1.0, 0.3 * ratio, above)


def severity(value: float) -> str:
    """The word for a score; the borders are those of the API's anomaly_score at -0.3 and -0.6."""
    if value >= 0.6:
        return "high"
    return "medium" if value >= 0.3 else "low"


def _filled(value: Any, dtype: Any) -> Any:
    return lambda n: np.full(n, value, dtype=dtype)


# Columns that are added on the way, with what they hold before anybody spoke.
ADDED: Mapping[str, Any] = {
    "flags": _filled(0, np.int64),
    "surprise": _filled(np.nan, np.float64),
    "votes": _filled(0, np.int64),
    "is_anomaly": _filled(False, np.bool_),
    "event_id": _filled(0, np.int64),
    "model_version": _filled(0, np.int64),
}
KEYS = ("mote", "at")
ORIGIN = ("partition", "offset", "received_at")


@dataclass(frozen=True, slots=True)
class Batch:
    """One profile's readings as columns, one row a reading, in stream order.

    `mote` is the integer key; instants are UTC microseconds; `values` is (rows, channels) with NaN where nothing
    was measured; `utc_offset_s` is the site's offset at `at`; `model_version` 0 is the pack's fallback.
    """

    profile: Profile
    mote: Ints
    at: Ints
    values: Floats
    utc_offset_s: Ints
    partition: Ints
    offset: Ints
    received_at: Ints
    # None at construction stands for "nobody spoke yet"; __post_init__ fills it.
    flags: Ints = None  # type: ignore[assignment]
    surprise: Floats = None  # type: ignore[assignment]
    votes: Ints = None  # type: ignore[assignment]
    is_anomaly: Bools = None  # type: ignore[assignment]
    event_id: Ints = None  # type: ignore[assignment]
    model_version: Ints = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name, make in ADDED.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, make(len(self.mote)))

    def __len__(self) -> int:
        return len(self.mote)

    def take(self, rows: Any) -> Batch:
        """The rows that a mask, slice or index array names, in its order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def to_table(self) -> pl.DataFrame:
        """As stored: the columns of `stored_schema`."""
        channels = {
            name: pl.Series(name, np.ascontiguousarray(self.values[:, i]), nan_to_null=True)
            for i, name in enumerate(self.profile.names)
        }
        surprise = pl.Series("surprise", self.surprise, nan_to_null=True)
        return pl.DataFrame(
            {
                "mote": self.mote,
                "at": self.at,
                **channels,
                "flags": self.flags,
                "surprise": surprise,
                "votes": self.votes,
                "is_anomaly": self.is_anomaly,
                "event_id": self.event_id,
                "model_version": self.model_version,
                "profile_version": np.full(len(self), self.profile.version, dtype=np.int64),
                "partition": self.partition,
                "offset": self.offset,
                "received_at": self.received_at,
            }
        ).with_columns(pl.col("at", "received_at").cast(INSTANT))


COLUMNS = (*KEYS, "values", "utc_offset_s", *ORIGIN, *ADDED)


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch of several of the same profile version."""
    first = batches[0]
    if len(batches) == 1:
        return first
    columns: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in batches]) for name in COLUMNS}
    return replace(first, **columns)


def stored_schema(profile: Profile) -> dict[str, Any]:
    """Name and type of every stored column, in order; hot store and silver keep the same row."""
    return {
        "mote": pl.Int64,
        "at": INSTANT,
        **dict.fromkeys(profile.names, pl.Float64),
        "flags": pl.Int64,
        "surprise": pl.Float64,
        "votes": pl.Int64,
        "is_anomaly": pl.Boolean,
        "event_id": pl.Int64,
        "model_version": pl.Int64,
        "profile_version": pl.Int64,
        "partition": pl.Int64,
        "offset": pl.Int64,
        "received_at": INSTANT,
    }


def from_table(profile: Profile, table: pl.DataFrame, utc_offset_s: Ints) -> Batch:
    """The batch that `to_table` made, read back."""
    column = {name: table[name].to_numpy() for name in ("flags", "votes", "event_id", "model_version")}
    instants = {name: table[name].cast(pl.Int64).to_numpy() for name in ("at", "received_at")}
    return Batch(
        profile=profile,
        mote=table["mote"].to_numpy(),
        at=instants["at"],
        values=np.ascontiguousarray(
            table.select(pl.col(profile.names).fill_null(float("nan"))).to_numpy().astype(np.float64)
        ).reshape(len(table), len(profile.names)),
        utc_offset_s=utc_offset_s,
        partition=table["partition"].to_numpy(),
        offset=table["offset"].to_numpy(),
        received_at=instants["received_at"],
        surprise=table["surprise"].fill_null(float("nan")).to_numpy(),
        is_anomaly=table["is_anomaly"].to_numpy(),
        **column,
    )


def micros(instant: datetime) -> int:
    """UTC microseconds of an aware instant, exactly."""
    return int(instant.timestamp()) * 1_000_000 + instant.microsecond
