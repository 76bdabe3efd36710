"""What is put aside can be sent again: once, by the stream it came by, with nothing marked that was not appended."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from ingestion import adoption, quarantine, replay_jobs, replaying, tasks
from ingestion.foretelling import DUPLICATE, LATE, STORED
from ingestion.labels import LabelReader
from ingestion.models import NotKept, Quarantined, ReplayJob
from ingestion.replaying import AlreadySettled, CannotReplay, replay
from ingestion.running import build_label_reader
from ingestion.streams import StreamUnavailable, stream
from ingestion.wire import KEPT_BYTES
from mlops.models import Label
from sensors.models import AuditEntry, Mote, Profile, Site
from tests.builders import install_fleet
from tests.ingestion.quarantine_site import aside, books, drain, in_hot, parts, reading, send
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db(transaction=True)


class Around:
    """A stream with something that happens before each append."""

    def __init__(self, within, happens):
        self.within, self.happens = within, happens

    def append(self, values, keys):
        self.happens(values)
        self.within.append(values, keys)


def raising(error):
    def happens(values):
        raise error

    return lambda found: Around(found, happens)


@pytest.fixture
def fleet():
    install_fleet(motes=("7", "8"))


# ---- one message --------------------------------------------------------------------------------------------


def test_a_repaired_message_flows_in_and_the_books_balance(fleet, bob):
    send(reading().replace(b"21.5", b'"warm"'), reading("8"))
    drain()
    row = aside(reason="no_values")

    fate = replay(row, parts=parts(), who=bob, now=timezone.now(), payload=reading(temperature=22.25))
    drain()

    assert fate.name == STORED
    assert "Temperature 22.25 °C" in fate.words
    assert in_hot() == [("7", 22.25), ("8", 21.5)]
    assert books() == {"received": 3, "stored": 2, "quarantined": 1, "duplicate": 0, "held": 0}
    row.refresh_from_db()
    assert (row.status, row.settled_by, row.went_to, row.is_repaired) == (
        "replayed", bob, "sensor-readings, key main/lab", True,
    )  # fmt: skip
    entry = AuditEntry.objects.get(deed="replay_message")
    assert (entry.who, entry.subject, entry.detail["is_repaired"]) == (bob, f"message:{row.place}", True)


def test_a_message_that_would_be_put_aside_again_is_not_sent_and_it_is_said_why(fleet, bob):
    send(b"garbage", reading(""))
    drain()

    with pytest.raises(CannotReplay, match="is not JSON: Expecting value"):
        replay(aside(reason="malformed"), parts=parts(), who=bob, now=timezone.now())
    with pytest.raises(CannotReplay, match="no mote “9” is registered"):
        replay(aside(reason="malformed"), parts=parts(), who=bob, now=timezone.now(), payload=reading("9"))

    assert set(Quarantined.objects.values_list("status", flat=True)) <= {"quarantined", "held"}


def test_replaying_twice_is_refused(fleet, bob, alice):
    send(b"garbage")
    drain()
    row = aside()
    replay(row, parts=parts(), who=bob, now=timezone.now(), payload=reading())

    with pytest.raises(AlreadySettled, match="is replayed already"):
        replay(aside(), parts=parts(), who=alice, now=timezone.now(), payload=reading())

    drain()
    assert len(in_hot()) == 1
    assert books()["received"] == 2


def test_of_two_people_who_replay_the_same_message_at_once_one_wins(fleet, bob, alice):
    send(b"garbage")
    drain()
    refused = []

    def meanwhile(values):
        with pytest.raises(AlreadySettled, match="Somebody else") as loss:
            replay(aside(), parts=parts(), who=alice, now=timezone.now(), payload=reading(temperature=19.0))
        refused.append(loss)

    now = timezone.now()
    replay(aside(), parts=parts(lambda found: Around(found, meanwhile)), who=bob, now=now, payload=reading())
    drain()

    assert len(refused) == 1
    assert in_hot() == [("7", 21.5)]
    assert aside().settled_by == bob
    assert books()["received"] == 2


def test_while_the_stream_is_away_nothing_is_marked_and_it_can_be_tried_again(fleet, bob):
    send(b"garbage")
    drain()

    away = parts(raising(StreamUnavailable("the broker is away")))
    with pytest.raises(StreamUnavailable):
        replay(aside(), parts=away, who=bob, now=timezone.now(), payload=reading())

    assert (aside().status, aside().settled_at, aside().taken_by) == ("quarantined", None, "")
    replay(aside(), parts=parts(), who=bob, now=timezone.now(), payload=reading())
    assert aside().status == "replayed"


def test_an_append_whose_answer_was_lost_is_tried_again_and_stored_once(fleet, bob):
    send(b"garbage")
    drain()

    class Deaf(Around):
        def append(self, values, keys):
            self.within.append(values, keys)
            raise StreamUnavailable("appended, but the answer was lost")

    with pytest.raises(StreamUnavailable):
        replay(aside(), parts=parts(lambda s: Deaf(s, None)), who=bob, now=timezone.now(), payload=reading())
    assert aside().status == "quarantined"
    replay(aside(), parts=parts(), who=bob, now=timezone.now(), payload=reading())
    drain()

    assert in_hot() == [("7", 21.5)]
    assert books() == {"received": 3, "stored": 1, "quarantined": 1, "duplicate": 1, "held": 0}


def test_who_dies_while_sending_keeps_a_message_for_a_minute_only(fleet, bob, alice):
    """Alice tries while Bob's append hangs: at once in vain, after a minute in his place; what he sent is known."""
    send(b"garbage")
    drain()
    now = timezone.now()

    def meanwhile(values):
        with pytest.raises(AlreadySettled, match="at this moment"):
            replay(aside(), parts=parts(), who=alice, now=now + timedelta(seconds=59), payload=reading())
        replay(aside(), parts=parts(), who=alice, now=now + timedelta(seconds=61), payload=reading())

    replay(aside(), parts=parts(lambda found: Around(found, meanwhile)), who=bob, now=now, payload=reading())
    drain()

    assert aside().settled_by == alice
    assert in_hot() == [("7", 21.5)]
    assert books() == {"received": 3, "stored": 1, "quarantined": 1, "duplicate": 1, "held": 0}


def test_what_comes_back_says_which_message_it_was(fleet, bob):
    """Between being judged and being read its mote is retired."""
    send(b"garbage")
    drain()
    row = aside()

    def retires(values):
        Mote.objects.filter(code="7").update(state="retired")

    now = timezone.now()
    replay(row, parts=parts(lambda found: Around(found, retires)), who=bob, now=now, payload=reading())
    drain()

    again = aside(reason="retired_mote")
    assert again.came_from == row
    assert list(row.returned.all()) == [again]
    assert quarantine.unmarked(bytes(again.payload)) == reading()


def test_a_mark_that_leads_nowhere_is_not_believed(fleet):
    send(b"garbage")
    drain()
    place, pk = aside().place, aside().pk

    for mark in (f"{place}#{pk + 7}", f"elsewhere/0@1#{pk}", f"{place}#{10**17}"):
        send(f'{{"sieis_replay_of": "{mark}", "mote_id": "99", "timestamp": 1}}'.encode())
    drain()

    assert list(Quarantined.objects.filter(mote_code="99").values_list("came_from", flat=True)) == [None] * 3


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.floats() | st.text(max_size=8), max_size=4),
    st.sampled_from(["utf-8", "utf-16", "utf-32"]),
    st.booleans(),
)
def test_a_mark_changes_nothing_else_of_a_message(found, encoding, is_spaced):
    raw = json.dumps(found, indent=2 if is_spaced else None).encode(encoding)
    row = Quarantined(pk=12, topic="sensor-readings", partition=0, offset=7)

    once = quarantine.marked(raw, row)

    same = json.loads(once)
    assert same.pop("sieis_replay_of") == "sensor-readings/0@7#12"
    assert json.dumps(same) == json.dumps(found)
    assert quarantine.marked(once, row) == once


def test_a_long_message_is_sent_whole_from_the_lake(fleet, bob):
    long = reading("9", note="x" * 3 * KEPT_BYTES)
    send(long)
    drain()
    install_fleet(motes=("9",))
    assert len(aside().payload) == KEPT_BYTES < aside().size == len(long)

    replay(aside(), parts=parts(), who=bob, now=timezone.now())
    drain()

    assert in_hot() == [("9", 21.5)]


def test_a_long_message_that_nobody_has_whole_is_said_to_be_cut(fleet, bob):
    Quarantined.objects.create(
        topic=stream().topic, partition=0, offset=5, received_at=timezone.now(), reason="malformed",
        payload=b"x" * KEPT_BYTES, size=9_000,
    )  # fmt: skip

    with pytest.raises(CannotReplay, match=r"Only the first 4,096 of 9,000 bytes.*Enter the whole message"):
        replay(aside(), parts=parts(), who=bob, now=timezone.now())


def test_what_is_stored_already_and_what_is_late_is_foretold(fleet):
    send(reading("7", 30), reading("7", 10))
    drain()
    again, other, late = reading("7", 30), reading("7", 30, temperature=30.0), reading("7", 20)

    told = replaying.fates([again, other, late], stream().topic, parts=parts(), now=timezone.now())

    assert [fate.name for fate in told] == [DUPLICATE, "conflict", LATE]
    assert "by a correction" in told[1].words


# ---- labels -------------------------------------------------------------------------------------------------


def test_a_label_goes_back_to_the_labels_and_never_to_the_readings(fleet, bob):
    told = {"mote_id": "7", "kind": "drift", "starts_at": 1772452800, "ends_at": 1772452900, "source": "bob"}
    send(json.dumps({**told, "kind": ""}).encode(), to="labels")
    read_labels()
    before = stream().bounds()

    replay(aside(), parts=parts(), who=bob, now=timezone.now(), payload=json.dumps(told).encode())
    read_labels()

    assert stream().bounds() == before
    assert Label.objects.get().kind == "drift"
    assert aside().went_to == "sensor-labels, key main/lab"


def read_labels() -> None:
    import threading

    reader: LabelReader = build_label_reader()
    reader.run(threading.Event(), until_end=True)


# ---- all of a kind ------------------------------------------------------------------------------------------


def test_all_of_a_kind_are_sent_and_those_that_would_come_back_stay(fleet, bob):
    Mote.objects.filter(code="7").update(state="retired")
    send(*(reading("7", 30 - n / 10) for n in range(25)), b"garbage", reading("8").replace(b"21.5", b"null"))
    drain()
    Mote.objects.filter(code="7").update(state="active")

    job = replay_jobs.ask({"status": ""}, who=bob, now=timezone.now())
    tasks.replay_messages(job.pk)
    drain()

    job.refresh_from_db()
    assert (job.state, job.n_asked, job.n_sent, job.left) == ("done", 27, 25, {"malformed": 1, "no_values": 1})
    assert len(in_hot()) == 25
    assert books() == {"received": 52, "stored": 25, "quarantined": 27, "duplicate": 0, "held": 0}
    assert set(Quarantined.objects.filter(status="replayed").values_list("settled_by__username", flat=True)) == {"bob"}


def test_one_job_at_a_time(fleet, bob, alice):
    send(b"garbage")
    drain()
    replay_jobs.ask({}, who=bob, now=timezone.now())

    with pytest.raises(replay_jobs.AlreadyReplaying, match=r"has done 0 of 1\. Wait for it"):
        replay_jobs.ask({}, who=alice, now=timezone.now())
    with pytest.raises(replay_jobs.NothingToReplay):
        replay_jobs.ask({"reason": "no_mote"}, who=alice, now=timezone.now())


def test_a_job_whose_stream_is_away_fails_in_words_and_asking_again_goes_on(fleet, bob):
    Mote.objects.filter(code="7").update(state="retired")
    send(reading("7", 30), reading("7", 29))
    drain()
    Mote.objects.filter(code="7").update(state="active")
    job = replay_jobs.ask({}, who=bob, now=timezone.now())

    with pytest.raises(StreamUnavailable):
        replay_jobs.run(job, parts=parts(raising(StreamUnavailable("The broker is away."))), now=timezone.now)

    job.refresh_from_db()
    assert (job.state, job.error[:20]) == ("failed", "The broker is away. ")
    assert Quarantined.objects.filter(status="quarantined").count() == 2
    tasks.replay_messages(replay_jobs.ask({}, who=bob, now=timezone.now()).pk)
    drain()
    assert len(in_hot()) == 2


def test_a_job_whose_worker_was_killed_is_not_running_for_ever(fleet, bob):
    send(b"garbage")
    drain()
    now = timezone.now()
    job = replay_jobs.ask({}, who=bob, now=now)
    assert replay_jobs.expire(now + timedelta(minutes=3)) == [job]  # sent again: perhaps the broker forgot it
    ReplayJob.objects.update(state="running", heartbeat_at=now)

    assert replay_jobs.expire(now + timedelta(minutes=3)) == []

    job.refresh_from_db()
    assert "its worker was killed" in job.error


def test_discarding_deletes_nothing_and_can_be_taken_back(fleet, bob):
    send(b"garbage", b"more", reading("99"))
    drain()
    now = timezone.now()

    n = replaying.discard(Quarantined.objects.filter(reason="malformed"), who=bob, now=now, asked={})
    again = replaying.discard(Quarantined.objects.filter(reason="malformed"), who=bob, now=now, asked={})

    assert (n, again, Quarantined.objects.count()) == (2, 0, 3)
    with pytest.raises(AlreadySettled, match="is discarded already"):
        replay(Quarantined.objects.filter(reason="malformed")[0], parts=parts(), who=bob, now=now, payload=reading())
    assert replaying.take_back(Quarantined.objects.filter(reason="malformed")[0], who=bob, now=now)
    assert sorted(Quarantined.objects.values_list("status", flat=True)) == ["discarded", "held", "quarantined"]
    assert AuditEntry.objects.filter(deed="discard_messages", who=bob).count() == 1


# ---- unknown motes ------------------------------------------------------------------------------------------


def test_an_adopted_motes_held_readings_flow_in_late_ones_as_late(fleet, bob):
    send(*(reading("99", 30 - n, humidity=40, lux=5) for n in range(3)))
    drain()
    unknown = adoption.unknown("99", "")
    assert (unknown.n, unknown.best.profile.code, unknown.best.unknown) == (3, "indoor", ("lux",))
    assert set(unknown.best.known) == {"temperature", "humidity"}

    mote = adoption.adopt(
        unknown, site=Site.objects.get(), profile=Profile.objects.get(), zone=None, label="Attic", who=bob,
        now=timezone.now(),
    )  # fmt: skip
    send(reading("99", 1))  # it goes on reporting
    drain()
    tasks.release_held()
    tasks.release_held()
    drain()

    assert [code for code, _ in in_hot()] == ["99"] * 4
    assert set(Quarantined.objects.values_list("status", "went_to")) == {("replayed", "sensor-readings, key main")}
    assert books() == {"received": 7, "stored": 4, "quarantined": 0, "duplicate": 0, "held": 3}
    assert AuditEntry.objects.get(deed="adopt_mote").subject == mote.subject
    assert AuditEntry.objects.get(deed="release_held").detail == {"messages": 3}


def test_held_messages_flow_in_whoever_registers_the_mote(fleet):
    send(reading("99"), reading("98"))
    drain()

    install_fleet(motes=("99",))  # as a pack, an import, the admin would
    tasks.release_held()
    drain()

    assert in_hot() == [("99", 21.5)]
    assert dict(Quarantined.objects.values_list("mote_code", "status")) == {"99": "replayed", "98": "held"}


def test_messages_are_not_released_to_a_consumer_that_does_not_know_the_mote_yet(fleet):
    from sensors.models import ProcessHeartbeat

    send(reading("99"))
    drain()
    detail = {"state": "running", "topic": stream().topic, "fleet": 1}
    ProcessHeartbeat.objects.create(name="other", kind="consumer", beat_at=timezone.now(), detail=detail)
    install_fleet(motes=("99",))

    tasks.release_held()
    assert aside().status == "held"

    ProcessHeartbeat.objects.filter(name="other").update(detail={**detail, "fleet": 10**6})
    tasks.release_held()
    assert aside().status == "replayed"


def test_a_mote_cannot_be_adopted_where_its_messages_would_not_find_it(fleet, bob):
    elsewhere = Site.objects.create(code="elsewhere", label="Elsewhere")
    more = Site.objects.create(code="more", label="More")
    send(reading("99"), reading("98", site="attic"))
    drain()
    kind, now = Profile.objects.get(), timezone.now()
    given = {"profile": kind, "zone": None, "label": "", "who": bob, "now": now}
    Mote.objects.create(site=elsewhere, code="99", profile=kind)
    Mote.objects.create(site=Site.objects.create(code="third", label="Third"), code="99", profile=kind)

    with pytest.raises(ValidationError, match="Let the device name its site"):
        adoption.adopt(adoption.unknown("99", ""), site=more, **given)
    with pytest.raises(ValidationError, match="name the site “attic”"):
        adoption.adopt(adoption.unknown("98", "attic"), site=more, **given)
    with pytest.raises(ValidationError, match="perhaps somebody was faster"):
        adoption.adopt(adoption.unknown("97", ""), site=more, **given)

    assert Mote.objects.filter(site=more).count() == 0


# ---- the cap, and forgetting --------------------------------------------------------------------------------


def test_garbage_beyond_the_cap_is_counted_and_the_books_still_know_it(fleet, settings):
    settings.SIEIS_QUARANTINE_MAX = 10
    send(*(b"garbage %d" % n for n in range(8)), *(reading("99", n) for n in range(7)))

    drain()

    assert Quarantined.objects.count() == 10
    assert sum(line.n for line in NotKept.objects.all()) == 5
    assert set(NotKept.objects.values_list("reason", flat=True)) == {"unknown_mote"}
    assert books() == {"received": 15, "stored": 0, "quarantined": 8, "duplicate": 0, "held": 7}


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 20), st.integers(0, 30))
def test_a_replay_after_a_crash_counts_nothing_twice_however_it_is_cut(cuts, cap, room_made):
    """The same offsets come again, in other batches, and even where room was made meanwhile."""
    from django.test import override_settings

    from ingestion.records import Records
    from ingestion.wire import Reject

    n = sum(cuts)

    def come(sizes):
        first = 0
        for size in sizes:
            import numpy as np

            offsets = np.arange(first, first + size)
            came = Records([b"x"] * size, np.zeros(size, int), offsets, 1_772_452_800_000_000 + offsets)
            quarantine.keep([Reject(i, "malformed", "") for i in range(size)], came, "t", "id")
            first += size

    Quarantined.objects.all().delete()
    NotKept.objects.all().delete()
    with override_settings(SIEIS_QUARANTINE_MAX=cap):
        come(cuts)
        come([n])
    with override_settings(SIEIS_QUARANTINE_MAX=cap + room_made):
        come([1] * n)

    assert Quarantined.objects.count() == min(cap, n)
    assert sum(line.n for line in NotKept.objects.all()) == max(n - cap, 0)


def test_what_is_old_is_forgotten_and_what_is_settled_makes_room(fleet, settings, bob):
    now = timezone.now()
    rows = [
        Quarantined(topic="t", partition=0, offset=n, received_at=now - timedelta(days=n - 0.5), reason="malformed",
                    payload=b"x", size=1, status="discarded" if n < 30 else "quarantined")
        for n in range(100)
    ]  # fmt: skip
    Quarantined.objects.bulk_create(rows)
    NotKept.objects.create(topic="t", partition=0, hour=now - timedelta(days=95), reason="malformed", n=5)

    assert quarantine.forget_old(now) == 9  # 91 to 99 days old
    assert NotKept.objects.count() == 0

    settings.SIEIS_QUARANTINE_MAX = 90
    tasks.forget_old_quarantine()
    assert Quarantined.objects.count() == 81
    assert Quarantined.objects.filter(status="quarantined").count() == 61
