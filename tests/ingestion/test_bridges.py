"""The MQTT bridge: topics become readings by a template, and what the broker was told is done is in the stream."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import publish

from ingestion.bridges.keys import Keys
from ingestion.bridges.mqtt import BadAddress, Bridge, Broker
from ingestion.bridges.topics import BadTemplate, Template, reading
from ingestion.streams import StreamUnavailable
from sensors import registry
from tests import builders
from tests.conftest import NOON

CHANNELS = Template.of("sites/{site}/motes/{mote}/{channel}")


# ---- topics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "topic", "places"),
    [
        ("sieis/{site}/{mote}", "sieis/lab/7", {"site": "lab", "mote": "7"}),
        ("sieis/{site}/{mote}", "sieis/lab/7/temperature", {}),
        ("zigbee2mqtt/{mote}", "zigbee2mqtt/kitchen sensor", {"mote": "kitchen sensor"}),
        ("+/{mote}/#", "home/7/state/x", {"mote": "7"}),
        ("a.b/{mote}", "axb/7", {}),
    ],
)
def test_a_topic_names_what_the_template_says(template, topic, places):
    assert Template.of(template).places(topic) == places


def test_the_broker_is_asked_for_every_topic_that_fits():
    assert Template.of("+/{mote}/x/#").subscription == "+/+/x/#"


@pytest.mark.parametrize("text", ["", "a/{moat}", "a{mote}", "{mote}/{mote}", "#/{mote}", "a+/b"])
def test_a_template_that_cannot_be_listened_to_is_refused_with_a_sentence(text):
    with pytest.raises(BadTemplate):
        Template.of(text)


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        ("sites/lab/motes/7/temperature", b"21.5", {"temperature": 21.5}),
        ("sites/lab/motes/7/temperature", b'{"value": 21.5, "timestamp": 5}', {"temperature": 21.5, "timestamp": 5}),
        ("sites/lab/motes/7/temperature", b"warm", {"temperature": "warm"}),
    ],
)
def test_a_topic_that_names_the_channel_brings_one_value(topic, payload, said):
    message = json.loads(reading(CHANNELS.places(topic), payload, NOON))

    assert message == {"site": "lab", "mote_id": "7", "timestamp": NOON.isoformat().replace("+00:00", "Z")} | said


def test_an_object_brings_its_channels_and_its_own_time():
    said = {"temperature": 21.5, "humidity": 40, "timestamp": "2026-03-02T12:00:00Z"}

    message = json.loads(reading({"mote": "7"}, json.dumps(said).encode(), NOON))

    assert message == {"mote_id": "7", **said}


@pytest.mark.parametrize("payload", [b"", b"\xff", b"nonsense", b"[1]", b"21.5"])
def test_what_is_no_object_goes_on_as_it_is_and_the_wire_says_why_it_is_no_reading(payload):
    assert reading({"mote": "7"}, payload, NOON) == payload


@example(rb'"\ud800"', {"channel": "temperature"})  # half a surrogate pair: JSON can say it, UTF-8 cannot
@given(st.binary(max_size=60), st.dictionaries(st.sampled_from(["site", "mote", "channel"]), st.text(min_size=1)))
def test_no_payload_breaks_the_bridge(payload, places):
    assert isinstance(reading(places, payload, NOON), bytes)


# ---- keys and addresses ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_message_is_keyed_by_where_its_mote_stands():
    builders.install_fleet(motes=("7",))
    builders.install_fleet(motes=("9",), site="lab")
    key_of = Keys(registry.current_fleet, registry.revision)

    assert key_of(b'{"mote_id": 7}') == b"main/lab"
    assert key_of(b'{"mote_id": "9", "site": "lab"}') == b"lab/lab"
    assert key_of(b'{"mote_id": "99", "site": "lab"}') == b"lab"
    assert key_of(b"nonsense") is None


@pytest.mark.django_db
def test_a_mote_that_is_added_is_known_after_a_few_seconds():
    builders.install_fleet(motes=("7",))
    now = [0.0]
    key_of = Keys(registry.current_fleet, registry.revision, clock=lambda: now[0])
    assert key_of(b'{"mote_id": "8"}') == b"main"

    builders.install_fleet(motes=("8",))
    now[0] += 6

    assert key_of(b'{"mote_id": "8"}') == b"main/lab"


def test_an_address_may_carry_name_and_password_and_never_shows_them():
    broker = Broker.at("mqtts://gate:s%40cret@broker.example:8884")

    assert (broker.host, broker.port, broker.user, broker.password) == ("broker.example", 8884, "gate", "s@cret")
    assert "cret" not in str(broker)
    with pytest.raises(BadAddress) as refused:
        Broker.at("http://gate:secret@broker")
    assert "secret" not in str(refused.value)


# ---- against a real broker ------------------------------------------------------------------------------------


class Kept:
    """A stream that keeps what it takes, and is away for as long as it is told to be."""

    topic = "sensor-readings"

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.came = threading.Condition()
        self.is_away = False

    def ensure(self) -> None:
        """It is there."""

    def append(self, values, keys) -> None:
        if self.is_away:
            raise StreamUnavailable("connection refused")
        with self.came:
            self.values += values
            self.came.notify_all()

    def wait_for(self, n: int) -> list[dict[str, object]]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.values) >= n, timeout=20), f"{len(self.values)} of {n} came"
        return [json.loads(value) for value in self.values]


@pytest.fixture
def mosquitto(tmp_path):
    """Debian's mosquitto on a port of its own."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "mosquitto is missing: apt-get install mosquitto"
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n")
    process = subprocess.Popen([program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            break
        except OSError:
            assert time.monotonic() < until, "mosquitto does not come up"
            process.poll()
    yield port
    process.terminate()
    process.wait(10)


class Running:
    """A bridge on a thread of its own."""

    def __init__(self, port: int, stream: Kept, template: str = "sieis/{site}/{mote}") -> None:
        self.said: list[str] = []
        self.stop = threading.Event()
        self.is_listening = threading.Event()
        bridge = Bridge(
            broker=Broker.at(f"mqtt://127.0.0.1:{port}"), template=Template.of(template), client_id="test",
            stream=stream, key_of=lambda message: None, now=lambda: datetime.now(UTC), tell=self._told,
        )  # fmt: skip
        self.thread = threading.Thread(target=bridge.run, args=(self.stop,))

    def _told(self, words: str) -> None:
        self.said.append(words)
        if words.startswith("Listening"):
            self.is_listening.set()

    def __enter__(self) -> Running:
        self.thread.start()
        assert self.is_listening.wait(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self.thread.join(20)


def send(port: int, *payloads: object, topic: str = "sieis/main/7") -> None:
    messages = [{"topic": topic, "payload": json.dumps(one), "qos": 1} for one in payloads]
    publish.multiple(messages, hostname="127.0.0.1", port=port)


@pytest.mark.service
def test_what_a_mote_publishes_is_in_the_stream(mosquitto):
    stream = Kept()
    with Running(mosquitto, stream):
        send(mosquitto, {"temperature": 21.5})

        (message,) = stream.wait_for(1)

    assert (message["site"], message["mote_id"], message["temperature"]) == ("main", "7", 21.5)


@pytest.mark.service
def test_the_broker_keeps_what_comes_while_the_bridge_is_away(mosquitto):
    stream = Kept()
    with Running(mosquitto, stream):
        pass
    send(mosquitto, *({"temperature": n} for n in range(200)))

    with Running(mosquitto, stream):
        came = stream.wait_for(200)

    assert [one["temperature"] for one in came] == list(range(200))


@pytest.mark.service
def test_nothing_is_acknowledged_that_the_stream_did_not_take(mosquitto):
    stream = Kept()
    stream.is_away = True
    with Running(mosquitto, stream):
        send(mosquitto, *({"temperature": n} for n in range(50)))
    assert stream.values == []

    stream.is_away = False
    with Running(mosquitto, stream):
        came = stream.wait_for(50)

    assert {one["temperature"] for one in came} == set(range(50))


@pytest.mark.service
def test_two_bridges_of_one_name_say_so_instead_of_throwing_each_other_out_for_ever(mosquitto):
    with Running(mosquitto, Kept()) as one, Running(mosquitto, Kept()) as other:
        until = time.monotonic() + 30
        while not any("another --client-id" in words for words in (*one.said, *other.said)):
            assert time.monotonic() < until, (one.said, other.said)
            time.sleep(0.1)

    assert sum("another --client-id" in words for words in one.said) <= 1
    assert len(one.said) + len(other.said) < 20
