"""The pages as the server draws them first, before any script."""

from __future__ import annotations

import doctest
import json
import re
from datetime import timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from alerts.models import Alert, Event
from ingestion import words
from ingestion.models import LedgerHour, Quarantined
from ingestion.words import decimals_of
from mlops.models import ModelVersion, TrainingJob
from sensors import registry
from sensors.models import Mote, Profile
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
MOTES = ("7", "8", "9")


@pytest.fixture
def fleet(db):
    builders.install_fleet(motes=MOTES)
    return registry.current_fleet()


def store(fleet, code: str, temperature: float, *, ago_s: float = 2.0, n: int = 1, surprise: float = 0.5) -> None:
    """The last n readings of a mote, a second apart."""
    profile, mote = fleet.profiles["indoor"], fleet.find(code)
    start = int((timezone.now().timestamp() - ago_s - n + 1) * 1e6)
    told = builders.batch(profile, [[temperature, 45, 100, 2.8]] * n, mote=mote.id, start_us=start, step_s=1.0)
    told.surprise[:] = surprise
    told.is_anomaly[:] = surprise > profile.onset
    hot().write(profile, told.to_table())


def alert(code: str = "7", **changes) -> Alert:
    now = timezone.now()
    mote = Mote.objects.get(code=code)
    given = {
        "subject": mote.subject, "kind": "anomaly", "severity": "high", "mote": mote, "words": "Temperature 45.2 °C",
        "n_events": 1, "score": 0.8, "first_seen_at": now, "last_seen_at": now,
    }  # fmt: skip
    return Alert.objects.create(**{**given, **changes})


def text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def row_of(answer, code: str) -> str:
    row = re.search(rf'<tr data-key="main/{code}".*?</tr>', answer.content.decode(), re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row[0])).strip()


# ---- Live ----


def test_the_first_paint_has_each_motes_last_values_in_it(fleet, charlie_client):
    store(fleet, "7", 21.456)
    store(fleet, "8", 22.0, ago_s=400)

    answer = charlie_client.get("/")

    assert "21.46" in row_of(answer, "7")
    assert re.search(r"\b[2-9] s ago", row_of(answer, "7"))  # the first page of a process takes a second
    assert "6 min ago" in row_of(answer, "8")
    assert "never" in row_of(answer, "9")
    assert answer.context["tiles"]["n_speaking"] == 1
    assert answer.context["tiles"]["n_silent"] == 2


def test_an_anomalous_mote_says_so_by_word_and_shape(fleet, charlie_client):
    store(fleet, "7", 45.0, surprise=3 * fleet.profiles["indoor"].onset)

    answer = charlie_client.get("/")

    assert "high" in row_of(answer, "7")
    assert re.search(r'class="mote high is-anomalous"[^>]*data-key="main/7"', answer.content.decode())


def test_the_live_page_costs_the_same_number_of_queries_for_many_motes(
    fleet, charlie_client, django_assert_max_num_queries, django_assert_num_queries
):
    with django_assert_max_num_queries(21) as few:
        charlie_client.get("/")
    builders.install_fleet(motes=tuple(str(n) for n in range(100, 140)))
    for n in range(100, 110):
        alert(str(n))

    with django_assert_num_queries(len(few.captured_queries)):
        charlie_client.get("/")


class AwayStore:
    """A hot store whose server does not answer."""

    def latest(self, profile, motes):
        raise StoreUnavailable("connection refused by 10.0.0.7:8086")

    def between(self, profile, motes, start, end, *, limit=None):
        raise StoreUnavailable("connection refused by 10.0.0.7:8086")

    def close(self):
        pass


def test_without_the_hot_store_the_page_stands_and_says_what_is_missing(fleet, charlie_client, settings):
    settings.SIEIS_HOT_STORE = {"BACKEND": "tests.ingestion.test_pages.AwayStore", "OPTIONS": {}}

    answer = charlie_client.get("/")

    assert answer.status_code == 200
    assert "The hot store does not answer" in text(answer)
    assert "connection refused by 10.0.0.7:8086" in text(answer)
    assert charlie_client.get("/live/trails").status_code == 503


def test_without_motes_the_page_says_what_to_do(charlie_client):
    assert "load_pack indoor" in text(charlie_client.get("/"))


def test_motes_that_never_spoke_are_shown_how_to(fleet, charlie_client):
    answer = charlie_client.get("/")

    assert "none has spoken yet" in text(answer)
    assert '{"mote_id": "7", "timestamp": ' in text(answer)


def test_only_those_who_may_act_get_buttons(fleet, bob_client, charlie_client):
    alert()

    assert 'data-deed="acknowledge"' in bob_client.get("/").content.decode()
    assert "data-deed" not in charlie_client.get("/").content.decode()
    assert "data-deed" not in charlie_client.get("/alerts/").content.decode()


def test_profiles_of_different_channels_have_tables_of_their_own(fleet, charlie_client):
    builders.install_fleet(
        motes=("M1",),
        profile=builders.profile(builders.channel("vibration", unit="mm/s"), code="machine", label="Machine"),
    )

    answer = charlie_client.get("/")

    assert [group.profile.code for group in answer.context["groups"]] == ["indoor", "machine"]
    assert ("machine:vibration", "Machine: Vibration") in answer.context["colours"]


def test_what_the_script_gets_cannot_end_its_element(fleet, charlie_client):
    Mote.objects.filter(code="7").update(label="</script><script>alert(1)</script>")

    page = charlie_client.get("/").content.decode()

    assert "<script>alert(1)" not in page
    data = re.search(r'<script id="live-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data[1])["motes"][0]["label"] == "</script><script>alert(1)</script>"


def test_no_page_has_inline_script_or_style(fleet, alice_client):
    alert()
    for path in (
        "/",
        "/alerts/",
        "/history/",
        "/insights/",
        "/system/",
        "/quality/",
        "/models/",
        "/password/",
        "/nope",
    ):
        page = alice_client.get(path).content.decode()
        assert not re.search(r"<script(?![^>]*(src=|application/json))|<style|\sstyle=|\son\w+=", page), path


def test_sparklines_are_means_a_step_with_gaps_where_nothing_came(fleet, charlie_client):
    store(fleet, "7", 20.0, n=5)
    store(fleet, "7", 30.0, ago_s=120, n=5)

    told = charlie_client.get("/live/trails").json()

    line = told["motes"]["main/7"]["temperature"]
    assert len(line) == told["n"]
    assert {value for value in line if value is not None} == {20.0, 30.0}
    assert line.index(30.0) < line.index(None, line.index(30.0)) < line.index(20.0)
    assert "main/8" not in told["motes"]


# ---- the others ----


def test_active_alerts_are_shown_and_others_found_by_filter(fleet, charlie_client):
    alert("7", words="Temperature 45.2 °C")
    alert("8", words="Humidity 3 %", status="resolved", severity="low")

    assert "Humidity" not in text(charlie_client.get("/alerts/"))
    assert "Humidity" in text(charlie_client.get("/alerts/?status=all&severity=low"))
    assert "Humidity" in text(charlie_client.get("/alerts/?status=all&q=humid 3"))
    assert "No alert here" in text(charlie_client.get("/alerts/?q=voltage"))


def test_an_address_that_makes_no_sense_shows_the_active_alerts(fleet, charlie_client):
    alert("7")

    assert "Temperature 45.2" in text(charlie_client.get("/alerts/?status=lost&page=none"))


def test_the_books_of_today_add_up_or_say_that_they_do_not(fleet, charlie_client):
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    LedgerHour.objects.create(
        hour=hour, profile="indoor", topic="t", partition=0, received=1200, stored=1190, quarantined=8, duplicate=2
    )
    assert re.search("1 200 .* balanced", text(charlie_client.get("/quality/")))

    LedgerHour.objects.update(stored=1000)
    assert "does not add up" in text(charlie_client.get("/quality/"))


def test_quarantine_shows_reason_and_payload_harmlessly(charlie_client):
    Quarantined.objects.create(
        topic="t", partition=0, offset=5, received_at=timezone.now(), reason="malformed", detail="not JSON at byte 0",
        payload=b"<script>alert(1)</script>\xff", size=26,
    )  # fmt: skip

    page = charlie_client.get("/quarantine/?reason=malformed&view=messages").content.decode()

    assert "not JSON at byte 0" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "No message fits" in charlie_client.get("/quarantine/?reason=no_mote").content.decode()


def version(**changes) -> ModelVersion:
    number = ModelVersion.objects.count() + 1
    given = {
        "number": number, "name": f"indoor/anomaly_detector_v{number}", "profile": Profile.objects.get(), "seed": 1,
        "artefact": "a", "sha256": "0" * 64, "profile_version": 1, "created_at": timezone.now(),
        "metrics": {"flagged_share": 0.0123, "n_found": 20, "n_planted": 24, "gate": {"words": "it passes"}},
        "data": {"readings_used": 120000, "n_motes": 42},
    }  # fmt: skip
    return ModelVersion.objects.create(**{**given, **changes})


def test_models_tell_their_held_out_figures_and_who_serves(fleet, alice_client, charlie_client):
    version(stage="production", promoted_at=timezone.now())
    version()
    TrainingJob.objects.create(
        profile=Profile.objects.get(), status="running", trigger="person", queued_at=timezone.now(), progress=0.4,
        message="Fitting", requested_by=User.objects.get(username="alice"),
    )  # fmt: skip

    page = alice_client.get("/models/")

    assert "1.23 %" in text(page)
    assert "20 of 24" in text(page)
    assert "Fitting" in text(page)
    assert page.content.decode().count("data-promote=") == 1
    assert "data-promote" not in charlie_client.get("/models/").content.decode()
    assert "v1" in text(charlie_client.get("/insights/"))


def test_insights_tell_what_was_noticed_last(fleet, charlie_client):
    now = timezone.now()
    Event.objects.create(
        mote=Mote.objects.get(code="7"), noticed_at=now, started_at=now - timedelta(minutes=1), last_at=now,
        n_readings=3, peak_surprise=9.0,
        peak_at=now, peak_channel="temperature", layer="jump", words="Temperature jumped",
        model_version=1,
    )  # fmt: skip

    assert re.search(r"Temperature jumped.* 3 running", text(charlie_client.get("/insights/")))


def test_health_names_every_dependency_with_its_state(charlie_client):
    answer = text(charlie_client.get("/system/"))

    for part in ("database", "stream", "hot store", "lake", "artefacts"):
        assert re.search(rf"{part} (up|down)", answer), part


# ---- who may look ----


def test_every_page_wants_a_login_and_a_role(mallory, dave_client):
    for path in ("/", "/live/trails", "/history/", "/insights/", "/alerts/", "/system/", "/quality/", "/models/"):
        assert mallory.get(path).url.startswith("/login/"), path
        refused = dave_client.get(path)
        assert refused.status_code == 403, path
    assert "Your account has no role yet" in text(refused)


def test_the_demo_offers_its_logins_and_a_real_server_does_not(mallory, settings):
    assert "data-fills" not in mallory.get("/login/").content.decode()

    settings.SIEIS_DEMO = True

    assert 'data-fills="operator"' in mallory.get("/login/").content.decode()


def test_after_too_many_attempts_the_page_says_when_to_try_again(mallory, settings):
    settings.AXES_FAILURE_LIMIT = 2
    for _ in range(2):
        answer = mallory.post("/login/", {"username": "alice", "password": "guess"})

    assert answer.status_code == 429
    assert "Try again in 15 minutes" in text(answer)


def test_a_password_is_changed_and_holds(alice, alice_client):
    alice.set_password("old-and-long-enough")
    alice.save()
    alice_client.force_login(alice)

    answer = alice_client.post(
        "/password/",
        {"old_password": "old-and-long-enough", "new_password1": "quite-another-1", "new_password2": "quite-another-1"},
        follow=True,
    )

    assert "Password changed" in text(answer)
    alice.refresh_from_db()
    assert alice.check_password("quite-another-1")


def test_leaving_is_a_post_and_ends_on_a_page_for_everybody(charlie_client):
    assert charlie_client.get("/logout/").status_code == 405

    assert "You are logged out" in text(charlie_client.post("/logout/", follow=True))


def test_a_wrong_address_is_answered_in_words(charlie_client):
    answer = charlie_client.get("/no/such/page")

    assert answer.status_code == 404
    assert "/no/such/page" in text(answer)


# ---- words ----


def test_the_words_of_the_first_paint_are_as_their_examples_say():
    assert doctest.testmod(words).failed == 0
    assert [decimals_of(step) for step in (10, 1, 0.5, 0.1, 0.01, 0.0001, 0)] == [0, 0, 1, 1, 2, 2, 2]
    assert np.all([words.ago(age).endswith(unit) for age, unit in ((59, "s ago"), (90, "min ago"), (9e5, "d ago"))])
