"""The hot store forgets what is old, by the clock of the data."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sensors import registry
from sensors.models import Mote
from sensors.readings import micros
from sensors.retention import forget_old_readings
from sensors.stores import hot
from tests.builders import batch, install_fleet
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def test_old_readings_go_and_a_site_whose_data_ended_long_ago_keeps_its_last_days() -> None:
    install_fleet(motes=("7", "8"))
    install_fleet(motes=("1",), site="lab")
    profile = registry.profiles()["indoor"]
    live, quiet, old = Mote.objects.order_by("pk").values_list("pk", flat=True)
    for mote, ages in ((live, (0, 10, 40)), (quiet, (35,)), (old, (8000, 8010, 8050))):
        for age in ages:
            one = batch(profile, [[20.0, 40.0, 100.0, 2.7]], mote=mote, start_us=micros(NOON - age * DAY))
            hot().write(profile, one.to_table())

    forget_old_readings(hot(), keep=30 * DAY)

    kept = hot().between(profile, [live, quiet, old], NOON - 9000 * DAY, NOON + DAY)
    ages = [(mote, (NOON - at).days) for mote, at in kept.select("mote", "at").iter_rows()]
    assert ages == [(live, 10), (live, 0), (old, 8010), (old, 8000)]
