"""How fast the API says how a mote goes on, beside a view that answers nothing.

    python -m bench.forecast_serving [--asked 1000] [--motes 42]

Simulated motes with ten days of 5-minute readings, a version of forecasts learnt from them, and a web process on
embedded parts. One kept connection asks for a day ahead of a channel of each mote in turn, while all motes go on
reporting every second. The yardstick, in turn with it, is `GET /health`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import UTC, datetime
from itertools import cycle, islice, product
from typing import Any

import numpy as np

from bench._place import embedded_django
from bench.serving import EMPTY, Asker, Server, session_of_viewer

DAYS, STEP_S = 10, 300.0
REPORTS_S = 1.0
ASKED = "/api/v1/motes/{}/forecast?channel={}&horizon=24h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--asked", type=int, default=1000)
    parser.add_argument("--motes", type=int, default=42)
    options = parser.parse_args()
    with embedded_django():
        now = datetime.now(UTC)
        fleet = Motes(now, options.motes)
        learn(now)
        with Server() as port:
            figures = measure(port, session_of_viewer(now), fleet, options.asked)
    print(json.dumps(figures))


class Motes:
    """Each mote's channels follow the day, with a wandering level."""

    def __init__(self, now: datetime, n_motes: int) -> None:
        import polars as pl

        from sensors import registry
        from sensors.installation import install_pack
        from sensors.lake import lake
        from sensors.packs import read_pack
        from sensors.stores import hot

        pack = read_pack("indoor").with_motes(n_motes)
        install_pack(pack, site_code="main", time_zone="UTC", who=None, now=now)
        registry.touch_fleet()
        self.fleet = registry.current_fleet()
        self.profile = self.fleet.profiles["indoor"]
        self._random, rows = np.random.default_rng(1), round(DAYS * 86_400 / STEP_S)
        day = np.sin(2.0 * np.pi * np.arange(rows) * STEP_S / 86_400)[:, None, None]
        level = np.array([sum(one.normal) / 2.0 for one in self.profile.channels])
        size = np.array([(one.normal[1] - one.normal[0]) / 10.0 for one in self.profile.channels])
        wander = np.cumsum(self._random.standard_normal((rows, n_motes, len(size))), axis=0)
        values = level + size * (day + 0.01 * wander)
        self._last = values[-1]
        at = round(now.timestamp() * 1e6) - round(STEP_S * 1e6) * np.arange(rows, 0, -1)
        table = self._table(values.reshape(-1, len(size)), np.repeat(at, n_motes))
        table = table.with_columns(pl.int_range(len(table), dtype=pl.Int64).alias("offset"))
        lake().append("silver/indoor", table, app_ids={0: "sensor-readings/0"}, next_offsets={0: len(table)})
        hot().write(self.profile, table)

    @property
    def codes(self) -> list[str]:
        return [mote.code for mote in self.fleet.motes]

    def report(self) -> None:
        """One reading of each mote, now."""
        from sensors.stores import hot

        noise = 0.001 * np.abs(self._last) * self._random.standard_normal(self._last.shape)
        hot().write(self.profile, self._table(self._last + noise, np.full(len(self._last), time.time_ns() // 1000)))

    def _table(self, values: Any, at: Any) -> Any:
        from sensors.readings import Batch

        n = len(at)
        mote = np.tile([mote.id for mote in self.fleet.motes], n // len(self._last))
        none = np.zeros(n, dtype=np.int64)
        return Batch(self.profile, mote, at, values, none, none, none, at).to_table()


def learn(now: datetime) -> None:
    """By the job that the Training page starts."""
    from mlops import training, training_jobs
    from mlops.models import Kind

    job = training_jobs.request(
        "indoor", trigger="person", who=None, now=now, kind=Kind.FORECAST, parameters={"promote": "always"}
    )
    training_jobs.claim(job, now=now)
    told = training.train(job, now=now)
    if told.version is None:
        raise SystemExit(f"no version was learnt: {told}")


def measure(port: int, cookie: str, motes: Motes, n_asked: int) -> dict[str, Any]:
    ask = Asker(port, cookie)
    channels = [one.code for one in motes.profile.channels if one.formula is None]
    paths = [ASKED.format(code, channel) for channel, code in product(channels, motes.codes)]
    for path in paths[:: len(motes.codes)]:
        ask("GET", path, None)
    empty, forecast, reported_at = [], [], 0.0
    for path in islice(cycle(paths), n_asked):
        if time.monotonic() - reported_at > REPORTS_S:
            motes.report()
            reported_at = time.monotonic()
        empty.append(ask("GET", EMPTY, None))
        forecast.append(ask("GET", path, None))
    told = {"empty": empty, "forecast": forecast}
    return {
        f"{name}_{part}_ms": round(float(np.quantile(took, q)) * 1000, 2)
        for name, took in told.items()
        for part, q in (("p50", 0.5), ("p99", 0.99))
    } | {"cores_in_use": round(os.getloadavg()[0], 2)}


if __name__ == "__main__":
    main()
