"""What the models can and cannot do: measured on planted faults, kept with its date, told to whoever may look."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from ingestion.capability import grounds, keeping, running
from ingestion.capability.measuring import measure
from ingestion.capability.telling import cannot, lines, markdown
from ingestion.simulating.disturbances import KINDS
from mlops.detection import VOTES, fallback
from mlops.models import ModelVersion
from sensors.models import Profile
from sensors.packs import read_pack
from sensors.readings import micros
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def table():
    """Five climate sensors, judged by what their pack says alone."""
    ground = grounds.simulated(read_pack("climate"), micros(NOON), micros(NOON) + DAY_US // 2, seed=1)
    return measure(fallback(ground.profile), ground, is_quick=True)


def line(table, kind):
    return next(one for one in lines(table) if one.kind == kind)


def test_every_kind_of_fault_has_a_line_with_every_layer(table):
    kinds = [one["kind"] for one in table["kinds"]]

    assert set(kinds) == {*KINDS, "drop_out", "clock_skew", "duplicate"}
    assert all(set(one["layers"]) == set(VOTES) for one in table["kinds"])
    assert json.loads(json.dumps(table)) == table


def test_values_far_beyond_the_normal_band_are_found_within_a_reading(table):
    beyond = line(table, "out_of_range")

    assert beyond.n > 10
    assert beyond.found == beyond.at_once == beyond.n


def test_what_the_engine_does_not_find_is_said_in_words(table):
    told = cannot(table, {"temperature": "Temperature", "humidity": "Humidity"})

    assert line(table, "stuck").found == 0  # a flat line of minutes, where the pack allows two hours
    assert any(words.startswith("A value that no longer moves: 0 of ") for words in told)
    assert any("shown as silent" in words for words in told)


def test_a_kind_that_needs_more_time_than_there_was_is_said_to_be_unmeasured(table):
    death = {"kind": "battery_death", "n": 0, "found": 0, "at_once": 0, "median_delay_s": None, "layers": {}}
    longer = {**table, "kinds": [*table["kinds"], {**death, "channels": {}}]}

    assert len(lines(longer)) == len(lines(table))
    assert "A dying battery: not measured; there are too few readings for one." in cannot(longer, {})


def test_a_layer_that_has_nothing_to_say_finds_nothing_and_cries_for_nothing(table):
    assert line(table, "spike").layers["forest"] == 0.0  # the pack alone has none
    assert table["clean"]["layers"]["forest"] == 0.0


def test_the_table_for_the_documentation_has_a_row_a_kind_and_one_of_false_events(table):
    rows = markdown(table).splitlines()

    assert len(rows) == 2 + len(table["kinds"]) + 1
    assert len({row.count("|") for row in rows}) == 1


def test_readings_of_real_motes_keep_their_holes_when_faults_are_planted():
    profile = builders.profile()
    values = np.full((400, 1), 21.0) + np.arange(400)[:, None] % 7 * 0.01
    batch = builders.batch(profile, values).take(np.arange(400) % 4 != 0)

    ground = grounds.recorded(batch, {}, profile)
    again = grounds.clean(ground, int(ground.at[0]), int(ground.at[-1]) + 1)

    assert ground.n_readings == len(batch)
    assert np.array_equal(again.at, batch.at)
    assert np.array_equal(again.values, batch.values)


@pytest.fixture
def small(db):
    """A profile of one mote that reports every ten minutes."""
    channel = builders.channel(resolution=0.1, max_rate_per_s=0.05, flat_after_s=36_000.0)
    builders.install_fleet(profile=builders.profile(channel, step_s=600.0, interval_s=600.0))


def test_a_model_trained_for_it_is_measured_and_the_table_is_kept(small, charlie_client):
    told = StringIO()
    call_command("capability", "--profile", "indoor", "--fresh", "--quick", stdout=told, stderr=StringIO())

    assert "a model trained for this" in told.getvalue()
    assert "What it cannot do:" in told.getvalue()
    (answer,) = charlie_client.get("/api/v1/ml/capability").json()["tables"]
    assert (answer["profile"], answer["is_simulated"], answer["is_quick"]) == ("indoor", True, True)
    assert {one["kind"] for one in answer["kinds"]} >= {"spike", "stuck", "drop_out"}
    assert charlie_client.get("/api/v1/ml/capability?profile=other").json() == {"tables": []}


def test_a_profile_that_does_not_exist_is_named_beside_those_that_do(small):
    with pytest.raises(CommandError, match="no profile “moon”; there are: indoor"):
        call_command("capability", "--profile", "moon", stderr=StringIO())


def test_a_serving_model_is_due_until_it_was_measured_and_again_after_a_week(small):
    version = ModelVersion.objects.create(
        number=1, name="indoor/a", profile=Profile.objects.get(), stage="production", artefact="a", sha256="0",
        profile_version=1, seed=1, created_at=NOON,
    )  # fmt: skip
    assert keeping.due(NOON) == ["indoor"]

    keeping.CapabilityTable.objects.create(
        profile=version.profile, version=version, is_simulated=False, starts_at=NOON, ends_at=NOON, measured_at=NOON,
        seconds=1.0, table={},
    )  # fmt: skip

    assert keeping.due(NOON + timedelta(days=6)) == []
    assert keeping.due(NOON + timedelta(days=8)) == ["indoor"]


def test_two_workers_do_not_measure_at_the_same_time(small):
    from django.core.cache import cache

    cache.add(running.LOCK, True, 60)
    try:
        assert running.measure_due(NOON) == []
    finally:
        cache.delete(running.LOCK)


def test_the_api_of_capability_is_closed_to_those_without_a_role(small, mallory, dave_client):
    assert mallory.get("/api/v1/ml/capability").status_code == 401
    assert dave_client.get("/api/v1/ml/capability").status_code == 403
