"""When a machine will be in a stage: by what became of machines that were as worn before."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.forecasting.panel import Panel
from mlops.forecasts.courses import Course, course_of, seen
from sensors.wear import DEGRADING, FAILING, Limits, worn
from tests import builders

STEP_US = 300_000_000
HEAT = Limits(builders.channel("temperature"), (70.0, 85.0, 105.0), None)
CALM, TO_DEGRADING, TO_FAILING = 200, 12, 12  # steps


def episode(goes_on: bool, random: np.random.Generator) -> np.ndarray:
    """Calm at 50 °C, then a rise of 1.67 °C a step until 70 °C, and on to 90 °C where it goes on."""
    rise = np.linspace(50.0, 90.0 if goes_on else 72.0, TO_DEGRADING + (TO_FAILING if goes_on else 1))
    return np.concatenate([np.full(CALM, 50.0), rise]) + random.normal(0.0, 0.3, CALM + len(rise))


def machine(n: int, seed: int) -> Course:
    """Every second episode goes on to failing."""
    random = np.random.default_rng(seed)
    values = np.concatenate([episode(k % 2 == 0, random) for k in range(n)])
    return Course(values[:, None], 0, STEP_US)


@pytest.fixture(scope="module")
def known():
    return seen([HEAT], [machine(24, seed) for seed in range(3)])


def now(*values: float) -> Course:
    return Course(np.concatenate([np.full(CALM, 50.0), values])[:, None], 0, STEP_US)


def test_a_machine_that_rises_as_others_did_before_they_degraded_is_said_to_degrade_and_when(known):
    calm, rising = known.risks(now(50.0)), known.risks(now(*np.linspace(50.0, 66.7, 11)))

    assert rising[DEGRADING].probability > 0.95 > calm[DEGRADING].probability
    assert 5 <= (rising[DEGRADING].at.timestamp() - (CALM + 10) * 300) / 60 <= 20
    assert rising[FAILING].probability == pytest.approx(0.5, abs=0.15)


def test_one_that_degrades_is_said_to_fail_as_often_as_others_went_on(known):
    found = known.risks(now(*np.linspace(50.0, 75.0, 15)))

    assert found[DEGRADING].is_beyond
    assert found[FAILING].probability > 0.6  # those that did not go on were calm again by then
    assert found[FAILING].earliest <= found[FAILING].at <= found[FAILING].latest


def test_a_stage_that_came_seldom_tells_nothing():
    assert known_stages(machine(18, 1)) == {DEGRADING}
    assert known_stages(machine(4, 1)) == set()


def known_stages(course: Course) -> set[int]:
    return set(seen([HEAT], [course]).risks(now(50.0)))


def test_what_comes_later_changes_nothing_of_what_was_said(known):
    course = machine(10, 9)
    cut = Course(course.values[:900], 0, STEP_US)
    longer = Course(np.concatenate([cut.values, np.full((50, 1), np.nan)]), 0, STEP_US)

    assert known.risks(cut) == known.risks(longer)


def test_wear_is_told_from_what_is_usual_for_the_machine():
    warm = worn([HEAT], np.array([[60.0]] * 9 + [[65.0]]))
    cool = worn([HEAT], np.array([[40.0]] * 9 + [[65.0]]))

    assert warm[-1] == pytest.approx(0.5)
    assert cool[-1] == pytest.approx(25 / 30)
    assert np.isnan(worn([HEAT], np.array([[np.nan]]))).all()


def test_channels_that_are_remembered_differently_far_back_are_laid_side_by_side_where_both_are():
    short, long = (
        Panel(("a",), start * STEP_US, STEP_US, np.arange(start, 10.0)[:, None], np.array([0]), np.zeros((1, 2)))
        for start in (4, 0)
    )

    course = course_of([short, long])

    assert course.start == 4 * STEP_US
    assert course.values.tolist() == [[k, k] for k in range(4, 10)]
