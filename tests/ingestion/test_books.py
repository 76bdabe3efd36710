"""The books: every message in exactly one column, once, whatever dies, is read again or is made anew."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion import checkpoints
from ingestion.models import Booked, Checkpoint, LedgerHour, Quarantined, StateSnapshot
from ingestion.reconciling import deed
from ingestion.saving import Saving
from ingestion.slow_cycle import SlowCycle
from ingestion.streams import stream
from sensors import registry
from sensors.lake import lake
from sensors.models import Mote
from sensors.stores import hot
from tests.ingestion.path import STEP_US, drain, in_hot, reading, send, start_us, stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]


def totals() -> dict[str, int]:
    names = ("received", "stored", "quarantined", "duplicate", "held")
    return {name: sum(getattr(line, name) for line in LedgerHour.objects.all()) for name in names}


def test_each_fate_is_counted_by_mote_where_the_mote_is_known(make: Any) -> None:
    at = start_us()
    send(reading(at), reading(at), reading(at, temperature=30.0), reading(at, code="99"), b"garbage")

    drain(make())

    seven = str(Mote.objects.get(code="7").pk)
    lines = {line.profile: line for line in LedgerHour.objects.filter(hour__lt=Checkpoint.objects.get().saved_at)}
    assert lines["indoor"].motes == {seven: 1}
    assert lines["indoor"].others == {"duplicate": {seven: 1}, "quarantined": {seven: 1}}
    assert lines[""].others["held"] == {"99": 1}
    assert totals() == {"received": 5, "stored": 1, "quarantined": 2, "duplicate": 1, "held": 1}


def test_reading_again_after_the_checkpoint_was_deleted_books_nothing_twice_and_goes_on(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(4)], reading(at), b"garbage", reading(at, code="99"))
    drain(make())
    before = totals()

    Checkpoint.objects.all().delete()
    drain(make())
    assert totals() == before

    send(reading(at + 4 * STEP_US), b"more garbage")
    drain(make())
    assert totals() == {**before, "received": 9, "stored": 5, "quarantined": 2}
    assert len(stored()) == len(in_hot()) == 5


def test_a_topic_made_anew_is_booked_from_its_own_beginning_and_quarantines_at_the_same_offsets(make: Any) -> None:
    at = start_us()
    send(reading(at), b"garbage", reading(at + STEP_US))
    drain(make())
    shutil.rmtree(stream().folder)
    Checkpoint.objects.all().delete()
    stream().ensure()

    send(reading(at + 2 * STEP_US), b"other garbage")
    drain(make())

    assert totals() == {"received": 5, "stored": 3, "quarantined": 2, "duplicate": 0, "held": 0}
    assert sorted(bytes(one.payload) for one in Quarantined.objects.filter(offset=1)) == [b"garbage", b"other garbage"]
    assert sorted(Booked.objects.values_list("next_offset", flat=True)) == [2, 3]


def test_garbage_that_names_ever_new_motes_does_not_swell_a_line_of_the_books(make: Any) -> None:
    at = start_us()
    send(*[reading(at, code=f"nobody-{i}") for i in range(500)])

    drain(make())

    line = LedgerHour.objects.get()
    assert line.held == 500
    assert len(line.others["held"]) <= 201


def test_states_from_which_the_stream_cannot_be_read_any_more_are_retired_row_and_file(make: Any) -> None:
    at = start_us()
    for i in range(3):
        send(reading(at + i * STEP_US))
        drain(make())
        StateSnapshot.objects.update(taken_at=timezone.now() - timedelta(hours=3 - i))

    class Cut:
        """The stream after its retention has taken the first two messages."""

        topic = stream().topic
        identity = staticmethod(stream().identity)
        bounds = staticmethod(lambda: {0: (2, 3)})

    there = {row.next_offset: row.blob for row in StateSnapshot.objects.all()}
    n = checkpoints.retire_snapshots(Cut(), default_storage)

    assert n == len([offset for offset in there if offset < 2]) > 0
    left = dict(StateSnapshot.objects.values_list("next_offset", "blob"))
    assert left == {offset: blob for offset, blob in there.items() if offset >= 2}
    assert [default_storage.exists(blob) for blob in there.values()] == [offset in left for offset in there]
    assert Checkpoint.objects.get().snapshot is not None


KINDS = ("stored", "late", "again", "conflict", "held", "garbage", "future")
sent = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20)), min_size=1, max_size=25)
cuts = st.lists(st.sampled_from(("clean", "before lake", "before checkpoint", "reread")), min_size=1, max_size=4)


class Dies(SlowCycle):
    """A slow cycle that is killed before it begins, or between the lake and the checkpoint."""

    dies_at = ""

    def begin(self, *arguments: Any) -> None:
        if self.dies_at == "before lake" and self.gathered.n_messages:
            raise KeyboardInterrupt
        super().begin(*arguments)

    def _save(self, under_way: Saving) -> None:
        if self.dies_at == "before checkpoint":
            assert under_way.snapshots.exception() is None
            raise KeyboardInterrupt
        super()._save(under_way)


def message(kind: str, step: int, at: int) -> bytes:
    when = at + step * STEP_US
    return {
        "stored": reading(when, "7"),
        "late": reading(when - 40 * STEP_US, "8"),
        "again": reading(at, "7"),
        "conflict": reading(at, "7", temperature=20.0 + step),
        "held": reading(when, f"unknown-{step % 3}"),
        "garbage": b"\xff" * (step + 1),
        "future": reading(when + 10**12, "7"),
    }[kind]


# The stores go on from example to example, as they do in life; what is compared is what each added.
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(sent, cuts)
def test_whatever_is_sent_and_wherever_it_is_cut_the_books_balance_and_equal_both_stores(
    make: Any, sent: list[tuple[str, int]], cuts: list[str]
) -> None:
    before, at = totals(), start_us()
    had = len(stored()) if lake().exists("silver/indoor") else 0
    size = -(-len(sent) // len(cuts))
    for i, cut in enumerate(cuts):
        part = [message(kind, step, at) for kind, step in sent[i * size : (i + 1) * size]]
        if part:
            send(*part)
        run(make(), cut)
    drain(make())

    now = totals()
    assert now["received"] - before["received"] == len(sent)
    assert all(
        line.received == line.stored + line.quarantined + line.duplicate + line.held
        for line in LedgerHour.objects.all()
    )
    assert now["stored"] == len(stored()) == len(in_hot())
    assert now["stored"] - before["stored"] == len(stored()) - had
    made = deed.ask(deed.Request(), trigger="command", who=None, now=timezone.now())
    deed.reconcile(made, lake=lake(), hot=hot(), fleet=registry.current_fleet(), now=timezone.now())
    assert made.n_differing == 0


def run(path: Any, cut: str) -> None:
    if cut == "reread":
        Checkpoint.objects.all().delete()
    path.cycle.__class__ = Dies
    path.cycle.dies_at = cut
    try:
        drain(path)
    except KeyboardInterrupt:
        assert cut in ("before lake", "before checkpoint")
