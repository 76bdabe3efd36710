"""How good the forecasts of a profile were of late, by model and how far ahead; and whether chances held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Any

from django.db.models import Count, Q, Sum

from mlops.forecasts.issued_models import ForecastDay, ForecastWarning, RiskDay

DAYS, MOST_DAYS = 7, 366


@dataclass(frozen=True, slots=True)
class Stretch:
    """All steps of a channel's forecasts that looked so far ahead; errors are in the channel's unit."""

    channel: str
    version: str
    ahead_h: int
    n: int
    mae: float
    rmse: float
    naive: float  # the error of saying that the last value stays
    pinball: float
    within80: float
    within95: float

    @property
    def skill(self) -> float | None:
        """The share of the naive error that is saved; below 0 it had been better to say that nothing changes."""
        return 1.0 - self.mae / self.naive if self.naive > 0.0 else None


@dataclass(frozen=True, slots=True)
class Tenth:
    """Limits that were said to be passed with about the same chance, and how often they were."""

    start: float
    n: int
    stated: float
    passed: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    profile: str
    days: int
    stretches: Sequence[Stretch]
    reliability: Sequence[Tenth]
    warnings: dict[str, int]  # by outcome


def accuracy(profile: str, days: int, *, now: datetime) -> Accuracy:
    """Of the forecasts that are over, whose last reading is at most so many days old."""
    since = (now - timedelta(days=days)).date()
    recent = Q(profile__code=profile, day__gte=since)
    sums = {name: Sum(name) for name in ("absolute", "squared", "naive", "pinball", "n_within80", "n_within95")}
    rows = ForecastDay.objects.filter(recent, n__gt=0).order_by().values("channel", "version", "ahead_h")
    found = rows.annotate(total=Sum("n"), **{f"sum_{name}": one for name, one in sums.items()})
    tenths = RiskDay.objects.filter(recent).order_by().values("tenth")
    counted = tenths.annotate(total=Sum("n"), sum_stated=Sum("stated"), sum_passed=Sum("n_passed")).order_by("tenth")
    warned = ForecastWarning.objects.filter(mote__profile__code=profile).filter(
        Q(closed_at__date__gte=since) | Q(closed_at=None)
    )  # fmt: skip
    outcomes = warned.order_by().values_list("outcome").annotate(n=Count("id"))
    return Accuracy(
        profile, days, [_stretch(row) for row in found.order_by("channel", "version", "ahead_h")],
        [
            Tenth(row["tenth"] / 10, row["total"], row["sum_stated"] / row["total"], row["sum_passed"] / row["total"])
            for row in counted
        ],
        {str(outcome): 0 for outcome in ForecastWarning.Outcome.values} | dict(outcomes),
    )  # fmt: skip


def _stretch(row: Mapping[str, Any]) -> Stretch:
    n = row["total"]
    return Stretch(
        row["channel"], row["version"], row["ahead_h"], n, row["sum_absolute"] / n, sqrt(row["sum_squared"] / n),
        row["sum_naive"] / n, row["sum_pinball"] / n, row["sum_n_within80"] / n, row["sum_n_within95"] / n,
    )  # fmt: skip
