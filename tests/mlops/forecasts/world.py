"""Two rooms whose temperature and humidity follow the day, in the lake and the hot store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from mlops import training, training_jobs
from mlops.history import History
from mlops.models import Kind, ModelVersion
from sensors.fleet import Fleet, MoteRef
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import Batch, Profile, concat, micros
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON

STEP_S = 300.0
DAYS = 5.0
START = NOON - timedelta(days=DAYS)
SHOWN = {"mase": 0.5, "crps": 0.2, "naive_crps": 0.3, "coverage80": 0.8, "score": 0.9}
FIGURES = {**SHOWN, "n_series": 4, "n_without_mape": 0, "channels": {
    code: {**SHOWN, "models": {"linear": 2}, "not_tried": {}} for code in ("temperature", "humidity")
}}  # fmt: skip


def rooms() -> Profile:
    return builders.profile(
        builders.channel("temperature"),
        builders.channel("humidity", unit="%", physical=(0.0, 100.0), normal=(20.0, 70.0)),
        step_s=STEP_S, interval_s=STEP_S,
    )  # fmt: skip


def measured(random: np.random.Generator, days: float = DAYS) -> np.ndarray:
    n = int(days * 86400 / STEP_S)
    day = 2 * np.pi * np.arange(n) * STEP_S / 86400
    noise = np.cumsum(random.normal(0, [0.02, 0.05], (n, 2)), axis=0)
    return np.column_stack([22 + 2 * np.sin(day), 45 - 5 * np.sin(day)]) + noise - noise.mean(axis=0)


def said_by(motes: Sequence[int]) -> list[Batch]:
    random = np.random.default_rng(7)
    return [
        builders.batch(rooms(), measured(random), mote=mote, start_us=micros(START), step_s=STEP_S) for mote in motes
    ]


def past_of(said: Sequence[Batch], codes: Sequence[str]) -> tuple[History, Fleet]:
    """What motes 1, 2, … said, as a training finds it."""
    motes = tuple(MoteRef(n, code, "main", "lab", "indoor", "UTC", "active") for n, code in enumerate(codes, 1))
    batch = concat(said)
    batch = batch.take(batch.at.argsort(kind="stable"))
    n = len(batch)
    parts = [batch.take(slice(int(n * a), int(n * b))) for a, b in ((0.0, 0.6), (0.6, 0.8), (0.8, 1.0))]
    past = History(*parts, n_found=n, left_out={}, lake_version=0, content_hash="")
    return past, Fleet(1, motes, {"indoor": rooms()}, "main")


def install(motes: tuple[str, ...] = ("7", "8")) -> list[Mote]:
    builders.install_fleet(motes=motes, profile=rooms())
    fleet = list(Mote.objects.order_by("code"))
    fill(fleet)
    return fleet


def fill(fleet: Sequence[Mote]) -> None:
    """What they said, into the lake and the hot store that are configured."""
    table = concat(said_by([mote.pk for mote in fleet])).to_table()
    table = table.with_columns(pl.int_range(len(table), dtype=pl.Int64).alias("offset"))
    lake().append("silver/indoor", table, app_ids={0: "sensor-readings/0"}, next_offsets={0: len(table)})
    hot().write(rooms(), table)


def trained(mote: Mote | None = None, **parameters: object) -> ModelVersion:
    job = training_jobs.request(
        "indoor", trigger="person", who=None, now=NOON, mote=mote, kind=Kind.FORECAST,
        parameters={"promote": "always", "horizon_h": 6.0, **parameters},
    )  # fmt: skip
    assert training_jobs.claim(job, now=NOON)
    return training.train(job, now=NOON).version
