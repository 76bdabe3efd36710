"""A user's own kind of mote, CO₂ and noise: a TOML file brings live page, history, validation, detection and API."""

from __future__ import annotations

import html
import json
import re
import threading
from datetime import UTC, timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from alerts.models import Alert, Event
from ingestion.running import build_runner
from ingestion.streams import stream
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db(transaction=True)
OFFICE = """\
[profile]
code = "office"
label = "Office air"
interval_s = 60

[[channels]]
code = "co2"
label = "CO₂"
unit = "ppm"
physical = [0, 10000]
normal = [400, 1200]
resolution = 1
max_rate_per_s = 50
flat_after_s = 7200

[[channels]]
code = "noise"
unit = "dB"
physical = [20, 130]
normal = [30, 70]
resolution = 0.5
max_rate_per_s = 60
flat_after_s = 7200
aliases = ["Noise[dB]"]

[[derived]]
code = "co2_rise"
label = "CO₂ rise"
unit = "ppm/min"
kind = "rate"
of = ["co2"]
scale = 60
physical = [-10000, 10000]
normal = [-100, 100]
resolution = 1

[layout]
motes = [{ code = "room-1" }, { code = "room-2" }]
"""
MINUTES, SPIKE = 90, range(60, 64)


@pytest.fixture
def start():
    return (timezone.now() - timedelta(minutes=MINUTES + 1)).replace(second=0, microsecond=0)


@pytest.fixture
def office(tmp_path, start):
    """An hour and a half of two rooms; in the first, four minutes of what no office has."""
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)
    call_command("load_pack", str(path), "--yes")
    messages = [
        {"mote_id": room, "timestamp": (start + timedelta(minutes=minute)).isoformat(), **values(room, minute)}
        for minute in range(MINUTES)
        for room in ("room-1", "room-2")
    ]
    stream().ensure()
    stream().append([json.dumps(message).encode() for message in messages], [b"main"] * len(messages))
    build_runner(announce=None).run(threading.Event(), until_end=True)


def values(room: str, minute: int) -> dict[str, float]:
    is_spike = room == "room-1" and minute in SPIKE
    return {"co2": 9000 if is_spike else 600 + minute % 7 * 3, "Noise[dB]": 40 + minute % 5}


def words(answer) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())))


def test_the_live_page_has_a_table_of_its_channels(office, charlie_client):
    shown = words(charlie_client.get("/"))

    assert "CO₂ ppm Noise dB CO₂ rise ppm/min Quality" in shown
    assert "room-1" in shown
    assert "615 ppm 44.0 dB" in shown


def test_the_api_gives_its_history_by_the_files_own_names_and_derives_what_it_asks_for(office, charlie_client, start):
    told = charlie_client.get(
        "/api/v1/sensors/readings",
        {"mote_id": "room-1", "start": start.astimezone(UTC).isoformat(), "end": timezone.now().isoformat()},
    ).json()["readings"]  # fmt: skip

    assert len(told) == MINUTES
    assert told[59]["values"] == {"co2": 609.0, "noise": 44.0, "co2_rise": 3.0}
    assert told[60]["values"] == {"co2": 9000.0, "noise": 40.0, "co2_rise": 8391.0}
    assert {(one["profile"], one["profile_version"]) for one in told} == {("office", 1)}
    assert len(charlie_client.get("/api/v1/sensors/latest").json()["readings"]) == 2


def test_its_days_stand_in_the_history(office, charlie_client):
    page = words(charlie_client.get("/history/?profile=office"))

    assert f"Readings {2 * MINUTES} in the range" in page
    assert "CO₂" in page


def test_a_spike_is_an_event_of_its_channel_and_an_alert_of_its_mote(office, charlie_client):
    [event] = Event.objects.all()
    assert (event.mote.code, event.peak_channel) == ("room-1", "co2")
    assert Alert.objects.get().subject == "mote:main/room-1"
    assert "CO₂" in charlie_client.get("/api/v1/alerts").json()["results"][0]["words"]


def test_its_data_are_validated_between_its_own_limits(office, capsys, charlie_client):
    call_command("validate_data", "--profile", "office")

    printed = capsys.readouterr().out
    assert "20 to 130 dB" in printed
    assert "FAIL" not in printed
    report = charlie_client.get("/api/v1/quality/reports").json()["results"][0]
    assert (report["profile"], report["profile_version"], report["n_readings"]) == ("office", 1, 2 * MINUTES)


def test_its_profile_has_a_page_and_an_address_of_the_api(office, charlie_client):
    assert "rate of co2 × 60" in words(charlie_client.get("/profiles/office/"))
    assert charlie_client.get("/api/v1/profiles/office").json()["n_motes"] == 2
