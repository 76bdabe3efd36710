"""What the live channel promises to a browser and to the pipeline that feeds it."""

import asyncio
import json
import re
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.sessions import SessionMiddlewareStack
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection

from mlops.models import TrainingJob
from mlops.training_jobs import spoken_job
from sensors import live, quality
from sensors.consumers import LiveConsumer
from sensors.fleet import Fleet, MoteRef
from sensors.hub import WAITING_ALERTS, WAITING_READINGS, Client, Hub, hub
from sensors.models import Profile
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403
from tests.people import client_of

CLIMATE = builders.profile(builders.channel(), builders.channel("humidity"))
MOTES = tuple(MoteRef(key, str(key + 6), "main", "", "indoor", "UTC", "active") for key in (1, 2))
FLEET = Fleet(1, MOTES, {"indoor": CLIMATE}, "main")
JOB = TrainingJob(pk=5, profile=Profile(code="indoor"), status="running", progress=0.4, message="fitting")
# The socket's threads have connections of their own, which see what is committed.
COMMITTED = pytest.mark.django_db(transaction=True)
ROOT = {"is_active": True, "is_superuser": True}


class SomeAlert:
    pk, subject, kind, status, severity = 12, "mote:main/7", "anomaly", "open", "high"
    words, score, n_events = "Temperature 45.2 °C, expected 18–28 °C at this hour", 0.6, 1
    peak_channel, grade, grade_reasons = "temperature", "B", ("delivered 97 % of what was expected",)
    is_suppressed = False
    first_seen_at, last_seen_at = NOON.replace(hour=11, minute=58), NOON
    revision, snoozed_until, people = 1, None, {"assignee": "bob"}


def reading(temperature: float, mote: int = 1, at: int = 0):
    return builders.batch(CLIMATE, [[temperature, 40.0]], mote=mote, start_us=1_772_452_800_000_000 + at * 1_000_000)


@pytest.fixture(autouse=True)
def own_layer():
    """Nobody listens any more to what an earlier test announced."""
    before = channel_layers.set("default", InMemoryChannelLayer(capacity=1000))
    yield
    channel_layers.set("default", before)
    if before is None:  # nobody had asked for one yet: the next who asks has it built
        del channel_layers.backends["default"]


async def connected(path: str = "/ws/live/", user: object = None, **options: object) -> WebsocketCommunicator:
    socket = WebsocketCommunicator(LiveConsumer.as_asgi(**options), path)
    socket.scope["user"] = user or User(username="root", **ROOT)
    is_open, _ = await socket.connect()
    assert is_open
    assert (await socket.receive_json_from())["type"] == "hello"
    return socket


async def closed_with(socket: WebsocketCommunicator) -> int:
    return (await socket.receive_output())["code"]


def envelope(n: int, kind: str, body: str) -> dict[str, object]:
    """A message as another process sends it."""
    return {"type": "live.message", "source": "consumer", "n": n, "kind": kind, "body": body, "skipped": 0}


async def drained() -> None:
    """Lets every task of the loop that has something to do do it."""
    for _ in range(50):
        await asyncio.sleep(0)


# ---- what is said -------------------------------------------------------------------------------------------


async def test_a_reading_from_a_pipeline_thread_reaches_the_open_page():
    socket = await connected()

    await asyncio.to_thread(live.announce_readings, reading(21.5), FLEET)

    message = await socket.receive_json_from()
    assert message["readings"][0]["mote"] == "7"
    assert message["readings"][0]["values"] == {"temperature": 21.5, "humidity": 40.0}
    await socket.disconnect()


async def test_only_the_newest_timely_reading_of_each_mote_is_told():
    batch = builders.batch(CLIMATE, [[20.0, 1], [30.0, 1], [21.0, 1], [19.0, 1]], mote=[1, 2, 1, 2])
    batch.flags[3] = quality.LATE
    socket = await connected()

    live.announce_readings(batch, FLEET)

    message = await socket.receive_json_from()
    assert [(one["mote"], one["values"]["temperature"]) for one in message["readings"]] == [("7", 21.0), ("8", 30.0)]
    await socket.disconnect()


async def test_a_batch_of_only_late_readings_is_no_news():
    batch = reading(20.0)
    batch.flags[:] = quality.LATE
    socket = await connected()

    live.announce_readings(batch, FLEET)
    live.announce_health({"status": "healthy"})

    assert (await socket.receive_json_from())["type"] == "health"
    await socket.disconnect()


async def test_every_example_in_the_document_is_what_the_code_says():
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", Path("docs/live.md").read_text(), re.S)]
    batch = reading(45.2)
    batch.values[0, 1] = np.nan
    batch.flags[:] = quality.flag(quality.MISSING, np.array([[False, True]]))
    batch.surprise[:], batch.is_anomaly[:] = 2 * CLIMATE.onset, True
    socket = WebsocketCommunicator(LiveConsumer.as_asgi(), "/ws/live/?ack=1")
    socket.scope["user"] = User(**ROOT)
    await socket.connect()

    heard = [await socket.receive_json_from()]
    live.announce_readings(batch, FLEET)
    heard.append(await socket.receive_json_from())
    live.announce_alert(SomeAlert())
    heard.append(await socket.receive_json_from())
    await socket.send_json_to(examples[-1])
    live.announce({"type": "job", "job": spoken_job(JOB)})
    heard.append(await socket.receive_json_from())
    live.announce({"type": "forecasts", "issued_at": NOON + timedelta(minutes=12), "n": 168})
    heard.append(await socket.receive_json_from())
    await socket.send_json_to({**examples[-1], "seq": 4})
    live.announce_health({"status": "degraded"})
    heard.append(await socket.receive_json_from())

    assert heard == examples[:-1]
    await socket.disconnect()


def test_an_alert_about_a_sink_names_no_mote():
    alert = SomeAlert()
    alert.subject = "sink:influxdb"

    assert (live.spoken_alert(alert)["mote"], live.spoken_alert(alert)["site"]) == (None, None)


# ---- who may listen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "code"), [(AnonymousUser(), 4401), (User(is_active=False), 4403)])
async def test_a_socket_is_refused_without_a_session_or_without_a_role(user, code):
    socket = WebsocketCommunicator(LiveConsumer.as_asgi(), "/ws/live/")
    socket.scope["user"] = user

    assert await socket.connect() == (False, code)


def site_socket(client, origin=b"http://testserver") -> WebsocketCommunicator:
    """A socket through the whole site, as that browser would open it."""
    from sieis_site.asgi import application

    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    headers = [(b"origin", origin), (b"host", b"testserver"), (b"cookie", cookies.encode())]
    return WebsocketCommunicator(application, "/ws/live/", headers=headers)


@COMMITTED
def test_the_cookie_that_opens_the_pages_opens_the_channel(charlie_client, dave_client, mallory):
    async def story():
        socket = site_socket(charlie_client)
        is_open, _ = await socket.connect()
        await socket.disconnect()
        return is_open, await site_socket(dave_client).connect(), await site_socket(mallory).connect()

    assert async_to_sync(story)() == (True, (False, 4403), (False, 4401))


@COMMITTED
def test_another_site_cannot_open_the_channel_with_a_visitors_cookie(charlie_client):
    async def story():
        return await site_socket(charlie_client, origin=b"https://evil.example").connect()

    assert async_to_sync(story)()[0] is False


@COMMITTED
def test_a_logout_ends_the_open_socket(charlie):
    client = client_of(charlie)

    async def story():
        socket = WebsocketCommunicator(SessionMiddlewareStack(LiveConsumer.as_asgi(recheck_s=0)), "/ws/live/")
        socket.scope["headers"] = [(b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())]
        socket.scope["user"] = charlie
        await socket.connect()
        await socket.receive_json_from()
        await database_sync_to_async(client.logout)()
        return await closed_with(socket)

    assert async_to_sync(story)() == 4401


@COMMITTED
def test_a_logout_ends_the_open_socket_although_the_database_was_away_in_between(charlie, caplog):
    client = client_of(charlie)
    caplog.set_level("WARNING", logger="sensors.consumers")

    def move_table(name: str, to: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {name} RENAME TO {to}")

    async def story():
        socket = WebsocketCommunicator(SessionMiddlewareStack(LiveConsumer.as_asgi(recheck_s=0.01)), "/ws/live/")
        socket.scope["headers"] = [(b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())]
        socket.scope["user"] = charlie
        await socket.connect()
        await socket.receive_json_from()
        await database_sync_to_async(move_table)("django_session", "away")
        async with asyncio.timeout(2):
            while "live_socket_not_rechecked" not in caplog.text:
                await asyncio.sleep(0.01)
        await database_sync_to_async(move_table)("away", "django_session")
        await database_sync_to_async(client.logout)()
        return await closed_with(socket)

    assert async_to_sync(story)() == 4401


async def test_a_client_that_sends_nonsense_is_told_what_was_expected():
    socket = await connected()

    await socket.send_to("drop table motes")

    closing = await socket.receive_output()
    assert (closing["code"], closing["reason"]) == (4400, 'expected {"type":"ack","seq":n}')


# ---- slow and dead clients ----------------------------------------------------------------------------------


async def test_a_client_that_does_not_acknowledge_delays_nobody_else():
    silent, other = await connected("/ws/live/?ack=1"), await connected()

    for n in range(10):
        live.announce_readings(reading(float(n), at=n), FLEET)
        await drained()
    heard = [await other.receive_json_from() for _ in range(10)]

    assert [one["readings"][0]["values"]["temperature"] for one in heard] == [float(n) for n in range(10)]
    assert [(await silent.receive_json_from())["seq"] for _ in range(2)] == [1, 2]
    assert await silent.receive_nothing(0.01)
    await silent.disconnect()
    await other.disconnect()


async def test_an_acknowledgement_brings_the_newest_and_says_what_was_left_out():
    socket = await connected("/ws/live/?ack=1")
    for n in range(5):
        live.announce_readings(reading(float(n), at=n), FLEET)
        await drained()
    live.announce_readings(reading(30.0, mote=2), FLEET)
    await drained()
    first, second = await socket.receive_json_from(), await socket.receive_json_from()

    await socket.send_json_to({"type": "ack", "seq": second["seq"]})
    message = await socket.receive_json_from()

    assert "skipped" not in first
    assert message["skipped"] == 2
    assert {one["mote"]: one["values"]["temperature"] for one in message["readings"]} == {"7": 4.0, "8": 30.0}
    await socket.disconnect()


async def test_alerts_wait_for_a_slow_client_and_none_is_left_out():
    socket = await connected("/ws/live/?ack=1")
    for n in range(20):
        alert = SomeAlert()
        alert.pk = n
        live.announce_alert(alert)
        live.announce_readings(reading(float(n), at=n), FLEET)
        await drained()

    heard = []
    while len([one for one in heard if one["type"] == "alert"]) < 20:
        heard.append(await socket.receive_json_from())
        await socket.send_json_to({"type": "ack", "seq": heard[-1]["seq"]})

    assert [one["alert"]["id"] for one in heard if one["type"] == "alert"] == list(range(20))
    assert [one["seq"] for one in heard] == sorted(one["seq"] for one in heard)
    await socket.disconnect()


async def test_a_client_a_thousand_alerts_behind_is_asked_to_connect_again():
    socket = await connected("/ws/live/?ack=1")
    for n in range(WAITING_ALERTS + 5):
        hub().hear(envelope(n, "alert", '{"alert":{}}'))

    assert await closed_with(socket) == 4408
    await socket.disconnect()


async def test_a_socket_whose_network_stands_still_holds_up_only_itself():
    stuck = asyncio.Event()
    heard = []

    async def never(text):
        await stuck.wait()

    async def at_once(text):
        heard.append(json.loads(text))

    ours = Hub()
    dead, alive = Client(never), Client(at_once)
    tasks = [asyncio.create_task(client.run()) for client in (dead, alive)]
    ours.clients = {dead, alive}
    for n in range(3 * WAITING_READINGS):
        body = f'{{"readings":[{{"mote":"7","site":"main","at":{n}}}]}}'
        ours.hear(envelope(n, "readings", body))
        await drained()

    assert [one["readings"][0]["at"] for one in heard] == list(range(3 * WAITING_READINGS))
    assert len(dead._readings) <= WAITING_READINGS
    for task in tasks:
        task.cancel()


# ---- what gets lost on the way ------------------------------------------------------------------------------


async def test_a_message_lost_between_servers_brings_a_hello_so_that_pages_catch_up():
    socket = await connected()
    for n in (1, 2, 5):
        hub().hear(envelope(n, "readings", '{"readings":[]}'))

    heard = [await socket.receive_json_from() for _ in range(4)]

    assert [one["type"] for one in heard] == ["readings", "readings", "hello", "readings"]
    await socket.disconnect()


class FallingLayer(InMemoryChannelLayer):
    """Loses its subscriptions once, as when a server goes away."""

    falls = True

    async def receive(self, channel):
        message = await super().receive(channel)
        if self.falls:
            self.falls = False
            raise ConnectionError("the server went away")
        return message


async def test_after_an_interruption_the_hub_says_hello_again_and_goes_on(monkeypatch):
    monkeypatch.setattr("sensors.hub.FIRST_PAUSE_S", 0.0)
    channel_layers.set("default", FallingLayer())
    socket = await connected()

    live.announce_readings(reading(20.0), FLEET)
    again = await socket.receive_json_from()
    live.announce_readings(reading(21.0, at=1), FLEET)
    message = await socket.receive_json_from()

    assert again["type"] == "hello"
    assert message["readings"][0]["values"]["temperature"] == 21.0
    await socket.disconnect()


class RefusingLayer(InMemoryChannelLayer):
    """Refuses the first sends."""

    refusals = 2

    async def group_send(self, group, message):
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("not now")
        await super().group_send(group, message)


async def test_an_alert_that_could_not_be_sent_is_sent_later_and_the_failure_counted(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.0)
    channel_layers.set("default", RefusingLayer())
    socket = await connected()
    before = live.counts.failed

    live.announce_alert(SomeAlert())

    assert (await socket.receive_json_from())["alert"]["id"] == 12
    assert live.counts.failed == before + 2
    await socket.disconnect()


async def test_announcing_never_raises_into_the_pipeline():
    socket = await connected()
    before = live.counts.failed

    live.announce({"type": "health", "health": object()})

    assert live.counts.failed == before + 1
    await socket.disconnect()


def test_where_nobody_can_hear_announcing_costs_nothing():
    before = live.counts.announced, live.counts.failed

    live.announce_readings(reading(20.0), FLEET)
    live.announce_alert(SomeAlert())

    assert (live.counts.announced, live.counts.failed) == before
    assert live.flush(0)


async def test_alerts_that_nobody_can_be_told_do_not_fill_the_memory_and_pages_are_told_to_ask(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.0)
    release = asyncio.Event()

    class StuckLayer(InMemoryChannelLayer):
        async def group_send(self, group, message):
            if "stuck" in message["body"]:
                await release.wait()
            await super().group_send(group, message)

    channel_layers.set("default", StuckLayer(capacity=5000))
    socket = await connected()
    live.announce_alert(SomeAlert())
    await socket.receive_json_from()
    before = live.counts.dropped

    live.announce({"type": "job", "job": "stuck"})
    await asyncio.sleep(0)
    for _ in range(live.KEPT_WAITING + 50):
        live.announce_alert(SomeAlert())
    release.set()
    heard = [await socket.receive_json_from() for _ in range(live.KEPT_WAITING)]

    assert live.counts.dropped - before in (50, 51)
    assert "hello" in [one["type"] for one in heard[:3]], "so pages ask for what they missed"
    await socket.disconnect()


async def test_old_readings_give_way_when_the_channel_is_stuck():
    release = asyncio.Event()

    class StuckLayer(InMemoryChannelLayer):
        async def group_send(self, group, message):
            await release.wait()
            await super().group_send(group, message)

    channel_layers.set("default", StuckLayer(capacity=1000))
    socket = await connected()
    for n in range(200):
        live.announce_readings(reading(float(n % 40), at=n), FLEET)
        await asyncio.sleep(0)
    release.set()
    heard = [await socket.receive_json_from()]
    while heard[-1]["readings"][0]["at"] != "2026-03-02T12:03:19Z":
        heard.append(await socket.receive_json_from())

    assert len(heard) <= live.READINGS_WAITING + 1
    assert sum(one.get("skipped", 0) for one in heard) == 200 - len(heard)
    await socket.disconnect()


@pytest.mark.service
@pytest.mark.django_db  # a socket that ends looks after the connections of its thread
def test_with_redis_a_process_without_sockets_reaches_the_pages_of_another(addresses, settings):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [addresses["REDIS_URL"]], "prefix": f"test{threading.get_ident()}"},
        }
    }

    async def story():
        socket = await connected()
        consumer = live.Outbox(live.new_loop_in_a_thread())
        consumer.put("alert", '{"alert":{"id":5}}')
        message = await socket.receive_json_from(timeout=5)
        await socket.disconnect()
        consumer.loop.call_soon_threadsafe(consumer.loop.stop)
        return message

    assert async_to_sync(story)()["alert"] == {"id": 5}
