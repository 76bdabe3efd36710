"""The reading path on real servers under kill -9, rebalances and outages, in short: bench/ has the long forms."""

from __future__ import annotations

import pytest

from tests.services.test_bench import run

pytestmark = pytest.mark.service


def test_a_consumer_killed_at_random_moments_leaves_what_an_unharmed_one_leaves() -> None:
    told = run("kill", "--readings", "12000", "--kills", "4", "--motes", "8", "--rate", "500")

    assert told["different"] == {}, told
    assert (told["lost"], told["twice"]) == (0, 0)
    assert {"events", "alerts", "quarantine", "books", "states"} <= told["rows"].keys()


@pytest.mark.parametrize("n", [2, 3])
def test_consumers_that_share_partitions_come_and_go_and_each_motes_state_goes_with_its_partition(n: int) -> None:
    sizes = ("--readings", "9000", "--kills", "3", "--motes", "8", "--rate", "300")
    told = run("kill", "--consumers", str(n), "--seed", str(n), *sizes)

    assert told["different"] == {}, told
    assert (told["lost"], told["twice"]) == (0, 0)
    assert told["rows"]["alerts"] > 0


@pytest.mark.parametrize("sink", ["influxdb", "minio", "postgres"])
def test_a_server_that_is_away_under_load_costs_no_memory_and_no_reading(sink: str) -> None:
    told = run("outage", "--sinks", sink, "--minutes", "0.33", "--rate", "500", "--motes", "8")["sinks"][sink]

    assert (told["lost"], told["twice"]) == (0, 0)
    assert told["behind_at_return"] > 5_000
    assert told["growth_mb_during"] < 50


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
