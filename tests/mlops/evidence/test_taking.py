"""Evidence is taken once an occasion, says what was known then, and its readings come to the same scores again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connections

from alerts import judging, services
from alerts.models import Alert, Event, Evidence
from ingestion import evidencing
from mlops.detection import words
from mlops.evidence import taking
from mlops.evidence.bundle import Bundle
from mlops.evidence.rescoring import only
from mlops.serving import Serving
from sensors import audit
from sensors.models import Mote, SensorGrade
from sensors.readings import Batch, micros
from sensors.registry import current_fleet
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
CODES = ("7", "8", "9", "10")
BEGIN = micros(NOON)
N, SPIKE = 300, range(250, 254)


def readings(mote: Mote, profile, *, temperature: float | None = None) -> Batch:
    rng = np.random.default_rng(mote.pk)
    values = np.column_stack([
        21 + 0.1 * rng.standard_normal(N), 40 + 0.3 * rng.standard_normal(N), 100 + rng.standard_normal(N),
        np.full(N, 2.8) + 0.001 * rng.standard_normal(N),
    ])  # fmt: skip
    if temperature is not None:
        values[list(SPIKE), 0] = temperature
    return builders.batch(profile, values, mote=mote.pk, start_us=BEGIN)


@pytest.fixture
def story():
    """Four motes for two and a half hours; the first says 93 °C for two minutes. Its alert, and an earlier state."""
    builders.install_fleet(motes=CODES)
    fleet = current_fleet()
    profile = fleet.profiles["indoor"]
    engine = Serving().engine_for(profile)  # as the stream is judged
    state, start = engine.start(), b""
    for mote in Mote.objects.order_by("pk"):
        batch = readings(mote, profile, temperature=93.0 if mote.code == "7" else None)
        state, early, _ = engine.step(state, batch.take(slice(0, 100)))
        if mote.code == "7":
            start = only(state, mote.pk).to_bytes()
        state, late, changes = engine.step(state, batch.take(slice(100, N)))
        hot().write(profile, early.to_table())
        hot().write(profile, late.to_table())
        told = [services.Told(change, words(change, profile), "sensor-readings/0@250") for change in changes]
        services.record_events(told, fleet=fleet)
    return taking.Parts(hot(), fleet, default_storage, lambda *asked: taking.Before(start, 100, instant(100)))


def instant(row: int) -> datetime:
    return NOON + timedelta(seconds=30 * row)


def taken(parts: taking.Parts, now: datetime = NOON + timedelta(hours=3)) -> tuple[Evidence, Bundle]:
    [(alert, occasion)] = taking.due(now)
    kept = taking.take(alert, occasion, parts=parts, now=now)
    return kept, evidencing.opened(kept)


def test_the_readings_come_to_the_same_scores_again_and_the_peak_is_in_words(story):
    kept, bundle = taken(story)

    assert (kept.occasion, kept.is_reproduced) == ("raised", True)
    assert bundle.told["scoring"]["n_readings"] == 200
    assert bundle.told["votes"]["gate"] == 12.0
    assert bundle.told["event"]["peak_value"] == 93.0
    assert max(bundle.told["chart"]["channels"][0]["values"]) == 93.0


def test_history_that_was_imported_beside_the_stream_is_not_scored_with_the_streams_memory(story):
    mote, profile = Mote.objects.get(code="7"), story.fleet.profiles["indoor"]
    past = readings(mote, profile).take(slice(0, 50))
    imported = replace(
        past, at=past.at - 20_000_000, offset=past.offset + 90_000, received_at=np.full(50, BEGIN - 3_600_000_000),
        surprise=np.full(50, 0.5), event_id=np.zeros(50, dtype=np.int64),
    )  # fmt: skip
    hot().write(profile, imported.to_table())

    kept, bundle = taken(story)

    assert kept.is_reproduced
    assert bundle.told["scoring"]["n_readings"] == 200


def test_what_was_judged_without_a_model_verifies_by_the_threshold_of_its_time(story, settings, tmp_path):
    kept, _ = taken(story)
    path, said = tmp_path / "evidence.zip", StringIO()
    path.write_bytes(evidencing.read(kept))
    settings.SIEIS_FALLBACK_THRESHOLD = 0.001

    call_command("verify_evidence", path, stdout=said)

    assert "Verified: largest difference 0 over all readings." in said.getvalue()


def test_it_is_called_a_fault_where_no_neighbour_moved_and_no_sensor_can_measure_it(story):
    _, bundle = taken(story)

    reasons = " ".join(reason["words"] for reason in bundle.told["verdict"]["reasons"])
    assert bundle.told["verdict"]["what"] == "sensor_fault"
    assert "none of its 3 neighbours moved" in reasons
    assert [one["mote"] for one in bundle.told["neighbours"]] == ["10", "8", "9"]


def test_the_file_verifies_by_command_and_one_that_was_altered_does_not(story, tmp_path):
    kept, _ = taken(story)
    whole, torn = tmp_path / "whole.zip", tmp_path / "torn.zip"
    content = evidencing.read(kept)
    whole.write_bytes(content)
    torn.write_bytes(content[:-1000] + bytes(1000))
    said = StringIO()

    call_command("verify_evidence", whole, stdout=said)

    assert "Verified: largest difference 0 over all readings." in said.getvalue()
    assert "This installation wrote the file." in said.getvalue()
    with pytest.raises(CommandError):
        call_command("verify_evidence", torn)


def test_a_file_of_the_first_readings_ever_verifies_from_an_engine_that_has_met_nothing(story, tmp_path):
    kept, bundle = taken(replace(story, state_before=lambda *asked: taking.Before(b"", 0, NOON)))
    path = tmp_path / "first.zip"
    path.write_bytes(evidencing.read(kept))
    said = StringIO()

    call_command("verify_evidence", path, stdout=said)

    assert (bundle.state, bundle.told["scoring"]["n_readings"]) == (b"", N)
    assert "Verified: largest difference 0 over all readings." in said.getvalue()


def test_scores_that_somebody_changed_are_found_even_with_a_fitting_manifest(story, tmp_path):
    _, bundle = taken(story)
    forged = Bundle(bundle.told, bundle.readings.with_columns(surprise=bundle.readings["surprise"] * 0.9), bundle.state)
    path = tmp_path / "forged.zip"
    path.write_bytes(forged.to_bytes())

    with pytest.raises(CommandError, match=r"differ by up to 1\.2"):
        call_command("verify_evidence", path, stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_it_at_once_one_is_kept_and_both_are_shown_that_one(story):
    together = threading.Barrier(2)

    def state_before(*asked: object) -> taking.Before | None:
        together.wait(60)  # both have seen that nothing was taken yet
        return story.state_before(*asked)

    parts, [(alert, occasion)] = replace(story, state_before=state_before), taking.due(NOON + timedelta(hours=3))
    with ThreadPoolExecutor(2) as both:
        later = [
            both.submit(_take_and_close, alert, occasion, parts, NOON + timedelta(hours=3, seconds=n)) for n in range(2)
        ]
        shown = {one.result(120) for one in later}

    [kept] = Evidence.objects.all()
    assert shown == {kept}
    assert evidencing.opened(kept).told["occasion"] == "raised"
    assert default_storage.listdir(f"evidence/{alert.pk}")[1] == [kept.name.rpartition("/")[2]]


def _take_and_close(alert: Alert, occasion: str, parts: taking.Parts, now: datetime) -> Evidence:
    try:
        return taking.take(alert, occasion, parts=parts, now=now)
    finally:
        connections.close_all()


def test_what_is_taken_stays_whatever_happens_to_alert_grade_and_readings_later(story):
    mote = Mote.objects.get(code="7")
    SensorGrade.objects.create(
        mote=mote, channel="temperature", grade="D", starts_at=NOON, ends_at=NOON, graded_at=NOON, reasons=["flat"]
    )
    kept, before = taken(story)

    SensorGrade.objects.update(grade="A")
    Alert.objects.update(words="nothing to see")
    hot().forget(story.fleet.profiles["indoor"], [mote.pk], NOON + timedelta(days=1))

    assert evidencing.opened(kept).told == before.told
    assert before.told["grade"]["grade"] == "D"


def test_it_is_taken_once_and_again_when_the_alert_has_grown_and_when_it_is_over(story):
    kept, _ = taken(story)
    alert = kept.alert

    assert taking.due(NOON) == []
    Alert.objects.update(peak_surprise=alert.peak_surprise + 0.4)
    assert taking.due(NOON) == []
    Alert.objects.update(peak_surprise=alert.peak_surprise + 1)
    assert [occasion for _, occasion in taking.due(NOON)] == ["peak"]
    taking.take(Alert.objects.get(), "peak", parts=story, now=NOON)
    Alert.objects.update(status="resolved")
    assert taking.due(instant(250)) == []
    assert [occasion for _, occasion in taking.due(NOON + timedelta(hours=9))] == ["over"]
    taking.take(Alert.objects.get(), "over", parts=story, now=NOON)
    assert taking.due(NOON + timedelta(hours=9)) == []


def test_what_another_look_has_taken_meanwhile_is_not_taken_twice(story):
    [(alert, occasion)] = taking.due(NOON)

    assert taking.is_still_due(alert, occasion)
    taking.take(alert, occasion, parts=story, now=NOON)

    assert not taking.is_still_due(alert, occasion)
    assert taking.is_still_due(alert, "over")


def test_what_people_changed_before_comes_with_it_and_what_they_did_after_does_not(story, bob):
    subject = Mote.objects.get(code="7").subject
    audit.record(deed="change_mote", subject=subject, who=bob, now=instant(200), detail={"label": ["", "by the door"]})
    audit.record(deed="change_mote", subject=subject, who=bob, now=NOON - timedelta(days=3))
    audit.record(deed="change_mote", subject="mote:main/8", who=bob, now=instant(200))

    _, bundle = taken(story)

    assert [(one["what"], one["who"]) for one in bundle.told["timeline"]] == [("change mote", "bob")]


def test_a_past_alert_like_it_comes_with_what_was_done(story, bob):
    past = Alert.objects.create(
        subject="mote:main/7", kind="anomaly", severity="high", status="resolved", mote=Mote.objects.get(code="7"),
        words="hot", first_seen_at=NOON - timedelta(days=9), last_seen_at=NOON - timedelta(days=9), resolved_by=bob,
    )  # fmt: skip
    now = Event.objects.get()
    Event.objects.create(
        mote=past.mote, alert=past, noticed_at=past.first_seen_at, started_at=past.first_seen_at, n_readings=3,
        last_at=past.last_seen_at, ended_at=past.last_seen_at, peak_surprise=9.0, peak_at=past.first_seen_at,
        peak_channel="temperature", layer=now.layer, contributions=now.contributions, words="hot", model_version=0,
    )  # fmt: skip
    judging.judge(past, "false", by=bob, now=NOON)

    told = taking.gather(now.alert, now, "raised", parts=story, now=NOON).told["similar"]

    assert [(one["alert"], one["verdict"], one["ended"]) for one in told] == [(past.pk, "false alarm", "by bob")]
    assert told[0]["likeness"] == pytest.approx(1.0)


def test_without_the_state_of_that_time_it_is_still_taken_and_says_that_it_cannot_be_scored_again(story, tmp_path):
    parts = taking.Parts(story.store, story.fleet, default_storage, lambda *asked: None)

    kept, bundle = taken(parts)
    path = tmp_path / "evidence.zip"
    path.write_bytes(evidencing.read(kept))

    assert kept.is_reproduced is None
    assert "not kept any more" in bundle.told["scoring"]["why"]
    with pytest.raises(CommandError, match="cannot be scored again"):
        call_command("verify_evidence", path)


# ---- page and API -----------------------------------------------------------------------------------------------


def test_everybody_sees_it_on_the_page_and_downloads_the_very_file(story, charlie_client):
    kept, _ = taken(story)

    page = charlie_client.get(f"/alerts/{kept.alert_id}/").content.decode()
    file = charlie_client.get(f"/alerts/{kept.alert_id}/evidence/{kept.pk}.zip")
    [listed] = charlie_client.get(f"/api/v1/alerts/{kept.alert_id}/evidence").json()
    told = charlie_client.get(f"/api/v1/alerts/{kept.alert_id}/evidence/{kept.pk}").json()

    assert "looks like a sensor fault" in page
    assert "came to the same to 1e-9" in page
    assert file.content == evidencing.read(kept)
    assert (listed["verdict"], listed["sha256"]) == ("sensor_fault", kept.sha256)
    assert told["event"]["layer"] == "gate"


def test_a_file_that_is_gone_or_changed_is_said_and_not_shown(story, charlie_client):
    kept, _ = taken(story)
    default_storage.delete(kept.name)

    page = charlie_client.get(f"/alerts/{kept.alert_id}/").content.decode()

    assert "is not in the artefact storage any more" in page
    assert charlie_client.get(f"/alerts/{kept.alert_id}/evidence/{kept.pk}.zip").status_code == 404
    assert charlie_client.get(f"/api/v1/alerts/{kept.alert_id}/evidence/{kept.pk}").status_code == 404


def test_an_operator_takes_it_now_and_a_viewer_waits(story, bob_client, charlie_client):
    alert = Alert.objects.get()
    sink = services.raise_system_alert(subject="sink:lake", kind="sink_down", words="away", severity="high", now=NOON)

    refused = charlie_client.post(f"/api/v1/alerts/{alert.pk}/evidence", content_type="application/json")
    taken_now = bob_client.post(f"/api/v1/alerts/{alert.pk}/evidence", content_type="application/json")
    nothing = bob_client.post(f"/api/v1/alerts/{sink.pk}/evidence", content_type="application/json")

    assert (refused.status_code, taken_now.status_code, nothing.status_code) == (403, 201, 409)
    assert taken_now.json()["occasion"] == "raised"
    assert Evidence.objects.count() == 1
