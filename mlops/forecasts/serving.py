"""Asking for forecasts: of any motes and channels, by the versions that serve them, from what they measured last."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

import polars as pl
from django.conf import settings
from django.core.signals import setting_changed
from django.utils import timezone

from mlops.forecasting import CannotForecast, Fitted, Panel
from mlops.forecasting.fitting import Record
from mlops.forecasting.intervals import NAMES
from mlops.forecasting.panel import NEVER
from mlops.forecasting.risk import Paths, paths_of
from mlops.forecasts.learnt import FittedForecasts, series_name
from mlops.forecasts.recent import Recent, name_of
from mlops.models import KIND_FLAGS, Kind
from mlops.registry import production
from mlops.serving import Served, Serving
from sensors import registry
from sensors.fleet import Fleet, MoteRef
from sensors.lake import lake
from sensors.readings import Channel, Floats, Profile, micros
from sensors.stores import hot

LOOK_S = 1.0  # a promotion is noticed within


@dataclass(frozen=True)
class Forecast:
    """How a channel of a mote goes on after its last reading. `quantiles` is (steps, levels), levels as NAMES."""

    mote: MoteRef
    channel: Channel
    step_s: float
    last_reading_at: datetime
    issued_at: datetime
    at: tuple[datetime, ...]
    mean: Floats
    quantiles: Floats
    model_version: str
    member: str
    is_stale: bool
    _fitted: Fitted = field(repr=False)
    _record: Record = field(repr=False)

    @property
    def name(self) -> str:
        return name_of(self.mote)

    @property
    def unit(self) -> str:
        return self.channel.unit

    @property
    def age_s(self) -> float:
        """Of the last reading, when the forecast was made."""
        return (self.issued_at - self.last_reading_at).total_seconds()

    @property
    def memory(self) -> Panel:
        """What the version remembers of all its motes."""
        return self._fitted.memory

    @property
    def measured(self) -> Panel:
        """What the mote measured, up to now."""
        return self._record.panel

    @cached_property
    def ways(self) -> Paths:
        """Equally likely ways on, for risks: up to as many steps as were asked for. Raises CannotForecast."""
        return paths_of(self._fitted, self._record).upto(len(self.at))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a channel of a mote has no forecast, and what would change it."""

    mote: MoteRef
    channel: str
    reason: str

    @property
    def name(self) -> str:
        return name_of(self.mote)


def forecasts_of(
    motes: Sequence[MoteRef],
    channels: Collection[str] = (),
    horizon: timedelta | None = None,
    *,
    now: datetime | None = None,
    member: str = "",
) -> list[Forecast | Refusal]:
    """One answer for each mote and channel (all that its version knows, where none are named), in that order.

    All are made by the versions that served when it was asked; `horizon` None is as far as a version looks. Raises
    StoreUnavailable where the recent readings cannot be asked for.
    """
    return list(foreteller().forecasts_of(motes, channels, horizon, now=now or timezone.now(), member=member))


class Foreteller:
    """One a process."""

    def __init__(self, serving: Serving | None = None) -> None:
        self.serving = serving or Serving(kind=Kind.FORECAST)
        self._fleet: Fleet | None = None
        self._looked_at = -math.inf
        self._recent: dict[tuple[Profile, float, int], Recent] = {}
        self._looking = threading.Lock()

    def look(self, now: datetime) -> Fleet:
        """Takes up what was promoted or changed since the last look, unless that was a moment ago."""
        with self._looking:
            if self._fleet is None or time.monotonic() - self._looked_at > LOOK_S:
                if self._fleet is None or self._fleet.revision != registry.revision():
                    self._fleet = registry.current_fleet()
                self.serving.refresh(now)
                self._looked_at = time.monotonic()
            return self._fleet

    def forecasts_of(
        self, motes: Sequence[MoteRef], channels: Collection[str], horizon: timedelta | None, *, now: datetime,
        member: str = "",
    ) -> Iterator[Forecast | Refusal]:  # fmt: skip
        fleet = self.look(now)
        # Fixed before the first answer: a version promoted meanwhile forecasts the next run.
        served = {mote.id: self.version_for(mote, fleet) for mote in motes}
        for mote in motes:
            version = served[mote.id]
            if version is None:
                yield Refusal(mote, ", ".join(channels), self._why_none(mote))
                continue
            for channel in channels or version.engine.features:
                yield self._forecast(mote, channel, version, horizon, fleet, now, member)

    def version_for(self, mote: MoteRef, fleet: Fleet) -> Served | None:
        """The mote's own version, else its profile's."""
        profile = fleet.profiles[mote.profile]
        own = [one for one in self.serving.own(profile) if one.version.mote_id == mote.id]
        return own[0] if own else self.serving.served_for(profile)

    def _why_none(self, mote: MoteRef) -> str:
        wanted = production(mote.profile, kind=Kind.FORECAST)
        trouble = f": {self.serving.trouble_with(wanted) or 'it is being loaded'}" if wanted else " yet"
        return (
            f"No forecast version serves profile {mote.profile}{trouble}; train one: "
            f"manage.py train --profile {mote.profile}{KIND_FLAGS[Kind.FORECAST]}"
        )

    def _forecast(
        self, mote: MoteRef, channel: str, served: Served, horizon: timedelta | None, fleet: Fleet, now: datetime,
        member: str,
    ) -> Forecast | Refusal:  # fmt: skip
        learnt: FittedForecasts = served.engine
        profile = fleet.profiles[mote.profile]
        try:
            fitted = learnt.fitted_for(name_of(mote), channel, member)
            recent = self._recent_of(mote, channel, profile, learnt, fleet, fitted)
            steps = n_steps(horizon, learnt)
            panel = fitted.looking_at(recent)
            last_at = panel.last_at[0]
            _refuse_stale(int(last_at), now)
            record = fitted.record(panel, 0, int(panel.ends()[0]))
            table = fitted.said(record, steps)
        except CannotForecast as why:
            return Refusal(mote, channel, f"{name_of(mote)}, {channel}: {why}")
        (known,) = [one for one in profile.channels if one.code == channel]
        age_s = (micros(now) - int(last_at)) / 1e6
        return Forecast(
            mote=mote, channel=known, step_s=learnt.step_s, last_reading_at=table["origin_at"][0], issued_at=now,
            at=tuple(table["at"]), mean=table["mean"].to_numpy(), quantiles=table.select(NAMES).to_numpy(),
            model_version=served.version.name, member=fitted.name,
            is_stale=age_s > max(profile.silent_after_s, learnt.step_s), _fitted=fitted, _record=record,
        )  # fmt: skip

    def _recent_of(
        self, mote: MoteRef, channel: str, profile: Profile, learnt: FittedForecasts, fleet: Fleet, fitted: Fitted
    ) -> Panel:
        key = profile, learnt.step_s, learnt.needs
        if key not in self._recent:
            self._recent[key] = Recent(profile, learnt.step_s, learnt.needs, lake=lake(), store=hot())
        name = series_name(name_of(mote), channel)
        panel = self._recent[key].panel(channel, fleet)
        return fitted.memory.only([name]) if panel is None or name not in panel.names else panel.only([name])


def n_steps(horizon: timedelta | None, learnt: FittedForecasts) -> int:
    """A horizon in steps of the version; what is too far, the version refuses."""
    if horizon is None:
        return learnt.horizon
    if horizon <= timedelta(0):
        raise CannotForecast(f"a horizon of {horizon} was asked for; expected one after the last reading, such as 24h")
    return math.ceil(horizon.total_seconds() / learnt.step_s)


def _refuse_stale(last_at: int, now: datetime) -> None:
    limit = timedelta(hours=settings.SIEIS_FORECAST_STALE_HOURS)
    if last_at == NEVER:
        raise CannotForecast("nothing was measured: every value is missing or flagged")
    measured_at = datetime.fromtimestamp(last_at / 1e6, UTC)
    if now - measured_at > limit:
        raise CannotForecast(
            f"the last reading is of {measured_at:%Y-%m-%d %H:%M} UTC, {(now - measured_at) / timedelta(hours=1):,.0f} "
            f"hours ago; a forecast is made up to {limit / timedelta(hours=1):g} hours after the last reading "
            "(SIEIS_FORECAST_STALE_HOURS). See why the mote is silent"
        )


def table_of(forecast: Forecast) -> pl.DataFrame:
    """Its steps as a table: at, mean and the quantiles."""
    return pl.DataFrame(
        {"at": list(forecast.at), "mean": forecast.mean, **dict(zip(NAMES, forecast.quantiles.T, strict=True))}
    )


_foreteller: Foreteller | None = None


def foreteller() -> Foreteller:
    """Of the configured stores, built at first use."""
    global _foreteller
    if _foreteller is None:
        _foreteller = Foreteller()
    return _foreteller


def _forget(*, setting: str, **kwargs: object) -> None:
    global _foreteller
    if setting in ("SIEIS_HOT_STORE", "SIEIS_LAKE"):
        _foreteller = None


setting_changed.connect(_forget)
