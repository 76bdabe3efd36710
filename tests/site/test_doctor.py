"""`manage.py doctor` finds what is wrong and says what to do; `manage.py verify` follows a reading."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from websockets.sync.server import serve

from ingestion.streams import stream
from sensors import registry
from sensors.installation import install_pack
from sensors.lake import lake
from sensors.models import Mote, ProcessHeartbeat, Profile, Site
from sensors.packs import read_pack
from sensors.readings import micros
from sensors.stores import hot
from sieis_site import doctor, env, verification
from sieis_site.management.commands import verify as verify_command
from sieis_site.verification import CannotVerify, Hop, Marked
from tests import builders
from tests.conftest import NOON
from tests.stack import on_servers

NOWHERE = "127.0.0.1:1"  # nobody listens there, and says so at once


@pytest.fixture
def pack(db):
    install_pack(read_pack("climate"), site_code="main", time_zone="UTC", who=None, now=NOON)


@pytest.fixture
def collected(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    (settings.STATIC_ROOT / "staticfiles.json").write_text("{}")


def examined() -> tuple[str, int]:
    """What the command says, and its exit status."""
    said = StringIO()
    try:
        call_command("doctor", stdout=said)
    except SystemExit as end:
        return said.getvalue(), int(end.code or 0)
    return said.getvalue(), 0


# ---- doctor ---------------------------------------------------------------------------------------------------


def test_a_sound_embedded_installation_needs_nothing(pack, collected):
    said, status = examined()

    assert status == 0, said
    assert "✗" not in said
    assert "✓ migrations: all applied" in said
    assert "✓ profiles: climate; 5 motes" in said
    assert "· model climate: none in production" in said
    assert said.endswith("all is well\n")


def test_what_is_missing_is_named_with_its_cure(db, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "nothing"

    said, status = examined()

    assert status == 1
    assert "✗ profiles: none; 0 motes\n    → manage.py load_pack indoor" in said
    assert "→ manage.py collectstatic" in said
    assert "2 of" in said


def test_programs_get_the_same_as_json(pack, collected):
    said = StringIO()

    call_command("doctor", "--json", stdout=said)

    answer = json.loads(said.getvalue())
    assert answer["ok"] is True
    assert {"what": "Python", "is_ok": True, "cure": ""}.items() <= answer["findings"][0].items()


def test_a_server_that_is_away_is_one_finding_and_the_rest_is_still_looked_at(pack, collected, settings):
    settings.ENV = {**env.read({}), "INFLUXDB_V2_URL": f"http://{NOWHERE}"}
    settings.HAS_REDIS, settings.CELERY_BROKER_URL = True, f"redis://{NOWHERE}/0"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": {"hosts": [f"redis://{NOWHERE}/1"]}}}
    settings.CACHES = {"default": {"BACKEND": "x", "LOCATION": f"redis://{NOWHERE}/2"}}

    findings = {finding.what: finding for finding in doctor.examine(timezone.now())}

    assert "Connection refused" in findings["hot store"].words
    assert "INFLUXDB_V2_URL" in findings["hot store"].cure
    assert findings["jobs, live channel"].cure.startswith("REDIS_URL")
    assert findings["lake"].is_ok


def test_a_library_of_another_version_is_named():
    wanted = dict(doctor.pins("# why\n-r other.txt\nDjango==5.2.19  # long-term\npolars==2.1.0\n"))

    assert wanted == {"Django": "5.2.19", "polars": "2.1.0"}


@pytest.mark.parametrize(("off_s", "is_ok"), [(1, True), (12, False), (-12, False)])
def test_a_clock_that_is_off_is_found_in_both_directions(off_s, is_ok):
    finding = doctor.skew("database clock", datetime.now(UTC) + timedelta(seconds=off_s))

    assert finding.is_ok is is_ok
    assert bool(finding.cure) is not is_ok


@pytest.mark.parametrize(("version", "is_ok"), [("2.7.12", True), ("dev", True), ("1.8.10", False), ("3.1.0", False)])
def test_only_influxdb_2_will_do(version, is_ok):
    assert doctor._is_influxdb_2(version) is is_ok


# ---- verify: the mote, the visitor, the consumers ---------------------------------------------------------------


def test_the_marked_mote_alerts_nobody_and_is_gone_afterwards(pack):
    before = registry.revision()

    with verification.marked_mote() as (mote, revision):
        seen = registry.current_fleet().find("verify")
        assert (seen.id, seen.state) == (mote.pk, "commissioning")
        assert revision > before

    assert "verify" not in [mote.code for mote in registry.current_fleet().motes]
    assert Mote.objects.get(code="verify").state == Mote.State.RETIRED


def test_without_a_profile_there_is_nothing_to_verify(db):
    with pytest.raises(CommandError, match="load_pack indoor"):
        call_command("verify", timeout=0.0)


def test_the_visitor_may_look_and_leaves_no_account(pack, client):
    with verification.visitor() as cookie:
        client.cookies.load(cookie)
        assert client.get("/api/v1/motes").status_code == 200

    assert not User.objects.exists()
    assert client.get("/api/v1/motes").status_code in (401, 403)


def test_without_a_consumer_nothing_is_sent(pack):
    with pytest.raises(CommandError, match="No consumer runs"):
        call_command("verify", timeout=0.0)

    assert sum(last for _, last in stream("readings").bounds().values()) == 0


@pytest.mark.parametrize(("fleet", "is_ready"), [(3, True), (2, False)])
def test_a_consumer_must_have_read_the_fleet_with_the_mote(db, settings, fleet, is_ready):
    detail = {"state": "running", "topic": settings.SIEIS_TOPICS["readings"], "fleet": fleet}
    ProcessHeartbeat.objects.create(name="c", kind="consumer", beat_at=timezone.now(), detail=detail)

    with contextlib.nullcontext() if is_ready else pytest.raises(CannotVerify, match="does not take up"):
        verification.wait_for_consumers(3, deadline=0.0)


# ---- verify: the hops -------------------------------------------------------------------------------------------


@pytest.fixture
def marked(pack):
    mote = Mote.objects.create(
        site=Site.objects.get(), code="verify", profile=Profile.objects.get(), state=Mote.State.COMMISSIONING
    )
    registry.touch_fleet()
    profile = registry.profiles()["climate"]
    return Marked(mote=mote.pk, site="main", profile=profile, at=NOON, url=f"http://{NOWHERE}", headers={})


def keep(marked: Marked, surprise: float = 0.5) -> None:
    """What the reading path would have stored."""
    values = [sum(channel.normal) / 2 for channel in marked.profile.channels]
    batch = builders.batch(marked.profile, values, mote=marked.mote, start_us=micros(marked.at))
    batch.surprise[:] = surprise
    table = batch.to_table()
    hot().write(marked.profile, table)
    lake().append("silver/climate", table, app_ids={0: "t/0"}, next_offsets={0: 1})


def test_a_reading_is_found_in_the_hot_store_with_its_score_and_in_the_lake(marked):
    looks = (verification.in_hot_store, verification.scored, verification.in_lake)
    hot().ping()

    assert verification.in_hot_store(marked) is None

    keep(marked)
    assert [look(marked) for look in looks] == ["stored", "0.03 by the pack's normal bands", "committed"]


def test_a_reading_that_nobody_scored_has_not_arrived(marked):
    keep(marked, surprise=np.nan)

    assert verification.in_hot_store(marked) == "stored"
    assert verification.scored(marked) is None


@pytest.mark.django_db(transaction=True)
def test_the_api_tells_the_very_reading_to_the_visitor(settings, live_server):
    install_pack(read_pack("climate"), site_code="main", time_zone="UTC", who=None, now=NOON)
    with verification.marked_mote() as (mote, _), verification.visitor() as cookie:
        profile = registry.profiles()["climate"]
        marked = Marked(mote.pk, "main", profile, NOON, live_server.url, {"Cookie": cookie})

        assert verification.in_api(marked) is None
        keep(marked)
        assert verification.in_api(marked) == "told"


def test_an_api_that_refuses_is_a_missed_hop_with_its_words(marked):
    hop = verification.until("API", marked, lambda: verification.in_api(marked))

    assert not hop.is_ok
    assert "Connection refused" in hop.words


@contextlib.contextmanager
def telling(*messages: str):
    """A live channel that says this to everybody."""
    with serve(lambda socket: [socket.send(message) for message in messages], "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            host, port = server.socket.getsockname()
            yield f"http://{host}:{port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("at", "is_ok"), [("2026-03-02T12:00:00Z", True), ("2026-03-02T11:59:59Z", False)])
def test_the_websocket_must_tell_the_very_reading(at, is_ok):
    told = {"type": "readings", "readings": [{"mote": "verify", "site": "main", "at": at}]}
    with telling('{"type": "hello", "seq": 1}', json.dumps(told)) as url:
        marked = Marked(1, "main", builders.profile(), NOON, url, {}, deadline=time.monotonic() + 10)
        with verification.listening(marked) as socket:
            hop = verification.heard(marked, socket)

    assert hop.is_ok is is_ok


def test_a_web_process_that_is_not_there_is_a_missed_hop(marked):
    with verification.listening(marked) as socket:
        hop = verification.heard(marked, socket)

    assert not hop.is_ok
    assert "takes no websocket" in hop.words


def test_the_message_is_one_that_any_mote_could_send(marked):
    message = json.loads(marked.message())

    assert message["mote_id"] == "verify"
    assert message["timestamp"] == "2026-03-02T12:00:00+00:00"
    assert set(message) >= set(marked.profile.names)


def test_hops_are_told_in_columns():
    assert verify_command.line(Hop("lake", True, 15022.4, "committed")) == "✓ lake         15022 ms  committed"
    assert verify_command.line(Hop("API", False, None, "away")) == "✗ API                    away"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(CommandError, match="--url"):
        verify_command.address(url)


# ---- on real servers --------------------------------------------------------------------------------------------


@pytest.mark.service
def test_doctor_and_verify_find_a_server_installation_sound(addresses, tmp_path):
    with on_servers(tmp_path, addresses) as stack:
        stack.manage("migrate", "--verbosity", "0")
        stack.manage("collectstatic", "--noinput", "--verbosity", "0")
        stack.manage("load_pack", "--yes", "climate")
        stack.manage("setup")
        found = json.loads(stack.manage("doctor", "--json").stdout)
        assert [finding for finding in found["findings"] if finding["is_ok"] is False] == []
        assert f"bucket {stack.environment['INFLUXDB_V2_BUCKET']}" in [finding["what"] for finding in found["findings"]]

        stack.start("consumer", "consume")
        stack.serve()
        said = stack.manage("verify", "--url", stack.url, check=False)

        assert said.returncode == 0, said.stdout + said.stderr + stack.tail("consumer") + stack.tail("web")
        assert said.stdout.count("✓") == 6


@pytest.mark.service
def test_a_bucket_that_is_not_there_is_named_with_what_creates_it(addresses, settings):
    settings.ENV = {**settings.ENV, **addresses, "INFLUXDB_V2_BUCKET": "not-there", "INFLUXDB_V2_ORG": "sieis"}

    found = doctor._bucket(addresses["INFLUXDB_V2_URL"])

    assert found.is_ok is False
    assert "influx bucket create --org sieis --name not-there" in found.cure
