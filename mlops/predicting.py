"""Judging single readings on request: each by itself, by what serves its mote, with what had to be assumed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from msgspec import Struct

from mlops.classifying import SMOKE
from mlops.detection import FittedEngine, Judgement
from mlops.detection.words import counterfactual, quantity, span
from mlops.models import Kind as ModelKind
from mlops.models import ModelVersion
from mlops.registry import production
from mlops.scoped import ScopedEngine
from mlops.serving import Serving
from mlops.smoke import WINDOWS_S
from sensors import registry
from sensors.derived import Before, derive
from sensors.fleet import Fleet, MoteRef, offset_s, there_is_no
from sensors.readings import Batch, Floats, Profile, micros, score, severity
from sensors.stores import StoreUnavailable, hot

MOST_ROWS = 10_000
NO_MOTE = -1  # no mote has this key: a stranger, judged by what is usual for the fleet
HOUR_US = 3_600_000_000
BESIDE = frozenset({"mote_id", "site", "timestamp", "profile"})  # what a row has beside its channels
ASSUMED = ("judged by itself, without the readings before it",)
NO_FLEET = "no mote: compared with what is usual for the whole fleet, and not by the forest"


class NoModel(Exception):
    """Nothing that was learnt serves the profile; says what judges the stream meanwhile."""


class BadRow(Exception):
    """A reading that cannot be judged; the field and what is wrong with it."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


class Refused(Struct, gc=False, frozen=True):
    """A row of a batch that cannot be judged."""

    error: dict[str, str]


class Details(Struct, gc=False, frozen=True):
    words: str
    channel: str | None
    layer: str | None


class Prediction(Struct, gc=False, frozen=True):
    """What is said of a reading, in the words of the API. Kept from the garbage collector: there are 10,000 at once."""

    is_anomaly: bool
    anomaly_score: float
    severity: str
    details: Details
    surprise: float
    contributions: dict[str, float]
    expected: dict[str, list[float]]
    model_version: str
    profile: str
    mote_id: str | None
    timestamp: str
    assumed: tuple[str, ...]


USUAL = Details("As usual", None, None)


class Fire(Struct, gc=False, frozen=True):
    """What the smoke classifier says of a reading."""

    probability: float
    model_version: str
    timestamp: str
    assumed: tuple[str, ...]


class Kind:
    """A profile, with what understanding its readings needs again and again."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.codes = list(profile.names)
        measured = [(c, channel) for c, channel in enumerate(profile.channels) if channel.formula is None]
        aliases = {alias: c for c, channel in measured for alias in channel.aliases}
        self.places = aliases | {channel.code: c for c, channel in measured}
        self.needed = frozenset(c for c, channel in measured if channel.is_detected)
        self.listed = ", ".join(channel.code for _, channel in measured)
        self.is_derived = bool((profile.is_detected & ~profile.is_measured).any())


class Asked(Struct, gc=False, frozen=True):
    """A row, understood."""

    kind: Kind
    mote: MoteRef | None
    at: int
    values: list[float]
    assumed: tuple[str, ...]


@dataclass
class Predictor:
    """One a process. A promotion holds from a second later on, and a second is what a look costs least."""

    serving: Serving = field(default_factory=Serving)
    classifiers: Serving = field(default_factory=lambda: Serving(kind=ModelKind.CLASSIFIER))
    look_s: float = 1.0

    def __post_init__(self) -> None:
        self._fleet: Fleet | None = None
        self._kinds: dict[str, Kind] = {}
        self._looked_at = -math.inf
        self._looking = threading.Lock()

    @property
    def fleet(self) -> Fleet:
        self.look(timezone.now())
        assert self._fleet is not None  # look reads it
        return self._fleet

    def look(self, now: datetime) -> None:
        """Takes up what was promoted or changed since the last look, unless that was a moment ago."""
        with self._looking:
            if time.monotonic() - self._looked_at < self.look_s:
                return
            if self._fleet is None or self._fleet.revision != registry.revision():
                self._fleet = registry.current_fleet()
                self._kinds = {code: Kind(profile) for code, profile in self._fleet.profiles.items()}
            self.serving.refresh(now)
            self.classifiers.refresh(now)
            self._looked_at = time.monotonic()

    def predict(self, row: Any, *, now: datetime, profile: str = "") -> Prediction:
        """What is to be said of one reading; BadRow and NoModel say why nothing can be."""
        fleet, kinds = self.fleet, self._kinds
        asked = understand(row, fleet, kinds, now, profile)
        (told,) = self._tell(asked.kind, [asked], fleet)
        return told

    def predict_many(self, rows: Sequence[Any], *, now: datetime, profile: str = "") -> list[Prediction | Refused]:
        """One answer a row, in their order; a bad row is answered by what is wrong with it."""
        fleet, kinds = self.fleet, self._kinds
        answers: list[Any] = [None] * len(rows)
        good: dict[str, tuple[list[int], list[Asked]]] = {code: ([], []) for code in kinds}
        for place, row in enumerate(rows):
            try:
                asked = understand(row, fleet, kinds, now, profile)
            except BadRow as wrong:
                answers[place] = Refused({"field": wrong.name, "detail": str(wrong)})
            else:
                places, understood = good[asked.kind.profile.code]
                places.append(place)
                understood.append(asked)
        for code, (places, understood) in good.items():
            if understood:
                for place, told in zip(places, self._tell(kinds[code], understood, fleet), strict=True):
                    answers[place] = told
        return answers

    def _tell(self, kind: Kind, asked: Sequence[Asked], fleet: Fleet) -> list[Prediction]:
        engine, versions = self.model(kind.profile)
        batch = _batch(kind, asked, fleet)
        judged = engine.score_stateless(batch.values, batch.mote, batch.at, batch.utc_offset_s)
        own = engine.own if isinstance(engine, ScopedEngine) else {}
        numbers = [own.get(mote, engine).number for mote in batch.mote.tolist()]
        names = [versions[number].name for number in numbers]
        onsets = {one.number: one.onset for one in (engine, *own.values())}
        onset = np.array([onsets[number] for number in numbers])
        return _told(kind, asked, batch.values, judged, names, onset)

    def model(self, profile: Profile) -> tuple[FittedEngine, Mapping[int, ModelVersion]]:
        """What judges the profile, and its versions by number."""
        judges = self.serving.judges_for(profile)
        if judges.engine.number == 0:
            raise NoModel(
                f"{self._why_none(profile)}, so no single reading can be judged. Its stream is judged by the sensors' "
                "physical limits and by each mote's last readings meanwhile (fallback). Train a model: "
                f"manage.py train --profile {profile.code}"
            )
        return judges.engine, {version.number: version for version in judges.versions}

    def classifier(self) -> ModelVersion | None:
        """The version of the smoke classifier that answers here."""
        profile = self.fleet.profiles.get(SMOKE)
        served = self.classifiers.served_for(profile) if profile else None
        return served.version if served else None

    def fire(self, row: Any, *, now: datetime) -> Fire | None:
        """What the smoke classifier says of a reading, with its mote's last minutes where it is named."""
        kind, fleet = self._kinds.get(SMOKE), self.fleet
        served = self.classifiers.served_for(kind.profile) if kind else None
        if kind is None or served is None:
            return None
        asked = understand(row, fleet, self._kinds, now, SMOKE)
        past, assumed = _past(asked, served.engine.features)
        own = np.array([[asked.values[kind.codes.index(name)] for name in served.engine.features]])
        probability, has_past = served.engine.probability(np.concatenate([past, own]))
        words = assumed if has_past else (*assumed, *ASSUMED)
        at = f"{datetime.fromtimestamp(asked.at / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        return Fire(round(probability, 4), served.version.name, at, words)

    def _why_none(self, profile: Profile) -> str:
        version = production(profile.code)
        trouble = self.trouble_with(version) if version else ""
        if version is None or not trouble:
            return f"No model serves profile {profile.code} yet"
        return f"{version.name} is in production and judges nothing ({trouble.rstrip('.')})"

    def trouble_with(self, version: ModelVersion) -> str:
        """Why a version in production judges nothing in this process; empty where it does."""
        self.look(timezone.now())
        return (self.classifiers if version.is_classifier else self.serving).trouble_with(version)


def answers_smoke() -> bool:
    """Whether something that was learnt answers `POST /predict`; where the registry is away, nothing does."""
    try:
        asked = predictor()
        profile = asked.fleet.profiles.get(SMOKE)
        return profile is not None and (asked.classifier() or asked.serving.version_for(profile)) is not None
    except (DatabaseError, InterfaceError):
        return False


@cache
def predictor() -> Predictor:
    return Predictor()


# ---- understanding a row --------------------------------------------------------------------------------------


def understand(row: Any, fleet: Fleet, kinds: Mapping[str, Kind], now: datetime, profile: str = "") -> Asked:
    """The row as a reading of a profile; whatever is missing and can be assumed is said."""
    if type(row) is not dict:
        raise BadRow("", f'A reading is an object such as {{"temperature": 22.5}}; this is {type(row).__name__}.')
    mote = _mote(row, fleet)
    kind = _kind(row, kinds, mote, profile)
    values, missing = _values(row, kind)
    assumed = ASSUMED if mote else (*ASSUMED, NO_FLEET)
    if missing:
        assumed = (*assumed, f"without {', '.join(missing)}")
    if row.get("timestamp") is None:
        at, assumed = micros(now), (*assumed, "measured now")
    else:
        at = _at(row["timestamp"])
    if mote is None and not (profile or row.get("profile")):
        assumed = (*assumed, f"profile {kind.profile.code}, the only one with these channels")
    return Asked(kind, mote, at, values, assumed)


def _mote(row: Mapping[str, Any], fleet: Fleet) -> MoteRef | None:
    code = row.get("mote_id")
    if code is None:
        return None
    site, _, short = str(code).rpartition("/")
    named = row.get("site") or site or None
    if not isinstance(named, str | None):
        raise BadRow("site", f"“{named}” is no site; expected its code.")
    mote = fleet.find(short, named)
    if mote is None:
        raise BadRow("mote_id", f"There is no mote “{code}”; name it by its code, with a site where two have it.")
    return mote


def _kind(row: Mapping[str, Any], kinds: Mapping[str, Kind], mote: MoteRef | None, wanted: str) -> Kind:
    code = row.get("profile") or wanted or (mote.profile if mote else "")
    if code:
        if code not in kinds:
            raise BadRow("profile", there_is_no("profile", code, kinds))
        if mote is not None and mote.profile != code:
            raise BadRow("profile", f"Mote {mote.code} is of profile {mote.profile}, not of {code}.")
        return kinds[code]
    given = row.keys() - BESIDE
    fitting = [one for one in kinds.values() if given and given <= one.places.keys()]
    if len(fitting) != 1:
        told = ", ".join(one.profile.code for one in (fitting or kinds.values())) or "none"
        raise BadRow("profile", f"Say which profile the reading is of; that could be: {told}.")
    return fitting[0]


def _values(row: Mapping[str, Any], kind: Kind) -> tuple[list[float], list[str]]:
    """The values in the profile's order, and the channels that are null."""
    values, given, missing = [math.nan] * len(kind.codes), set(), []
    for name, value in row.items():
        place = kind.places.get(name)
        if place is None:
            if name in BESIDE:
                continue
            raise BadRow(name, f"Profile {kind.profile.code} has no channel “{name}”; it has {kind.listed}.")
        given.add(place)
        if value is None:
            missing.append(kind.codes[place])
        elif type(value) in (float, int) and math.isfinite(value):
            values[place] = float(value)
        else:
            raise BadRow(name, f"{name} is {value!r}; expected a number, or null where nothing was measured.")
    if not given >= kind.needed:
        absent = [kind.codes[c] for c in sorted(kind.needed - given)]
        raise BadRow(absent[0], f"{', '.join(absent)} is missing; send null where nothing was measured.")
    if len(missing) == len(given):
        raise BadRow(missing[0] if missing else "", "All values are null, so there is nothing to judge.")
    return values, missing


def _at(given: Any) -> int:
    try:
        if type(given) in (float, int):
            return micros(datetime.fromtimestamp(given, UTC))
        instant = datetime.fromisoformat(given)
    except (TypeError, ValueError, OverflowError, OSError):
        raise BadRow(
            "timestamp", f"timestamp is {given!r}; expected ISO 8601 such as 2026-03-02T12:00:00Z, or Unix seconds."
        ) from None
    if instant.tzinfo is None:
        raise BadRow("timestamp", f"timestamp {given} has no time zone; add Z for UTC.")
    return micros(instant)


def _past(asked: Asked, features: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """The seconds before it, as far as the longest window reaches, and what had to be done without."""
    nothing = np.empty((0, len(features)))
    if asked.mote is None:
        return nothing, ("no mote: its last minutes are not known",)
    at = datetime.fromtimestamp(asked.at / 1e6, UTC)
    try:
        before = hot().between(asked.kind.profile, [asked.mote.id], at - timedelta(seconds=max(WINDOWS_S)), at)
    except StoreUnavailable as away:
        return nothing, (f"without its last minutes, since the hot store does not answer: {away}",)
    return before.sort("at").select(pl.col(list(features)).cast(pl.Float64)).to_numpy(), ()


# ---- judging and telling --------------------------------------------------------------------------------------


def _batch(kind: Kind, asked: Sequence[Asked], fleet: Fleet) -> Batch:
    at = np.array([one.at for one in asked], dtype=np.int64)
    mote = np.array([one.mote.id if one.mote else NO_MOTE for one in asked], dtype=np.int64)
    nowhere = np.zeros(len(asked), dtype=np.int64)
    batch = Batch(
        profile=kind.profile, mote=mote, at=at, values=np.array([one.values for one in asked], dtype=np.float64),
        utc_offset_s=_offsets(mote, at, fleet), partition=nowhere, offset=nowhere, received_at=at,
    )  # fmt: skip
    if kind.is_derived:
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


def _told(
    kind: Kind, asked: Sequence[Asked], values: Floats, judged: Judgement, versions: Sequence[str], onset: Floats
) -> list[Prediction]:
    codes = kind.codes
    spoken = np.nan_to_num(judged.surprise, nan=0.0)
    scores = np.round(score(spoken, onset), 4).tolist()
    heard = np.maximum(np.nan_to_num(judged.channel_surprise, nan=0.0), 0.0)
    total = heard.sum(axis=1, keepdims=True)
    shares = np.round(np.divide(heard, total, out=np.zeros_like(heard), where=total > 0), 4).tolist()
    bands = np.round(np.stack([judged.expected_low, judged.expected_high], axis=2), 4)
    normal = np.stack([judged.normal_low, judged.normal_high], axis=2)
    is_whole = np.asarray(np.isfinite(bands).all(axis=(1, 2))).tolist()
    pairs = bands.tolist()
    surprise, is_odd = np.round(spoken, 3).tolist(), (spoken >= onset).tolist()
    instants = {at: f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z" for at in {a.at for a in asked}}
    told = []
    for i, one in enumerate(asked):
        band = dict(zip(codes, pairs[i], strict=True))
        if not is_whole[i]:
            band = {code: pair for code, pair in band.items() if pair[0] == pair[0]}
        told.append(
            Prediction(
                is_anomaly=is_odd[i],
                anomaly_score=-scores[i] if scores[i] else 0.0,
                severity=severity(scores[i]),
                details=(
                    _details(kind, values[i], judged.channel[i], judged.layer[i], band, normal[i])
                    if is_odd[i]
                    else USUAL
                ),
                surprise=surprise[i],
                contributions=dict(zip(codes, shares[i], strict=True)),
                expected=band,
                model_version=versions[i],
                profile=kind.profile.code,
                mote_id=one.mote.code if one.mote else None,
                timestamp=instants[one.at],
                assumed=one.assumed,
            )
        )
    return told


def _details(
    kind: Kind, values: Floats, channel: str, layer: str, band: Mapping[str, Sequence[float]], normal: Floats
) -> Details:
    place = kind.codes.index(channel)
    value, told = float(values[place]), kind.profile.channels[place]
    seen = f"{told.label} {quantity(value, told)}"
    if channel not in band:
        words = f"{seen}, outside what its sensor can measure"
    elif band[channel][0] <= value <= band[channel][1]:
        words = "An unusual combination of values"
    else:
        low, high = band[channel]
        words = f"{seen}, expected {span(low, high, told)}"
        again = counterfactual(value, (float(normal[place, 0]), float(normal[place, 1])), told)
        words = f"{words}; {again}" if again else words
    return Details(words, channel, layer)
