"""A forecast's error as a detector: it keeps the engine's contract for files, and says so where it cannot be had."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from mlops.detect import CannotJudge, Judged, Request, judge_file
from mlops.detect.report import page
from mlops.detect.residual import MEMBERS, aligned, limits, news, threshold
from mlops.forecasting.members import has_torch

START, N, FAULT = datetime(2026, 3, 2, tzinfo=UTC), 900, 700
SAID = ["surprise", "score", "is_anomaly", "severity", "event_id"]


@pytest.fixture(params=[name for name in MEMBERS if name != "telemanom" or has_torch()])
def detector(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pump(path: Path, n: int = N) -> Path:
    """A pressure that swings every 40 steps, until it stands 6 higher for 30; and a temperature that only wanders."""
    rng = np.random.default_rng(3)
    pressure = 50.0 + 2.0 * np.sin(2 * np.pi * np.arange(N) / 40) + 0.2 * rng.standard_normal(N)
    pressure[FAULT : FAULT + 30] += 6.0
    temperature = 20.0 + 0.2 * rng.standard_normal(N)
    at = [START + timedelta(minutes=k) for k in range(N)]
    pl.DataFrame({"time": at, "pressure": pressure, "temperature": temperature})[:n].write_parquet(path)
    return path


def judged(path: Path, detector: str, n: int = N) -> Judged:
    return judge_file(pump(path / f"{n}.parquet", n), Request(detector=detector, train_rows=400))


def test_what_the_past_does_not_foretell_is_an_event_of_the_channel_that_did_it(tmp_path, detector):
    found = judged(tmp_path, detector)

    (event,) = [one for one in found.events if one.severity == "high"]
    assert FAULT < event.first_row <= FAULT + 5
    assert event.words.startswith("pressure 5")
    assert max(event.change.contributions, key=event.change.contributions.get) == "pressure"
    assert not found.is_anomaly[:400].any(), "what was learnt from is not judged"


def test_it_answers_the_same_columns_as_the_engine(tmp_path, detector):
    found = judged(tmp_path, detector).scored()

    assert found.columns == judged(tmp_path, "engine").scored().columns
    assert found[SAID].dtypes == [pl.Float64, pl.Float64, pl.Boolean, pl.String, pl.Int64]
    assert (found["is_anomaly"] == found["event_id"].is_not_null()).all()


def test_no_later_row_changes_what_was_said_of_an_earlier_one(tmp_path, detector):
    whole, part = judged(tmp_path, detector).scored(), judged(tmp_path, detector, FAULT + 12).scored()

    np.testing.assert_allclose(whole["score"][: FAULT + 12], part["score"], atol=1e-3)
    assert whole["is_anomaly"][: FAULT + 12].to_list() == part["is_anomaly"].to_list()


def test_the_report_does_not_promise_a_rareness_that_nobody_measured(tmp_path):
    told = page(judged(tmp_path, "ridge"))

    assert "passes the threshold that errors before it set" in told
    assert "as rare as" not in told


def test_an_error_lies_on_the_reading_that_was_forecast():
    ahead = np.arange(30.0)[:, None] + np.arange(10.0)[None, :]  # of a series that rises by one a row

    np.testing.assert_array_equal(aligned(ahead)[9:], np.arange(9.0, 30.0))


def test_a_threshold_parts_what_stands_out_and_prunes_what_hardly_does():
    calm = 1.0 + 0.1 * np.random.default_rng(1).random(500)
    spoilt = np.concatenate([calm, [3.0, 3.2, 3.1]])

    assert calm.max() * 1.13 <= threshold(spoilt) < 3.0
    assert threshold(calm) >= 1.13 * calm.max()
    assert np.isnan(limits(np.full(60, np.nan), 50)).all()


def test_an_event_is_loud_when_it_begins_and_when_it_gets_worse():
    told = news(np.array([0.5, 1.2, 1.3, 2.0, 0.2, 1.1]))

    assert (told >= 1.0).tolist() == [False, True, False, True, False, True]


def test_without_torch_telemanom_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(CommandError, match=r"^“telemanom” is not installed: it needs PyTorch; pip install -r requirem"):
        call_command("detect", str(pump(tmp_path / "a.parquet")), "--detector", "telemanom")


def test_a_file_too_short_to_learn_a_forecast_from_says_how_much_is_needed(tmp_path):
    with pytest.raises(CannotJudge, match=r"“ridge” cannot learn from this file: .* are too few for 10 steps ahead"):
        judge_file(pump(tmp_path / "a.parquet"), Request(detector="ridge", train_rows=25))
