"""A file of one's own: brought, looked at, judged in a process of its own, forgotten; nobody else's business."""

from __future__ import annotations

import io
import sys
import threading
from datetime import timedelta

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from ingestion.detecting import runs
from ingestion.detecting.models import DetectRun
from sensors.models import AuditEntry
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
PAGE, API = "/detect/", "/api/v1/ml/detect"


def csv(n: int = 400, name: str = "pump.csv") -> SimpleUploadedFile:
    """A calm reading every second, and a jump near the end."""
    values = 20.0 + np.random.default_rng(1).normal(0, 0.1, n)
    values[-40:-20] += 9.0
    lines = [f"2026-03-02T12:{k // 60:02}:{k % 60:02}Z,{value:.2f},on" for k, value in enumerate(values.tolist())]
    return SimpleUploadedFile(name, "\n".join(["time,pressure,state", *lines]).encode(), "text/csv")


def brought(client) -> DetectRun:
    answer = client.post(PAGE, {"file": csv()})
    assert answer.status_code == 302, answer.content.decode()[:500]
    return DetectRun.objects.get()


def judged(client) -> DetectRun:
    """Brought, started, and judged as the worker's child would."""
    run = brought(client)
    client.post(f"{PAGE}{run.pk}/", {"deed": "start", "train": "100 rows"})
    assert DetectRun.objects.filter(pk=run.pk, state="queued").update(state="running") == 1
    call_command("run_detect", str(run.pk))
    run.refresh_from_db()
    return run


def test_a_dropped_file_is_shown_as_it_would_be_read_before_anything_is_judged(bob_client):
    run = brought(bob_client)

    page = bob_client.get(f"{PAGE}{run.pk}/").content.decode()

    assert run.state == "looked"
    assert "separated by “,”" in page
    assert "channels: pressure" in page
    assert "no numbers, so left out: state" in page
    assert "2026-03-02T12:00:00Z" in page


def test_a_judged_file_shows_its_event_with_words_chart_and_channel(bob_client):
    run = judged(bob_client)

    page = bob_client.get(f"{PAGE}{run.pk}/").content.decode()

    assert run.state == "done", run.message
    assert run.found["events"] >= 1
    assert "Pressure" in page or "pressure" in page
    assert "expected" in page
    assert '<svg viewBox="0 0' in page
    assert "pressure 100 %" in page
    assert " style=" not in page  # the pages' policy allows no inline style


def test_the_results_are_taken_along_as_three_files(bob_client):
    run = judged(bob_client)

    table, events, report = (
        b"".join(bob_client.get(f"{PAGE}{run.pk}/{name}").streaming_content).decode()
        for name in ("scored.csv", "events.json", "report.html")
    )

    assert table.splitlines()[0].startswith("time,pressure,state,surprise,score,is_anomaly")
    assert len(table.splitlines()) == 401
    assert '"events": [' in events
    assert report.startswith("<!doctype html>")
    assert "attachment" in bob_client.get(f"{PAGE}{run.pk}/report.html")["Content-Disposition"]


def test_settings_change_how_a_file_is_read_and_a_wrong_column_gets_the_list(bob_client):
    run = brought(bob_client)

    page = bob_client.post(f"{PAGE}{run.pk}/", {"deed": "look", "time": "clock"}, follow=True).content.decode()
    run.refresh_from_db()

    assert run.seen["problem"] == "“Time” (time) names “clock”, but the file has the columns time, pressure, state"
    assert "the columns time, pressure, state" in page
    again = bob_client.post(f"{PAGE}{run.pk}/", {"deed": "start", "time": "clock"}).content.decode()
    assert "the columns time, pressure, state" in again
    assert DetectRun.objects.get().state == "looked"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train": "a lot"}, "“a lot” is nothing to learn from"),
        ({"interval": "soon"}, "“soon” is no interval; expected such as 1s"),
        ({"profile": "moon"}, "there is no profile “moon”"),
        ({"start": "2026-03-01"}, "say how far its rows are apart"),
    ],
)
def test_a_setting_that_makes_no_sense_says_what_was_expected(bob_client, given, words):
    answer = bob_client.post(API, {"file": csv(), **given})

    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert not DetectRun.objects.exists()


def test_a_file_that_is_too_large_is_refused_with_both_sizes_before_it_is_kept(bob):
    large = csv()
    large.size = 300 << 20

    with pytest.raises(runs.TooLarge, match=r"has 300 MiB; at most 200 MiB .* manage.py detect"):
        runs.keep(large, {}, storage=default_storage, who=bob, trigger="api", now=NOON)


def test_what_is_no_table_is_refused_with_what_to_do(bob_client):
    page = bob_client.post(PAGE, {"file": SimpleUploadedFile("book.csv", b"PK\x03\x04 and so on")}).content.decode()

    assert "Excel workbook" in page
    assert not DetectRun.objects.exists()


def test_the_api_takes_a_file_and_tells_how_far_it_is_and_what_was_found(bob_client):
    answer = bob_client.post(API, {"file": csv(), "train": "100 rows"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    DetectRun.objects.update(state="running")
    call_command("run_detect", str(answer.json()["id"]))

    told = bob_client.get(answer["Location"]).json()

    assert (told["state"], told["progress"]) == ("done", 1.0)
    assert told["found"]["events"] >= 1
    assert set(told["results"]) == {"scored.csv", "events.json", "report.html"}
    assert bob_client.get(told["results"]["events.json"]).status_code == 200
    assert [one["id"] for one in bob_client.get(API).json()["results"]] == [told["id"]]
    assert AuditEntry.objects.filter(deed="judge_file").count() == 1


def test_one_file_a_person_is_judged_at_a_time(bob_client, alice_client):
    bob_client.post(API, {"file": csv()})

    again = bob_client.post(API, {"file": csv(name="other.csv")})

    assert again.status_code == 409
    assert "“pump.csv” is being judged for you already" in again.json()["detail"]
    assert alice_client.post(API, {"file": csv()}).status_code == 202


def test_a_viewer_may_not_and_nobody_sees_the_files_of_another(bob_client, alice_client, charlie_client, mallory):
    run = brought(bob_client)

    assert charlie_client.get(PAGE).status_code == 403
    assert charlie_client.post(API, {"file": csv()}).status_code == 403
    assert mallory.post(API, {"file": csv()}).status_code == 401
    assert alice_client.get(f"{PAGE}{run.pk}/").status_code == 404
    assert alice_client.get(f"{API}/{run.pk}").status_code == 404
    assert "pump.csv" not in alice_client.get(PAGE).content.decode()


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_ends_its_process(bob_client):
    queued = DetectRun.objects.get(pk=bob_client.post(API, {"file": csv()}).json()["id"])
    assert bob_client.delete(f"{API}/{queued.pk}").status_code == 204
    queued.refresh_from_db()
    assert queued.state == "cancelled"

    running = DetectRun.objects.get(pk=bob_client.post(API, {"file": csv()}).json()["id"])
    DetectRun.objects.filter(pk=running.pk).update(wants_cancel=True)
    ended = runs.run_in_process(running.pk, by=["sleep", "600"])

    assert (ended.state, ended.message) == ("cancelled", "Cancelled.")


def test_a_run_whose_process_dies_fails_with_its_last_words(bob_client):
    run = DetectRun.objects.get(pk=bob_client.post(API, {"file": csv()}).json()["id"])

    ended = runs.run_in_process(run.pk, by=["sh", "-c", "echo no memory; exit 9"], stop=threading.Event())

    assert ended.state == "failed"
    assert "no memory" in ended.message


def test_a_file_that_cannot_be_judged_after_all_says_why(bob_client):
    run = DetectRun.objects.get(pk=bob_client.post(API, {"file": csv(), "train": "400 rows"}).json()["id"])
    DetectRun.objects.update(state="running")

    call_command("run_detect", str(run.pk))

    run.refresh_from_db()
    assert run.state == "failed"
    assert "nothing is left to judge" in run.message


def test_old_files_are_forgotten_with_their_results_and_lost_ones_fail(bob_client):
    run = judged(bob_client)
    names = [f"{run.folder}/{name}" for name in ("pump.csv", "scored.csv", "report.html")]
    assert all(default_storage.exists(name) for name in names)
    DetectRun.objects.update(asked_at=NOON)
    lost = DetectRun.objects.create(
        who=run.who, name="b.csv", size=1, folder="detect/b", state="running", asked_at=NOON, heartbeat_at=NOON
    )

    runs.tidy(NOON + timedelta(minutes=5), storage=default_storage)
    assert DetectRun.objects.get(pk=lost.pk).state == "failed"
    runs.tidy(NOON + runs.KEPT + timedelta(minutes=6), storage=default_storage)

    assert not DetectRun.objects.exists()
    assert not any(default_storage.exists(name) for name in names)


def test_a_parquet_file_is_looked_at_too(bob_client):
    import polars as pl

    buffer = io.BytesIO()
    pl.DataFrame({"level": [1.5, 2.25, 1.75], "at": ["2026-03-02", "2026-03-03", "2026-03-04"]}).write_parquet(buffer)
    builders.install_fleet()

    bob_client.post(PAGE, {"file": SimpleUploadedFile("a.parquet", buffer.getvalue())})

    assert DetectRun.objects.get().seen["words"][0].startswith("Parquet")


# ---- by another detector ------------------------------------------------------------------------------------


def test_the_page_offers_the_detectors_that_are_here_and_says_why_one_is_not(bob_client, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    run = brought(bob_client)

    page = bob_client.get(f"{PAGE}{run.pk}/").content.decode()
    refused = bob_client.post(f"{PAGE}{run.pk}/", {"deed": "start", "detector": "telemanom"}).content.decode()

    assert '<option value="ridge">' in page
    assert '<option value="telemanom">' not in page
    assert "“telemanom” is not installed: it needs PyTorch" in page
    assert "“telemanom” is not installed: it needs PyTorch" in refused
    assert DetectRun.objects.get().state == "looked"


def test_a_file_is_judged_by_the_detector_that_was_asked_for(bob_client):
    answer = bob_client.post(API, {"file": csv(), "detector": "ridge", "train": "200 rows"})

    assert answer.status_code == 202, answer.content
    assert answer.json()["asked"]["detector"] == "ridge"
    assert bob_client.post(API, {"file": csv(), "detector": "oracle"}).status_code in (400, 422)
