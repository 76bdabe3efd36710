"""The embedded mode as one real process: killed, stopped and started again."""

from __future__ import annotations

import signal
from pathlib import Path

import polars as pl
import pytest

from tests import stack
from tests.stack import Stack

# No server is needed; but a process that is killed and started again takes seconds, which `make test` has no room for.
pytestmark = pytest.mark.service


@pytest.fixture
def sieis(tmp_path: Path):
    with stack.embedded(tmp_path / "data", SIEIS_SLOW_CYCLE_S="1") as running:
        running.folder.mkdir()
        running.manage("migrate", "-v0")
        running.manage("load_pack", "indoor", "--yes")
        yield running


def stored(sieis: Stack) -> pl.DataFrame:
    folder = sieis.folder / "lake" / "silver" / "indoor"
    return pl.read_delta(str(folder)) if folder.exists() else pl.DataFrame({"mote": [], "at": [], "offset": []})


def simulate(sieis: Stack, n: int) -> None:
    sieis.manage("simulate", "--pack", "indoor", "--speed", "0", "--duration", "2h", "--stop-after", str(n))


def test_a_process_killed_in_the_middle_goes_on_with_nothing_lost_and_nothing_twice(sieis: Stack) -> None:
    simulate(sieis, 5000)
    sieis.serve()
    sieis.wait_until(lambda: len(stored(sieis)) > 0, "web")

    sieis.stop("web", signal.SIGKILL)
    simulate(sieis, 2500)  # sent while it is dead; the first half repeats, as a second run of the same past does
    sieis.serve()

    sieis.wait_until(lambda: stored(sieis)["offset"].max() is not None and len(stored(sieis)) >= 5000, "web")
    table = stored(sieis)
    assert table.select("mote", "at").is_unique().all()
    assert table["offset"].is_unique().all()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_stop_ends_cleanly_and_saves_what_was_in_hand(sieis: Stack, how: int) -> None:
    sieis.serve()
    simulate(sieis, 100)

    assert sieis.stop("web", how) == 0
    assert "Nothing is lost" in sieis.tail("web")
    sieis.serve()
    sieis.wait_until(lambda: len(stored(sieis)) >= 100, "web")


def test_a_second_process_on_the_same_port_is_refused_with_a_sentence(sieis: Stack) -> None:
    sieis.serve()

    refused = sieis.manage("serve", "--port", str(sieis.port), check=False)

    assert refused.returncode == 1
    assert f"Port {sieis.port} is taken by another program" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_consumer_refuses_to_run_beside_an_in_memory_channel(sieis: Stack) -> None:
    refused = sieis.manage("consume", check=False)

    assert refused.returncode == 1
    assert "Without REDIS_URL the reading path runs inside the web process" in refused.stderr
