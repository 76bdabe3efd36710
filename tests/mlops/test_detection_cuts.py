"""However a stream is cut, the engine says the same: to the bit, and about events too."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.detection import EngineState, events, fallback
from mlops.detection.compiled import digest
from mlops.detection.layers import LAYERS
from sensors import quality
from sensors.readings import Batch, concat
from tests.mlops.detection_world import INDOOR, after, changed, eventful, in_pieces, normal, trained

ENGINES = {"trained": trained, "fallback": lambda: fallback(INDOOR)}


@pytest.mark.parametrize("which", ENGINES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 240), max_size=12), restarts=st.booleans())
def test_no_cut_and_no_restart_of_a_stream_shows(which, seed, cuts, restarts):
    engine, stream = ENGINES[which](), eventful(seed)

    assert in_pieces(engine, stream, cuts, restarts=restarts) == in_pieces(engine, stream, [])


def test_readings_one_by_one_are_judged_like_all_at_once():
    stream = eventful(5)

    columns, events, state = in_pieces(trained(), stream, range(1, len(stream)), restarts=True)

    assert (columns, events, state) == in_pieces(trained(), stream, [])
    assert events  # the stream was not dull


def test_more_events_may_close_in_one_batch_than_the_loop_hands_over_at_once():
    calm = normal(motes=range(1000, 1300), days=20 / 2880, start_us=after(3.5))
    stream = changed(calm, calm.at == np.unique(calm.at)[10], 0, 45.2)

    _, events, _ = whole = in_pieces(trained(), stream, [])

    assert len(events) == 300
    assert all(change.ended_at for change in events.values())
    assert whole == in_pieces(trained(), stream, [3100, 3250, 4000])


def test_a_prefix_is_judged_without_knowledge_of_what_follows():
    stream = eventful(11)
    _, whole, _ = trained().step(trained().start(), stream)

    _, part, _ = trained().step(trained().start(), stream.take(slice(0, 100)))

    np.testing.assert_array_equal(part.surprise, whole.surprise[:100])


@pytest.mark.parametrize("seed", [0, 2, 5, 7])
def test_compiled_loops_say_what_their_source_says(seed, monkeypatch):
    stream = eventful(seed)
    compiled = in_pieces(trained(), stream, [])

    # Not a stand-in: the same functions, read by Python instead of the compiler.
    loops = 0
    for module in (events, *LAYERS):
        for name, loop in vars(module).copy().items():
            if hasattr(loop, "py_func") and (name != "depths" or seed == 0):
                monkeypatch.setattr(module, name, loop.py_func)
                loops += 1
    assert loops >= 10

    assert in_pieces(trained(), stream, []) == compiled


def test_late_readings_leave_no_trace():
    stream = eventful(3).take(slice(0, 200))
    ghosts = normal(motes=[1, 2, 555], days=10 / 2880, start_us=after(3.0))
    ghosts = replace(changed(ghosts, slice(0, 12), 0, 45.2), flags=np.full(len(ghosts), quality.LATE))
    haunted = concat([stream.take(slice(0, 90)), ghosts, stream.take(slice(90, 200))])

    _, judged, changes = trained().step(state := trained().start(), haunted)

    _, alone, expected = trained().step(clean := trained().start(), stream)
    is_ghost = np.zeros(len(haunted), dtype=bool)
    is_ghost[90 : 90 + len(ghosts)] = True
    assert state.to_bytes() == clean.to_bytes()
    assert changes == expected
    np.testing.assert_array_equal(judged.surprise[~is_ghost], alone.surprise)
    late = judged.take(is_ghost)
    assert late.is_anomaly[:12].all()
    assert not late.event_id.any()
    assert (late.surprise[:12] > 2 * INDOOR.onset).all()


def test_a_reading_not_newer_than_the_newest_is_late_even_when_nobody_says_so():
    stream = normal(motes=1, days=0.01, start_us=after())
    again = concat([stream, stream.take(slice(50, 60))])

    state, _, _ = trained().step(trained().start(), again)

    assert state.to_bytes() == trained().step(trained().start(), stream)[0].to_bytes()


def test_the_batch_that_was_handed_in_is_not_changed():
    stream = eventful(1)
    before = {name: getattr(stream, name).copy() for name in ("values", "flags", "surprise", "event_id")}

    trained().step(trained().start(), stream)

    for name, column in before.items():
        np.testing.assert_array_equal(getattr(stream, name), column)


def test_read_only_columns_are_taken():
    stream = normal(motes=2, days=0.01, start_us=after())
    for name in ("mote", "at", "values", "flags", "utc_offset_s"):
        getattr(stream, name).setflags(write=False)

    _, judged, _ = trained().step(trained().start(), stream)

    assert np.isfinite(judged.surprise).all()


def test_a_batch_of_other_channels_is_refused_in_words():
    other = Batch(**{name: getattr(eventful(1), name) for name in Batch.__slots__} | {"profile": _renamed()})

    with pytest.raises(ValueError, match=r"batch has channels heat, humidity, voltage; the model was fitted on temp"):
        trained().step(trained().start(), other)


def _renamed():
    first, *rest = INDOOR.channels
    return replace(INDOOR, channels=(replace(first, code="heat"), *rest))


def test_the_state_of_42000_motes_is_saved_and_restored_in_less_than_a_second():
    motes = 42_000
    stream = normal(motes=motes, days=1 / 2880, start_us=after())
    state, _, _ = trained().step(trained().start(), stream)

    begun = time.process_time()
    data = state.to_bytes()
    restored = EngineState.from_bytes(data)
    took = time.process_time() - begun

    assert took < 1.0
    assert restored.to_bytes() == data
    assert len(data) / motes / len(INDOOR.channels) < 1180


def test_a_state_grows_with_the_fleet_and_keeps_what_it_knew():
    stream = eventful(2)
    state, _, _ = trained().step(trained().start(), stream)
    more = normal(motes=range(5000, 5100), days=1 / 2880, start_us=after(3.0))

    state, _, _ = trained().step(state, more)

    assert state.n_motes == 104
    assert set(state.motes) == {1, 2, 90, 91, *range(5000, 5100)}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"PK" + data, "not an engine state"),
        (lambda data: data.replace(b'"schema": 2', b'"schema": 9'), "schema 9, this version reads 2"),
        (lambda data: data[:-8], "torn"),
    ],
)
def test_a_state_that_is_not_ours_is_refused_in_words(spoil, words):
    state, _, _ = trained().step(trained().start(), eventful(1))

    with pytest.raises(ValueError, match=words):
        EngineState.from_bytes(spoil(state.to_bytes()))


def test_a_change_in_any_file_of_the_engine_compiles_everything_anew(tmp_path):
    (tmp_path / "layers").mkdir()
    for name in ("engine.py", "layers/one.py"):
        (tmp_path / name).write_text("before")
    before = digest(tmp_path)

    (tmp_path / "layers" / "one.py").write_text("after")

    assert digest(tmp_path) != before
