"""Events in words."""

from __future__ import annotations

import doctest
import sys
from dataclasses import replace

import pytest

from alerts.events import EventChange
from mlops.detection import layers, words
from mlops.detection.layers import forest
from tests.mlops.detection_world import INDOOR, after, changed, normal, trained

HOT = EventChange(
    mote=7, profile="indoor", started_at=0, noticed_at=0, last_at=7_200_000_000, ended_at=None, n_readings=3,
    peak_surprise=9.0, peak_at=0, peak_channel="temperature", peak_value=45.23, expected=(18.0, 28.04), layer="level",
    contributions={"temperature": 1.0}, model_version=1, normal_again=(18.2, 27.8),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Temperature 45.2 °C, expected 18.0–28.0 °C; normal again at or below 27.8 °C"),
        ({"peak_value": 12.0}, "Temperature 12.0 °C, expected 18.0–28.0 °C; normal again at or above 18.2 °C"),
        ({"peak_value": 27.9}, "Temperature 27.9 °C, expected 18.0–28.0 °C"),
        ({"normal_again": None}, "Temperature 45.2 °C, expected 18.0–28.0 °C"),
        ({"adopted": ("temperature",)}, "Temperature 45.2 °C, expected 18.0–28.0 °C; new level adopted as normal"),
        (
            {"adopted": ("humidity", "voltage")},
            "Temperature 45.2 °C, expected 18.0–28.0 °C; new level of humidity and voltage adopted as normal",
        ),
        ({"layer": "jump"}, "Temperature jumped to 45.2 °C, expected 18.0–28.0 °C; normal again at or below 27.8 °C"),
        ({"layer": "stuck", "peak_value": 21.3}, "Temperature stuck at 21.3 °C for 2 h; normal again when it moves"),
        (
            {"layer": "gate", "peak_value": 130.0},
            "Temperature 130.0 °C, outside what its sensor can measure (−10.0 to 50.0 °C); "
            "normal again at or below 50.0 °C",
        ),
        ({"layer": "forest"}, "Unusual combination of temperature, humidity and voltage"),
        (
            {"peak_channel": "humidity", "peak_value": 81.0, "expected": (40.0, 60.0), "normal_again": (42.0, 58.0)},
            "Humidity 81.0 %, expected 40.0–60.0 %; normal again at or below 58.0 %",
        ),
        (
            {"peak_channel": "voltage", "peak_value": 2.345, "expected": (2.6, 2.8), "normal_again": (2.62, 2.78)},
            "Voltage 2.345 V, expected 2.600–2.800 V; normal again at or above 2.620 V",
        ),
    ],
)
def test_an_event_is_told_by_its_layer(changes, sentence):
    assert words(replace(HOT, **changes), INDOOR) == sentence


@pytest.mark.parametrize("module", [layers, forest, sys.modules["mlops.detection.words"]])
def test_examples_in_the_documentation_hold(module):
    assert doctest.testmod(module).failed == 0


def test_a_value_that_the_sentence_calls_normal_ends_the_event():
    stream = normal(motes=1, days=0.05, start_us=after(3.5), seed=4)
    hot = changed(stream, slice(50, 55), 0, 27.5)
    _, _, changes = trained().step(trained().start(), hot)
    low, high = changes[0].normal_again

    _, judged, _ = trained().step(trained().start(), changed(hot, slice(55, 65), 0, high - 0.1))

    assert changes[0].expected[0] < low < high < changes[0].expected[1]
    assert judged.is_anomaly[50:55].all()
    assert not judged.is_anomaly[55:].any()
