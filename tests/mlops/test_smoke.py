"""The smoke classifier: cut into recordings, judged by those that are no copies, and told when a figure leaks."""

from __future__ import annotations

import numpy as np
import pytest

from mlops import smoke
from mlops.smoke import Figures, Recording


def recording(name: str, *, seed: int, n: int = 900, fire: tuple[int, int] | None = (600, 900)) -> Recording:
    """Two channels that wander in a place of their own, and rise slowly while there is smoke."""
    random = np.random.default_rng(seed)
    place = random.normal(0, 5, 2)
    values = place + np.cumsum(random.normal(0, 0.02, (n, 2)), axis=0)
    label = np.zeros(n, dtype=np.bool_)
    if fire:
        label[fire[0] : fire[1]] = True
        values[label] += np.linspace(0.5, 30, label.sum())[:, None]
    return Recording(name, values, label, family=name)


def test_recordings_are_cut_where_a_sensor_cannot_jump_and_copies_are_known():
    first, second = recording("a", seed=1), recording("b", seed=2)
    moved = first.values + np.array([40.0, 0.0])  # another temperature, the same humidity second for second
    values = np.concatenate([first.values, second.values + 100.0, moved - 100.0])
    label = np.concatenate([first.label, second.label, first.label])

    found = smoke.recordings(values, label, max_rate=np.array([9.0, 9.0]))

    assert [len(one) for one in found] == [900, 900, 900]
    assert [one.family for one in smoke.in_families([found[0], found[1], recording_of(moved, first.label)])] == [
        "recording 1", "recording 2", "recording 1",
    ]  # fmt: skip


def recording_of(values, label) -> Recording:
    return Recording("copy", values, label)


def test_smoke_in_recordings_never_met_is_found_soon_after_it_begins():
    figures = smoke.judge(
        smoke.SmokeClassifier(n_trees=10).fit([recording(str(n), seed=n) for n in range(6)]),
        [recording(str(n), seed=n) for n in (10, 11, 12)],
    )

    assert (figures.n_recordings, figures.n_families, figures.n_alarms, figures.n_found) == (3, 3, 3, 3)
    assert figures.recall > 0.8
    assert max(figures.delays_s) < 120
    assert "3, 3 of them no copies" in "\n".join(smoke.lines("held out", figures))


def test_a_random_split_promises_more_than_a_recording_that_was_never_met_keeps():
    """Where smoke shows by nothing but the place of a recording, only a leak can find it."""
    found = [
        Recording(f"{n}", np.random.default_rng(n).normal(7.0 * n, 1.0, (300, 1)), np.full(300, n % 2 == 0), f"{n}")
        for n in range(4)
    ]

    by_row = smoke.random_split(found, n_trees=3)
    honest = smoke.leave_one_out(found, by_family=True, n_trees=3)

    assert by_row.accuracy > 0.95
    assert honest.accuracy < 0.6


def test_a_perfect_held_out_figure_warns_of_a_leak():
    perfect = Figures(2, 1, 1000, 1.0, 1.0, 1.0, 0.0, 2, 2, [3.0, 4.0])
    good = Figures(2, 2, 1000, 0.98, 0.9, 0.9, 0.5, 2, 2, [3.0, 4.0])

    assert "too good to be true" in perfect.warning
    assert "WARNING" in "\n".join(smoke.lines("by rows", perfect))
    assert good.warning == ""


def test_false_alarms_are_counted_by_the_hour_and_missed_smoke_has_no_delay():
    truth = np.zeros(7200, dtype=np.bool_)
    truth[3600:3660] = truth[5000:5100] = truth[6000:6003] = True
    said = np.zeros(7200, dtype=np.bool_)
    said[100:110] = said[200:201] = said[3630:3700] = True

    figures = smoke.figures_of([Recording("one", np.zeros((7200, 1)), truth, "one")], [said])

    assert figures.false_alarms_per_hour == pytest.approx(2 / ((7200 - 163) / 3600))
    assert (figures.n_alarms, figures.n_found, figures.delays_s) == (2, 1, [30.0])


def test_recordings_with_one_class_only_cannot_be_learnt_from():
    with pytest.raises(ValueError, match="only one of smoke and no smoke"):
        smoke.SmokeClassifier().fit([recording("a", seed=1, fire=None)])
