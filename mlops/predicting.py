"""Judging single readings on request: each by itself, by what serves its mote, with what had to be assumed."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from django.conf import settings

from mlops.detection import FittedEngine, Judgement
from mlops.models import ModelVersion
from mlops.scoped import ScopedEngine
from mlops.serving import Serving
from sensors import registry
from sensors.derived import Before, derive
from sensors.fleet import Fleet, MoteRef, offset_s
from sensors.readings import Batch, Profile, micros, score, severity

MOST_ROWS = 10_000
NO_MOTE = -1  # no mote has this key: a stranger, judged by what is usual for the fleet
HOUR_US = 3_600_000_000
BESIDE = frozenset({"mote_id", "site", "timestamp", "profile"})  # what a row has beside its channels
BY_ITSELF = "judged by itself, without the readings before it"


class NoModel(Exception):
    """Nothing that was learnt serves the profile; says what judges the stream meanwhile."""


class BadRow(Exception):
    """A reading that cannot be judged; the field and what is wrong with it."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


@dataclass(frozen=True, slots=True)
class Asked:
    """A row, understood."""

    profile: Profile
    mote: MoteRef | None
    at: int
    values: list[float]
    assumed: tuple[str, ...]


@dataclass
class Predictor:
    """One a process. A promotion holds from the next request on."""

    serving: Serving = field(default_factory=Serving)
    fleet_of: Callable[[], Fleet] = registry.current_fleet
    revision_of: Callable[[], int] = registry.revision

    def __post_init__(self) -> None:
        self._fleet: Fleet | None = None
        self._reading = threading.Lock()

    @property
    def fleet(self) -> Fleet:
        with self._reading:
            if self._fleet is None or self._fleet.revision != self.revision_of():
                self._fleet = self.fleet_of()
            return self._fleet

    def predict(self, row: Any, *, now: datetime, profile: str = "") -> dict[str, Any]:
        """What is to be said of one reading; BadRow and NoModel say why nothing can be."""
        fleet = self.fleet
        asked = understand(row, fleet, now, profile)
        self.serving.refresh(now)
        (told,) = self._tell(asked.profile, [asked], fleet)
        return told

    def predict_many(self, rows: Sequence[Any], *, now: datetime, profile: str = "") -> list[dict[str, Any]]:
        """One answer a row, in their order; a bad row is answered by what is wrong with it."""
        fleet = self.fleet
        answers: list[dict[str, Any]] = []
        good: dict[Profile, list[tuple[int, Asked]]] = {}
        for place, row in enumerate(rows):
            try:
                asked = understand(row, fleet, now, profile)
            except BadRow as wrong:
                answers.append({"error": {"field": wrong.name, "detail": str(wrong)}})
            else:
                answers.append({})
                good.setdefault(asked.profile, []).append((place, asked))
        self.serving.refresh(now)
        for kind, placed in good.items():
            told = self._tell(kind, [asked for _, asked in placed], fleet)
            for (place, _), answer in zip(placed, told, strict=True):
                answers[place] = answer
        return answers

    def _tell(self, profile: Profile, asked: Sequence[Asked], fleet: Fleet) -> list[dict[str, Any]]:
        engine, versions = self.model(profile)
        batch = _batch(profile, asked, fleet)
        judged = engine.score_stateless(batch.values, batch.mote, batch.at, batch.utc_offset_s)
        own = engine.own if isinstance(engine, ScopedEngine) else {}
        names = {number: version.name for number, version in versions.items()}
        numbers = [own[mote].number if mote in own else engine.number for mote in batch.mote.tolist()]
        return _told(profile, asked, judged, [names[number] for number in numbers])

    def model(self, profile: Profile) -> tuple[FittedEngine, Mapping[int, ModelVersion]]:
        """What judges the profile, and its versions by number."""
        judges = self.serving.judges_for(profile)
        if judges.engine.number == 0:
            raise NoModel(
                f"No model serves profile {profile.code} yet, so no single reading can be judged. Its stream is judged "
                "by the sensors' physical limits and by each mote's last readings meanwhile (fallback). Train a model: "
                f"manage.py train --profile {profile.code}"
            )
        return judges.engine, {version.number: version for version in judges.versions}


@cache
def predictor() -> Predictor:
    return Predictor()


# ---- understanding a row --------------------------------------------------------------------------------------


def understand(row: Any, fleet: Fleet, now: datetime, profile: str = "") -> Asked:
    """The row as a reading of a profile; whatever is missing and can be assumed is said."""
    if not isinstance(row, Mapping):
        raise BadRow("", f'A reading is an object such as {{"temperature": 22.5}}; this is {type(row).__name__}.')
    assumed = []
    mote = _mote(row, fleet)
    kind = _profile(row, fleet, mote, profile)
    names = _names(kind)
    values, missing = _values(row, kind, names)
    if mote is None:
        assumed.append("no mote: compared with what is usual for the whole fleet, and not by the forest")
    if missing:
        assumed.append(f"without {', '.join(missing)}")
    if row.get("timestamp") is None:
        at = micros(now)
        assumed.append("measured now")
    else:
        at = _at(row["timestamp"])
    if not (row.get("profile") or profile or mote):
        assumed.append(f"profile {kind.code}, the only one with these channels")
    return Asked(kind, mote, at, values, (*assumed, BY_ITSELF))


def _mote(row: Mapping[str, Any], fleet: Fleet) -> MoteRef | None:
    code = row.get("mote_id")
    if code is None:
        return None
    site, _, short = str(code).rpartition("/")
    mote = fleet.find(short, row.get("site") or site or None)
    if mote is None:
        raise BadRow("mote_id", f"There is no mote “{code}”; name it by its code, with a site where two have it.")
    return mote


def _profile(row: Mapping[str, Any], fleet: Fleet, mote: MoteRef | None, wanted: str) -> Profile:
    code = row.get("profile") or wanted or (mote.profile if mote else "")
    if code:
        if code not in fleet.profiles:
            raise BadRow("profile", f"There is no profile “{code}”; there are: {', '.join(fleet.profiles) or 'none'}.")
        if mote is not None and mote.profile != code:
            raise BadRow("profile", f"Mote {mote.code} is of profile {mote.profile}, not of {code}.")
        return fleet.profiles[code]
    given = row.keys() - BESIDE
    fitting = [one for one in fleet.profiles.values() if given and given <= _names(one).keys()]
    if len(fitting) != 1:
        told = ", ".join(one.code for one in (fitting or fleet.profiles.values())) or "none"
        raise BadRow("profile", f"Say which profile the reading is of; that could be: {told}.")
    return fitting[0]


@cache
def _names(profile: Profile) -> dict[str, int]:
    """The place of each channel, by every name that it goes under."""
    places = [(c, channel) for c, channel in enumerate(profile.channels) if channel.formula is None]
    aliases = {alias: c for c, channel in places for alias in channel.aliases}
    return aliases | {channel.code: c for c, channel in places}


def _values(row: Mapping[str, Any], profile: Profile, names: Mapping[str, int]) -> tuple[list[float], list[str]]:
    values, given = [math.nan] * len(profile.channels), set()
    for name, value in row.items():
        if name in BESIDE:
            continue
        place = names.get(name)
        if place is None:
            raise BadRow(str(name), f"Profile {profile.code} has no channel “{name}”; it has {_listed(profile)}.")
        given.add(place)
        if value is not None:
            values[place] = _number(name, value)
    absent = [
        one for c, one in enumerate(profile.channels) if one.formula is None and one.is_detected and c not in given
    ]
    if absent:
        codes = ", ".join(one.code for one in absent)
        raise BadRow(absent[0].code, f"{codes} is missing; send null where nothing was measured.")
    missing = [profile.channels[c].code for c in sorted(given) if math.isnan(values[c])]
    if len(missing) == len(given):
        raise BadRow(missing[0], "All values are null, so there is nothing to judge.")
    return values, missing


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(str(name), f"{name} is {value!r}; expected a number, or null where nothing was measured.")
    return float(value)


def _listed(profile: Profile) -> str:
    return ", ".join(one.code for one in profile.channels if one.formula is None)


def _at(given: Any) -> int:
    try:
        if isinstance(given, int | float) and not isinstance(given, bool):
            return micros(datetime.fromtimestamp(given, UTC))
        instant = datetime.fromisoformat(given)
    except (TypeError, ValueError, OverflowError, OSError):
        raise BadRow(
            "timestamp", f"timestamp is {given!r}; expected ISO 8601 such as 2026-03-02T12:00:00Z, or Unix seconds."
        ) from None
    if instant.tzinfo is None:
        raise BadRow("timestamp", f"timestamp {given} has no time zone; add Z for UTC.")
    return micros(instant)


# ---- judging and telling --------------------------------------------------------------------------------------


def _batch(profile: Profile, asked: Sequence[Asked], fleet: Fleet) -> Batch:
    at = np.array([one.at for one in asked], dtype=np.int64)
    mote = np.array([one.mote.id if one.mote else NO_MOTE for one in asked], dtype=np.int64)
    nowhere = np.zeros(len(asked), dtype=np.int64)
    batch = Batch(
        profile=profile, mote=mote, at=at, values=np.array([one.values for one in asked], dtype=np.float64),
        utc_offset_s=_offsets(mote, at, fleet), partition=nowhere, offset=nowhere, received_at=at,
    )  # fmt: skip
    if (profile.is_detected & ~profile.is_measured).any():
        alone = replace(batch, mote=np.arange(len(asked)))  # readings of one request are no sequence
        batch = replace(batch, values=derive(alone, Before()).values)
    return batch


def _offsets(mote: Any, at: Any, fleet: Fleet) -> Any:
    is_known = mote != NO_MOTE
    offsets = np.zeros(len(mote), dtype=np.int64)
    offsets[is_known] = fleet.utc_offsets(mote[is_known], at[is_known])
    hours, place = np.unique(at[~is_known] // HOUR_US, return_inverse=True)
    zone = settings.SIEIS_TIME_ZONE
    offsets[~is_known] = np.array([offset_s(zone, hour) for hour in hours.tolist()], dtype=np.int64)[place]
    return offsets


def _told(profile: Profile, asked: Sequence[Asked], judged: Judgement, versions: Sequence[str]) -> list[dict[str, Any]]:
    names, onset = profile.names, profile.onset
    spoken = np.nan_to_num(judged.surprise, nan=0.0)
    scores = np.round(score(spoken, onset), 4).tolist()
    heard = np.maximum(np.nan_to_num(judged.channel_surprise, nan=0.0), 0.0)
    total = heard.sum(axis=1, keepdims=True)
    shares = np.round(np.divide(heard, total, out=np.zeros_like(heard), where=total > 0), 4).tolist()
    low, high = _rounded(judged.expected_low), _rounded(judged.expected_high)
    surprise, is_odd = np.round(spoken, 3).tolist(), (spoken >= onset).tolist()
    answers = []
    for i, one in enumerate(asked):
        band = {name: [low[i][c], high[i][c]] for c, name in enumerate(names) if low[i][c] is not None}
        channel, is_one_odd = judged.channel[i], is_odd[i]
        answers.append({
            "is_anomaly": is_one_odd,
            "anomaly_score": -scores[i] if scores[i] else 0.0,
            "severity": severity(scores[i]),
            "details": {
                "words": _words(profile, one, channel, band, is_one_odd),
                "channel": channel if is_one_odd else None,
                "layer": judged.layer[i] if is_one_odd else None,
            },
            "surprise": surprise[i],
            "contributions": dict(zip(names, shares[i], strict=True)),
            "expected": band,
            "model_version": versions[i],
            "profile": profile.code,
            "mote_id": one.mote.code if one.mote else None,
            "timestamp": f"{datetime.fromtimestamp(one.at / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "assumed": one.assumed,
        })  # fmt: skip
    return answers


def _rounded(table: Any) -> list[list[float | None]]:
    rows = np.round(table, 4).tolist()
    return [[None if value != value else value for value in row] for row in rows]


def _words(
    profile: Profile, asked: Asked, channel: str, band: Mapping[str, Sequence[float | None]], is_odd: bool
) -> str:
    if not is_odd:
        return "As usual"
    place = profile.names.index(channel)
    value, told = asked.values[place], profile.channels[place]
    unit = f" {told.unit}" if told.unit else ""
    if channel not in band:
        return f"{told.label} {value:g}{unit}, outside what its sensor can measure"
    low, high = band[channel]
    if low is not None and high is not None and low <= value <= high:
        return "An unusual combination of values"
    return f"{told.label} {value:g}{unit}, expected {low:g}–{high:g}{unit}"
