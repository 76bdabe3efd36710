"""Messages go to whom the routes say, once a cause, and arrive though targets fail and workers die."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections

from alerts import changes, lifecycle, services
from alerts.grouping.models import Incident
from alerts.models import Alert
from alerts.notifying import deeds
from alerts.notifying.delivering import LEASE, claim, deliver, deliver_due
from alerts.notifying.models import Delivery, Notice, Route, Target
from alerts.notifying.planning import AGAIN, GATHER, plan
from alerts.silencing.models import Silence, Suppression
from sensors.models import Mote, Zone
from tests.alerts.receivers import http_receiver, smtp_server
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
SOON = NOON + GATHER


@pytest.fixture
def motes():
    install_fleet(motes=tuple(str(n) for n in range(1, 43)))
    return {mote.code: mote for mote in Mote.objects.select_related("site", "zone")}


@pytest.fixture
def receiver():
    with http_receiver() as found:
        yield found


@pytest.fixture
def hook(alice, receiver):
    return deeds.make_target(
        name="Night shift", kind="webhook", address=receiver.url, owner=None, who=alice, now=NOON
    )  # fmt: skip


def route(target: Target, **fields: object) -> Route:
    return Route.objects.create(target=target, **fields)


def trouble(mote: Mote, *, severity: str = "high", kind: str = "rule:1", now=NOON) -> Alert:
    return services.raise_system_alert(
        subject=mote.subject, kind=kind, words=f"Mote {mote.code} is hot", severity=severity, now=now, mote=mote.pk
    )


def over(alert: Alert, now) -> None:
    services.clear_system_alert(subject=alert.subject, kind=alert.kind, now=now)


def payloads(receiver) -> list[dict]:
    return [json.loads(post.body) for post in receiver.posts]


def pass_by(now) -> None:
    plan(now)
    deliver_due(now)


# ---- what arrives ---------------------------------------------------------------------------------------------


def test_a_mail_server_gets_the_words_of_the_alert(motes, alice, settings):
    with smtp_server() as box:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", box.port
        settings.SIEIS_URL = "https://sieis.example.com"
        route(deeds.make_target(name="Bob", kind="email", address="bob@example.com", owner=alice, who=alice, now=NOON))
        alert = trouble(motes["7"])

        pass_by(NOON)
        pass_by(SOON)

    [mail] = box.mails
    assert (mail["To"], mail["Subject"]) == ("bob@example.com", "[SIEIS] High: mote main/7: Mote 7 is hot")
    assert f"https://sieis.example.com/alerts/{alert.pk}/" in mail.get_payload(decode=True).decode()
    assert mail["X-SIEIS-Key"] == Delivery.objects.get().key


def test_a_webhook_is_signed_so_that_its_receiver_can_tell_it_from_a_forgery(motes, hook, receiver):
    route(hook)
    trouble(motes["7"])

    pass_by(NOON)
    pass_by(SOON)

    [post] = receiver.posts
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    key = base64.b64decode(hook.secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert post.headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(post.body)["alerts"][0]["mote"] == "7"


def test_a_chat_service_gets_title_and_text(motes, alice, receiver):
    address = receiver.url.replace("http://", "json://")
    route(deeds.make_target(name="Chat", kind="chat", address=address, owner=None, who=alice, now=NOON))
    trouble(motes["7"])

    pass_by(NOON)
    pass_by(SOON)

    assert payloads(receiver)[0]["title"] == "High: mote main/7: Mote 7 is hot"


def test_a_storm_of_42_motes_is_one_message_that_names_the_first(motes, hook, receiver):
    route(hook)
    for n, mote in enumerate(motes.values()):
        trouble(mote, now=NOON + timedelta(milliseconds=50 * n))

    pass_by(NOON + timedelta(seconds=3))
    pass_by(NOON + timedelta(seconds=3) + GATHER)

    [message] = payloads(receiver)
    assert (message["n_alerts"], message["title"]) == (42, "42 alerts in zone main/lab at once, high at most")
    incident = Incident.objects.get()
    assert (incident.n_alerts, incident.first_mover.mote.code) == (42, "1")


def test_what_joins_an_incident_later_waits_for_its_next_message(motes, hook, receiver):
    route(hook)
    trouble(motes["7"])
    pass_by(NOON)
    pass_by(SOON)
    later = SOON + timedelta(minutes=1)
    trouble(motes["8"], now=later)

    pass_by(later)
    pass_by(later + timedelta(minutes=1))
    assert len(receiver.posts) == 1

    pass_by(SOON + AGAIN)
    assert [one["n_alerts"] for one in payloads(receiver)] == [1, 1]


# ---- who hears ------------------------------------------------------------------------------------------------


def test_low_severity_waits_for_the_digest_of_the_hour(motes, hook, receiver):
    route(hook)
    trouble(motes["7"], severity="low")
    trouble(motes["8"], severity="low", kind="rule:2", now=NOON + timedelta(minutes=40))

    pass_by(NOON + timedelta(minutes=41))
    assert receiver.posts == []

    pass_by(NOON + timedelta(hours=1))
    assert [(one["type"], one["n_alerts"]) for one in payloads(receiver)] == [("alerts.digest", 2)]


@pytest.mark.parametrize(
    ("fields", "is_told"),
    [
        ({"least_severity": "high"}, False),
        ({"kinds": ["rule"]}, True),
        ({"kinds": ["silent"]}, False),
        ({"hours": {"days": [0], "from": "08:00", "to": "18:00", "time_zone": "UTC"}}, True),
        ({"hours": {"days": [0], "from": "14:00", "to": "18:00", "time_zone": "Europe/Berlin"}}, False),
        ({"hours": {"days": [6], "from": "22:00", "to": "13:00", "time_zone": "UTC"}}, True),
        ({"is_on": False}, False),
    ],
)
def test_a_route_hears_what_its_severity_kinds_and_hours_say(motes, hook, fields, is_told):
    route(hook, **fields)
    trouble(motes["7"], severity="medium")

    plan(NOON)

    assert Delivery.objects.exists() == is_told


def test_a_route_of_a_zone_hears_of_its_motes_only(motes, hook):
    attic = Zone.objects.create(site=motes["7"].site, code="attic", label="Attic")
    route(hook, zone=attic)
    Mote.objects.filter(code="8").update(zone=attic)
    trouble(motes["7"])
    trouble(Mote.objects.get(code="8"))

    plan(NOON)

    assert list(Delivery.objects.values_list("alerts__mote__code", flat=True)) == ["8"]


def test_who_heard_that_it_came_hears_that_it_went(motes, hook, receiver):
    route(hook, least_severity="high")
    loud, quiet = trouble(motes["7"]), trouble(motes["8"], severity="low", kind="rule:2")
    pass_by(NOON)
    pass_by(SOON)
    over(loud, SOON)
    over(quiet, SOON)

    pass_by(SOON)
    pass_by(SOON + GATHER)

    assert [(one["type"], one["n_alerts"]) for one in payloads(receiver)] == [
        ("alerts.opened", 1), ("alerts.recovered", 1),
    ]  # fmt: skip


def test_a_step_of_escalation_is_told_until_somebody_acknowledges(motes, hook, bob):
    route(hook, after_s=900)
    left, taken = trouble(motes["7"]), trouble(motes["8"], kind="rule:2")
    plan(NOON)
    lifecycle.acknowledge(taken, by=changes.Actor(bob), now=NOON + timedelta(minutes=5))

    plan(NOON + timedelta(minutes=14))
    assert not Delivery.objects.exists()

    plan(NOON + timedelta(minutes=15))
    assert list(Delivery.objects.values_list("alerts", flat=True)) == [left.pk]


# ---- silences -------------------------------------------------------------------------------------------------


def test_a_silenced_alert_is_told_when_the_silence_ends_if_it_still_stands(motes, hook):
    route(hook)
    route(hook, after_s=60)
    silence = Silence.objects.create(
        mote=motes["7"], starts_at=NOON, ends_at=NOON + timedelta(minutes=10), reason="filters", made_at=NOON
    )
    silent, loud = trouble(motes["7"]), trouble(motes["8"], kind="rule:2")

    plan(NOON)
    plan(NOON + timedelta(minutes=5))
    assert set(Delivery.objects.values_list("alerts", flat=True)) == {loud.pk}
    assert Suppression.objects.get().silence == silence

    plan(NOON + timedelta(minutes=10))
    assert set(Delivery.objects.values_list("alerts", flat=True)) == {loud.pk, silent.pk}
    assert Suppression.objects.get().ended_at == NOON + timedelta(minutes=10)


def test_an_alert_that_was_over_before_its_silence_disturbs_nobody(motes, hook):
    route(hook)
    Silence.objects.create(starts_at=NOON, ends_at=NOON + timedelta(minutes=10), reason="move", made_at=NOON)
    alert = trouble(motes["7"])
    plan(NOON)
    over(alert, NOON + timedelta(minutes=2))

    plan(NOON + timedelta(minutes=11))

    assert not Delivery.objects.exists()
    assert set(Notice.objects.values_list("outcome", flat=True)) == {"silenced", "nobody"}


# ---- at least once --------------------------------------------------------------------------------------------


def test_a_target_that_fails_is_tried_again_with_growing_pauses_and_the_same_key(motes, hook, receiver):
    route(hook)
    trouble(motes["7"])
    plan(NOON)
    receiver.status = 503
    deliver_due(SOON)
    first = Delivery.objects.get()
    assert (first.state, first.due_at) == ("waiting", SOON + timedelta(seconds=15))
    assert "answered 503; expected 2xx" in first.trouble

    receiver.status = 200
    deliver_due(SOON + timedelta(seconds=15))

    assert Delivery.objects.get().state == "sent"
    assert len({post.headers["idempotency-key"] for post in receiver.posts}) == 1
    assert len({post.body for post in receiver.posts}) == 1


def test_a_target_that_keeps_failing_is_an_alert_of_its_own_and_ends_it_when_it_answers(motes, hook, receiver):
    route(hook)
    trouble(motes["7"])
    plan(NOON)
    receiver.status, now = 500, SOON
    for _ in range(3):
        deliver_due(now)
        now += timedelta(minutes=5)
    assert Alert.objects.active().filter(kind="target_failing").count() == 1

    receiver.status = 200
    deliver_due(now)

    assert not Alert.objects.active().filter(kind="target_failing").exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_between_sending_and_marking_sends_the_same_key_again(motes, hook, receiver):
    route(hook)
    trouble(motes["7"])
    plan(NOON)
    connections.close_all()
    said = threading.Event()
    receiver.on_post = lambda posted: said.wait(20) and os.kill(worker, signal.SIGKILL)
    worker = os.fork()
    if worker == 0:
        deliver_due(SOON)  # the receiver kills us before it answers
        os._exit(0)
    said.set()  # the receiver now knows whom
    _, status = os.waitpid(worker, 0)
    receiver.on_post = None
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert Delivery.objects.get().state == "sending"

    assert deliver_due(SOON + LEASE / 2) == 0
    deliver_due(SOON + LEASE + timedelta(seconds=1))

    assert Delivery.objects.get().state == "sent"
    assert [post.headers["idempotency-key"] for post in receiver.posts] == [Delivery.objects.get().key] * 2
    connection.close()


def test_a_message_is_claimed_once_and_its_lost_claim_marks_nothing(motes, hook):
    route(hook)
    trouble(motes["7"])
    plan(NOON)

    mine = claim(SOON)
    assert mine is not None
    assert claim(SOON) is None

    theirs = claim(SOON + LEASE * 2)
    assert theirs is not None
    deliver(mine, SOON + LEASE * 2, send=lambda *args, **kwargs: None)
    assert Delivery.objects.get().state == "sending"


def test_a_redelivery_sends_the_same_words_once_more(motes, hook, receiver, bob):
    route(hook)
    alert = trouble(motes["7"])
    pass_by(NOON)
    pass_by(SOON)
    Alert.objects.filter(pk=alert.pk).update(words="other words")

    deeds.redeliver(Delivery.objects.get(), who=bob, now=SOON)
    deliver_due(SOON)

    assert len(receiver.posts) == 2
    assert receiver.posts[0].body == receiver.posts[1].body
