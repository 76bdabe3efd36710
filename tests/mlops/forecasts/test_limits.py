"""Which limits a forecast is held to, and how they are told."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.forecasting.risk import Limit, Paths, risk
from mlops.forecasts.risks import limit_of, limits_of, told, words
from sensors.packs import read_pack

HUMIDITY = next(one for one in read_pack("indoor").profile.channels if one.code == "humidity")


def test_the_ends_of_the_physical_range_are_reached_and_not_passed():
    ends = [one for one in limits_of(HUMIDITY) if one.limit.is_end]
    ways = Paths("humidity", 0, 300_000_000, 1.0, np.array([[0.5, 0.0], [0.5, 0.2]]))

    said = {one.limit.value: told(one, risk(ways, one.limit)) for one in ends}

    assert said.keys() == {0.0, 100.0}
    assert said[0.0]["probability"] == 0.5
    assert words(said[0.0], HUMIDITY).startswith("humidity reaches 0 % at about 00:10")
    assert said[100.0]["probability"] == 0.0


@pytest.mark.parametrize("named", limits_of(HUMIDITY), ids=str)
def test_a_limit_is_the_same_after_it_was_kept(named):
    kept = told(named, risk(Paths("humidity", 0, 1, 50.0, np.array([[50.0]])), named.limit))

    assert limit_of(kept["limit"], kept["value"], kept["is_upper"]) == named.limit


def test_who_is_at_the_end_is_beyond_it_already():
    ways = Paths("humidity", 0, 300_000_000, 100.0, np.array([[99.0]]))

    assert risk(ways, Limit(100.0, is_end=True)).is_beyond
    assert not risk(ways, Limit(100.0)).is_beyond
