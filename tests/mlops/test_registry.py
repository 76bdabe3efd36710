"""Versions are stored whole, numbered once, promoted one at a time and checked before they are trusted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from mlops import registry
from mlops.models import ModelVersion, TrainingJob
from sensors.models import AuditEntry, ProfileVersion
from tests.conftest import NOON
from tests.mlops.conftest import LATER, indoor_days

Stage = ModelVersion.Stage


def test_a_version_is_named_by_its_number_and_day_and_loads_as_what_was_registered(version, fitted):
    one = version()

    loaded = registry.load(one)

    assert one.name == "indoor/anomaly_detector_v1_20260302"
    assert one.stage == Stage.CANDIDATE
    assert loaded.number == 1
    assert one.size == default_storage.size(one.artefact)
    rows = indoor_days(0.1)
    _, before, _ = fitted.step(fitted.start(), rows)
    _, after, _ = loaded.step(loaded.start(), rows)
    np.testing.assert_array_equal(before.surprise, after.surprise)


def test_a_number_is_never_used_twice_even_when_its_version_is_gone(version):
    version()
    version().delete()

    assert version().number == 3


def test_without_held_out_metrics_nothing_is_registered(version):
    with pytest.raises(registry.NotValidated):
        version(metrics={})

    assert not ModelVersion.objects.exists()


def test_a_job_that_was_cancelled_meanwhile_leaves_neither_version_nor_artefact(version, indoor):
    job = TrainingJob.objects.create(
        profile=indoor, trigger="person", status=TrainingJob.Status.CANCELLED, queued_at=NOON
    )

    with pytest.raises(registry.JobTakenAway):
        version(job=job)

    assert not ModelVersion.objects.exists()
    assert default_storage.listdir("models/indoor")[1] == []


def test_an_artefact_that_was_changed_is_refused_before_anything_of_it_is_unpickled(version):
    one = version()
    # This pickle would raise ZeroDivisionError the moment it is loaded.
    default_storage.save(one.artefact, ContentFile(b"\x80\x04cbuiltins\neval\n(V1/0\ntR."))

    with pytest.raises(registry.ArtefactChanged, match=r"indoor/anomaly_detector_v1_20260302"):
        registry.load(one)


def test_a_missing_artefact_is_named(version):
    one = version()
    default_storage.delete(one.artefact)

    with pytest.raises(registry.ArtefactMissing, match=r"models/indoor/anomaly_detector_v1_20260302\.joblib"):
        registry.load(one)


def test_a_library_that_changed_is_named_with_both_releases(version):
    one = version()
    one.libraries["scikit-learn"] = "0.19.2"

    with pytest.raises(
        registry.LibraryChanged,
        match=r"scikit-learn 0\.19\.2 there, .* here; refit it with manage.py train --profile indoor",
    ):
        registry.load(one)


def test_promotion_archives_what_served_and_is_written_down(version, alice):
    first, second = version(), version()
    registry.promote(first, who=None, why="first", now=NOON)

    registry.promote(second, who=alice, why="fewer false events", now=LATER)

    first.refresh_from_db()
    assert (first.stage, second.stage) == (Stage.ARCHIVED, Stage.PRODUCTION)
    assert registry.production("indoor") == second
    entry = AuditEntry.objects.get(subject=f"model:{second.name}")
    assert (entry.who, entry.at, entry.deed) == (alice, LATER, "promote_version")
    assert entry.detail == {"why": "fewer false events", "previous": first.name}


def test_what_serves_cannot_be_promoted_again(version):
    one = version()
    registry.promote(one, who=None, why="first", now=NOON)

    with pytest.raises(registry.AlreadyPromoted):
        registry.promote(one, who=None, why="again", now=LATER)


def test_a_model_of_another_version_of_its_profile_is_not_promoted(version):
    one = version()
    ProfileVersion.objects.update(number=2)

    with pytest.raises(
        registry.OtherProfileVersion, match="made for version 1 of its profile, which is now at version 2"
    ):
        registry.promote(one, who=None, why="first", now=NOON)

    assert registry.production("indoor") is None


def test_rolling_back_twice_goes_back_twice(version, indoor):
    one, two, three = version(), version(), version()
    for step in (one, two, three):
        registry.promote(step, who=None, why="newer", now=NOON)
    version()  # a candidate that never served is nothing to roll back to

    assert registry.roll_back(indoor, who=None, why="false alarms", now=LATER) == two
    assert registry.roll_back(indoor, who=None, why="still", now=LATER) == one
    with pytest.raises(registry.NothingToRollBackTo):
        registry.roll_back(indoor, who=None, why="still", now=LATER)
    assert registry.production("indoor") == one


@pytest.mark.django_db(transaction=True)
def test_of_promotions_at_the_same_moment_exactly_one_version_ends_in_production(version):
    versions = [version() for _ in range(6)]
    together = threading.Barrier(len(versions))
    lost = []

    def promote(one: ModelVersion) -> None:
        together.wait()
        try:
            registry.promote(one, who=None, why="race", now=NOON)
        except Exception as error:
            lost.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=promote, args=(one,)) for one in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lost == []
    stages = sorted(ModelVersion.objects.values_list("stage", flat=True))
    assert stages == [Stage.ARCHIVED] * 5 + [Stage.PRODUCTION]


@pytest.mark.django_db(transaction=True)
def test_versions_registered_at_the_same_moment_get_numbers_of_their_own(version):
    def register() -> None:
        try:
            version()
        finally:
            connection.close()

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ModelVersion.objects.values_list("number", flat=True)) == [1, 2, 3, 4]
