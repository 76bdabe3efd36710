"""What people say an alert was worth."""

from __future__ import annotations

import pytest

from alerts import judging
from alerts.models import Judgement
from sensors.models import AuditEntry
from tests import builders
from tests.alerts.test_api import alert
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fleet():
    builders.install_fleet(motes=("7", "8"))


def test_bob_says_that_it_was_a_false_alarm_and_that_is_kept_with_his_name(bob_client):
    one = alert("7")

    answer = bob_client.post(
        f"/api/v1/alerts/{one.pk}/judge", {"verdict": "false", "note": "the door"}, "application/json"
    )

    assert (answer.status_code, answer.json()["by"], answer.json()["verdict"]) == (200, "bob", "false")
    assert Judgement.objects.get().note == "the door"
    assert AuditEntry.objects.get(deed="judge_alert").detail["verdict"] == "false"


def test_the_last_that_was_said_stands_and_the_first_stays_readable(bob, alice):
    one, other = alert("7"), alert("8")
    judging.judge(one, "false", by=bob, now=NOON)
    judging.judge(one, "real", by=alice, now=NOON)
    judging.judge(other, "expected", by=bob, now=NOON)

    standing = Judgement.objects.standing()

    assert sorted(standing.values_list("alert", "verdict")) == [(one.pk, "real"), (other.pk, "expected")]
    assert Judgement.objects.count() == 3


@pytest.mark.parametrize("verdict", ["", "maybe"])
def test_a_verdict_that_does_not_exist_is_refused(bob_client, bob, verdict):
    one = alert("7")

    answer = bob_client.post(f"/api/v1/alerts/{one.pk}/judge", {"verdict": verdict}, "application/json")

    assert (answer.status_code, answer.json()["field"]) == (400, "verdict")
    with pytest.raises(judging.UnknownVerdict, match="new_normal"):
        judging.judge(one, verdict, by=bob)
    assert not Judgement.objects.exists()


def test_charlie_may_not_judge(charlie_client):
    answer = charlie_client.post(f"/api/v1/alerts/{alert('7').pk}/judge", {"verdict": "real"}, "application/json")

    assert answer.status_code == 403
