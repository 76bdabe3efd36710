"""The deed: learn from a file's beginning, judge all of it in the order of time, say what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alerts.events import EventChange
from mlops.detect import residual
from mlops.detect.learning import FILE, learn, profile_of, training_part
from mlops.detect.reading import ENGINE, CannotJudge, Readings, Request, read
from mlops.detect.residual import Heard
from mlops.detection import FittedEngine, words
from mlops.detection.words import quantity, span
from sensors import quality
from sensors.readings import INSTANT, Batch, Bools, Floats, Ints, Profile, score, severity
from sensors.tables.progress import Tell

CHUNK = 20_000
LONG_GAP_STEPS = 20


@dataclass(frozen=True)
class Found:
    """An event of one series, in words; rows count from 1 at the file's first row below its header."""

    id: int
    series: str
    change: EventChange
    score: float
    severity: str
    words: str
    first_row: int
    last_row: int
    is_training: bool


@dataclass(frozen=True)
class Judged:
    """A judged file. Arrays have one row a judgeable reading, in order of time; `scored` has the file's own rows."""

    path: Path
    readings: Readings
    profile: Profile
    is_training: Bools
    surprise: Floats
    score: Floats
    is_anomaly: Bools
    event: Ints  # number of the event, 0 where there is none
    contribution: Floats  # (rows, channels), together 1
    events: tuple[Found, ...]
    notes: tuple[str, ...]
    detector: str = ENGINE

    @property
    def words(self) -> tuple[str, ...]:
        at = self.readings.at[self.is_training]
        learnt = f"learnt from {int(self.is_training.sum()):,} rows"
        span = f" up to {instant(int(at.max()))}" if len(at) else ""
        by = f"; judged by {self.detector}" if self.detector != ENGINE else ""
        return (*self.readings.words, f"{learnt}{span}; a step is {self.profile.step_s:g} s{by}")

    def scored(self) -> pl.DataFrame:
        """The file's rows in their own order, with what was said of each; null where a row could not be judged."""
        table, place = self.readings.table, self.readings.row
        said: dict[str, Any] = {
            "surprise": self.surprise.round(4),
            "score": self.score.round(4),
            "is_anomaly": self.is_anomaly,
            "severity": severities(self.score),
            "event_id": pl.Series(self.event, dtype=pl.Int64).replace(0, None),
        }
        shares = self.contribution.round(4)
        said |= {f"{name}_contribution": shares[:, c] for c, name in enumerate(self.readings.names)}
        named = {name if name not in table.columns else f"{name}_judged": column for name, column in said.items()}
        judged = pl.DataFrame(named).with_columns(pl.col(pl.Float64).fill_nan(None))
        whole = pl.DataFrame({"row": place}).hstack(judged)
        rows = pl.DataFrame({"row": np.arange(len(table), dtype=np.int64)})
        return table.hstack(rows.join(whole, on="row", how="left", maintain_order="left").drop("row"))

    def told(self) -> dict[str, Any]:
        """Events and what they rest on, as one JSON object."""
        return {
            "file": self.path.name,
            "words": list(self.words),
            "notes": list(self.notes),
            "rows": len(self.readings.table),
            "judged": len(self.readings),
            "training_rows": int(self.is_training.sum()),
            "step_s": self.profile.step_s,
            "onset_surprise": round(self.profile.onset, 4),
            "channels": list(self.readings.names),
            "series": len(self.readings.codes),
            "events": [_told(found) for found in self.events],
        }


def judge_file(path: Path, ask: Request, tell: Tell | None = None) -> Judged:
    """Raises CannotJudge."""
    if trouble := residual.why_not(ask.detector):  # before a large file is read
        raise CannotJudge(trouble)
    readings = read(path, ask)
    if tell:
        tell("read", len(readings.table), len(readings.table))
    is_training = training_part(readings, ask)
    profile = ask.profile or profile_of(readings, is_training)
    silent, (surprise, is_anomaly, event, by_channel, changes) = _heard(
        _batch(readings, profile), is_training, ask, tell
    )
    of_file = [profile.names.index(name) for name in readings.names]
    heard = np.maximum(np.nan_to_num(by_channel[:, of_file]), 0.0)
    total = heard.sum(axis=1, keepdims=True)
    scores = score(surprise, profile.onset)
    notes = (*readings.notes, *_remarks(readings, profile, is_training, silent))
    events, numbers = _found(readings, profile, is_training, changes, event)
    return Judged(
        path=path, readings=readings, profile=profile, is_training=is_training, surprise=surprise, score=scores,
        is_anomaly=is_anomaly, event=numbers, notes=notes, events=events, detector=ask.detector,
        contribution=np.divide(heard, total, out=np.zeros_like(heard), where=total > 0),
    )  # fmt: skip


def _batch(readings: Readings, profile: Profile) -> Batch:
    n = len(readings)
    values = np.full((n, len(profile.channels)), np.nan)
    values[:, [profile.names.index(name) for name in readings.names]] = readings.values
    zeros = np.zeros(n, dtype=np.int64)
    return Batch(
        profile=profile, mote=readings.series, at=readings.at, values=values, utc_offset_s=zeros, partition=zeros,
        offset=np.arange(n), received_at=readings.at,
    )  # fmt: skip


def _heard(batch: Batch, is_training: Bools, ask: Request, tell: Tell | None) -> tuple[Sequence[str], Heard]:
    """The layers that have too little history to speak, and what the detector says of each reading."""
    if ask.detector != ENGINE:
        return (), residual.judge(batch, is_training, ask.detector)
    engine, silent = learn(batch.take(is_training), is_pack=ask.profile is not None, without=ask.without)
    if tell:
        tell("learnt from", int(is_training.sum()), int(is_training.sum()))
    return silent, _judge(engine, batch, tell)


def _judge(engine: FittedEngine, batch: Batch, tell: Tell | None) -> Heard:
    state, parts = engine.start(), []
    changes: dict[tuple[int, int], EventChange] = {}
    for begin, rows in _chunks(batch):
        out, said = engine.judge(
            state, rows.mote, rows.at, rows.at // 1_000_000, rows.values, rows.flags & quality.LATE != 0, rows.flags
        )
        changes |= {(change.mote, change.noticed_at): change for change in said}
        parts.append((out.surprise, out.is_anomaly, out.event_id, out.by_channel))
        if tell:
            tell("judged", begin + len(rows), len(batch))
    surprise, is_anomaly, event, by_channel = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Heard(surprise, is_anomaly, event, by_channel, changes)


def _chunks(batch: Batch) -> Iterator[tuple[int, Batch]]:
    for begin in range(0, len(batch), CHUNK):
        yield begin, batch.take(slice(begin, begin + CHUNK))


def _found(
    readings: Readings,
    profile: Profile,
    is_training: Bools,
    changes: Mapping[tuple[int, int], EventChange],
    event: Ints,
) -> tuple[tuple[Found, ...], Ints]:
    """Events numbered in the order in which they were noticed, and the number of each row's."""
    ordered = sorted(changes.values(), key=lambda change: (change.noticed_at, change.mote))
    numbers = {(change.mote, change.noticed_at): k for k, change in enumerate(ordered, 1)}
    keys = zip(readings.series.tolist(), event.tolist(), strict=True)
    of_row = np.array([numbers[key] if key[1] else 0 for key in keys], dtype=np.int64)
    found = []
    places = {mote: np.flatnonzero(readings.series == mote) for mote in {change.mote for change in ordered}}
    at_of = {mote: readings.at[own] for mote, own in places.items()}
    for k, change in enumerate(ordered, 1):
        own, at = places[change.mote], at_of[change.mote]
        first, last = np.searchsorted(at, change.started_at), np.searchsorted(at, change.last_at)
        value = float(score(change.peak_surprise, profile.onset))
        found.append(
            Found(
                k,
                readings.codes[change.mote - 1],
                change,
                value,
                severity(value),
                _words(change, profile),
                int(readings.row[own[first]]) + 1,
                int(readings.row[own[last]]) + 1,
                bool(is_training[own[first]]),
            )
        )
    return tuple(found), of_row


def _words(change: EventChange, profile: Profile) -> str:
    if change.layer != "gate" or profile.code != FILE:
        return words(change, profile)
    # What a sensor can measure is not known of a file: its range is as wide again as what was learnt from.
    channel = profile.channels[profile.names.index(change.peak_channel)]
    learnt = span(*channel.physical, channel)
    return f"{channel.label} {quantity(change.peak_value, channel)}, far beyond all that was learnt from ({learnt})"


def _remarks(readings: Readings, profile: Profile, is_training: Bools, silent: Any) -> Iterator[str]:
    """What the data are like, as far as it bears on the judgement."""
    for c, name in enumerate(readings.names):
        values = readings.values[is_training, c]
        values = values[np.isfinite(values)]
        if not len(values) and is_training.any():
            yield f"“{name}” has no value in the training part and is not judged"
        elif len(values) and values.min() == values.max():
            yield f"“{name}” is constant in the training part ({values[0]:g}): any change is news once"
    order = np.lexsort((readings.at, readings.series))
    apart = np.diff(readings.at[order])[np.diff(readings.series[order]) == 0]
    gaps = apart[apart > LONG_GAP_STEPS * profile.step_s * 1e6]
    if len(gaps):
        yield f"{len(gaps):,} gaps of more than {LONG_GAP_STEPS} steps, the longest {gaps.max() / 3.6e9:.1f} h"
    new = set(np.unique(readings.series).tolist()) - set(np.unique(readings.series[is_training]).tolist())
    if new and is_training.any():
        yield f"{len(new):,} series first appear after the training part: judged by the norm of the others at first"
    if silent:
        yield (
            f"the training part is short ({int(is_training.sum()):,} rows): judged by what goes on learning only; "
            f"{', '.join(sorted(silent))} need more"
        )


def severities(scores: Floats) -> pl.Series:
    """The word for each score; null where there is none."""
    table = pl.DataFrame({"score": scores}).select(pl.col("score").fill_nan(None))
    low, middle, high = (severity(value) for value in (0.0, 0.3, 0.6))
    word = pl.when(pl.col("score") >= 0.6).then(pl.lit(high)).when(pl.col("score") >= 0.3).then(pl.lit(middle))
    return table.select(word.when(pl.col("score").is_not_null()).then(pl.lit(low)).alias("severity")).to_series()


def instant(at: int) -> str:
    """As people read it: without fractions where there are none.

    >>> instant(1_772_452_800_000_000)
    '2026-03-02 12:00:00'
    """
    return str(pl.Series([at]).cast(INSTANT).dt.strftime("%Y-%m-%d %H:%M:%S%.f").item()).removesuffix(".0")


def _told(found: Found) -> dict[str, Any]:
    change = found.change
    low, high = change.expected
    return {
        "id": found.id, "series": found.series, "severity": found.severity, "score": round(found.score, 4),
        "words": found.words, "layer": change.layer, "is_training": found.is_training, "adopted": list(change.adopted),
        "started_at": _iso(change.started_at), "noticed_at": _iso(change.noticed_at), "last_at": _iso(change.last_at),
        "ended_at": None if change.ended_at is None else _iso(change.ended_at),
        "first_row": found.first_row, "last_row": found.last_row, "n_readings": change.n_readings,
        "peak": {
            "at": _iso(change.peak_at), "channel": change.peak_channel, "value": change.peak_value,
            "expected_low": _number(low), "expected_high": _number(high), "surprise": round(change.peak_surprise, 4),
        },
        "contributions": {name: round(share, 4) for name, share in change.contributions.items()},
    }  # fmt: skip


def _iso(at: int) -> str:
    return instant(at).replace(" ", "T") + "Z"


def _number(value: float) -> float | None:
    """JSON has no infinity."""
    return value if np.isfinite(value) else None
