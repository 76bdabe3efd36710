"""What is away is waited for, except where nobody may wait."""

from __future__ import annotations

import threading

import pytest
from django.utils import timezone

from alerts.models import Alert
from ingestion.patience import Patience
from sensors.stores import StoreUnavailable

pytestmark = pytest.mark.django_db(transaction=True)


def patience() -> Patience:
    return Patience(
        stop=threading.Event(), now=timezone.now, announce=None, meanwhile=lambda: None, retry_s=0.0, retry_max_s=0.0
    )


def test_a_deed_is_done_again_until_it_succeeds_and_the_alert_ends_with_its_cause() -> None:
    left = [StoreUnavailable("away"), StoreUnavailable("still away")]

    def deed() -> str:
        if left:
            raise left.pop(0)
        return "done"

    assert patience()("lake", deed) == "done"
    assert (Alert.objects.get().status, Alert.objects.get().words) == ("resolved", "Lake is away: still away")


def test_where_nobody_may_wait_the_first_absence_is_raised() -> None:
    waits = patience()

    def deed() -> None:
        raise StoreUnavailable("MinIO does not answer")

    with pytest.raises(StoreUnavailable, match="MinIO"), waits.not_now():
        waits("lake", deed)
    assert Alert.objects.get().status == "open"
