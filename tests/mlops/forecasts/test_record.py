"""What was forecast is kept once, scored once its time has passed, and told as a record."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from mlops.forecasts import record
from mlops.models import ForecastDay, ForecastWarning, IssuedForecast, RiskDay
from sensors.lake import lake
from sensors.models import Mote
from sensors.registry import current_fleet
from sensors.stores import hot
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.mlops.forecasts.issued import STEP, measured, risk, said

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def mote() -> Mote:
    install_fleet()
    return Mote.objects.get()


def keep(said, *, now):
    kept = record.keep(said, now=now)
    record.to_lake(lake())
    return kept


def score(now):
    return record.score(now, store=hot(), fleet=current_fleet())


def test_a_forecast_told_twice_is_kept_once_at_hand_and_in_the_lake(mote):
    first = said(NOON, np.full(12, 21.0))

    assert len(keep([first, first], now=NOON)) == 1
    assert keep([first], now=NOON + HOUR) == []
    keep([said(NOON + HOUR, np.full(12, 22.0))], now=NOON + HOUR)

    table = lake().scan("forecasts").sort("origin_at", "step").collect()
    assert len(table) == 24
    first_row = table.select("origin_at", "at", "step", "mean", "q90", "channel", "model_version").row(0)
    assert first_row == (NOON, NOON + STEP, 1, 21.0, 22.0, "temperature", "forecast-indoor-v1")
    assert table["mean"].to_list() == [21.0] * 12 + [22.0] * 12


def test_what_did_not_reach_the_lake_gets_there_with_the_next_forecast(mote):
    keep([said(NOON, np.full(3, 21.0))], now=NOON)
    record.keep([said(NOON + STEP, np.full(3, 21.0))], now=NOON + STEP)  # and the lake is away

    keep([said(NOON + HOUR, np.full(3, 21.0))], now=NOON + HOUR)
    record.to_lake(lake())

    kept = lake().scan("forecasts").select("origin_at").collect()["origin_at"].value_counts()
    assert sorted(kept.rows()) == [(NOON, 3), (NOON + STEP, 3), (NOON + HOUR, 3)]


def test_a_clock_that_was_set_back_keeps_no_forecast_out_of_the_lake(mote):
    keep([said(NOON + HOUR, np.full(3, 21.0))], now=NOON + HOUR)

    keep([said(NOON, np.full(3, 21.0))], now=NOON)

    assert lake().scan("forecasts").select(pl.col("origin_at").n_unique()).collect().item() == 2


def test_a_forecast_is_scored_by_what_came_when_its_time_has_passed(mote):
    measured(NOON, [20.0, *np.linspace(20.0, 24.0, 12)])
    told = said(NOON, np.full(12, 21.0), spread=1.0, risks=[risk(23.5, 0.3), risk(28.0, 0.1)])
    keep([told], now=NOON)

    assert score(NOON + timedelta(minutes=69)) == 0
    assert score(NOON + timedelta(minutes=70)) == 1
    assert score(NOON + 2 * HOUR) == 0

    kept = IssuedForecast.objects.get()
    came = np.linspace(20.0, 24.0, 12)
    assert kept.figures["n"] == 12
    assert kept.figures["mae"] == pytest.approx(np.abs(came - 21.0).mean())
    assert kept.figures["within80"] == pytest.approx(((came >= 20) & (came <= 22)).mean())
    assert kept.figures["within95"] == pytest.approx(((came >= 19) & (came <= 23)).mean())
    assert [one["passed"] for one in kept.risks] == [True, False]
    day = ForecastDay.objects.get()
    assert (day.n, day.ahead_h, day.day) == (12, 1, NOON.date())
    assert day.naive / day.n == pytest.approx(np.abs(came - 20.0).mean())
    tenths = RiskDay.objects.order_by("tenth").values_list("tenth", "n", "n_passed")
    assert list(tenths) == [(1, 1, 0), (3, 1, 1)]


def test_silence_is_no_outcome(mote):
    measured(NOON, [20.0, 20.0])
    keep([said(NOON, np.full(12, 21.0), risks=[risk(28.0, 0.4)])], now=NOON)

    assert score(NOON + 2 * HOUR) == 1

    kept = IssuedForecast.objects.get()
    assert (kept.figures["n"], kept.risks[0]["passed"]) == (1, None)
    assert not RiskDay.objects.exists()


def test_the_last_ones_stay_at_hand_and_those_that_wait_for_their_outcome(mote, settings):
    settings.SIEIS_FORECASTS_KEPT = 2
    for i in range(5):
        keep([said(NOON + i * HOUR, np.full(3, 21.0))], now=NOON + i * HOUR)

    score(NOON + 3 * HOUR)  # the first three are over

    origins = IssuedForecast.objects.order_by("origin_at").values_list("origin_at", flat=True)
    assert list(origins) == [NOON + i * HOUR for i in (3, 4)]
    assert lake().scan("forecasts").select(pl.col("origin_at").n_unique()).collect().item() == 5


@pytest.mark.parametrize(
    ("n_true", "n", "words"),
    [(15, 19, "too few to judge (19 of 20)"), (16, 20, "16 of the last 20 came true"),
     (41, 60, "31 of the last 50 came true")],
)  # fmt: skip
def test_a_record_speaks_from_twenty_warnings_on_and_of_the_last_fifty(mote, n_true, n, words):
    outcomes = ForecastWarning.Outcome
    for i in range(n):
        ForecastWarning.objects.create(
            mote=mote, channel="temperature", limit="normal band", value=28.0, is_upper=True,
            origin_at=NOON + i * HOUR, ends_at=NOON + i * HOUR, probability=0.5, last_probability=0.5,
            closed_at=NOON + i * HOUR, outcome=outcomes.CAME_TRUE if i < n_true else outcomes.DID_NOT,
        )  # fmt: skip

    assert record.track_record(mote.pk, "temperature").words == words


def test_the_end_of_a_range_counts_as_passed_when_it_is_reached(mote):
    measured(NOON, [20.0, *np.linspace(45.0, 50.0, 12)])
    ends = [risk(50.0, 0.4, limit="physical range"), risk(50.0, 0.4)]
    keep([said(NOON, np.full(12, 48.0), risks=ends)], now=NOON)

    score(NOON + timedelta(minutes=70))

    assert [one["passed"] for one in IssuedForecast.objects.get().risks] == [True, False]
