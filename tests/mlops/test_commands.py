"""The commands people type: what they answer and how they refuse."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from mlops import registry, training_jobs
from mlops.models import ModelVersion, TrainingJob
from sensors.models import Mote
from tests.conftest import NOON


def said(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def test_promote_makes_a_version_serve(version):
    one = version()

    assert "serves now" in said("promote", one.name, "--why", "looks good")
    assert registry.production("indoor") == one


def test_promote_refuses_a_name_that_is_not_there_with_those_that_are(version):
    version()

    with pytest.raises(CommandError, match="no version “v9”; the newest are: indoor/anomaly_detector_v1_20260302"):
        said("promote", "v9")


def test_promote_says_that_a_version_serves_already(version):
    one = version()
    said("promote", one.name)

    with pytest.raises(CommandError, match="serves already"):
        said("promote", one.name)


def test_rollback_brings_back_what_served_before(version):
    one, two = version(), version()
    said("promote", one.name)
    said("promote", two.name)

    assert f"{one.name} serves again" in said("rollback", "indoor")
    with pytest.raises(CommandError, match="none to roll back to"):
        said("rollback", "indoor")


def test_rollback_refuses_an_unknown_profile(indoor):
    with pytest.raises(CommandError, match="no profile “outdoor”; there are: indoor"):
        said("rollback", "outdoor")


def test_train_refuses_an_unknown_profile_and_a_fleet_without_motes(indoor):
    with pytest.raises(CommandError, match="no profile “outdoor”; there are: indoor"):
        said("train", "--profile", "outdoor")
    Mote.objects.all().delete()
    with pytest.raises(CommandError, match="load a pack first"):
        said("train")


def test_train_refuses_what_is_being_trained_and_offers_to_wait(indoor):
    training_jobs.request("indoor", trigger="person", who=None, now=NOON)

    with pytest.raises(CommandError, match=r"being trained already: job \d+ is queued .* add --wait"):
        said("train")


def test_the_training_process_says_why_it_could_not_train(indoor):
    job = training_jobs.request("indoor", trigger="person", who=None, now=NOON)

    with pytest.raises(CommandError, match=r"is queued, so it cannot be trained"):
        said("run_training", str(job.pk))
    training_jobs.claim(job, now=NOON)
    with pytest.raises(CommandError, match=r"NoData: No reading of profile indoor has ever reached the lake"):
        said("run_training", str(job.pk))
    with pytest.raises(CommandError, match="no job 999"):
        said("run_training", "999")

    job.refresh_from_db()
    assert job.status == TrainingJob.Status.FAILED
    assert not ModelVersion.objects.exists()
