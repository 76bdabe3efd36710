"""When a machine will be degrading or failing: a band of time, by all channels that show its wear together."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.forecasting import CannotForecast
from mlops.forecasting.risk import Before, Paths
from mlops.forecasts.stages import stage_risks
from mlops.models import StageForecast
from sensors.models import Mote, ProfileVersion
from sensors.wear import DEGRADING, FAILING, Limits
from tests import builders
from tests.conftest import NOON
from tests.mlops.forecasts.test_issuing import goes_on, issue
from tests.people import *  # noqa: F403

STEP_US, N = 300_000_000, 60
HEAT = Limits(builders.channel("temperature"), (70.0, 85.0, 105.0), None)
SHAKE = Limits(builders.channel("vibration"), (1.5, 2.5, 4.5), None)
temperatures = st.lists(st.floats(20, 120), min_size=6, max_size=6).map(np.array)


def ways(values: np.ndarray, last: float = 50.0, past: np.ndarray | None = None) -> Paths:
    return Paths("a", 0, STEP_US, last, values, np.arange(len(values))[::-1] if past is None else past)


@given(temperatures)
def test_failing_is_never_likelier_or_sooner_than_degrading(course):
    said = course + np.linspace(-10, 10, N)[:, None]

    found = stage_risks([HEAT], lambda: [ways(said)])

    assert found[FAILING].probability <= found[DEGRADING].probability
    if found[FAILING].earliest is not None and not found[DEGRADING].is_beyond:
        assert found[DEGRADING].earliest <= found[FAILING].earliest


def test_a_machine_is_in_the_worst_stage_of_its_channels_on_the_same_way():
    """Heat in one half of the ways, vibration in the same half: the machine degrades in half of them, not in all."""
    half = np.arange(N) < N // 2
    heat, shake = (np.where(half[:, None], worn, well) * np.ones(6) for worn, well in ((75.0, 50.0), (2.0, 1.0)))

    together = stage_risks([HEAT, SHAKE], lambda: [ways(heat), ways(shake, 1.0)])
    apart = stage_risks([HEAT, SHAKE], lambda: [ways(heat), ways(shake[::-1], 1.0)])

    assert (together[DEGRADING].probability, apart[DEGRADING].probability) == (0.5, 1.0)
    assert together[FAILING].probability == 0.0


def test_ways_whose_errors_are_of_other_hours_are_not_laid_together():
    with pytest.raises(CannotForecast, match="0 past forecasts were followed by measurements of all channels; 40 are"):
        stage_risks([HEAT, SHAKE], lambda: [ways(np.ones((N, 6))), ways(np.ones((N, 6)), 1.0, np.arange(N) + 1000)])


def test_a_stage_that_forecasts_called_in_vain_is_hardly_likely():
    """Twenty forecasts, far apart, laid all their ways beyond the border, and the machine never went there."""
    in_vain = Before(60 * np.arange(20), np.full(20, 50.0), np.full((20, 6), 50.0), np.full((20, 8, 6), 75.0))

    said = stage_risks([HEAT], lambda: [replace(ways(np.full((N, 6), 75.0)), before=in_vain)])

    assert said[DEGRADING].probability < 0.05
    assert said[FAILING].probability <= said[DEGRADING].probability


# ---- for the fleet ------------------------------------------------------------------------------------------


@pytest.fixture
def worn(serving, settings):
    """The rooms are machines that degrade above 26 °C and fail above 30; the first of them warms up."""
    channels = {"temperature": {"high": [26, 30, 40]}, "humidity": {"high": [80, 90, 95]}}
    ProfileVersion.objects.update(
        settings={"simulator": {"stages": ["worn", "broken"], "course": "wear", "channels": channels}}
    )
    goes_on(settings, NOON, np.linspace(22.5, 25.9, 24), Mote.objects.get(code="7"))
    return issue(NOON + timedelta(hours=2))


@pytest.mark.django_db
def test_with_each_run_a_machine_is_told_when_it_wears_and_pages_and_api_say_so(worn, charlie_client, monkeypatch):
    first, second = StageForecast.objects.filter(mote__code="7")
    assert (first.name, second.name) == ("worn", "broken")
    assert first.probability >= 0.2 > second.probability
    assert first.origin_at < first.earliest <= first.at <= first.latest <= first.ends_at
    StageForecast.objects.update(ends_at=NOON + timedelta(days=9000))  # the pages look by the clock

    page = charlie_client.get("/forecast/?mote=main/7").content.decode()
    risks = charlie_client.get("/api/v1/risks?mote=7").json()["stages"]

    assert "Worn in " in page
    assert "Broken not within the next" in page
    assert [(one["mote"], one["stage"]) for one in risks] == [("7", "worn"), ("7", "broken")]
    assert risks[0]["words"].startswith("worn in ")
    assert charlie_client.get("/api/v1/risks?mote=7&channel=humidity").json()["stages"] == []


@pytest.mark.django_db
def test_the_next_run_takes_the_place_of_the_last(worn, settings):
    before = set(StageForecast.objects.values_list("pk", flat=True))

    issue(NOON + timedelta(hours=3))

    assert StageForecast.objects.count() == 4
    assert before.isdisjoint(StageForecast.objects.values_list("pk", flat=True))
