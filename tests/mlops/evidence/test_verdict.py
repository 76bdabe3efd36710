"""Sensor fault or real event: each sign alone, and signs against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlops.evidence.verdict import FAULT, REAL, UNCLEAR, Neighbour, Signs, deviations, judge
from tests.builders import channel

STILL = [Neighbour(str(n), 10, 21.0, 21.1, 0.4) for n in range(4)]
RISING = [Neighbour(str(n), 10, 21.0, 27.0, 12.0) for n in range(4)]
PLAIN = Signs(
    channel=channel(), layer="level", value=35.0, deviations=20.0, fastest_per_s=0.01, flat_s=0.0, volts=2.8,
    volts_low=2.4, grade="A", shares={"temperature": 0.5, "humidity": 0.5}, neighbours=[],
)  # fmt: skip


@pytest.mark.parametrize(
    ("signs", "what"),
    [
        ({"neighbours": RISING}, REAL),
        ({"neighbours": STILL}, REAL),  # of one thing alone, in several channels: a machine that wears
        ({"neighbours": STILL, "shares": {"temperature": 1.0, "humidity": 0.0}}, FAULT),
        ({"neighbours": STILL, "fastest_per_s": 5.0}, FAULT),
        ({"value": 122.0}, FAULT),
        ({"flat_s": 7200.0, "layer": "stuck"}, FAULT),
        ({"volts": 2.1, "shares": {"temperature": 1.0, "humidity": 0.0}}, FAULT),
        ({"volts": 2.1, "neighbours": RISING, "fastest_per_s": 5.0}, UNCLEAR),
        ({"neighbours": RISING, "shares": {"temperature": 1.0, "humidity": 0.0}}, REAL),
    ],
)
def test_what_the_signs_come_to(signs, what):
    assert judge(replace(PLAIN, **signs)).what == what


def test_every_reason_is_in_words_and_the_loudest_comes_first():
    verdict = judge(replace(PLAIN, value=122.0, volts=2.1, neighbours=STILL))

    assert [reason.weight for reason in verdict.reasons] == sorted(
        (one.weight for one in verdict.reasons), reverse=True
    )
    assert "beyond what the sensor can measure (-10 to 50)" in verdict.reasons[0].words
    assert any("battery gave 2.10 V" in reason.words for reason in verdict.reasons)


def test_a_neighbour_that_moved_the_other_way_does_not_agree():
    falling = [replace(one, deviations=-12.0) for one in RISING]

    assert "none of its 4 neighbours" in " ".join(
        one.words for one in judge(replace(PLAIN, neighbours=falling)).reasons
    )


def test_neighbours_that_said_too_little_are_not_asked():
    mute = [replace(one, deviations=None) for one in RISING]

    assert not any("neighbour" in reason.words for reason in judge(replace(PLAIN, neighbours=mute)).reasons)


def test_deviations_are_those_of_the_most_distant_value_and_unknown_without_a_past():
    before = np.array([20.0, 21.0, 22.0, 21.0, 20.5, np.nan])

    assert deviations(before, np.array([21.0, 41.0]), 0.1) == pytest.approx(20 / 0.7413, rel=0.01)
    assert deviations(before[:3], np.array([41.0]), 0.1) is None
    assert deviations(before, np.array([np.nan]), 0.1) is None
