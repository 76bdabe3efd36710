"""The segment log under what a laptop does to it: kills, full disks, flipped bits, old age."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.streams import StreamClosed, StreamRefused, StreamUnavailable, frames, kafka, partitions
from ingestion.streams.kafka import KafkaStream
from ingestion.streams.segments import DAY_US, SegmentStream

NOON_US = 1_772_452_800_000_000
messages = st.lists(st.tuples(st.binary(max_size=200), st.none() | st.binary(max_size=20)), min_size=1, max_size=30)


def encoded(appends) -> tuple[bytes, list[bytes], list[bytes | None]]:
    data, values, keys = b"", [], []
    for i, append in enumerate(appends):
        own_values, own_keys = [value for value, _ in append], [key for _, key in append]
        data += frames.encode(own_values, own_keys, first_offset=len(values), appended_at=NOON_US + i, seed=7)
        values += own_values
        keys += own_keys
    return data, values, keys


def decoded(data: bytes) -> tuple[list[bytes], list[bytes | None]]:
    position, values, keys = 0, [], []
    while block := frames.decode(data, position, 7):
        assert block.first_offset == len(values)
        values += block.values
        keys += frames.keys_of(data, position)
        position = block.end
    return values, keys


@settings(deadline=None)
@given(st.lists(messages, max_size=5))
def test_any_bytes_come_back_as_they_were(appends):
    data, values, keys = encoded(appends)

    assert decoded(data) == (values, keys)


@settings(deadline=None)
@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_a_file_cut_anywhere_holds_a_prefix_of_the_messages(appends, draw):
    data, values, _ = encoded(appends)
    cut = draw.draw(st.integers(0, len(data) - 1))

    found, _ = decoded(data[:cut])

    assert found == values[: len(found)]
    assert len(found) < len(values)


@settings(deadline=None)
@given(messages, st.data())
def test_a_flipped_bit_is_never_read(append, draw):
    data, _, _ = encoded([append])
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8

    assert frames.decode(bytes(damaged), 0, 7) is None


def test_a_large_append_is_cut_into_blocks_that_a_reader_can_hold():
    values = [b"x" * 300_000] * 5 + [b""] * 20_000

    data, _, _ = encoded([[(value, None) for value in values]])
    sizes, position = [], 0
    while block := frames.decode(data, position, 7):
        sizes.append(len(block.values))
        position = block.end

    assert sum(sizes) == len(values)
    assert max(sizes) <= frames.BLOCK_MESSAGES
    assert sizes[0] == 3


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 400), size=st.integers(0, 300))
def test_an_append_after_a_kill_goes_on_after_the_last_whole_one(tmp_path_factory, cut, size):
    stream = SegmentStream("readings", tmp_path_factory.mktemp("stream"))
    stream.append([b"whole"], [b"lab"])
    torn = frames.encode([b"t" * size], [None], first_offset=1, appended_at=NOON_US, seed=_seed(stream))
    with _segment(stream).open("ab") as file:
        file.write(torn[: min(cut, len(torn) - 1)])
    consumer = consumer_of(stream)

    assert consumer.poll(10, 0).values == [b"whole"]
    assert stream.bounds() == {0: (0, 1)}
    SegmentStream("readings", stream.folder.parent).append([b"after"], [b"lab"])

    records = consumer.poll(10, 0)
    consumer.close()
    assert (records.values, records.offset.tolist()) == ([b"after"], [1])


def consumer_of(stream: SegmentStream, start: int | None = None, group: str = "sieis"):
    return stream.consumer(group, on_assign=lambda owned: {0: start}, on_revoke=lambda owned: None)


def _seed(stream: SegmentStream) -> int:
    return stream.partitions()[0].seed


def _segment(stream: SegmentStream, place: int = -1) -> Path:
    return sorted(stream.folder.glob("0/*.log"))[place]


def everything(stream: SegmentStream, start: int | None = None) -> list[tuple[int, bytes]]:
    consumer = consumer_of(stream, start)
    found: list[tuple[int, bytes]] = []
    while len(records := consumer.poll(3, 0)):
        found += zip(records.offset.tolist(), records.values, strict=True)
    consumer.close()
    return found


def test_a_message_that_looks_like_a_block_is_only_a_message(tmp_path):
    stream = SegmentStream("readings", tmp_path)
    forged = frames.encode([b"forged"], [None], first_offset=90, appended_at=NOON_US, seed=0)
    stream.append([b"whole"], [None])
    torn = frames.encode([b"x" * 50 + forged], [None], first_offset=1, appended_at=NOON_US, seed=_seed(stream))
    with _segment(stream).open("ab") as file:
        file.write(torn[:-1])

    stream.append([b"after"], [None])

    assert everything(stream) == [(0, b"whole"), (1, b"after")]


def test_segments_roll_and_every_offset_is_found_again(tmp_path):
    stream = SegmentStream("readings", tmp_path, segment_bytes=500)
    for i in range(60):
        stream.append([f"{i}".encode()], [b"lab"])

    assert len(list(stream.folder.glob("0/*.log"))) > 3
    assert stream.bounds() == {0: (0, 60)}
    for start in (0, 1, 17, 59, 60):
        assert everything(stream, start) == [(i, f"{i}".encode()) for i in range(start, 60)]


def test_a_consumer_follows_the_log_into_a_new_segment(tmp_path):
    stream = SegmentStream("readings", tmp_path, segment_bytes=200)
    consumer = consumer_of(stream)
    seen = []
    for i in range(20):
        stream.append([f"{i}".encode()], [b"lab"])
        seen += consumer.poll(10, 0).values
    consumer.close()

    assert seen == [f"{i}".encode() for i in range(20)]


@pytest.mark.parametrize(("n_partitions", "broken"), [(1, 2), (2, 0)])
def test_what_was_read_before_a_file_could_not_be_opened_is_not_lost(tmp_path, n_partitions, broken):
    stream = SegmentStream("readings", tmp_path, segment_bytes=200, n_partitions=n_partitions)
    for i in range(20):
        stream.append([f"{i}".encode(), f"{i}b".encode()], [None, b"lab/west"])
    consumer = stream.consumer("sieis", on_assign=lambda owned: {}, on_revoke=lambda owned: None)
    file = sorted(stream.folder.glob(f"{n_partitions - 1}/*.log"))[broken]
    file.rename(tmp_path / "aside")
    file.symlink_to(tmp_path / "nowhere")

    seen = consumer.poll(100, 0).values
    with pytest.raises(StreamUnavailable):
        consumer.poll(100, 0)
    (tmp_path / "aside").replace(file)
    seen += [value for _ in range(3) for value in consumer.poll(100, 0).values]
    consumer.close()

    assert sorted(seen) == sorted(f"{i}{b}".encode() for i in range(20) for b in ("", "b"))


def test_a_start_inside_a_block_skips_what_lies_before_it(tmp_path):
    stream = SegmentStream("readings", tmp_path)
    stream.append([f"{i}".encode() for i in range(100)], [None] * 100)

    assert everything(stream, 42)[0] == (42, b"42")


def test_old_segments_go_and_the_active_one_stays(tmp_path):
    now = [NOON_US]
    stream = SegmentStream("readings", tmp_path, keep_days=3, segment_bytes=200, now_us=lambda: now[0])
    for i in range(20):
        stream.append([f"{i}".encode()], [None])
    now[0] += 4 * DAY_US
    stream.append([b"four days later"], [None])
    now[0] += 4 * DAY_US
    stream.append([b"eight days later"], [None])

    first, end = stream.bounds()[0]

    assert end == 22
    assert 0 < first <= 20
    assert everything(stream, first)[-1] == (21, b"eight days later")


def test_a_start_that_has_expired_begins_at_the_first_message_kept(tmp_path, caplog):
    now = [NOON_US]
    stream = SegmentStream("readings", tmp_path, keep_days=1, segment_bytes=200, now_us=lambda: now[0])
    for i in range(20):
        stream.append([f"{i}".encode()], [None])
        now[0] += DAY_US // 4

    first = stream.bounds()[0][0]
    caplog.set_level("WARNING", logger="ingestion.streams.starts")

    assert first > 0
    assert everything(stream, 0)[0] == (first, f"{first}".encode())
    assert f"'lost': {first}" in caplog.text


def test_a_reader_that_is_overtaken_by_retention_goes_on_with_what_is_kept(tmp_path):
    now = [NOON_US]
    stream = SegmentStream("readings", tmp_path, keep_days=1, segment_bytes=200, now_us=lambda: now[0])
    for i in range(20):
        stream.append([f"{i}".encode()], [None])
    consumer = consumer_of(stream)
    assert consumer.poll(1, 0).values == [b"0"]
    now[0] += 3 * DAY_US
    for i in range(20, 40):
        stream.append([f"{i}".encode()], [None])

    seen = []
    while len(records := consumer.poll(5, 0)):
        seen += records.offset.tolist()
    consumer.close()

    assert stream.bounds()[0][0] > 5
    assert seen == sorted(set(seen))
    assert seen[-1] == 39


@pytest.mark.parametrize("place", [0, -1])
def test_damage_in_a_file_costs_the_damaged_block_and_no_more(tmp_path, place):
    stream = SegmentStream("readings", tmp_path, segment_bytes=400)
    for i in range(20):
        stream.append([f"message {i:02}".encode()], [None])
    path = _segment(stream, place)
    content = bytearray(path.read_bytes())
    hit = content.index(b"message")
    lost = int(content[hit + 8 : hit + 10])
    content[hit] ^= 0xFF
    path.write_bytes(content)
    fresh = SegmentStream("readings", tmp_path, segment_bytes=400)

    assert fresh.bounds() == {0: (0, 20)}
    fresh.append([b"after"], [None])
    assert everything(fresh) == [
        *((i, f"message {i:02}".encode()) for i in range(20) if i != lost),
        (20, b"after"),
    ]


def test_time_that_steps_back_does_not_step_back_in_the_log(tmp_path):
    clock = iter([NOON_US, NOON_US - 5_000_000, NOON_US + 1])
    stream = SegmentStream("readings", tmp_path, segment_bytes=1, now_us=lambda: next(clock))
    for _ in range(2):
        stream.append([b"x"], [None])
    SegmentStream("readings", tmp_path, now_us=lambda: next(clock)).append([b"x"], [None])
    consumer = consumer_of(stream)

    times = consumer.poll(10, 0).received_at.tolist()
    consumer.close()

    assert times == [NOON_US, NOON_US, NOON_US + 1]


def test_a_full_disk_is_told_and_loses_nothing_before_it(tmp_path, monkeypatch):
    stream = SegmentStream("readings", tmp_path)
    stream.append([b"before"], [None])
    real = os.pwrite

    def half(descriptor, data, position):
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:100], position)

    with monkeypatch.context() as full:
        full.setattr(partitions.os, "pwrite", half)
        with pytest.raises(StreamUnavailable, match="No space left on device"):
            stream.append([b"y" * 150], [None])
    stream.append([b"after"], [None])

    assert everything(stream) == [(0, b"before"), (1, b"after")]


def test_a_group_waits_until_the_process_that_holds_it_dies(tmp_path):
    stream = SegmentStream("readings", tmp_path)
    stream.append([b"x"], [None])
    program = (
        "import sys; from ingestion.streams.segments import SegmentStream\n"
        "made = SegmentStream('readings', sys.argv[1]).consumer('sieis', on_assign=lambda p: {}, on_revoke=print)\n"
        "print(len(made.poll(10, 0)), flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"
    consumer = consumer_of(stream)
    other_group = consumer_of(stream, group="another")
    while_held = (len(consumer.poll(10, 0.02)), len(other_group.poll(10, 0)))

    holder.kill()
    holder.communicate()
    after = consumer.poll(10, 1.0)
    consumer.close()
    other_group.close()

    assert while_held == (0, 1)
    assert after.values == [b"x"]


def test_an_append_wakes_a_waiting_consumer_of_the_same_process(tmp_path):
    stream = SegmentStream("readings", tmp_path)
    consumer = consumer_of(stream)
    consumer.poll(1, 0)
    appending = threading.Timer(0.01, stream.append, ([b"x"], [None]))

    appending.start()
    records = consumer.poll(1, 5.0)
    appending.join()
    consumer.close()

    assert records.values == [b"x"]


def test_a_topic_that_is_deleted_under_its_reader_is_told(tmp_path):
    stream = SegmentStream("readings", tmp_path)
    stream.append([b"x"], [None])
    consumer = consumer_of(stream)
    consumer.poll(10, 0)

    stream.folder.rename(tmp_path / "gone")

    with pytest.raises(StreamClosed, match="deleted while it was read"):
        consumer.poll(10, 0)
    consumer.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StreamUnavailable, match="cannot create the stream"):
        SegmentStream("readings", tmp_path / "file").ensure()


def test_a_partition_that_is_always_busy_starves_no_other(tmp_path):
    stream = SegmentStream("readings", tmp_path, n_partitions=4)
    keys = [f"zone-{i}".encode() for i in range(100)]
    stream.append(keys, keys)
    consumer = stream.consumer("sieis", on_assign=lambda owned: {}, on_revoke=lambda owned: None)

    first_polls = {int(consumer.poll(1, 0).partition[0]) for _ in range(4)}
    consumer.close()

    assert first_polls == {0, 1, 2, 3}


@pytest.mark.parametrize("topic", ["", "..", "a/b", "spaß", "x" * 250])
def test_a_name_that_is_no_topic_is_refused(tmp_path, topic):
    with pytest.raises(ValueError, match="cannot name a topic"):
        SegmentStream(topic, tmp_path)


def test_a_broker_that_is_away_is_told_with_its_address(monkeypatch):
    monkeypatch.setattr(kafka, "ANSWER_S", 0.1)
    stream = KafkaStream("readings", "127.0.0.1:1")
    consumer = stream.consumer("sieis", on_assign=lambda owned: {}, on_revoke=lambda owned: None)

    for ask in (stream.ping, stream.ensure, stream.bounds, stream.identity, lambda: stream.lag("sieis"),
                lambda: stream.append([b"x"], [None]), lambda: consumer.poll(1, 0)):  # fmt: skip
        with pytest.raises(StreamUnavailable, match=r"127\.0\.0\.1:1"):
            ask()
    consumer.close()
    stream.close()


def test_a_message_that_no_broker_would_take_is_refused_before_anything_is_sent():
    with pytest.raises(StreamRefused, match="too large for readings"):
        KafkaStream("readings", "127.0.0.1:1").append([b"small", b"x" * 2_000_000], [None, None])
