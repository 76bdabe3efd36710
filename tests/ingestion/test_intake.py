"""Readings by HTTP: what a device is told is what becomes of them, and a retry changes nothing."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from ingestion import devices, intake
from ingestion.models import DeviceKey, IntakeReceipt
from ingestion.records import Records
from ingestion.streams import StreamUnavailable, stream
from ingestion.wire import Wire
from sensors.models import AuditEntry, Mote, Site
from sensors.registry import current_fleet
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fleet(db):
    builders.install_fleet(motes=("7", "8"))
    builders.install_fleet(motes=("7",), site="lab")


@pytest.fixture
def own_stream(settings, tmp_path):
    options = {**settings.SIEIS_STREAM["OPTIONS"], "folder": tmp_path}
    settings.SIEIS_STREAM = {**settings.SIEIS_STREAM, "OPTIONS": options}
    return stream("readings")


def key(mote: str | None = None, site: str = "main") -> devices.NewKey:
    place = Site.objects.get(code=site)
    chosen = Mote.objects.get(site=place, code=mote) if mote else None
    return devices.make_key(name="gateway", site=place, mote=chosen, who=None, now=timezone.now())


def reading(mote: str | None = "7", **more: object) -> dict[str, object]:
    named = {"mote_id": mote} if mote else {}
    return {**named, "timestamp": timezone.now().isoformat(), "temperature": 21.5, **more}


def send(new: devices.NewKey, body: object, *, kind: str = "application/json", **headers: str):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Client().post(
        "/api/v1/ingest", raw, content_type=kind, headers={"Authorization": f"Bearer {new.text}", **headers}
    )


def appended(source) -> list[dict[str, object]]:
    """All messages of the stream, in order."""
    consumer = source.consumer("test", on_assign=lambda those: dict.fromkeys(those, 0), on_revoke=lambda those: None)
    found: Records = consumer.poll(1000, 1.0)
    consumer.close()
    return [json.loads(value) for value in found.values]


def test_a_reading_that_is_accepted_is_in_the_stream(own_stream):
    answer = send(key(), reading())

    assert answer.status_code == 202, answer.content
    assert answer.json() == {"accepted": 1, "held": 0, "refused": 0, "readings": [{"row": 0, "status": "accepted"}]}
    assert [one["mote_id"] for one in appended(own_stream)] == ["7"]


def test_each_reading_of_a_list_is_answered_for_itself(own_stream):
    body = [reading(), reading(timestamp="yesterday"), reading("99"), reading(temperature="warm")]

    told = send(key(), body).json()

    assert [(one["status"], one.get("reason")) for one in told["readings"]] == [
        ("accepted", None), ("refused", "bad_timestamp"), ("held", "unknown_mote"), ("refused", "no_values"),
    ]  # fmt: skip
    assert "yesterday" in told["readings"][1]["detail"]
    assert [one["mote_id"] for one in appended(own_stream)] == ["7", "99"]


def test_lines_are_taken_as_a_list_is(own_stream):
    lines = b"\n".join(json.dumps(reading(mote)).encode() for mote in ("7", "8")) + b"\n"

    told = send(key(), lines, kind="application/x-ndjson").json()

    assert told["accepted"] == 2
    assert [one["mote_id"] for one in appended(own_stream)] == ["7", "8"]


def test_a_line_that_is_not_json_refuses_itself_only(own_stream):
    lines = json.dumps(reading()).encode() + b"\n{nonsense\n"

    told = send(key(), lines, kind="application/x-ndjson").json()

    assert [one["status"] for one in told["readings"]] == ["accepted", "refused"]
    assert told["readings"][1]["reason"] == "malformed"


def test_where_none_could_be_taken_the_answer_is_422_and_nothing_goes_in(own_stream):
    answer = send(key(), [reading(timestamp="yesterday")])

    assert answer.status_code == 422
    assert appended(own_stream) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_body_that_has_no_readings_is_refused_with_a_sentence(own_stream, body):
    answer = send(key(), body)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "body" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b" \n", b"[]"])
def test_an_empty_body_is_told_what_to_send(own_stream, body):
    assert "send an object, a list of objects" in send(key(), body).json()["detail"]


def test_a_key_of_a_mote_speaks_for_that_mote_only(own_stream):
    told = send(key("7"), [reading(None), reading("8")]).json()

    assert [(one["status"], one.get("reason")) for one in told["readings"]] == [
        ("accepted", None), ("refused", "wrong_mote"),
    ]  # fmt: skip
    assert [one["mote_id"] for one in appended(own_stream)] == ["7"]


def test_a_key_of_another_site_names_the_site_where_the_message_does_not(own_stream):
    told = send(key(site="lab"), [reading(), reading(site="main")]).json()

    assert [(one["status"], one.get("reason")) for one in told["readings"]] == [
        ("accepted", None), ("refused", "wrong_site"),
    ]  # fmt: skip
    assert [(one["site"], one["mote_id"]) for one in appended(own_stream)] == [("lab", "7")]


@pytest.mark.parametrize(
    "body",
    [
        b'{"site": null, "timestamp": %d, "mote_id": "7", "temperature": 21.5}',
        b'{"timestamp": %d, "mote_id": 7.0, "temperature": 21.5}',
        b'{"timestamp": %d, "mote_id": "7", "temperature": 21.5, "light": NaN}',
    ],
)
def test_whatever_a_message_leaves_out_or_garbles_it_goes_to_the_keys_own_site(own_stream, body):
    raw = body % int(timezone.now().timestamp())

    told = send(key(site="lab"), raw, kind="application/x-ndjson").json()

    assert told["accepted"] == 1
    assert [one["site"] for one in appended(own_stream)] == ["lab"]


@pytest.mark.parametrize(
    "garbled", [b'"mote_id": 8.0', b'"mote_id": "8", "light": NaN', b'"machine_id": "8", "x": NaN']
)
def test_no_garbled_message_speaks_for_another_mote(own_stream, garbled):
    raw = b'{"timestamp": %d, "temperature": 21.5, %s}' % (int(timezone.now().timestamp()), garbled)

    answer = send(key("7"), raw, kind="application/x-ndjson")

    assert answer.json()["readings"][0]["reason"] == "wrong_mote"
    assert appended(own_stream) == []


def test_a_request_whose_maker_was_killed_goes_in_when_it_is_sent_again(own_stream):
    gateway, messages, now = key().key, [json.dumps(reading()).encode()], timezone.now()

    body = hashlib.sha256(messages[0]).hexdigest()
    IntakeReceipt.objects.create(key=gateway, idempotency_key="a1", body_sha256=body, made_at=now)
    again = partial(intake.once, messages, "a1", key=gateway, fleet=current_fleet(), stream=own_stream)

    with pytest.raises(intake.AlreadyUnderWay):
        again(now=now + timedelta(seconds=1))
    assert again(now=now + timedelta(minutes=3))["accepted"] == 1
    assert again(now=now + timedelta(minutes=4))["accepted"] == 1
    assert len(appended(own_stream)) == 1


def test_the_time_that_may_lie_ahead_is_that_of_the_reading_path(own_stream, settings):
    settings.SIEIS_FUTURE_S = 3600.0
    soon = (timezone.now() + timedelta(minutes=30)).isoformat()

    assert send(key(), reading(timestamp=soon)).json()["accepted"] == 1


def test_a_body_nested_beyond_measure_is_refused_with_a_sentence(own_stream):
    assert send(key(), b"[" * 100_000).status_code == 400


def test_a_retry_with_the_same_idempotency_key_is_answered_alike_and_goes_in_once(own_stream):
    gateway, body = key(), [reading(), reading("99")]

    first = send(gateway, body, **{"Idempotency-Key": "a1"})
    again = send(gateway, body, **{"Idempotency-Key": "a1"})

    assert again.json() == first.json()
    assert len(appended(own_stream)) == 2


def test_an_idempotency_key_with_other_readings_is_refused(own_stream):
    gateway = key()
    send(gateway, reading(), **{"Idempotency-Key": "a1"})

    answer = send(gateway, reading("8"), **{"Idempotency-Key": "a1"})

    assert answer.status_code == 409
    assert "a1" in answer.json()["detail"]


def test_a_stream_that_is_away_promises_nothing_and_the_retry_goes_in(own_stream):
    class Away:
        def append(self, values, keys):
            raise StreamUnavailable("connection refused")

    gateway = key().key
    messages = [json.dumps(reading()).encode()]
    with pytest.raises(StreamUnavailable):
        intake.once(messages, "a1", key=gateway, fleet=current_fleet(), stream=Away(), now=timezone.now())

    told = intake.once(messages, "a1", key=gateway, fleet=current_fleet(), stream=own_stream, now=timezone.now())

    assert told["accepted"] == 1


def test_receipts_are_forgotten_when_no_retry_will_come():
    now = timezone.now()
    for days in (0, 3):
        IntakeReceipt.objects.create(
            key=key().key, idempotency_key=f"k{days}", body_sha256="", made_at=now - timedelta(days=days)
        )

    assert intake.forget_receipts(now) == 1


def test_a_revoked_key_and_a_wrong_secret_are_refused(own_stream):
    gateway = key()
    wrong = devices.NewKey(gateway.key, gateway.text[:-1] + ("a" if gateway.text[-1] != "a" else "b"))
    assert send(wrong, reading()).status_code == 401

    devices.revoke_key(gateway.key, who=None, now=timezone.now())

    answer = send(gateway, reading())
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]
    assert appended(own_stream) == []


def test_a_person_logged_in_is_no_device(alice_client):
    answer = alice_client.post("/api/v1/ingest", json.dumps(reading()), content_type="application/json")

    assert answer.status_code == 401


def test_whoever_sends_no_key_is_told_what_to_send():
    answer = Client().post("/api/v1/ingest", b"{}", content_type="application/json", headers={"X-Api-Key": "a"})

    assert answer.status_code == 401
    assert answer.json()["detail"].endswith("Authorization: Bearer sieis_…")


def test_only_the_hash_of_a_secret_is_kept():
    made = key()

    kept = DeviceKey.objects.filter(pk=made.key.pk).values().get()

    assert made.text.split("_", 2)[2] not in str(kept)


def test_alice_makes_a_key_sees_it_once_and_revokes_it(alice_client, own_stream):
    made = alice_client.post("/api/v1/devices", {"name": "gw", "site": "main"}, content_type="application/json")

    assert made.status_code == 201
    (listed,) = alice_client.get("/api/v1/devices").json()
    assert "key" not in listed
    assert send(devices.NewKey(DeviceKey.objects.get(), made.json()["key"]), reading()).status_code == 202
    assert alice_client.delete(f"/api/v1/devices/{listed['id']}").json()["revoked_at"]
    assert alice_client.delete(f"/api/v1/devices/{listed['id']}").status_code == 409
    assert set(AuditEntry.objects.values_list("deed", flat=True)) >= {"make_device_key", "revoke_device_key"}


def test_bob_may_not_make_keys(bob_client):
    answer = bob_client.post("/api/v1/devices", {"name": "gw", "site": "main"}, content_type="application/json")

    assert answer.status_code == 403


def test_a_device_that_sends_too_often_is_told_to_wait(own_stream, monkeypatch):
    monkeypatch.setattr(devices.DeviceThrottle, "THROTTLE_RATES", {"ingest": "2/minute"})
    gateway, other = key(), key()

    answers = [send(gateway, reading()).status_code for _ in range(3)]

    assert answers == [202, 202, 429]
    assert send(other, reading()).status_code == 202


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(lambda value: json.dumps(value).encode(), st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=8),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                    st.sampled_from(["mote_id", "site", "timestamp", "temperature", "x"]), inner, max_size=4
                ), max_leaves=6,
            )),
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_whatever_comes_each_message_gets_exactly_one_verdict_and_the_wire_agrees(messages):
    """What is accepted is what the reading path will store: both ask the same decoder."""
    taken: list[bytes] = []

    class Listens:
        def append(self, values, keys):
            taken.extend(values)

    fleet, now = current_fleet(), timezone.now()
    gateway = DeviceKey(site=Site.objects.get(code="main"), name="g", public_id="g")

    verdicts = intake.take(messages, key=gateway, fleet=fleet, stream=Listens(), now=now)

    assert [one.row for one in verdicts] == list(range(len(messages)))
    assert len(taken) == sum(one.status != "refused" for one in verdicts)
    decoded = Wire(fleet).decode(intake._records(taken, now))
    assert all(reject.is_held for reject in decoded.rejects)


def test_what_the_key_adds_leaves_the_message_otherwise_as_it_was():
    gateway = key("7", site="lab").key
    for raw in (b"{}", b'{ "temperature" : 1.50 }', b' {"a":{"b":[1]}} '):
        named = intake._as_of(raw, gateway, current_fleet())

        assert msgspec.json.decode(named) == {"site": "lab", "mote_id": "7", **msgspec.json.decode(raw)}
