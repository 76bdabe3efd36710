"""The gate: stated rules, in words, on held-out figures; and the planted faults that keep blind models out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlops import gate
from mlops.detection import FittedEngine
from mlops.probes import probe
from tests.mlops.conftest import METRICS, indoor_days


def test_a_first_model_with_sane_figures_passes():
    verdict = gate.judge(METRICS, None)

    assert verdict.promote
    assert verdict.words == "Promoted; it passes the gate."


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("false_events_per_mote_week", 9.0, "false events a mote and week: 9, at most 5 wanted"),
        ("flagged_share", 0.2, "share of clean readings flagged: 20 %, at most 5 % wanted"),
        ("found_share", 0.1, "share of planted faults found: 10 %, at least 50 % wanted"),
        ("flagged_share", None, "share of clean readings flagged: unknown"),
    ],
)
def test_a_first_model_beyond_a_limit_is_refused_with_the_figure(figure, value, words):
    verdict = gate.judge({**METRICS, figure: value}, None)

    assert not verdict.promote
    assert words in verdict.words


def test_a_model_worse_than_what_serves_is_refused_though_it_is_within_the_limits_of_a_first_one():
    noisier = {**METRICS, "false_events_per_mote_week": 2.0}

    assert gate.judge(noisier, None).promote
    assert "at most 1 wanted" in gate.judge(noisier, METRICS).words
    assert gate.judge(METRICS, METRICS).promote


def test_a_person_decides_otherwise_and_the_rules_are_told_all_the_same():
    bad = {**METRICS, "found_share": 0.0}

    assert gate.judge(bad, None, "always").promote
    assert "the gate refuses it" in gate.judge(bad, None, "always").words
    assert not gate.judge(METRICS, None, "never").promote
    assert gate.judge(bad, None).to_json()["rules"][2] == {
        "figure": "found_share", "value": 0.0, "limit": 0.5, "at_most": False, "holds": False,
    }  # fmt: skip


def test_a_trained_engine_finds_planted_faults_and_a_blind_one_is_told_by_them(fitted: FittedEngine):
    days = indoor_days(1, tuple(range(1, 13)), seed=5)
    deaf = replace(
        fitted,
        arrays={
            layer: {name: np.zeros_like(a) if name == "surprise" else a for name, a in own.items()}
            for layer, own in fitted.arrays.items()
        },
    )

    assert probe(fitted, days)["n_planted"] == 12
    assert probe(fitted, days)["found_share"] >= 0.75
    assert probe(deaf, days)["found_share"] < 0.5


def test_one_event_in_a_short_time_proves_no_high_rate_and_many_do():
    assert counted(1, 0.017).promote
    assert not counted(40, 4.0).promote
    assert counted(19, 4.0).promote


def test_what_strikes_six_motes_at_once_is_one_accident():
    assert counted(6, 0.5, crowd=6.0).promote
    assert not counted(12, 0.5).promote
    assert not counted(60, 2.0, crowd=6.0).promote


def counted(n_events: int, mote_weeks: float, crowd: float = 1.0) -> gate.Judgement:
    rate = {"n_events": n_events, "mote_weeks": mote_weeks, "false_events_per_mote_week": n_events / mote_weeks}
    return gate.judge({**METRICS, **rate, "events_crowd": crowd}, None)
