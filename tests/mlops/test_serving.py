"""What serves is swapped by reference, stays when its successor cannot be loaded, and can be asked for later."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from alerts.models import Alert
from mlops import registry, serving
from sensors.models import ProfileVersion
from sensors.registry import profiles
from tests import builders
from tests.conftest import NOON
from tests.mlops.conftest import LATER


@pytest.fixture
def promoted(version):
    def make():
        return registry.promote(version(), who=None, why="test", now=NOON)

    return make


def test_without_a_model_the_packs_fallback_serves_as_number_zero(indoor):
    engines = serving.Serving()

    assert engines.engine_for(profiles()["indoor"]).number == 0
    assert engines.version_for(profiles()["indoor"]) is None


def test_a_promotion_is_noticed_and_swapped_in(promoted):
    engines, indoor = serving.Serving(), builders._default_profile()
    first = promoted()
    engines.refresh(NOON)
    second = promoted()

    swaps = engines.refresh(LATER)

    assert swaps == [serving.Swap("indoor", first, second)]
    assert engines.engine_for(indoor).number == 2
    assert engines.refresh(LATER) == []


def test_a_process_that_starts_serves_what_is_in_production(promoted):
    promoted()

    assert serving.Serving().engine_for(builders._default_profile()).number == 1


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_raises_one_alert(promoted):
    engines, indoor = serving.Serving(), builders._default_profile()
    promoted()
    engines.refresh(NOON)
    broken = promoted()
    good = registry._read(broken.artefact)
    default_storage.save(broken.artefact, ContentFile(b"not what was registered"))

    assert engines.refresh(LATER) == []
    engines.refresh(LATER + timedelta(seconds=5))

    assert engines.engine_for(indoor).number == 1
    alert = Alert.objects.get()
    assert (alert.subject, alert.kind, alert.severity) == (f"model:{broken.name}", "model_unloadable", "high")
    assert "SHA-256" in alert.words

    default_storage.save(broken.artefact, ContentFile(good))
    (swap,) = engines.refresh(LATER + timedelta(seconds=61))

    alert.refresh_from_db()
    assert swap.after == broken
    assert engines.engine_for(indoor).number == 2
    assert alert.status == Alert.Status.RESOLVED


def test_an_alert_on_a_broken_version_ends_when_another_takes_its_place(promoted):
    engines = serving.Serving()
    broken = promoted()
    default_storage.delete(broken.artefact)
    engines.refresh(NOON)
    promoted()

    engines.refresh(LATER)

    assert Alert.objects.get().status == Alert.Status.RESOLVED


def test_a_model_does_not_serve_another_version_of_its_profile(promoted):
    engines, indoor = serving.Serving(), builders._default_profile()
    promoted()
    engines.refresh(NOON)
    ProfileVersion.objects.update(number=2)

    engines.refresh(LATER)

    assert engines.engine_for(builders.profile(*indoor.channels, version=2)).number == 0
    assert "which is now at version 2" in Alert.objects.get().words


def test_a_version_that_was_taken_out_of_production_serves_no_longer(promoted):
    engines = serving.Serving()
    one = promoted()
    engines.refresh(NOON)
    type(one).objects.update(stage="archived")

    assert engines.refresh(LATER) == [serving.Swap("indoor", one, None)]
    assert engines.engine_for(builders._default_profile()).number == 0


def test_which_version_scored_a_message_is_answered_by_partition_and_offset(version):
    one, two = version(), version()
    given = {"topic": "sensor-readings", "who": "consumer@here", "why": "promoted", "now": NOON}
    serving.record_serving(one, partition=0, from_offset=100, **given)
    serving.record_serving(two, partition=0, from_offset=250, **given)
    again = serving.record_serving(two, partition=0, from_offset=250, **{**given, "now": LATER})

    def scored(partition: int, offset: int):
        return serving.served("sensor-readings", partition, offset, profile="indoor")

    assert [scored(0, offset) for offset in (99, 100, 249, 250, 10_000)] == [None, one, one, two, two]
    assert scored(1, 300) is None
    assert again.started_at == NOON


def test_a_replay_is_judged_by_the_version_of_its_time_until_the_next_refresh(promoted):
    promoted()
    promoted()
    engines, indoor = serving.Serving(), builders._default_profile()
    assert engines.engine_for(indoor).number == 2

    engines.go_back_to(indoor, 1)
    assert engines.engine_for(indoor).number == 1
    engines.go_back_to(indoor, 0)
    assert engines.engine_for(indoor).number == 0
    engines.go_back_to(indoor, 99)
    assert engines.engine_for(indoor).number == 0, "a version that is gone changes nothing"

    engines.refresh(LATER)
    assert engines.engine_for(indoor).number == 2
