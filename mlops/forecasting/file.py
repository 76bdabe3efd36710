"""A file of one's own, continued, or forecast again and again over its last part to see how good that is. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from mlops.detect.reading import Readings, Request, read
from mlops.forecasting import choosing
from mlops.forecasting.fitting import Fitted, Forecaster, Rolled
from mlops.forecasting.intervals import LEAST, NAMES
from mlops.forecasting.measuring import Figures, Measured, seasonal_steps, spread
from mlops.forecasting.panel import CannotForecast, Panel, panel_of
from sensors.readings import INSTANT

AUTO = "auto"
SHARES = (0.6, 0.2)  # of the rows, to learn from and to validate on, where nothing is said


@dataclass(frozen=True, slots=True)
class How:
    """Rows are steps, from the beginning of the file."""

    horizon: int
    model: str = "linear"
    train_rows: int | None = None
    validate_rows: int | None = None
    test_rows: int | None = None
    is_rolling: bool = False
    step_s: float | None = None


@dataclass
class Forecast:
    """What was read and learnt; `fitted` and `models` go by series."""

    path: Path
    how: How
    panel: Panel
    n_train: int
    n_validate: int
    fitted: dict[str, Fitted]
    fit_s: float
    words: tuple[str, ...]
    notes: tuple[str, ...]
    tried: tuple[choosing.Tried, ...] = ()
    figures: dict[str, Figures] = field(default_factory=dict)
    total: Measured = field(default_factory=Measured)

    @property
    def models(self) -> list[str]:
        return sorted({each.name for each in self.fitted.values()})

    def continued(self) -> tuple[pl.DataFrame, dict[str, str]]:
        """How each series goes on after the file, and why some have no forecast."""
        tables, refused = [], {}
        for name, fitted in self.fitted.items():
            table, why = fitted.each(self.panel.only([name]))
            refused.update(why)
            if len(table):
                tables.append(table)
        return (pl.concat(tables) if tables else pl.DataFrame()), refused

    def rolled(self) -> Iterator[pl.DataFrame]:
        """Each series, from every origin of the test part by its past alone; what they missed by is summed up."""
        first, last = self.n_train + self.n_validate, len(self.panel) - self.how.horizon
        for series, name in enumerate(self.panel.names):
            rolled = self.fitted[name].rolled(self.panel, series, first, last)
            scale = spread(self.panel.values[: self.n_train, series])
            naive = seasonal_steps(self.panel, series, self.n_train)
            self.total.add(rolled, scale, naive)
            self.figures[name] = Measured().add(rolled, scale, naive).figures
            yield _table(self.panel, name, rolled)

    @property
    def line(self) -> dict[str, object]:
        """The figures in one object, in units of each series' spread where it was learnt from."""
        figures = self.total.figures
        told = {key: figures[key] for key in ("mse", "mae", "mase", "crps", "coverage80", "coverage95")}
        rounded = {key: None if value is None else round(value, 5) for key, value in told.items()}
        return {"horizon": self.how.horizon, **rounded, "fit_s": round(self.fit_s, 3), "model": ", ".join(self.models)}


def forecast_file(path: Path, ask: Request, how: How) -> Forecast:
    """Raises CannotJudge for what cannot be read, CannotForecast for what cannot be forecast."""
    readings = read(path, ask)
    panel = _panel(readings, how, ask.zone)
    n_train, n_validate, n = _parts(len(panel), how)
    notes = list(readings.notes)
    if n < len(panel):
        notes.append(f"{len(panel) - n:,} steps after the test part were left out")
    panel = panel.head(n)
    results: tuple[choosing.Tried, ...] = ()
    begun = time.perf_counter()
    if how.model == AUTO:
        # Validated on the first half, compared on the second: the test part chooses nothing.
        known = panel.head(n_train + n_validate)
        results = tuple(choosing.tried(known, n_train, n_validate // 2, how.horizon))
        chosen = {name: choosing.best(results, name) for name in panel.names}
        notes += [f"{each.name} was not tried: {each.why}" for each in results if each.why]
    else:
        chosen = dict.fromkeys(panel.names, how.model)
    fits = {
        name: Forecaster(name, how.horizon, n_train, n_validate).fit(panel) for name in dict.fromkeys(chosen.values())
    }
    fit_s = time.perf_counter() - begun
    words = (
        *readings.words,
        f"{len(panel):,} steps of {panel.step / 1e6:g} s: {n_train:,} learnt from, {n_validate:,} to validate on"
        + (f", {len(panel) - n_train - n_validate:,} to test on" if how.is_rolling else ""),
    )
    return Forecast(
        path, how, panel, n_train, n_validate, {name: fits[each] for name, each in chosen.items()}, fit_s, words,
        tuple(notes), results,
    )  # fmt: skip


def _panel(readings: Readings, how: How, zone: str) -> Panel:
    codes, channels = readings.codes, readings.names
    names = [f"{code} {name}".strip() if len(channels) > 1 or not code else code for code in codes for name in channels]
    return panel_of(
        readings.at, readings.values, names, series=readings.series - 1, n_series=len(codes), step_s=how.step_s,
        zone=zone,
    )  # fmt: skip


def _parts(n: int, how: How) -> tuple[int, int, int]:
    """How many steps are learnt from, validated on, and used at all."""
    if not how.is_rolling:
        rest = n - how.train_rows if how.train_rows else max(n // 4, how.horizon + LEAST)
        n_validate = how.validate_rows or max(rest, 1)
        return how.train_rows or max(n - n_validate, 1), n_validate, n
    n_train, n_validate = how.train_rows or int(SHARES[0] * n), how.validate_rows or int(SHARES[1] * n)
    n_test = n - n_train - n_validate if how.test_rows is None else how.test_rows
    used = n_train + n_validate + n_test
    if used > n or n_test < how.horizon:
        raise CannotForecast(
            f"the file has {n:,} steps; {n_train:,} to learn from, {n_validate:,} to validate on and {n_test:,} to "
            f"test do not fit, or the test part is shorter than the horizon of {how.horizon:,}"
        )
    return n_train, n_validate, used


def _table(panel: Panel, name: str, rolled: Rolled) -> pl.DataFrame:
    """The rows of one series; an origin that has no forecast has no rows."""
    there = np.isfinite(rolled.mean).all(axis=1) & np.isfinite(rolled.quantiles).all(axis=(1, 2))
    origins, horizon = rolled.origins[there], rolled.mean.shape[1]
    step = np.tile(np.arange(1, horizon + 1), len(origins))
    # An origin is named by its last row: the last instant of which anything was known.
    origin_at = np.repeat(panel.start + (origins - 1) * panel.step, horizon)
    said = rolled.quantiles[there].reshape(-1, len(NAMES))
    return pl.DataFrame(
        {
            "origin_at": pl.Series(origin_at).cast(INSTANT),
            "at": pl.Series(origin_at + step * panel.step).cast(INSTANT),
            "step": step,
            "series": pl.repeat(name, len(step), eager=True),
            "mean": rolled.mean[there].ravel(),
            **dict(zip(NAMES, said.T, strict=True)),
        }
    )
