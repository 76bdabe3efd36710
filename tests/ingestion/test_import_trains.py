"""An import that brings enough asks for the next training."""

from __future__ import annotations

import pytest

from mlops.models import TrainingJob
from tests.ingestion.test_importing import LAB, file, line, said

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_import_of_some_hundred_readings_asks_for_a_training_up_to_its_end(tmp_path):
    said(file(tmp_path, *(line(minute) for minute in range(600))), *LAB, "--yes")

    job = TrainingJob.objects.get()

    assert (job.profile.code, job.trigger, job.status) == ("indoor", "import", "queued")
    assert job.parameters["end"] == "2004-02-28T17:59:16.027850+00:00"


def test_a_handful_of_readings_asks_for_nothing(tmp_path):
    said(file(tmp_path, *(line(minute) for minute in range(30))), *LAB, "--yes")

    assert not TrainingJob.objects.exists()
