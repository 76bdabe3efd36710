"""manage.py import_readings on the embedded parts: what it foretells, what it does, and that nothing is lost."""

from __future__ import annotations

import hashlib
import shutil
import signal
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from alerts.models import Alert, Event
from ingestion.importing import bringing, jobs, legs
from ingestion.importing.alone import alone
from ingestion.importing.looking import CannotImport, Look, Request, look
from ingestion.models import Checkpoint, ImportJob, LedgerHour, Quarantined
from ingestion.running import build_runner
from ingestion.streams import stream
from sensors.lake import lake
from sensors.models import AuditEntry, FleetRevision, Mote, Profile, Site
from sensors.packs import read_pack
from sensors.readings import micros
from sensors.stores import hot
from sensors.tables.progress import shown
from tests.builders import install_fleet
from tests.ingestion.test_importing_formats import written

pytestmark = pytest.mark.django_db(transaction=True)
HEADER = "moteid,ts,temperature,humidity,light,voltage\n"
LAB = ("--pack", "indoor", "--site", "lab", "--time-zone", "America/Los_Angeles", "--map", "mote=moteid,at=ts")


def said(*arguments: object) -> str:
    out = StringIO()
    call_command("import_readings", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


def line(minute: int, mote: object = 1, values: str = "21.5,40.1,120,2.7") -> str:
    return f"{mote},2004-02-28 {minute // 60:02d}:{minute % 60:02d}:16.02785,{values}\n"


def file(folder: Path, *lines: str, name: str = "lab.csv", header: str = HEADER) -> Path:
    return written(folder / name, header + "".join(lines))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Thirty readings of motes 1, 6 and of 101, which the pack does not know."""
    return file(tmp_path, *(line(minute, mote) for minute in range(10) for mote in (1, 6, 101)))


def silver(profile: str = "indoor") -> pl.DataFrame:
    return lake().scan(f"silver/{profile}").collect() if lake().exists(f"silver/{profile}") else pl.DataFrame()


def books() -> dict[str, int]:
    names = ("received", "stored", "duplicate", "held", "quarantined")
    rows = list(LedgerHour.objects.values(*names))
    return {name: sum(row[name] for row in rows) for name in names}


# ---- the whole story ----------------------------------------------------------------------------------------


def test_a_file_becomes_a_site_of_its_own_with_exactly_its_motes(good: Path) -> None:
    install_fleet(motes=("1", "2"))

    answer = said(good, *LAB)

    assert "All 30 rows are accounted for." in answer
    assert (len(silver()), books()["stored"]) == (30, 30)
    site = Site.objects.get(code="lab")
    assert site.time_zone == "America/Los_Angeles"
    places = {mote.code: (mote.x, mote.zone and mote.zone.code) for mote in site.motes.all()}
    assert places == {"1": (21.5, "lab"), "6": (19.5, "lab"), "101": (None, None)}
    assert Mote.objects.filter(site__code="main").count() == 2
    first = micros(datetime(2004, 2, 28, 8, 0, 16, 27850, tzinfo=UTC))
    assert silver()["at"].cast(pl.Int64).min() == first
    assert not Alert.objects.exists()


def test_an_import_leaves_an_audit_entry_with_file_sum_and_rows(good: Path) -> None:
    said(good, *LAB)

    [entry] = AuditEntry.objects.filter(deed="import_readings")
    assert entry.subject == "site:lab"
    sha256 = hashlib.sha256(good.read_bytes()).hexdigest()
    assert entry.detail["files"] == [{"name": "lab.csv", "sha256": sha256, "rows": 30}]
    assert (entry.detail["rows"], entry.detail["became"]) == (30, {"stored": 30})


def test_a_dry_run_changes_nothing(good: Path) -> None:
    answer = said(good, *LAB, "--dry-run")

    assert "3 new (1, 6, 101)" in answer
    assert "site lab, which is new, in America/Los_Angeles" in answer
    assert "30  stored" in answer
    assert "Nothing was changed: this was a dry run." in answer
    for model in (Site, Mote, Profile, AuditEntry, LedgerHour, FleetRevision):
        assert not model.objects.exists(), model
    assert not stream("history").bounds()[0][1]
    assert not lake().tables()


def test_a_second_import_stores_nothing_twice_and_says_so(good: Path) -> None:
    said(good, *LAB)

    foretold = said(good, *LAB, "--dry-run")
    answer = said(good, *LAB)

    assert "30  duplicates" in foretold
    assert "30  duplicates" in answer
    assert (len(silver()), books()["duplicate"]) == (30, 30)


def test_a_longer_export_brings_only_what_is_new(tmp_path: Path, good: Path) -> None:
    said(good, *LAB)
    longer = file(tmp_path, *(line(minute, 1) for minute in range(20)), name="longer.csv")

    answer = said(longer, *LAB)

    assert "10  duplicates" in answer
    assert "10  stored" in answer
    assert silver().select("mote", "at").is_unique().all()


def test_parquet_and_folders_come_in_as_csv_does(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    file(folder, line(0), line(1))
    at = datetime(2004, 2, 28, 0, 2, 16)  # noqa: DTZ001 - as Parquet files have it
    pl.DataFrame({"moteid": [1], "ts": [at], "temperature": [float("nan")], "humidity": [40.0]}).write_parquet(
        folder / "more.parquet"
    )

    assert "All 3 rows are accounted for." in said(folder, *LAB)
    assert silver().sort("at")["flags"].to_list()[-1] & 2, "NaN is unreadable"


# ---- what is foretold is what happens -----------------------------------------------------------------------


def messy(folder: Path) -> Path:
    ahead = (timezone.now() + timedelta(days=2)).isoformat()
    return file(
        folder,
        *(line(minute, mote) for minute in range(5) for mote in (1, 6)),
        line(0, 1),  # repeats
        line(1, 1, "21.6,40.1,120,2.7"),  # contradicts
        line(6, 1, "122.153,-4,120,1.9"),  # beyond the physical range
        line(7, 1, "warm,40,,NaN"),
        line(8, 1, "x,,,"),  # no value
        line(9, ""),  # no mote
        line(10, "m" * 65),
        "1,,21.5,40,120,2.7\n",
        "1,yesterday,21.5,40,120,2.7\n",
        "1,1960-01-01 00:00:00,21.5,40,120,2.7\n",
        f"1,{ahead},21.5,40,120,2.7\n",
        "1,2003-04-06 02:30:00,21.5,40,120,2.7\n",  # an hour that never was
        "1,2004-02-28 00:11:00,21.5,40,120,2.7,spare\n",
        line(12, 7),  # of a retired mote
    )


FATES = {
    "stored": 12, "duplicate": 1, "conflict": 1, "no_values": 1, "no_mote": 1, "held": 1, "retired_mote": 1,
    "no_timestamp": 1, "bad_timestamp": 3, "future_timestamp": 1, "malformed": 1,
}  # fmt: skip


def lab(path: Path, **changes: Any) -> Look:
    values: dict[str, Any] = {
        "paths": [path], "pack": read_pack("indoor"), "site": "lab", "mapping": {"mote": "moteid", "at": "ts"},
    }  # fmt: skip
    return look(Request(**{**values, **changes}), now=timezone.now())


def bring(view: Look, stop: threading.Event | None = None, tell: Any = lambda *_: None) -> ImportJob:
    with alone():
        job = jobs.for_command(view, {}, now=timezone.now())
        stop = stop or threading.Event()
        bringing.bring_in(view, job, now=timezone.now, stop=stop, tell=tell, warn=lambda _: None)
    return job


def retired_mote_at_lab() -> None:
    install_fleet(motes=("7",), site="lab")
    Site.objects.filter(code="lab").update(time_zone="America/Los_Angeles")
    Mote.objects.filter(code="7").update(state=Mote.State.RETIRED)


def test_every_row_ends_as_was_foretold(tmp_path: Path) -> None:
    retired_mote_at_lab()
    view = lab(messy(tmp_path))
    assert view.by_fate == FATES

    done = bring(view)

    assert done.became == FATES
    assert (done.is_complete, done.is_accounted) == (True, True)
    assert books()["received"] == sum(FATES.values()) == len(view.rows) == 24
    told = " ".join(Quarantined.objects.filter(reason="bad_timestamp").values_list("detail", flat=True))
    assert "2003-04-06 02:30:00 never was in America" in told
    assert "yesterday (no time that import_readings knows)" in told
    assert Quarantined.objects.get(reason="malformed").payload.endswith(b",spare")


def test_a_second_look_at_a_messy_file_foretells_only_repeats_and_refusals(tmp_path: Path) -> None:
    retired_mote_at_lab()
    path = messy(tmp_path)
    bring(lab(path))

    view = lab(path)
    done = bring(view)

    again = {**FATES, "duplicate": FATES["stored"] + FATES["duplicate"]}
    del again["stored"]
    assert view.by_fate == done.became == again
    assert len(silver()) == 12


def test_the_report_says_what_lies_beyond_which_range(tmp_path: Path) -> None:
    answer = said(messy(tmp_path), *LAB, "--dry-run")

    assert "out of the physical range −10 to 50 °C: 1 above 50; stored and flagged" in answer
    assert "unreadable (such as “warm”)" in answer
    assert "1 in an hour that never was in America/Los_Angeles" in answer
    assert "quarantined as malformed: lines with more fields than there are columns" in answer


def test_readings_that_came_live_are_known_to_the_history(tmp_path: Path) -> None:
    install_fleet(motes=("7",))
    at = timezone.now().replace(microsecond=0) - timedelta(minutes=30)
    live = b'{"mote_id": "7", "timestamp": "%s", "temperature": 21.5}' % at.isoformat().encode()
    stream("readings").append([live], [b"main/lab"])
    build_runner("readings", announce=None).run(threading.Event(), until_end=True)
    rows = [f"7,{(at + timedelta(minutes=each)).isoformat()},21.5,,,\n" for each in (-1, 0, 1)]

    answer = said(file(tmp_path, *rows), "--pack", "indoor", "--map", "mote=moteid,at=ts")

    assert "2  stored" in answer
    assert "1  duplicates" in answer
    assert len(silver()) == 3
    assert not silver()["flags"].to_numpy().astype(int).__and__(8).any(), "none is late: history has a state of its own"


def test_what_the_hot_store_has_forgotten_is_still_known_by_the_lake(good: Path) -> None:
    said(good, *LAB)
    profile = next(iter(_profiles().values()))
    hot().forget(profile, list(Mote.objects.values_list("pk", flat=True)), datetime(2004, 2, 28, 8, 5, tzinfo=UTC))

    assert "30  duplicates" in said(good, *LAB)
    assert len(silver()) == 30


def _profiles() -> Any:
    from sensors import registry

    return registry.profiles()


def test_an_anomaly_of_history_is_an_event_that_alerts_nobody(tmp_path: Path) -> None:
    said(file(tmp_path, *(line(minute, 1, "49.5,40,120,2.7") for minute in range(9))), *LAB)

    assert Event.objects.get().is_history
    assert not Alert.objects.exists()


# ---- interrupted --------------------------------------------------------------------------------------------


def test_an_import_stopped_while_sending_goes_on_where_it_was(good: Path) -> None:
    view, stop = lab(good, time_zone="America/Los_Angeles"), threading.Event()

    stopped = bring(view, stop, lambda step, done, total: stop.set())
    assert (stopped.n_sent, stopped.n_waiting, stopped.is_complete) == (30, 30, False)

    repeated = bring(lab(good))
    assert (repeated.pk, repeated.n_left_over) == (stopped.pk, 30)
    assert (repeated.became, repeated.is_accounted, repeated.is_complete) == ({"stored": 30}, True, True)
    assert books()["received"] == 30, "nothing was sent twice"
    assert len(silver()) == 30


def test_an_import_stopped_in_the_path_saves_what_it_has(good: Path, settings: Any) -> None:
    settings.SIEIS_BATCH_MAX = 10
    stop = threading.Event()

    stopped = bring(lab(good, time_zone="America/Los_Angeles"), stop, lambda step, *_: step != "Sending" and stop.set())
    assert (stopped.became, stopped.n_waiting, stopped.is_accounted) == ({"stored": 10}, 20, True)

    repeated = bring(lab(good))
    assert (repeated.n_left_over, repeated.became) == (20, {"stored": 30})
    assert silver().select("mote", "at").is_unique().all()
    assert len(silver()) == 30


class Killed(BaseException):
    """What ends a process is caught by nobody."""


@pytest.mark.parametrize("n_steps", range(1, 8))
def test_wherever_an_import_dies_its_repeat_sends_the_rest_only(
    tmp_path: Path, settings: Any, monkeypatch: Any, n_steps: int
) -> None:
    retired_mote_at_lab()
    path = messy(tmp_path)
    settings.SIEIS_BATCH_MAX = 10
    monkeypatch.setattr(bringing, "CHUNK", 10)
    left = [n_steps]

    def die(step: str, done: int, total: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    with pytest.raises(Killed):
        bring(lab(path), tell=die)
    repeated = bring(lab(path))

    assert (repeated.became, repeated.n_again, repeated.is_complete) == (FATES, 0, True)
    assert books()["received"] == repeated.n_rows == 24
    assert Quarantined.objects.count() == sum(n for fate, n in FATES.items() if fate not in ("stored", "duplicate"))
    assert len(silver()) == 12


def test_rows_that_arrived_while_the_process_died_are_not_sent_again(good: Path, monkeypatch: Any) -> None:
    """The stream had taken a chunk, and the row that counts it was not written any more."""
    monkeypatch.setattr(bringing, "CHUNK", 10)

    def die(*_: Any) -> None:
        raise Killed

    view = lab(good, time_zone="America/Los_Angeles")
    with monkeypatch.context() as dying:
        dying.setattr(legs, "note_sent", die)
        with pytest.raises(Killed):
            bring(view)
    assert ImportJob.objects.get().n_sent == 0

    repeated = bring(lab(good))

    assert (repeated.n_left_over, repeated.became, repeated.n_again) == (10, {"stored": 30}, 0)
    assert books() == {"received": 30, "stored": 30, "duplicate": 0, "held": 0, "quarantined": 0}


def test_another_import_settles_what_a_dead_one_left_and_each_keeps_its_own_sums(tmp_path: Path, good: Path) -> None:
    stop = threading.Event()
    stopped = bring(lab(good, time_zone="America/Los_Angeles"), stop, lambda *_: stop.set())
    other = file(tmp_path, *(line(minute, 1) for minute in range(20, 25)), name="other.csv")

    done = bring(lab(other))

    assert (done.n_left_over, done.became) == (30, {"stored": 5})
    stopped.refresh_from_db()
    assert (stopped.became, stopped.n_waiting) == ({"stored": 30}, 0)
    assert bring(lab(good)).is_complete
    assert books()["received"] == 35


def test_a_stream_made_anew_under_a_stopped_import_lets_it_begin_anew(good: Path, settings: Any) -> None:
    """What waited there is gone; what is stored already is known as such."""
    settings.SIEIS_BATCH_MAX = 10
    stop = threading.Event()
    bring(lab(good, time_zone="America/Los_Angeles"), stop, lambda step, *_: step != "Sending" and stop.set())
    shutil.rmtree(settings.SIEIS_STREAM["OPTIONS"]["folder"])
    stream("history").close()
    settings.SIEIS_STREAM = dict(settings.SIEIS_STREAM)
    Checkpoint.objects.filter(topic=settings.SIEIS_TOPICS["history"]).delete()

    repeated = bring(lab(good))

    assert (repeated.is_complete, repeated.is_accounted) == (True, True)
    assert len(silver()) == 30
    assert silver().select("mote", "at").is_unique().all()


def test_the_command_says_what_is_left_when_it_is_told_to_stop(good: Path, settings: Any) -> None:
    settings.SIEIS_BATCH_MAX = 1  # thirty turns, so that the signal meets one

    class Interrupts(StringIO):
        def write(self, text: str) -> int:
            if text.startswith("Sending"):
                signal.raise_signal(signal.SIGTERM)
            return super().write(text)

    with pytest.raises(CommandError, match=r"stopped: 0 rows were not sent, \d+ wait in the stream. Nothing is lost"):
        call_command("import_readings", str(good), *LAB, stdout=Interrupts())

    assert "All 30 rows are accounted for." in said(good, *LAB[:4], *LAB[6:])
    assert len(silver()) == 30


def test_two_imports_at_once_are_refused(good: Path) -> None:
    with alone(), pytest.raises(CommandError, match="another import is under way"):
        said(good, *LAB)

    assert "All 30 rows" in said(good, *LAB)


# ---- refused before anything is changed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*LAB[:-1], "mote=node,at=ts"), "no column “node”: lab.csv has the columns moteid, ts, temperature"),
        (("--pack", "machine", "--map", "mote=moteid,at=ts,temperature=ts"), "uses the column “ts” for two things"),
        (("--pack", "nonsense"), "neither a pack that comes with SIEIS"),
        ((*LAB[:4], "--time-zone", "Mars/Base", *LAB[6:]), "is not an IANA time zone"),
        (("--pack", "indoor", "--map", "mote"), "expected NAME=COLUMN"),
    ],
)
def test_what_is_wrong_with_the_order_is_said_and_nothing_is_changed(good: Path, arguments: Any, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        said(good, *arguments)

    assert not Site.objects.exists()
    assert not stream("history").bounds()[0][1]


def test_a_file_of_another_kind_of_mote_is_refused(tmp_path: Path) -> None:
    rows = file(tmp_path, "7,2024-06-01 12:00,0.9\n", header="mote,at,vibration\n")

    with pytest.raises(CommandError, match=r"no column is a channel of indoor \(temperature"):
        said(rows, "--pack", "indoor")


def test_motes_of_another_profile_are_never_written_over(tmp_path: Path) -> None:
    install_fleet(motes=("1",), site="lab")
    rows = file(tmp_path, "1,2024-06-01T12:00Z,55.5\n", header="mote,at,temperature\n")

    assert "1 of another profile (1)" in said(rows, "--pack", "machine", "--site", "lab", "--dry-run")
    with pytest.raises(CommandError, match="has motes of another profile with the same codes"):
        said(rows, "--pack", "machine", "--site", "lab")
    assert not Profile.objects.filter(code="machine").exists()


def test_a_date_that_may_be_either_is_refused_until_somebody_says(tmp_path: Path) -> None:
    rows = file(tmp_path, "1,02/03/2024 10:00,21.5\n", header="mote,at,temp\n")

    told = said(rows, "--pack", "indoor", "--dry-run")

    assert "To be settled first: “02/03/2024” may be" in told
    assert "1 row of “indoor”" in told
    assert "1 values" not in told
    with pytest.raises(CommandError, match="say --date-order"):
        said(rows, "--pack", "indoor")
    assert "The one row is accounted for." in said(rows, "--pack", "indoor", "--date-order", "mdy")


def test_a_site_keeps_its_time_zone_and_only_the_times_may_be_read_in_another(good: Path) -> None:
    said(good, *LAB)

    with pytest.raises(CommandError, match="site lab is in America/Los_Angeles, and --time-zone UTC is for a new one"):
        said(good, *LAB[:4], "--time-zone", "UTC", *LAB[6:])
    assert "30  stored" in said(good, *LAB[:4], "--times-in", "UTC", *LAB[6:])


def test_an_installed_profile_keeps_its_version(good: Path) -> None:
    install_fleet(motes=("1",))
    before = Profile.objects.get(code="indoor").versions.get().content_hash

    said(good, *LAB)

    assert Profile.objects.get(code="indoor").versions.get().content_hash == before


def test_a_problem_stops_the_deed_too(tmp_path: Path) -> None:
    view = lab(file(tmp_path, "1,02/03/2024 10:00,21.5\n", header="moteid,ts,temp\n"))

    with pytest.raises(CannotImport, match="date-order"):
        bring(view)


# ---- progress -----------------------------------------------------------------------------------------------


def test_without_a_terminal_a_line_comes_every_few_seconds_and_one_at_the_end() -> None:
    told: list[str] = []
    moments = iter([0.0, 2.0, 6.0, 7.0, 10.0, 10.0])

    with shown(told.append, clock=lambda: next(moments)) as tell:
        for done in (0, 20, 60, 70, 100, 100):
            tell("Sending", done, 100)

    assert told == ["Sending: 60 of 100 rows, 10/s, about 4 s left", "Sending: 100 of 100 rows, 10/s"]
