"""A warning is one alert of its own kind, from the forecast that raises it to what came of it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from alerts.models import Alert, AlertChange
from alerts.silencing.matching import is_meant
from alerts.silencing.models import Silence
from mlops.forecasts import record, warnings
from mlops.models import ForecastWarning
from sensors.models import Mote
from sensors.registry import current_fleet
from sensors.stores import hot
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.mlops.forecasts.issued import measured, risk, said

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def mote() -> Mote:
    install_fleet()
    return Mote.objects.get()


def forecast(at, *risks):
    """What is issued at that time says these risks of the next hour."""
    rows = record.keep([said(at, np.full(12, 21.0), risks=risks)], now=at)
    return warnings.follow(rows, fleet=current_fleet(), now=at)


def settle(at):
    return warnings.settle(at, store=hot(), fleet=current_fleet())


def why_over() -> str:
    return AlertChange.objects.filter(deed="resolve").last().note


def test_a_likely_limit_is_one_alert_however_often_it_is_said(mote):
    (alert,) = forecast(NOON, risk(28.0, 0.55), risk(30.0, 0.1))
    assert (alert.subject, alert.kind, alert.severity) == ("mote:main/7", "forecast:temperature", "medium")

    assert forecast(NOON + HOUR / 4, risk(28.0, 0.7), risk(30.0, 0.6)) == []

    assert Alert.objects.count() == 1
    warning = ForecastWarning.objects.get()
    assert (warning.value, warning.probability, warning.last_probability) == (28.0, 0.55, 0.7)
    assert "too few to judge (0 of 20)" in Alert.objects.get().words


def test_what_is_rather_unlikely_and_a_limit_that_is_passed_already_warn_of_nothing(mote):
    assert forecast(NOON, risk(28.0, 0.49), risk(20.0, 1.0, is_beyond=True)) == []
    assert not Alert.objects.exists()


def test_a_warning_stays_while_the_risk_is_medium(mote):
    forecast(NOON, risk(28.0, 0.6))

    assert forecast(NOON + HOUR / 4, risk(28.0, 0.25)) == []

    assert Alert.objects.active().get().words.endswith("too few to judge (0 of 20)")


def test_a_warning_is_withdrawn_with_the_reason_when_the_risk_falls(mote):
    forecast(NOON, risk(28.0, 0.6))

    (over,) = forecast(NOON + HOUR / 4, risk(28.0, 0.08))

    assert over.status == "resolved"
    assert why_over() == "withdrawn: the risk has fallen to 8%"
    assert ForecastWarning.objects.get().outcome == "withdrawn"


def test_a_rule_that_is_gone_takes_its_warning_along(mote):
    forecast(NOON, risk(24.0, 0.6, limit="rule “Warm”"))

    forecast(NOON + HOUR / 4, risk(28.0, 0.0))

    assert why_over() == "withdrawn: its limit is no longer there, or no risk can be said"


def test_a_warning_comes_true_as_soon_as_its_limit_is_passed_and_the_record_counts_it(mote):
    forecast(NOON, risk(28.0, 0.6))
    measured(NOON, [27.0, 27.5, 28.5])

    (over,) = settle(NOON + HOUR / 2)

    assert over.status == "resolved"
    assert why_over() == "came true"
    found = record.track_record(mote.pk, "temperature")
    assert (found.n_warnings, found.n_came_true) == (1, 1)


def test_a_warning_whose_time_passes_did_not_come_true(mote):
    forecast(NOON, risk(28.0, 0.6))
    measured(NOON, np.full(20, 27.0))

    assert settle(NOON + HOUR) == []
    (over,) = settle(NOON + 2 * HOUR)

    assert over.status == "resolved"
    assert why_over() == "did not come true: its time has passed"
    found = record.track_record(mote.pk, "temperature")
    assert (found.n_warnings, found.n_came_true) == (1, 0)


def test_a_warning_that_a_person_closed_is_judged_all_the_same_and_not_raised_again(mote):
    (alert,) = forecast(NOON, risk(28.0, 0.6))
    Alert.objects.filter(pk=alert.pk).update(status="closed")

    assert forecast(NOON + HOUR / 4, risk(28.0, 0.7)) == []
    measured(NOON, [27.0, 28.5])
    settle(NOON + HOUR / 2)

    assert ForecastWarning.objects.get().outcome == "came_true"
    assert Alert.objects.get().status == "closed"


def test_a_silence_of_forecasts_holds_for_the_warnings_of_every_channel(mote):
    (alert,) = forecast(NOON, risk(28.0, 0.6))

    assert is_meant(Silence(kind="forecast"), alert)
    assert not is_meant(Silence(kind="anomaly"), alert)


def test_the_record_stands_in_the_warning(mote):
    for i in range(20):
        ForecastWarning.objects.create(
            mote=mote, channel="temperature", limit="normal band", value=28.0, is_upper=True, origin_at=NOON,
            ends_at=NOON, probability=0.5, last_probability=0.5, closed_at=NOON,
            outcome="came_true" if i < 16 else "did_not",
        )  # fmt: skip

    (alert,) = forecast(NOON, risk(28.0, 0.6, at="2026-03-02T12:40:00Z", earliest="2026-03-02T12:30:00Z",
                                   latest="2026-03-02T12:50:00Z"))  # fmt: skip

    assert alert.words == (
        "Temperature passes 28 °C at about 12:40 (± 10 min), probability 60 % (normal band); "
        "16 of the last 20 came true"
    )
