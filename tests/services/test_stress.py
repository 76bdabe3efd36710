"""The reading path on real servers under kill -9, rebalances and outages, in short: bench/ has the long forms."""

from __future__ import annotations

import pytest

from tests.services.test_bench import run

pytestmark = pytest.mark.service


def test_consumers_killed_at_random_moments_leave_what_an_unharmed_one_leaves() -> None:
    # Two share the partitions; after the first kill they are three, and come and go under load.
    order = ("--kills", "3", "--seed", "3", "--consumers", "3", "--late", "1")
    faulty = ("--anomaly-rate", "0.3")  # so that there are alerts to be compared

    told = run("kill", *order, *faulty, "--readings", "7000", "--motes", "8", "--rate", "350")

    assert told["different"] == {}, told
    assert (told["lost"], told["twice"]) == (0, 0)
    assert {"events", "quarantine", "books", "states"} <= told["rows"].keys()
    assert told["rows"]["alerts"] > 0


def test_servers_that_are_away_under_load_cost_no_memory_and_no_reading() -> None:
    order = ("--minutes", "0.12", "--quiet", "3", "--save", "2")
    told = run("outage", *order, "--rate", "500", "--motes", "8")

    assert (told["lost"], told["twice"]) == (0, 0)
    assert told["sinks"].keys() == {"influxdb", "minio", "postgres"}
    for sink, one in told["sinks"].items():
        assert one["flowed_all_the_time"], sink
        assert one["behind_at_return"] > 2_000, sink
        assert one["growth_mb_during"] < 50, sink


def test_what_a_steady_load_takes_of_the_machine_is_told_by_process_and_server() -> None:
    told = run("footprint", "--minutes", "0.1")

    assert told["lost"] == 0
    names = {"web", "consumer", "worker", "beat", "postgres", "redis", "kafka", "influxdb", "minio"}
    assert told["memory_mb"].keys() == told["cpu_percent_of_a_core"].keys() == names
    assert min(told["memory_mb"].values()) > 0


def test_the_speed_of_the_whole_path_is_told_beside_that_of_only_consuming() -> None:
    told = run("ingest", "--readings", "30000")

    assert (told["lost"], told["duplicated"]) == (0, 0)
    assert told["ratio_to_raw_consume"] > 0
    assert {"decode", "judge", "detect", "store", "alert", "lake", "checkpoint"} <= told["by_step"].keys()
