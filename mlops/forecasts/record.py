"""The record of forecasts: what was issued is kept, in the lake for good and at hand for a while, and scored later.

Keeping the same forecast again changes nothing: a mote's channel has one a last reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Window
from django.db.models.functions import RowNumber

from mlops.forecasting.intervals import LEVELS
from mlops.forecasts.issued_models import COLUMNS, ForecastDay, ForecastWarning, IssuedForecast, RiskDay
from mlops.forecasts.risks import limit_of
from sensors import corrections, quality
from sensors.fleet import Fleet
from sensors.lake import Lake
from sensors.models import Profile as ProfileRow
from sensors.readings import INSTANT, Floats, Ints, Profile, micros
from sensors.stores import HotStore

TABLE, APP = "forecasts", "forecasts"
AT_ONCE = 500  # forecasts read at once
LATE = timedelta(minutes=5)  # readings of the last step may take so long to arrive
AHEAD_H = (1, 3, 6, 12, 24, 48, 96, 168, 336, 720, 10_000)
JUDGED, LEAST = 50, 20  # warnings that a record looks back on, and fewer that say nothing
TENTHS = 10
ENOUGH = 0.5  # of the steps measured, to say that a limit was not passed
Key = tuple[int, str, datetime]


@dataclass(frozen=True)
class Said:
    """A forecast as it is kept: `values` is (mean and five quantiles, steps); instants and step are microseconds."""

    mote: int
    channel: str
    version: str
    origin_at: int
    step: int
    values: Floats
    risks: Sequence[Mapping[str, Any]] = ()


# ---- keeping ------------------------------------------------------------------------------------------------


@transaction.atomic
def keep(said: Sequence[Said], *, now: datetime) -> list[IssuedForecast]:
    """Keeps at hand those that were not kept yet; answers them. `to_lake` brings them on."""
    newest = IssuedForecast.objects.aggregate(at=Max("issued_at"))["at"]
    # A clock that was set back shall keep nothing out of the lake, which is told until when it has all.
    issued_at = now if newest is None else max(now, newest + timedelta(microseconds=1))
    fresh = _unkept([_row(one, issued_at) for one in said])
    return IssuedForecast.objects.bulk_create(fresh)


def _row(one: Said, issued_at: datetime) -> IssuedForecast:
    ends_at = (one.origin_at // one.step + one.values.shape[1] + 1) * one.step  # steps are those of the panel's grid
    return IssuedForecast(
        mote_id=one.mote, channel=one.channel, version=one.version, issued_at=issued_at,
        origin_at=_instant(one.origin_at), ends_at=_instant(ends_at), step_s=one.step / 1e6,
        values=np.ascontiguousarray(one.values, dtype="<f4").tobytes(), risks=list(one.risks),
    )  # fmt: skip


def _unkept(rows: Sequence[IssuedForecast]) -> list[IssuedForecast]:
    origins = {row.origin_at for row in rows}
    known: set[Key] = set(
        IssuedForecast.objects.filter(origin_at__in=origins).values_list("mote", "channel", "origin_at")
    )
    found = {_key(row): row for row in rows if _key(row) not in known}
    return list(found.values())


def _key(row: IssuedForecast) -> Key:
    return row.mote_id, row.channel, row.origin_at


def to_lake(lake: Lake) -> int:
    """Brings what the lake lacks there; answers how many forecasts that were. What is there comes no second time."""
    waits = lake.recorded(TABLE, APP) or 0
    n = 0
    missing = IssuedForecast.objects.filter(issued_at__gte=_instant(waits)).order_by("issued_at", "pk")
    for issued_at, group in groupby(missing.iterator(chunk_size=AT_ONCE), key=lambda row: row.issued_at):
        # One commit an hour's forecasts: the lake remembers up to which instant it has them all.
        rows = list(group)
        lake.append(TABLE, _columns(rows), app_ids={0: APP}, next_offsets={0: micros(issued_at) + 1})
        n += len(rows)
    return n


def _columns(rows: Sequence[IssuedForecast]) -> pl.DataFrame:
    """A row a step."""
    steps = [row.rows.shape[1] for row in rows]
    values = np.concatenate([row.rows for row in rows], axis=1)
    step = np.concatenate([np.arange(1, n + 1) for n in steps])
    origin = np.repeat([micros(row.origin_at) for row in rows], steps)
    length = np.repeat([round(row.step_s * 1e6) for row in rows], steps)
    issued = np.repeat([micros(row.issued_at) for row in rows], steps)
    return pl.DataFrame(
        {
            "issued_at": pl.Series(issued).cast(INSTANT),
            "origin_at": pl.Series(origin).cast(INSTANT),
            "mote": np.repeat([row.mote_id for row in rows], steps),
            "channel": [row.channel for row, n in zip(rows, steps, strict=True) for _ in range(n)],
            "step": step,
            "at": pl.Series(origin + step * length).cast(INSTANT),
            **dict(zip(COLUMNS, values, strict=True)),
            "model_version": [row.version for row, n in zip(rows, steps, strict=True) for _ in range(n)],
            "partition": np.zeros(len(step), dtype=np.int64),
            "offset": issued,
        }
    )


def forget_old() -> int:
    """Leaves the last ones of each mote and channel at hand; those that wait to be scored stay, too."""
    rank = Window(RowNumber(), partition_by=[F("mote"), F("channel")], order_by=F("origin_at").desc())
    old = IssuedForecast.objects.annotate(rank=rank).filter(rank__gt=settings.SIEIS_FORECASTS_KEPT)
    keys = list(old.values_list("pk", flat=True))
    return IssuedForecast.objects.filter(pk__in=keys).exclude(scored_at=None).delete()[0] if keys else 0


# ---- scoring ------------------------------------------------------------------------------------------------


def score(now: datetime, *, store: HotStore, fleet: Fleet) -> int:
    """Compares each forecast whose time has passed with what came; answers how many. StoreUnavailable."""
    due = IssuedForecast.objects.filter(scored_at=None, ends_at__lte=now - LATE).select_related("mote__profile")
    n = 0
    for (code, _), group in groupby(due.order_by("mote__profile", "ends_at").iterator(AT_ONCE), key=_together):
        rows = list(group)
        if code in fleet.profiles:
            n += _score(rows, fleet.profiles[code], store, now)
    forget_old()
    return n


def _together(row: IssuedForecast) -> tuple[str, date]:
    return row.mote.profile.code, row.ends_at.astimezone(UTC).date()


def _score(rows: Sequence[IssuedForecast], profile: Profile, store: HotStore, now: datetime) -> int:
    start, end = min(row.origin_at - row.step for row in rows), max(row.ends_at + row.step for row in rows)
    came = came_between(profile, sorted({row.mote_id for row in rows}), start, end, store)
    days: dict[tuple[Any, ...], Floats] = defaultdict(lambda: np.zeros(7))
    risks: dict[tuple[Any, ...], Floats] = defaultdict(lambda: np.zeros(3))
    for row in rows:
        last, outcome = came.outcome(row)
        row.scored_at, row.figures = now, figures(row.rows, outcome)
        row.risks = [{**one, "passed": passed(one, outcome)} for one in row.risks]
        day = row.origin_at.astimezone(UTC).date()
        for ahead, sums in _sums(row, last, outcome):
            days[row.channel, row.version, day, ahead] += sums
        for one in row.risks:
            if one["passed"] is not None and not one["is_beyond"]:
                tenth = min(int(one["probability"] * TENTHS), TENTHS - 1)
                risks[day, tenth] += (1, one["probability"], one["passed"])
    with transaction.atomic():
        IssuedForecast.objects.bulk_update(rows, ["scored_at", "figures", "risks"])
        _add(rows[0].mote.profile, days, risks)
    return len(rows)


@dataclass(frozen=True)
class Came:
    """Clean readings of some motes, of each its instants and its values (readings, channels), NaN where flagged."""

    profile: Profile
    readings: Mapping[int, tuple[Ints, Floats]]

    def outcome(self, row: IssuedForecast) -> tuple[float, Floats]:
        """The value that was known last, and the mean of each step; NaN where nothing was measured."""
        means = self.means(row.mote_id, row.channel, row.origin_at, row.step_s, row.rows.shape[1])
        return float(means[0]), means[1:]

    def means(self, mote: int, channel: str, origin_at: datetime, step_s: float, n: int) -> Floats:
        """Of the origin's own step, as far as it was known, and of the n that follow: whole steps since 1970."""
        if channel not in self.profile.names:
            return np.full(n + 1, np.nan)
        at, values = self.readings[mote]
        column, origin, step = values[:, self.profile.names.index(channel)], micros(origin_at), round(step_s * 1e6)
        place = at // step - origin // step
        there = np.isfinite(column) & ((place > 0) & (place <= n) | (place == 0) & (at <= origin))
        total = np.bincount(place[there], column[there], minlength=n + 1)
        count = np.bincount(place[there], minlength=n + 1)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / count)


def came_between(profile: Profile, motes: Sequence[int], start: datetime, end: datetime, store: HotStore) -> Came:
    table = corrections.between(store, profile, motes, start, end).sort("mote", "at")
    values = table.select(pl.col(profile.names).fill_null(float("nan"))).to_numpy().astype(np.float64)
    values[quality.suspects(table["flags"].to_numpy(), len(profile.names))] = np.nan
    mote, at = table["mote"].to_numpy(), table["at"].cast(pl.Int64).to_numpy()
    return Came(profile, {key: (at[mote == key], values[mote == key]) for key in motes})


def figures(said: Floats, outcome: Floats) -> dict[str, Any]:
    """Errors in the channel's unit; without a step that was measured only their number, 0."""
    there = np.isfinite(outcome)
    n = int(there.sum())
    if not n:
        return {"n": 0}
    mean, q025, q10, _, q90, q975 = said[:, there]
    came = outcome[there]
    return {
        "n": n, "mae": float(np.abs(came - mean).mean()), "rmse": float(np.sqrt(((came - mean) ** 2).mean())),
        "pinball": float(_pinball(said[1:, there], came).mean()),
        "within80": float(((came >= q10) & (came <= q90)).mean()),
        "within95": float(((came >= q025) & (came <= q975)).mean()),
    }  # fmt: skip


def _pinball(quantiles: Floats, came: Floats) -> Floats:
    """Mean over the five levels, doubled, by step: near the CRPS, as far as five quantiles say it."""
    miss = came - quantiles
    return 2.0 * np.maximum(LEVELS[:, None] * miss, (LEVELS[:, None] - 1.0) * miss).mean(axis=0)


def passed(risk: Mapping[str, Any], outcome: Floats) -> bool | None:
    """Whether the limit was passed; None where too little was measured to say that it was not."""
    there = outcome[np.isfinite(outcome)]
    if limit_of(risk["limit"], risk["value"], risk["is_upper"]).is_passed(there).any():
        return True
    return False if len(there) >= ENOUGH * len(outcome) else None


def _sums(row: IssuedForecast, last: float, outcome: Floats) -> Iterable[tuple[int, Floats]]:
    """For each stretch ahead: n, absolute, squared, naive, pinball, within 80, within 95."""
    hours = (np.arange(len(outcome)) + 1) * row.step_s / 3600
    stretch = np.searchsorted(AHEAD_H, hours - 1e-9)
    for one in np.unique(stretch).tolist():
        here = (stretch == one) & np.isfinite(outcome) & np.isfinite(last)
        if not here.any():
            continue
        came, told = outcome[here], row.rows[:, here]
        miss, (_, q025, q10, _, q90, q975) = came - told[0], told
        yield AHEAD_H[one], np.array([
            len(came), np.abs(miss).sum(), (miss**2).sum(), np.abs(came - last).sum(), _pinball(told[1:], came).sum(),
            ((came >= q10) & (came <= q90)).sum(), ((came >= q025) & (came <= q975)).sum(),
        ])  # fmt: skip


def _add(profile: ProfileRow, days: Mapping[tuple[Any, ...], Floats], risks: Mapping[tuple[Any, ...], Floats]) -> None:
    for (channel, version, day, ahead), sums in days.items():
        row, _ = ForecastDay.objects.get_or_create(
            profile=profile, channel=channel, version=version, day=day, ahead_h=ahead
        )
        names = ("n", "absolute", "squared", "naive", "pinball", "n_within80", "n_within95")
        _raise(row, names, sums)
    for (day, tenth), sums in risks.items():
        _raise(
            RiskDay.objects.get_or_create(profile=profile, day=day, tenth=tenth)[0], ("n", "stated", "n_passed"), sums
        )


def _raise(row: ForecastDay | RiskDay, names: Sequence[str], sums: Floats) -> None:
    more = {name: int(one) if name.startswith("n") and name != "naive" else one for name, one in
            zip(names, sums.tolist(), strict=True)}  # fmt: skip
    type(row).objects.filter(pk=row.pk).update(**{name: F(name) + one for name, one in more.items()})


# ---- telling ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """How a mote's channel was foretold so far: its last warnings, and its forecasts at hand that are over."""

    n_warnings: int = 0
    n_came_true: int = 0
    n_forecasts: int = 0
    mae: float | None = None
    within80: float | None = None
    within95: float | None = None

    @property
    def words(self) -> str:
        """
        >>> TrackRecord(50, 41).words
        '41 of the last 50 came true'
        >>> TrackRecord(3, 2).words
        'too few to judge (3 of 20)'
        """
        if self.n_warnings < LEAST:
            return f"too few to judge ({self.n_warnings} of {LEAST})"
        return f"{self.n_came_true} of the last {self.n_warnings} came true"

    def spoken(self) -> dict[str, Any]:
        """As JSON."""
        names = ("n_warnings", "n_came_true", "n_forecasts", "mae", "within80", "within95")
        return {"words": self.words, **{name: getattr(self, name) for name in names}}


def track_record(mote: int, channel: str) -> TrackRecord:
    return track_records([(mote, channel)])[mote, channel]


def track_records(keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], TrackRecord]:
    """Of many at once: a few queries, however many they are."""
    motes = {mote for mote, _ in keys}
    closed = ForecastWarning.objects.filter(mote__in=motes).exclude(outcome=ForecastWarning.Outcome.STANDING)
    warned: dict[tuple[int, str], list[str]] = defaultdict(list)
    for mote, channel, outcome in closed.order_by("-closed_at", "-pk").values_list("mote", "channel", "outcome"):
        if len(warned[mote, channel]) < JUDGED:
            warned[mote, channel].append(outcome)
    scored: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    rows = IssuedForecast.objects.filter(mote__in=motes).exclude(scored_at=None)
    for mote, channel, told in rows.values_list("mote", "channel", "figures"):
        if told.get("n"):
            scored[mote, channel].append(told)
    return {key: _record(warned[key], scored[key]) for key in keys}


def _record(outcomes: Sequence[str], told: Sequence[Mapping[str, Any]]) -> TrackRecord:
    mae, within80, within95 = (
        float(np.mean([one[name] for one in told])) if told else None for name in ("mae", "within80", "within95")
    )
    n_true = sum(one == ForecastWarning.Outcome.CAME_TRUE for one in outcomes)
    return TrackRecord(len(outcomes), n_true, len(told), mae, within80, within95)


def _instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
