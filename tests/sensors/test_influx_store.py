"""How the store on InfluxDB takes each answer that a server may give; the server here answers what the test says."""

from __future__ import annotations

import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from sensors.readings import micros
from sensors.stores import StoreRefused, StoreUnavailable
from sensors.stores.influx import InfluxStore, lines
from tests import builders
from tests.conftest import NOON

INDOOR = builders.profile(builders.channel("temperature"), builders.channel("humidity"))
LATER = NOON + timedelta(days=1)
HEAD = "name,tags,time,temperature,humidity,flags,surprise,is_anomaly,origin"


class Answering(BaseHTTPRequestHandler):
    """Gives the server's `answer` to everything and remembers what was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        server.asked, server.answer = [], (204, "")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def store(server):
    store = InfluxStore(f"http://127.0.0.1:{server.server_port}/", "sieis", "sensors", "secret")
    yield store
    store.close()


def readings(*values, mote=7):
    return builders.batch(INDOOR, values, mote=mote, start_us=micros(NOON)).to_table()


def test_a_post_goes_through_its_readings_mote_by_mote_each_in_its_order(server, store):
    both = pl.concat([readings((20.0, 40.0), (21.0, 40.0), mote=8), readings((22.0, 40.0), (23.0, 40.0))]).sort(
        "at", maintain_order=True
    )

    store.write(INDOOR, both)

    said = [
        line.split(" ")[0].split("=")[1] + line.split(",temperature=")[1][:2] for line in server.asked[0][1].split("\n")
    ]
    assert said == ["722", "723", "820", "821"]


def test_a_reading_is_one_line_with_its_mote_as_only_tag_and_no_empty_field():
    assert lines(INDOOR, readings((21.5, float("nan")))) == (
        f'indoor,mote=7 origin="0 0 0 1 0 0 {micros(NOON) + 50_000} 0  0",temperature=21.5 {micros(NOON)}'
    )


def test_readings_are_posted_with_place_and_precision(store, server):
    store.write(INDOOR, readings(*[(21.5, 40.0)] * 12_000))

    assert {path for path, _ in server.asked} == {"/api/v2/write?org=sieis&bucket=sensors&precision=us"}
    assert sum(len(body.splitlines()) for _, body in server.asked) == 12_000


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_server_will_never_take_is_refused_in_its_own_words(store, server, status):
    server.answer = status, '{"code": "invalid", "message": "partial write: points beyond retention policy dropped=1"}'

    with pytest.raises(StoreRefused, match="points beyond retention policy dropped=1"):
        store.write(INDOOR, readings((21.5, 40.0)))


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_waited_for(store, server, status):
    server.answer = status, "engine: cache-max-memory-size exceeded"

    with pytest.raises(StoreUnavailable, match=rf"{status}: engine: cache-max-memory-size exceeded"):
        store.write(INDOOR, readings((21.5, 40.0)))


@pytest.mark.parametrize(("status", "setting"), [(401, "TOKEN"), (403, "TOKEN"), (404, "BUCKET")])
def test_a_wrong_setting_is_named_and_its_value_is_not(store, server, status, setting):
    server.answer = status, '{"message": "not you"}'

    with pytest.raises(StoreUnavailable, match=f"not you.*INFLUXDB_V2_.*{setting}") as failure:
        store.ping()

    assert "secret" not in str(failure.value)


def test_a_query_that_fails_while_it_runs_is_no_empty_answer(store, server):
    server.answer = 200, "error\nengine closed\n"

    with pytest.raises(StoreUnavailable, match="engine closed"):
        store.between(INDOOR, [7], NOON, LATER)


def test_answers_of_several_statements_are_read_as_one_table(store, server):
    rows = [f"indoor,mote={mote},{micros(NOON)},21.5,,,,,-9 0 3 1 0 17 {micros(LATER)} 5  1" for mote in (8, 7)]
    server.answer = 200, f"{HEAD}\n{rows[0]}\n\n{HEAD}\n{rows[1]}\n"

    found = store.between(INDOOR, [7, 8], NOON, LATER)

    assert found.select("mote", "at", "temperature", "humidity", "votes", "is_anomaly", "received_at").rows() == [
        (mote, NOON, 21.5, None, -9, True, LATER) for mote in (7, 8)
    ]


def test_what_was_written_with_fields_of_its_own_for_the_verdict_is_read_beside_what_has_it_in_the_text(store, server):
    whole, short = f"0 0 3 1 0 17 {micros(LATER)} 5 0.25 0", f"0 0 3 1 0 16 {micros(LATER)}"
    server.answer = (
        200,
        (
            f"{HEAD}\nindoor,mote=7,{micros(NOON)},21.5,,9,4.5,true,{short}\n"
            f"indoor,mote=7,{micros(LATER)},21.5,,9,4.5,true,{whole}\n"
        ),
    )

    found = store.between(INDOOR, [7], NOON, LATER)

    assert found.select("offset", "flags", "surprise", "is_anomaly").rows() == [
        (16, 9, 4.5, True),
        (17, 5, 0.25, False),
    ]


def test_newest_readings_near_in_time_are_fetched_together_and_a_dead_mote_apart(store, server):
    times = {1: 0, 2: 60_000_000, 3: 700_000_000, 4: 900_000_000}
    server.answer = 200, "name,tags,time,last\n" + "\n".join(f"indoor,mote={m},{at},0" for m, at in times.items())

    store.latest(INDOOR, list(times))

    _, fetched = server.asked[1]
    assert fetched.count("SELECT") == 2


def test_existing_looks_up_far_apart_instants_in_ranges_of_their_own(store, server):
    instants = [micros(NOON) + hours * 3_600_000_000 for hours in (0, 1, 5)]
    server.answer = 200, "name,tags,time,flags\n" + "\n".join(f"indoor,mote=7,{at},0" for at in instants[1:])
    keys = pl.DataFrame({"mote": [7] * 3, "at": instants}, {"mote": pl.Int64, "at": pl.Int64})

    found = store.existing(INDOOR, keys.cast({"at": pl.Datetime("us", "UTC")}))

    _, asked = server.asked[0]
    assert asked.count("SELECT") == 2
    assert found["at"].cast(pl.Int64).to_list() == instants[1:]


def test_a_bucket_named_after_database_and_policy_is_asked_for_as_such(server):
    store = InfluxStore(f"http://127.0.0.1:{server.server_port}", "sieis", "home/weekly", "secret")
    server.answer = 200, ""

    store.count(INDOOR, NOON, LATER)

    assert "db=home&rp=weekly" in server.asked[0][1]
    store.close()
