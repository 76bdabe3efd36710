"""The Health page: the path as a picture, jobs, schedules, disk and versions."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from ingestion.pages import health_page
from mlops.models import TrainingJob
from sensors.models import ProcessHeartbeat, Profile
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


def text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def schedule(name: str, *, last_run_s: float | None, enabled: bool = True) -> None:
    minute, _ = IntervalSchedule.objects.get_or_create(every=60, period=IntervalSchedule.SECONDS)
    last = timezone.now() - timedelta(seconds=last_run_s) if last_run_s is not None else None
    PeriodicTask.objects.create(name=name, task=name, interval=minute, last_run_at=last, enabled=enabled)


def test_a_schedule_that_missed_three_runs_is_late_and_one_that_is_off_says_so(db):
    schedule("Watch the flow", last_run_s=30)
    schedule("Send a canary", last_run_s=300)
    schedule("Take evidence", last_run_s=9000, enabled=False)
    schedule("Expire replays", last_run_s=None)

    told = {one.name: one.state for one in health_page.context(timezone.now())["schedules"]}

    assert told == {
        "Watch the flow": "on time",
        "Send a canary": "late",
        "Take evidence": "switched off",
        "Expire replays": "not yet run",
    }


def test_the_newest_job_of_each_kind_is_shown_with_its_state(charlie_client):
    builders.install_fleet()
    profile, now = Profile.objects.get(), timezone.now()
    for status, ago in (("succeeded", 3600), ("failed", 60)):
        TrainingJob.objects.create(
            profile=profile, status=status, trigger="person", queued_at=now - timedelta(seconds=ago)
        )

    page = text(charlie_client.get("/system/"))

    assert "training Indoor failed" in page
    assert "succeeded" not in page


def test_disk_and_versions_are_those_of_this_installation(charlie_client, settings):
    (settings.SIEIS_DATA / "lake").mkdir(exist_ok=True)
    (settings.SIEIS_DATA / "lake" / "file").write_bytes(b"x" * 2_000_000)
    health_page._sizes = (float("-inf"), ())

    found = health_page.disk()
    page = text(charlie_client.get("/system/"))

    assert dict(found.parts)["lake"] >= 2_000_000
    assert 0 < found.free < found.total
    assert "Django 5" in page
    assert "SQLite 3." in page


def test_the_path_shows_each_step_and_the_api_what_each_took(charlie_client):
    for name, spent in (("a", 1.5), ("b", 2.0)):
        ProcessHeartbeat.objects.create(
            name=f"consumer@{name}", kind="consumer", beat_at=timezone.now(),
            detail={"readings_per_s": 21.0, "seconds": {"decode": spent, "store": 1.0}},
        )  # fmt: skip

    page = charlie_client.get("/system/").content.decode()
    told = charlie_client.get("/api/v1/health").json()

    assert re.findall(r'data-sink="(\w+)"', page) == [code for code, *_ in health_page.PATH]
    assert told["pipeline"]["seconds"] == {"decode": 3.5, "store": 2.0}
