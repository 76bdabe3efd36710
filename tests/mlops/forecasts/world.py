"""Two rooms whose temperature and humidity follow the day, in the lake and the hot store."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from mlops import training
from mlops.models import Kind, ModelVersion
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import Profile, concat, micros
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON

STEP_S = 300.0
DAYS = 5.0
START = NOON - timedelta(days=DAYS)


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


def install(motes: tuple[str, ...] = ("7", "8")) -> list[Mote]:
    profile, random = rooms(), np.random.default_rng(7)
    builders.install_fleet(motes=motes, profile=profile)
    fleet = list(Mote.objects.order_by("code"))
    said = [
        builders.batch(profile, measured(random), mote=mote.pk, start_us=micros(START), step_s=STEP_S) for mote in fleet
    ]
    table = concat(said).to_table()
    table = table.with_columns(pl.int_range(len(table), dtype=pl.Int64).alias("offset"))
    lake().append("silver/indoor", table, app_ids={0: "sensor-readings/0"}, next_offsets={0: len(table)})
    hot().write(profile, table)
    return fleet


def trained(mote: Mote | None = None, **parameters: object) -> ModelVersion:
    job = training.request(
        "indoor", trigger="person", who=None, now=NOON, mote=mote, kind=Kind.FORECAST,
        parameters={"promote": "always", "horizon_h": 6.0, **parameters},
    )  # fmt: skip
    assert training.claim(job, now=NOON)
    return training.train(job, now=NOON).version
