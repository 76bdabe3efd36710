"""Imports by upload: the dry run first, then start, progress, stop, going on after a crash, and the result."""

from __future__ import annotations

import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.utils import timezone

from alerts.models import Alert
from ingestion import tasks
from ingestion.importing import bringing, jobs, legs
from ingestion.importing.alone import alone
from ingestion.models import ImportJob
from sensors.lake import lake
from sensors.models import AuditEntry, Mote, Site
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db(transaction=True)
HEADER = "moteid,ts,temperature,humidity,light,voltage\n"
ASKED = {"pack": "indoor", "site": "lab", "time_zone": "America/Los_Angeles", "map": "mote=moteid, at=ts"}
ROWS = "".join(
    f"{mote},2004-02-28 00:{minute:02d}:16,21.5,40.1,120,2.7\n" for minute in range(10) for mote in (1, 6, 101)
)
BAD = "1,yesterday,21.5,40,120,2.7\n,2004-02-28 00:59:16,21.5,40,120,2.7\n"
Queue = list[int]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """What was sent to the worker: there is none here, and the test is it."""
    sent: Queue = []
    monkeypatch.setattr(jobs, "dispatch", lambda job: sent.append(job.pk))
    return sent


def lab(content: str = HEADER + ROWS + BAD, name: str = "lab.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode())


def upload(client: Any, *files: SimpleUploadedFile, **changes: str) -> Any:
    return client.post("/imports/", {"files": list(files) or [lab()], **ASKED, **changes})


def press(client: Any, job: ImportJob, deed: str, **more: str) -> str:
    return client.post(f"/imports/{job.pk}/", {"deed": deed, **more}, follow=True).text


def work(queue: Queue) -> None:
    while queue:
        tasks.run_import(queue.pop(0))


def stored() -> int:
    return len(lake().scan("silver/indoor").collect()) if lake().exists("silver/indoor") else 0


def kept() -> int:
    return sum(len(default_storage.listdir(f"imports/{folder}")[1]) for folder in default_storage.listdir("imports")[0])


def test_alice_sees_what_would_become_of_each_row_before_anything_is_changed(alice_client: Any) -> None:
    answer = upload(alice_client)
    page = alice_client.get(answer.url).text

    assert "lab.csv: 32 rows; CSV, separated by “,”, UTF-8" in page
    assert "Motes: 3 new (1, 6, 101)" in page
    assert "30 will be stored" in page
    assert "2 would be refused" in page
    assert "quarantined as bad_timestamp" in page
    assert "Import 32 rows…" in page
    assert not Site.objects.exists()
    assert not stored()


def test_what_alice_starts_is_imported_and_the_result_leads_to_where_it_is(alice_client: Any, queue: Queue) -> None:
    upload(alice_client)
    job = ImportJob.objects.get()

    waiting = press(alice_client, job, "start")
    work(queue)
    page = alice_client.get(f"/imports/{job.pk}/").text

    assert "Waiting for its turn" in waiting
    assert "data-unfinished" in waiting
    assert "32 of 32 rows sent" in page
    assert 'href="/motes/?site=lab"' in page
    assert "reason=bad_timestamp" in page
    assert stored() == 30
    assert Mote.objects.filter(site__code="lab").count() == 3
    assert not Alert.objects.exists()
    assert "30 stored" in alice_client.get("/imports/").text
    assert AuditEntry.objects.get(deed="import_readings").who.username == "alice"
    assert kept() == 0, "what is stored need not be kept as a file"


def test_what_a_full_quarantine_only_counted_is_said_and_leads_there(
    alice_client: Any, queue: Queue, settings: Any
) -> None:
    settings.SIEIS_QUARANTINE_MAX = 0
    upload(alice_client)
    job = ImportJob.objects.get()
    press(alice_client, job, "start")
    work(queue)

    page = alice_client.get(f"/imports/{job.pk}/").text

    assert "put aside while the quarantine was full, so only counted" in page
    assert 'href="/quarantine/"' in page


def test_files_that_the_data_leave_open_are_read_another_way_before_they_go_in(alice_client: Any, queue: Queue) -> None:
    rows = SimpleUploadedFile("dates.csv", b"mote,at,temp\n1,02/03/2024 10:00,21.5\n")
    page = alice_client.get(upload(alice_client, rows, map="").url).text
    job = ImportJob.objects.get()
    assert "To be settled first" in page
    assert "“Order of dates”" in page, "the words of a command are the form's here"
    assert "Import 1 row…" not in page
    assert "Settle first" in press(alice_client, job, "start")

    again = press(alice_client, job, "look", **{**ASKED, "map": "", "date_order": "mdy"})

    assert "Import 1 row…" in again
    assert "2024-02-03" in again


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (SimpleUploadedFile("book.xlsx", b"PK\x03\x04 more"), {}, "book.xlsx is a zip archive or an Excel workbook"),
        (lab(), {"map": "mote=node"}, "no column “node”: lab.csv has the columns moteid, ts"),
        (lab(), {"site": "../etc"}, "no code of a site"),
        (lab(), {"time_zone": "Mars/Base"}, "is not an IANA time zone"),
    ],
)
def test_what_is_wrong_is_said_beside_the_form(alice_client: Any, file: Any, changes: Any, words: str) -> None:
    answer = upload(alice_client, file, **changes)

    assert answer.status_code == 200
    assert words in answer.text
    assert not ImportJob.objects.exists()


def test_too_much_at_once_is_refused_with_what_to_do(alice_client: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(jobs, "LARGEST", 100)

    assert "with manage.py import_readings on the server" in upload(alice_client).text


def test_bob_and_charlie_look_and_import_nothing(alice_client: Any, bob_client: Any, charlie_client: Any) -> None:
    job = ImportJob.objects.get(pk=int(upload(alice_client).url.rstrip("/").rpartition("/")[2]))

    for client in (bob_client, charlie_client):
        assert upload(client).status_code == 403
        assert client.post(f"/imports/{job.pk}/", {"deed": "start"}).status_code == 403
        assert client.post(f"/api/v1/imports/{job.pk}/start").status_code == 403
        assert "Bring files" not in client.get("/imports/").text
        assert "Import 32 rows" not in client.get(f"/imports/{job.pk}/").text


def test_whoever_is_not_logged_in_sees_no_import(client: Any) -> None:
    assert client.get("/imports/").status_code == 302
    assert client.get("/api/v1/imports").status_code in (401, 403)


# ---- stopped, killed, gone on with ------------------------------------------------------------------------------


def test_a_running_import_stops_where_somebody_asks_and_goes_on_later(
    alice_client: Any, queue: Queue, settings: Any, monkeypatch: Any
) -> None:
    settings.SIEIS_BATCH_MAX = 10
    monkeypatch.setattr(jobs, "LOOK_S", 0.0)
    upload(alice_client)
    job = ImportJob.objects.get()
    press(alice_client, job, "start")
    real = jobs.Progress.__call__

    def asked_meanwhile(self: Any, step: str, done: int, total: int) -> None:
        real(self, step, done, total)
        if step == bringing.JUDGING:
            press(alice_client, job, "stop")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(jobs.Progress, "__call__", asked_meanwhile)
        work(queue)
    job.refresh_from_db()
    assert job.state == "stopped"
    assert 0 < job.n_waiting < 32
    page = alice_client.get(f"/imports/{job.pk}/").text
    assert "it goes on where it was" in page

    press(alice_client, job, "start")
    work(queue)

    job.refresh_from_db()
    assert (job.state, job.n_again, sum(job.became.values())) == ("done", 0, 32)
    assert stored() == 30


class Killed(BaseException):
    """What ends a process is caught by nobody."""


def test_an_import_whose_worker_was_killed_goes_on_by_itself(
    alice_client: Any, queue: Queue, settings: Any, monkeypatch: Any
) -> None:
    settings.SIEIS_BATCH_MAX = 10
    monkeypatch.setattr(bringing, "CHUNK", 10)
    upload(alice_client)
    job = ImportJob.objects.get()
    press(alice_client, job, "start")
    queue.clear()
    with monkeypatch.context() as dying:
        dying.setattr(legs, "note_sent", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            tasks.run_import(job.pk)
    job.refresh_from_db()
    assert job.state == "running", "nobody was there to say otherwise"

    tasks.recover_imports()
    work(queue)

    job.refresh_from_db()
    assert (job.state, job.n_again, job.became["stored"]) == ("done", 0, 30)
    assert stored() == 30


def test_an_import_waits_while_another_is_under_way_and_its_turn_comes(alice_client: Any, queue: Queue) -> None:
    upload(alice_client)
    job = ImportJob.objects.get()
    press(alice_client, job, "start")

    with alone():
        work(queue)
        tasks.recover_imports()
    job.refresh_from_db()
    assert (job.state, queue) == ("queued", [])

    tasks.recover_imports()
    work(queue)
    job.refresh_from_db()
    assert job.state == "done"


def test_what_cannot_be_stored_now_is_told_and_can_go_on(alice_client: Any, queue: Queue) -> None:
    upload(alice_client)
    job = ImportJob.objects.get()
    press(alice_client, job, "start")
    kept_as = job.files[0]["kept"]
    default_storage.delete(kept_as)

    work(queue)

    assert "lab.csv is not kept any more: upload it again" in alice_client.get(f"/imports/{job.pk}/").text
    job.refresh_from_db()
    assert job.state == "failed"


def test_a_discarded_upload_leaves_nothing_and_one_that_nobody_starts_is_forgotten(alice_client: Any) -> None:
    upload(alice_client)
    press(alice_client, ImportJob.objects.get(), "forget")
    assert (ImportJob.objects.count(), kept()) == (0, 0)

    upload(alice_client)
    ImportJob.objects.update(asked_at=timezone.now() - timedelta(days=8))
    tasks.recover_imports()
    assert (ImportJob.objects.count(), kept()) == (0, 0)


def test_the_command_shows_in_the_list_and_is_gone_on_with_by_its_repeat_only(
    alice_client: Any, tmp_path: Any, queue: Queue
) -> None:
    path = tmp_path / "lab.csv"
    path.write_text(HEADER + ROWS)
    order = [str(path), "--pack", "indoor", "--site", "lab", "--map", "mote=moteid,at=ts"]
    call_command("import_readings", *order, "--time-zone", "America/Los_Angeles", stdout=StringIO())
    job = ImportJob.objects.get()

    assert "by the command" in alice_client.get("/imports/").text
    ImportJob.objects.update(state="running")
    tasks.recover_imports()

    job.refresh_from_db()
    assert (job.state, queue) == ("stopped", [])
    assert "repeat the same command" in alice_client.get(f"/imports/{job.pk}/").text
    assert alice_client.post(f"/api/v1/imports/{job.pk}/start").status_code == 409


# ---- API --------------------------------------------------------------------------------------------------------


def test_by_api_files_are_looked_at_started_and_told(alice_client: Any, queue: Queue) -> None:
    answer = alice_client.post("/api/v1/imports", {"files": [lab()], **ASKED})

    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["state"], told["foretold"]["fates"]["stored"], told["n_rows"]) == ("looked", 30, 32)
    assert alice_client.post(f"{answer['Location']}/start").status_code == 202
    work(queue)
    done = alice_client.get(answer["Location"]).json()
    assert (done["state"], done["became"]["stored"], done["n_sent"]) == ("done", 30, 32)
    assert alice_client.get("/api/v1/imports").json()["results"][0]["id"] == done["id"]
    assert alice_client.post(f"{answer['Location']}/start").status_code == 409
    assert alice_client.delete(answer["Location"]).status_code == 409


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pack": "nonsense"}, "is none of"),
        ({"map": "mote=node"}, "no column “node”"),
        ({"map": "mote"}, "expected NAME=COLUMN"),
        ({"files": []}, "files"),
    ],
)
def test_the_api_says_what_it_cannot_read(alice_client: Any, given: dict[str, Any], words: str) -> None:
    answer = alice_client.post("/api/v1/imports", {"files": [lab()], **ASKED, **given})

    assert answer.status_code == 400
    assert words in answer.text


def test_the_api_names_its_own_fields_where_the_command_names_its_options(alice_client: Any) -> None:
    rows = SimpleUploadedFile("days.csv", b"mote,at,temperature\n7,02/03/2024 10:00,20.5\n")

    told = alice_client.post("/api/v1/imports", {"files": [rows], **ASKED, "map": ""}).json()

    assert "--" not in str(told)
    assert "say “date_order”" in str(told)


def test_a_stop_that_is_asked_for_is_heard_while_a_sink_is_waited_for() -> None:
    now = [0.0]
    order = jobs.StopOrder(lambda: now[0] > 5, clock=lambda: now[0])

    assert not order.is_set()
    assert not order.wait(0.0)
    now[0] = 6.0
    assert order.wait(0.0)
    assert isinstance(order, threading.Event)
