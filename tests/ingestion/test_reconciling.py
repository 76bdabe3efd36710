"""Books and stores compared: an hour that one store lost turns red, heals and turns green; nothing is invented."""

from __future__ import annotations

import io
import json
import secrets
import sqlite3
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from django.core.management import CommandError, call_command
from django.utils import timezone
from influxdb_client import InfluxDBClient

from alerts.models import Alert
from ingestion.models import Checkpoint, HourDifference, LedgerHour, Quarantined, Reconciliation
from ingestion.reconciling import deed
from ingestion.saving import Saving
from ingestion.slow_cycle import SlowCycle
from sensors import registry
from sensors.lake import lake
from sensors.models import AuditEntry
from sensors.readings import micros
from sensors.retention import forget_old_readings
from sensors.stores import hot
from tests import stack
from tests.builders import install_fleet
from tests.ingestion.path import Failing, drain, in_hot, reading, send, stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
HOUR = timedelta(hours=1)
STEP_US = 60_000_000


def first_hour() -> datetime:
    """A full hour some hours ago."""
    return timezone.now().replace(minute=0, second=0, microsecond=0) - 5 * HOUR


@pytest.fixture
def three_hours(make: Any) -> datetime:
    """Two motes, a reading a minute, for three full hours, once through the path."""
    start = first_hour()
    send(*[reading(micros(start) + i * STEP_US, code=code) for i in range(180) for code in ("7", "8")])
    drain(make())
    return start


def reconciled(store: Any = None, **asked: Any) -> Reconciliation:
    made = deed.ask(deed.Request(**asked), trigger="command", who=None, now=timezone.now())
    deed.reconcile(made, lake=lake(), hot=store or hot(), fleet=registry.current_fleet(), now=timezone.now())
    return made


def lose_from_hot(start: datetime, end: datetime) -> None:
    with sqlite3.connect(hot().path) as database:
        database.execute("DELETE FROM readings_indoor WHERE at >= ? AND at < ?", (micros(start), micros(end)))


def lose_from_lake(start: datetime, end: datetime) -> None:
    table = DeltaTable(f"{lake().root}/silver/indoor")
    table.delete(f"at >= '{start.isoformat()}' AND at < '{end.isoformat()}'")


def states() -> list[tuple[int, int, int, int]]:
    rows = HourDifference.objects.filter(equal_at=None).order_by("hour")
    return [(one.booked, one.cold, one.due, one.hot) for one in rows]


def test_all_is_equal_where_nothing_was_lost(three_hours: datetime) -> None:
    made = reconciled()

    assert (made.state, made.n_readings, made.n_hours, made.n_differing) == ("done", 360, 3, 0)
    assert not Alert.objects.filter(subject__startswith="books:").exists()


def test_an_hour_deleted_from_the_hot_store_turns_red_heals_and_turns_green(three_hours: datetime) -> None:
    before = in_hot()
    lose_from_hot(three_hours + HOUR, three_hours + 2 * HOUR)

    red = reconciled()
    assert (red.n_differing, red.n_left) == (1, 1)
    assert states() == [(120, 120, 120, 0)]
    assert [mote["code"] for mote in HourDifference.objects.get().motes] == ["7", "8"]
    alert = Alert.objects.get(subject="books:indoor")
    assert alert.status == "open"
    assert f"differ in one hour, that of {three_hours + HOUR:%Y-%m-%d %H}:00 UTC: The hot store lacks" in alert.words

    healing = reconciled(heals=True)
    assert healing.n_left == 0
    assert healing.did == ["indoor at main: 120 readings were written from the lake to the hot store."]
    assert in_hot().equals(before)
    assert states() == []
    assert HourDifference.objects.get().equal_by == healing
    alert.refresh_from_db()
    assert alert.status == "resolved"
    assert AuditEntry.objects.get(deed="heal_books").detail["did"] == [
        "120 readings were written from the lake to the hot store"
    ]

    assert reconciled().n_differing == 0


def test_an_hour_lost_from_the_lake_comes_back_from_the_hot_store_once_and_the_path_goes_on(
    three_hours: datetime, make: Any
) -> None:
    before = stored().sort("mote", "at").drop("date")
    lose_from_lake(three_hours, three_hours + HOUR)
    assert reconciled().n_differing == 1

    healing = reconciled(heals=True)
    assert healing.did == ["indoor at main: 120 readings were written from the hot store to the lake."]
    assert stored().sort("mote", "at").drop("date").select(before.columns).equals(before)

    send(reading(micros(three_hours) + 181 * STEP_US))
    drain(make())
    assert len(stored()) == 361
    assert reconciled(heals=True).did == []


def test_what_the_hot_store_has_forgotten_is_not_missed_to_the_very_reading(
    three_hours: datetime, settings: Any
) -> None:
    settings.SIEIS_HOT_DAYS = 1.5 / 24  # an hour and a half, back from the newest reading
    forget_old_readings(hot(), keep=timedelta(hours=1.5))

    assert reconciled().n_differing == 0

    edge = in_hot()["at"].min()
    lose_from_hot(edge, edge + timedelta(seconds=1))
    made = reconciled(heals=True)
    assert (made.n_differing, made.n_left) == (1, 0)
    assert in_hot()["at"].min() == edge


def test_readings_that_are_not_yet_in_the_books_are_no_difference(three_hours: datetime, make: Any) -> None:
    seen = []

    class Path(SlowCycle):
        def begin(self, *arguments: Any) -> None:
            if self.gathered.n_messages:
                seen.append(reconciled().n_differing)
            super().begin(*arguments)

        def _save(self, under_way: Saving) -> None:
            assert under_way.snapshots.exception() is None
            seen.append(reconciled().n_differing)
            super()._save(under_way)

    send(*[reading(micros(three_hours) + (180 + i) * STEP_US) for i in range(10)])
    running = make()
    running.cycle.__class__ = Path
    drain(running)

    assert seen == [0, 0], "in the hot store alone, then in the lake too"
    assert reconciled().n_readings == 370


def test_what_comes_while_the_stores_are_counted_takes_nothing_off_what_was_there(
    three_hours: datetime, make: Any
) -> None:
    seen = []

    class Filling(Failing):
        """A hot store into which the path writes between any two questions."""

        n = 0

        def between(self, *asked: Any, **more: Any) -> pl.DataFrame:
            self.n += 1
            row = in_hot().tail(1)
            at = pl.lit(three_hours + timedelta(minutes=self.n % 60, seconds=7), row.schema["at"])
            self._store.write(registry.profiles()["indoor"], row.with_columns(at=at, offset=pl.lit(1000 + self.n)))
            return self._store.between(*asked, **more)

    class Path(SlowCycle):
        def begin(self, *arguments: Any) -> None:
            if self.gathered.n_messages:
                seen.append(reconciled(store=Filling(hot(), ValueError(), 0)).n_differing)
            super().begin(*arguments)

    send(*[reading(micros(three_hours) + i * STEP_US + 1_000_000) for i in range(10)])
    running = make()
    running.cycle.__class__ = Path
    drain(running)

    assert seen == [0]


def test_books_that_both_stores_and_bronze_speak_against_are_corrected(three_hours: datetime) -> None:
    line = LedgerHour.objects.order_by("hour").first()
    assert line is not None
    key = next(iter(line.motes))
    line.motes[key] -= 5
    line.stored, line.received = line.stored - 5, line.received - 5
    line.save()

    healing = reconciled(heals=True)

    line.refresh_from_db()
    assert (line.received, line.stored, line.motes[key]) == (120, 120, 60)
    assert (healing.n_differing, healing.n_left) == (1, 0)
    assert "both stores and bronze say" in healing.did[0]


def test_readings_lost_from_both_stores_stay_red_since_bronze_bears_the_books_out(three_hours: datetime) -> None:
    lose_from_hot(three_hours, three_hours + HOUR)
    lose_from_lake(three_hours, three_hours + HOUR)

    healing = reconciled(heals=True)

    assert (healing.n_differing, healing.n_left) == (1, 1)
    assert LedgerHour.objects.order_by("hour")[0].stored == 120
    assert "the lake keeps 60 messages of that hour" in healing.did[0]
    assert Alert.objects.get(subject="books:indoor").status == "open"


def test_a_held_message_read_again_with_its_mote_is_stored_in_the_books_and_held_no_more(make: Any) -> None:
    start = first_hour()
    send(reading(micros(start)), reading(micros(start) + STEP_US, code="99"))
    drain(make())
    install_fleet(motes=("99",))
    Checkpoint.objects.all().delete()
    drain(make())

    made = reconciled(heals=True)

    assert (made.n_differing, made.n_left) == (1, 0)
    assert len(stored()) == len(in_hot()) == 2
    totals = [sum(getattr(line, name) for line in LedgerHour.objects.all()) for name in ("received", "stored", "held")]
    assert totals == [2, 2, 0]
    assert Quarantined.objects.get().status == "replayed"


def test_what_came_by_no_stream_is_told_and_left_alone(three_hours: datetime) -> None:
    profile = registry.profiles()["indoor"]
    stranger = (
        in_hot()
        .head(1)
        .with_columns(
            pl.col("at") + timedelta(seconds=1), partition=pl.lit(None, pl.Int64), offset=pl.lit(None, pl.Int64)
        )
    )
    hot().write(profile, stranger)

    healing = reconciled(heals=True)

    assert len(stored()) == 360
    assert "came by no stream" in healing.did[0]
    assert healing.n_left == 1


def test_two_sites_of_one_profile_are_compared_each_by_its_own_retention(three_hours: datetime, make: Any) -> None:
    install_fleet(motes=("old",), site="archive")
    long_ago = first_hour() - timedelta(days=1000)
    send(*[json.dumps({**json.loads(reading(micros(long_ago) + i * STEP_US, code="old")), "site": "archive"}).encode()
           for i in range(90)])  # fmt: skip
    drain(make())

    assert reconciled().n_differing == 0
    lose_from_hot(long_ago, long_ago + HOUR)
    assert reconciled(site="main").n_differing == 0
    assert states() == []
    made = reconciled()
    assert made.n_differing == 1
    assert HourDifference.objects.get().site.code == "archive"


def run(*arguments: str) -> tuple[str, str]:
    out = io.StringIO()
    try:
        call_command("reconcile", *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue(), f"{error.returncode}: {error}"
    return out.getvalue(), ""


def test_the_command_shows_each_hour_that_differs_fails_heals_and_is_content(three_hours: datetime) -> None:
    lose_from_hot(three_hours, three_hours + timedelta(minutes=10))

    shown, failure = run()
    assert f"{three_hours:%Y-%m-%d %H}:00 UTC  books 120, lake 120, hot store 100 of 120" in shown
    assert "mote 7: books 60, lake 60, hot store 50 of 60. The hot store lacks 10 of 60." in shown
    assert failure == "1: 1 hour differs; --heal mends what can be mended."
    later = (three_hours + HOUR).isoformat()
    assert run("--from", later)[1] == ""

    healed, failure = run("--heal", "--json")
    assert failure == ""
    assert json.loads(healed)["n_left"] == 0
    assert run()[1] == ""


def test_a_profile_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(CommandError, match="no profile “indor”; there are: indoor"):
        call_command("reconcile", "--profile", "indor")


@pytest.mark.service
def test_an_hour_deleted_in_influxdb_turns_red_heals_and_turns_green(
    addresses: dict[str, str], settings: Any, make: Any
) -> None:
    bucket = f"sieis-test-books-{secrets.token_hex(4)}"
    with stack._influx(addresses, bucket):
        settings.SIEIS_HOT_STORE = {
            "BACKEND": "sensors.stores.influx.InfluxStore",
            "OPTIONS": {
                "url": addresses["INFLUXDB_V2_URL"], "org": addresses.get("INFLUXDB_V2_ORG", "sieis"),
                "bucket": bucket, "token": addresses["INFLUXDB_V2_TOKEN"],
            },
        }  # fmt: skip
        start = first_hour()
        send(*[reading(micros(start) + i * STEP_US, code=code) for i in range(180) for code in ("7", "8")])
        drain(make())
        before = in_hot()
        assert reconciled().n_differing == 0

        with InfluxDBClient(
            addresses["INFLUXDB_V2_URL"], addresses["INFLUXDB_V2_TOKEN"], org=addresses.get("INFLUXDB_V2_ORG", "sieis")
        ) as influx:
            last = start + 2 * HOUR - timedelta(microseconds=1)
            influx.delete_api().delete(start + HOUR, last, '_measurement="indoor"', bucket)

        assert reconciled().n_left == 1
        assert states() == [(120, 120, 120, 0)]
        assert Alert.objects.get(subject="books:indoor").status == "open"

        assert reconciled(heals=True).n_left == 0
        assert in_hot().equals(before)
        assert Alert.objects.get(subject="books:indoor").status == "resolved"
