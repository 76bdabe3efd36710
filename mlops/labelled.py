"""What a classifier of smoke learns from: a detector's readings of a second each, and the labels that tell of smoke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from mlops import classifying, smoke
from mlops.classifying import FittedClassifier, Profiled
from mlops.history import NoData, TooLittleData
from mlops.models import Label
from mlops.smoke import Figures, Recording
from sensors.lake import Lake, NoSuchTable
from sensors.models import Mote
from sensors.readings import Profile

SMOULDERING, FIRE, TOLD = "smouldering", "fire", "smoke"
KINDS = (SMOULDERING, FIRE, TOLD)  # labels that mean smoke
GAP_S = 5.0  # a longer silence ends a recording
LEAST_S = 600  # a shorter recording says nothing
MOST_READINGS = 600_000
SIMULATOR = "simulator"

Tell = Callable[[float, str], None]


def learn(
    profile: Profile, start: datetime, end: datetime, *, seed: int, lake: Lake, tell: Tell
) -> tuple[FittedClassifier, dict[str, Any], dict[str, Any]]:
    """The classifier, what it learnt from, and how it does on detectors that it has not met."""
    tell(0.05, "Reading the labels")
    labels = list(
        Label.objects.filter(mote__profile__code=profile.code, kind__in=KINDS, starts_at__lt=end, ends_at__gt=start)
    )
    if not labels:
        raise TooLittleData(
            f"No label tells of smoke at profile {profile.code} from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} "
            f"UTC; a classifier needs stretches labelled {', '.join(KINDS)} (the simulator tells them beside readings)."
        )
    features = [one.code for one in profile.channels if one.is_detected and one.formula is None]
    readings, version = _readings(profile, features, start, end, lake)
    tell(0.3, f"{len(readings):,} readings loaded")
    recordings = _recordings(readings, features, labels)
    try:
        tell(0.4, f"Judging {len(recordings)} recordings by what learns from other detectors")
        held, alone = classifying.hold_out(recordings, seed=seed)
        tell(0.8, f"Fitting {sum(map(len, recordings)):,} readings")
        with_past, by_itself = classifying.fit(recordings, seed=seed)
    except ValueError as wrong:
        raise TooLittleData(f"Nothing can be told apart yet: {wrong}.") from wrong
    told = Counter(label.source for label in labels)
    fitted = FittedClassifier(
        Profiled(profile.code, profile.version), tuple(features), {"seed": seed, "trees": smoke.N_TREES},
        with_past, by_itself,
    )  # fmt: skip
    return fitted, _card(readings, recordings, told, version), _metrics(held, alone, set(told) == {SIMULATOR})


def _readings(
    profile: Profile, features: list[str], start: datetime, end: datetime, lake: Lake
) -> tuple[pl.DataFrame, int]:
    table = f"silver/{profile.code}"
    try:
        version = lake.version(table)
    except NoSuchTable as error:
        raise NoData(f"No reading of profile {profile.code} has ever reached the lake.") from error
    within = (pl.col("date") >= start.date()) & (pl.col("date") <= end.date()) & pl.col("at").is_between(start, end)
    newest = lake.scan(table, version).filter(within).select("mote", "at", *features).sort("at").tail(MOST_READINGS)
    readings = newest.collect().unique(["mote", "at"], keep="first").sort("mote", "at")
    if readings.is_empty():
        raise NoData(f"The lake has no readings of {profile.code} from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}.")
    return readings, version


def _recordings(readings: pl.DataFrame, features: list[str], labels: list[Label]) -> list[Recording]:
    """Cut by detector and where it was silent; a copy belongs to the detector that it was copied from."""
    cut, motes = [], dict(Mote.objects.in_bulk(readings["mote"].unique().to_list()))
    for (mote,), own in readings.partition_by("mote", as_dict=True).items():
        seconds = own["at"].cast(pl.Int64).to_numpy() / 1e6
        truth = np.zeros(len(own), dtype=np.bool_)
        for label in labels:
            if label.mote_id == mote:
                truth |= (seconds >= label.starts_at.timestamp()) & (seconds < label.ends_at.timestamp())
        values = own.select(pl.col(features).cast(pl.Float64)).to_numpy()
        borders = [0, *(np.flatnonzero(np.diff(seconds) > GAP_S) + 1).tolist(), len(own)]
        for n, (begin, stop) in enumerate(pairwise(borders)):
            if stop - begin >= LEAST_S:
                cut.append(Recording(f"{motes[mote]} {n + 1}", values[begin:stop], truth[begin:stop]))
    root = {one.name: one.family.rpartition(" ")[0] for one in smoke.in_families(cut)}
    return [replace(one, family=root[one.name]) for one in cut]


def _card(readings: pl.DataFrame, recordings: list[Recording], told: Counter[str], version: int) -> dict[str, Any]:
    return {
        "readings_used": sum(map(len, recordings)), "readings_found": len(readings),
        "n_motes": readings["mote"].n_unique(), "lake_version": version, "told_by": dict(told),
        "first_at": readings["at"].min().isoformat(), "last_at": readings["at"].max().isoformat(),  # type: ignore[union-attr]
    }  # fmt: skip


def _metrics(held: Figures, alone: Figures, is_simulated: bool) -> dict[str, Any]:
    figures = asdict(held)
    delays = figures.pop("delays_s")
    return {
        **figures,
        "split": "by detector: each was judged by what had learnt from the others",
        "found_share": held.n_found / held.n_alarms if held.n_alarms else None,
        "median_delay_s": float(np.median(delays)) if delays else None,
        "warning": held.warning,
        "is_simulated": is_simulated,
        "alone": {name: getattr(alone, name) for name in ("accuracy", "precision", "recall")},
    }
