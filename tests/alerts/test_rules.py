"""What a rule says, and that its verdicts do not depend on how the readings are cut."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules.judging import Change, Standing, judge
from alerts.rules.saying import BadRule, Rule, parse
from sensors.readings import INSTANT

ONSET = 4.3
START = 1_772_452_800_000_000
MINUTE = 60_000_000


def readings(values, *, mote=1, every_s=60, surprise=None) -> pl.DataFrame:
    n = len(values)
    return table([mote] * n, [START + i * every_s * 1_000_000 for i in range(n)], values, surprise or [0.1] * n)


def table(mote, at, temperature, surprise) -> pl.DataFrame:
    columns = {"mote": mote, "at": at, "temperature": temperature, "surprise": surprise}
    schema = {"mote": pl.Int64, "at": pl.Int64, "temperature": pl.Float64, "surprise": pl.Float64}
    return pl.DataFrame(columns, schema=schema).with_columns(pl.col("at").cast(INSTANT)).sort("mote", "at")


def value(how="above", than=28.0, clear=None) -> dict:
    return {"kind": "value", "channel": "temperature", "is": how, "than": than, "clear": clear}


def change(how="rises", than=3.0, within_s=180) -> dict:
    return {"kind": "change", "channel": "temperature", "is": how, "than": than, "within_s": within_s}


def rule(*conditions, **more) -> Rule:
    return parse({"conditions": list(conditions), **more})


def fired(told: Rule, rows: pl.DataFrame, until=None) -> list[tuple]:
    """From which minute to which it fired."""
    _, changes = judge(told, rows, {}, onset=ONSET, until=until)
    return [
        ((one.noticed_at - START) / MINUTE, None if one.ended_at is None else (one.ended_at - START) / MINUTE)
        for one in changes
    ]


# ---- verdicts -------------------------------------------------------------------------------------------------


def test_a_threshold_fires_when_it_has_held_for_long_enough_and_clears_where_it_says():
    values = [20, 29, 29, 29, 27.5, 26, 29, 20]

    assert fired(rule(value()), readings(values)) == [(1, 4), (6, 7)]
    assert fired(rule(value(clear=27)), readings(values)) == [(1, 5), (6, 7)]
    assert fired(rule(value(clear=27), for_s=120), readings(values)) == [(3, 5)]


def test_a_rate_of_change_looks_at_the_time_that_it_names():
    slow, quick = [20, 21, 22, 23, 24, 25], [20, 20, 20, 24, 24, 24, 24, 24]

    assert fired(rule(change(than=3.5)), readings(slow)) == []
    assert fired(rule(change(than=3.5)), readings(quick)) == [(3, 6)]
    assert fired(rule(change("falls", than=3.5)), readings(quick[::-1])) == [(5, None)]


def test_conditions_are_joined_by_and_or_by_or():
    values, surprise = [30, 30, 20, 30], [0.1, 9.0, 9.0, 0.1]
    score = {"kind": "score", "is": "above", "than": 0.5}

    assert fired(rule(value(), score), readings(values, surprise=surprise)) == [(1, 2)]
    assert fired(rule(value(), score, match="any"), readings(values, surprise=surprise)) == [(0, None)]


def test_a_reading_without_a_number_changes_nothing():
    assert fired(rule(value()), readings([20, 30, None, 30, 20])) == [(1, 4)]


def test_a_rule_judges_only_in_its_hours():
    hours = {"days": [0], "from": "12:02", "to": "12:04", "time_zone": "UTC"}

    assert fired(rule(value(), hours=hours), readings([30] * 6)) == [(2, 4)]


@pytest.mark.parametrize(
    ("means", "expected"),
    [("keep", [(1, 30)]), ("ok", [(1, 12), (29, 30)]), ("alerting", [(1, 30)]), ("own", [(1, 30), (12, 29)])],
)
def test_what_a_silence_means_is_said_by_the_rule(means, expected):
    rows = table([1] * 5, [START + at * MINUTE for at in (0, 1, 2, 29, 30)], [20, 30, 30, 30, 20], [0.1] * 5)

    assert fired(rule(value(), no_data={"means": means, "after_s": 600}), rows) == expected


def test_a_silence_that_lasts_is_noticed_without_a_reading_and_once():
    told = rule(no_data={"means": "alerting", "after_s": 600})
    states, changes = judge(told, readings([20, 20]), {}, onset=ONSET)
    assert changes == []

    until = {1: START + 20 * MINUTE}
    states, changes = judge(told, readings([]), states, onset=ONSET, until=until)
    assert [(one.noticed_at - START) / MINUTE for one in changes] == [11]
    states, changes = judge(told, readings([]), states, onset=ONSET, until={1: START + 30 * MINUTE})
    assert changes == []

    back = table([1], [START + 40 * MINUTE], [20.0], [0.1])
    _, [over] = judge(told, back, states, onset=ONSET)
    assert (over.ended_at - START) / MINUTE == 40


def test_a_rule_that_comes_true_within_a_silence_is_not_that_silence():
    rows = table([1] * 3, [START + at * MINUTE for at in (0, 1, 30)], [20, 30, 20], [0.1] * 3)

    _, changes = judge(rule(value(), for_s=60, no_data={"means": "own", "after_s": 600}), rows, {}, onset=ONSET)

    assert [((one.since - START) / MINUTE, one.is_silence) for one in changes] == [(1, False), (1, True)]


# ---- however it is cut ----------------------------------------------------------------------------------------

numbers = st.sampled_from([None, 20.0, 24.0, 27.5, 28.5, 30.0, 33.0])
conditions = st.lists(
    st.sampled_from(
        [value(), value(clear=26.0), value("below", 24.5, 28.0), change(), change("changes", 4.0, 600),
         {"kind": "score", "is": "above", "than": 0.4, "clear": 0.3}]
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@st.composite
def histories(draw):
    rows = []
    for mote in range(1, draw(st.integers(1, 3)) + 1):
        at = START
        for _ in range(draw(st.integers(0, 25))):
            at += draw(st.sampled_from([30, 60, 300, 900])) * 1_000_000
            rows.append((mote, at, draw(numbers), draw(st.sampled_from([0.0, 5.0, 9.0]))))
    return table(*([row[i] for row in rows] for i in range(4)))


def merged(changes: list[Change], *, has_own: bool) -> set[tuple]:
    """What is known in the end: a stretch that was told as begun is told again as ended; a silence of a kind of its own
    is a stretch beside the rule's."""
    ended = {(one.mote, one.noticed_at, has_own and one.is_silence): one.ended_at for one in changes}
    return {(*key, end) for key, end in ended.items()}


@given(
    histories(), conditions, st.sampled_from(["all", "any"]), st.sampled_from([0, 60, 300]),
    st.sampled_from(["keep", "ok", "alerting", "own"]), st.lists(st.integers(0, 8000), max_size=6), st.booleans(),
)  # fmt: skip
def test_the_verdict_does_not_depend_on_how_the_readings_are_cut(rows, some, match, for_s, means, cuts, is_kept):
    told = rule(*some, match=match, for_s=for_s, no_data={"means": means, "after_s": 400})
    whole_states, whole = judge(told, rows, {}, onset=ONSET)

    states: dict[int, Standing] = {}
    pieces: list[Change] = []
    at = rows["at"].cast(pl.Int64).to_numpy()
    edges = [*sorted(START + cut * 1_000_000 for cut in cuts), np.iinfo(np.int64).max]
    for edge in edges:
        # Everything up to the edge: what was judged before serves as the past of what is new.
        piece = rows.filter(pl.Series(at < edge))
        states, changes = judge(told, piece, states, onset=ONSET)
        if is_kept:
            states = {key: Standing.of_json(one.as_json()) for key, one in states.items()}
        pieces += changes

    assert states == whole_states
    assert merged(pieces, has_own=means == "own") == merged(whole, has_own=means == "own")


# ---- words ----------------------------------------------------------------------------------------------------


def test_a_rule_is_a_sentence():
    told = rule(
        value(clear=27), change("changes", 3, 600), match="any", for_s=300,
        hours={"days": [0, 1, 2, 3, 4], "from": "08:00", "to": "18:00", "time_zone": "UTC"},
        no_data={"means": "ok", "after_s": 900},
    )  # fmt: skip

    assert told.sentence({"temperature": "°C"}) == (
        "When temperature is above 28 °C (until below 27 °C) or temperature changes by 3 °C within 10 min for 5 min, "
        "Mon–Fri 08:00–18:00 UTC; no reading for 15 min ends the alert"
    )
    silence = rule(no_data={"means": "alerting", "after_s": 60})
    assert silence.sentence({}) == "No reading for 1 min counts as an alert"


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({}, "conditions"),
        ({"conditions": [{"kind": "dance"}]}, "kind"),
        ({"conditions": [value(clear=30)]}, "conditions"),
        ({"conditions": [value(than="hot")]}, "conditions"),
        ({"conditions": [value(than=float("nan"))]}, "conditions"),
        ({"conditions": [change(within_s=0)]}, "within_s"),
        ({"conditions": [value()], "for_s": -1}, "for_s"),
        ({"conditions": [value()], "hours": {"days": []}}, "hours"),
        ({"conditions": [value()], "colour": "red"}, "definition"),
        ({"conditions": [value()], "no_data": {"means": "panic"}}, "no_data"),
        ({"conditions": [value()], "no_data": {"means": ["ok"]}}, "no_data"),
        ({"conditions": [value(than=10**400)]}, "conditions"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_field(definition, field):
    with pytest.raises(BadRule) as refused:
        parse(definition)

    assert refused.value.field == field
