"""Whether a version's probabilities come true: checked at its training on days it has not learnt, kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import log10
from typing import Any

from mlops.detection import FittedEngine, tail_rates
from mlops.models import ModelVersion
from sensors.fleet import there_is_no
from sensors.models import Profile
from sensors.readings import Batch
from sensors.registry import profiles

KEPT, SELDOM, OFTEN, UNSURE = "kept", "too seldom", "too often", "too few readings to say"
LEAST_RATIO, MOST_RATIO = 0.5, 2.0
REACH = 10.0  # of the drawing: ratios from a tenth to ten
SHOWN = ("0.001", "0.0001")


class UnknownProfile(ValueError):
    """There is no profile of that code."""


class NotChecked(Exception):
    """No version of the profile has been checked."""


def checked(fitted: FittedEngine, clean: Batch) -> FittedEngine:
    """The model with what its tails did on readings that it has not learnt."""
    if len(clean) == 0:
        return fitted
    first, last = (
        datetime.fromtimestamp(int(at) // 1_000_000, UTC).isoformat() for at in (clean.at.min(), clean.at.max())
    )
    check = {
        "readings": len(clean), "first_at": first, "last_at": last,
        "rates": [rate.to_json() for rate in tail_rates(fitted, clean)],
    }  # fmt: skip
    return replace(fitted, calibration={**fitted.calibration, "check": check})


def verdict(rate: Mapping[str, Any]) -> str:
    """What the observed share says of the asked one: off only if the whole interval is."""
    low, high = rate["low"] / rate["asked"], rate["high"] / rate["asked"]
    if low > MOST_RATIO:
        return OFTEN
    if high < LEAST_RATIO:
        return SELDOM
    return KEPT if LEAST_RATIO <= rate["ratio"] <= MOST_RATIO else UNSURE


def newest_checked(code: str) -> ModelVersion:
    """What serves the profile if it was checked, else the newest version that was."""
    if not Profile.objects.filter(code=code).exists():
        raise UnknownProfile(there_is_no("profile", code, profiles()))
    versions = ModelVersion.objects.select_related("profile").filter(profile__code=code, mote=None)
    of_all = [version for version in versions.order_by("-number") if "check" in version.calibration]
    if not of_all:
        raise NotChecked(f"No model of profile {code} has been checked yet; the next training does it.")
    return next((one for one in of_all if one.stage == ModelVersion.Stage.PRODUCTION), of_all[0])


@dataclass(frozen=True, slots=True)
class Mark:
    """One probability of a layer, in the table and as a whisker in a drawing 200 wide."""

    asked: float
    n: int
    n_beyond: int
    ratio: float
    verdict: str
    x: float
    low_x: float
    high_x: float

    @property
    def one_in(self) -> int:
        return round(1 / self.asked)

    @property
    def expected(self) -> float:
        return self.n * self.asked


@dataclass(frozen=True, slots=True)
class Row:
    """A layer's channel, or everything together."""

    layer: str
    channel: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A version's check, as the Insights page shows it."""

    version: ModelVersion
    readings: int
    first_at: datetime
    last_at: datetime
    rows: list[Row]

    @property
    def n_off(self) -> int:
        return sum(mark.verdict in (SELDOM, OFTEN) for row in self.rows for mark in row.marks)


def context() -> dict[str, Any]:
    """What `insights/_calibration.html` shows: a card for each profile with a version that was checked."""
    cards = []
    for code in Profile.objects.order_by("code").values_list("code", flat=True):
        try:
            cards.append(_card(newest_checked(code)))
        except NotChecked:
            continue
    return {"calibrations": cards}


def _card(version: ModelVersion) -> Card:
    check = version.calibration["check"]
    labels = _labels(version)
    rows: dict[tuple[str, str], list[Mark]] = {}
    for rate in sorted(check["rates"], key=lambda rate: (rate["layer"] != "combined", -rate["asked"])):
        if str(rate["asked"]) in SHOWN:
            rows.setdefault((rate["layer"], labels.get(rate["channel"], rate["channel"])), []).append(_mark(rate))
    return Card(
        version, check["readings"], datetime.fromisoformat(check["first_at"]),
        datetime.fromisoformat(check["last_at"]),
        [Row(layer, channel, tuple(marks)) for (layer, channel), marks in rows.items()],
    )  # fmt: skip


def _labels(version: ModelVersion) -> dict[str, str]:
    kept = version.profile.versions.filter(number=version.profile_version).first()
    return dict(kept.channels.values_list("code", "label")) if kept else {}


def _mark(rate: Mapping[str, Any]) -> Mark:
    places = [_place(rate[part] / rate["asked"]) for part in ("observed", "low", "high")]
    return Mark(rate["asked"], rate["n"], rate["n_beyond"], rate["ratio"], verdict(rate), *places)


def _place(ratio: float) -> float:
    """On a scale of ratios, from a tenth at 0 to ten at 200."""
    within = min(max(ratio, 1 / REACH), REACH)
    return round(100.0 * (1.0 + log10(within)), 1)
