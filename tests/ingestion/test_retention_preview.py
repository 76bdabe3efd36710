"""Before retention is changed, it is told what would leave the hot store; nothing is deleted by looking."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from alerts.models import Alert, Event
from sensors import registry
from sensors.models import Mote
from sensors.readings import micros
from sensors.retention import forget_old_readings, preview
from sensors.stores import hot
from tests.builders import batch, install_fleet
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def month():
    """A reading a day for a month of one mote, for a week of another, and a site that ended long ago."""
    install_fleet(motes=("7", "8"))
    install_fleet(motes=("1",), site="lab")
    profile = registry.profiles()["indoor"]
    old, young, far = Mote.objects.order_by("pk")
    for mote, newest, n in ((old, NOON, 31), (young, NOON, 7), (far, NOON - 8000 * DAY, 10)):
        start = micros(newest - (n - 1) * DAY)
        values = [[20.0, 40.0, 100.0, 2.7]] * n
        hot().write(profile, batch(profile, values, mote=mote.pk, start_us=start, step_s=86_400).to_table())
    return old


def opened(mote, days_ago, status="open"):
    at = NOON - days_ago * DAY
    alert = Alert.objects.create(
        subject=f"{mote.subject}-{days_ago}", kind="anomaly", severity="high", mote=mote, words="hot", status=status,
        first_seen_at=at, last_seen_at=at,
    )  # fmt: skip
    Event.objects.create(
        mote=mote, alert=alert, noticed_at=at, started_at=at, last_at=at, n_readings=1, peak_surprise=9.0, peak_at=at,
        peak_channel="temperature", layer="level", words="hot", model_version=1,
    )  # fmt: skip


def run(*arguments):
    out = StringIO()
    call_command("retention", *arguments, stdout=out)
    return out.getvalue()


def test_a_shorter_retention_is_told_in_words_and_deletes_nothing(month, charlie_client):
    opened(month, 20)
    opened(month, 25, status="resolved")
    opened(month, 2)

    told = run("--days", "14").splitlines()
    page = charlie_client.get("/quality/retention/?days=14").content.decode()

    assert told[0] == (
        "With 14 days instead of 30: 16 readings of 1 mote would leave the hot store in the next night; "
        "1 open alert has evidence older than that; the lake keeps everything."
    )
    assert told[-1] == "To change it, set SIEIS_HOT_DAYS=14 and start every process again."
    assert told[0] in page
    assert "SIEIS_HOT_DAYS=14" in page
    assert sum(cut.n_readings for cut in preview(hot(), keep=14 * DAY)) == 48


def test_what_is_told_is_what_the_night_then_deletes(month):
    """The sites count back from their own newest reading."""
    told = {cut.site: (cut.n_leaving, cut.n_motes) for cut in preview(hot(), keep=5 * DAY)}

    assert told == {"main": (26, 2), "lab": (4, 1)}
    forget_old_readings(hot(), keep=5 * DAY)
    assert {cut.site: cut.n_leaving for cut in preview(hot(), keep=5 * DAY)} == {"main": 0, "lab": 0}
    assert sum(cut.n_readings for cut in preview(hot(), keep=5 * DAY)) == 48 - 30


@pytest.mark.parametrize("days", ["abc", "nan", "1e3"])
def test_what_is_no_number_of_days_is_refused_in_words(days):
    with pytest.raises(CommandError, match=f"“{days}” is no number of days; expected one such as 14"):
        call_command("retention", "--days", days)


def test_a_longer_retention_takes_nothing_away(month):
    told = json.loads(run("--days", "90", "--json"))

    assert told["words"] == "With 90 days instead of 30: no reading would leave the hot store now."
    assert (told["n_leaving"], told["hot_days"]) == (0, 30.0)
    assert len(told["cuts"]) == 2


def test_days_that_make_no_sense_are_refused(month, charlie_client):
    with pytest.raises(CommandError, match=r"--days is -3; expected 0\.1 to"):
        run("--days", "-3")
    page = charlie_client.get("/quality/retention/?days=-3").content.decode()
    assert "greater than or equal to 0.1" in page
    assert "as it is set" in page


def test_an_empty_hot_store_has_nothing_to_lose(charlie_client):
    assert "The hot store is empty" in charlie_client.get("/quality/retention/").content.decode()
