"""Importing as a process: on the real servers, and interrupted by a signal in the embedded mode."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests import stack
from tests.stack import Stack

pytestmark = pytest.mark.service
ORDER = ("--pack", "indoor", "--site", "lab", "--map", "mote=moteid,at=ts")
MOTES = (1, 6, 19, 101)


def export(folder: Path, n: int) -> Path:
    """Readings of four motes every seven seconds, n in all, as a German spreadsheet writes them."""
    start = datetime(2024, 6, 1)  # noqa: DTZ001 - local time of the logger
    rows = (
        f"{MOTES[i % 4]};{start + timedelta(seconds=i // 4 * 7):%d.%m.%Y %H:%M:%S};2{i % 9},{i % 10};40,{i % 7};;2,7\n"
        for i in range(n)
    )
    folder.mkdir(exist_ok=True)
    path = folder / "export.csv"
    path.write_text("moteid;ts;temperature;humidity;light;voltage\n" + "".join(rows))
    return path


def silver(sieis: Stack, table: str = "silver/indoor") -> pl.DataFrame:
    environment = sieis.environment
    if "S3_BUCKET" not in environment:
        return pl.read_delta(str(sieis.folder / "lake" / table))
    return pl.read_delta(
        f"s3://{environment['S3_BUCKET']}/lake/{table}",
        storage_options={
            "AWS_ENDPOINT_URL": environment["S3_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": environment["AWS_ACCESS_KEY_ID"], "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": environment["AWS_SECRET_ACCESS_KEY"],
        },
    )  # fmt: skip


def test_on_the_servers_a_file_comes_in_once_however_often_it_is_imported(
    tmp_path: Path, addresses: dict[str, str]
) -> None:
    with stack.on_servers(tmp_path / "data", addresses, SIEIS_DEMO_PASSWORD="unused") as sieis:
        sieis.folder.mkdir()
        sieis.manage("migrate", "-v0")
        path = str(export(tmp_path, 20_000))

        first = sieis.manage("import_readings", path, *ORDER, "--time-zone", "Europe/Berlin").stdout
        second = sieis.manage("import_readings", path, *ORDER).stdout

        assert "All 20,000 rows are accounted for." in first
        assert "20,000  stored" in first.partition("rows sent")[2]
        assert "20,000  duplicates" in second.partition("rows sent")[2]
        table = silver(sieis)
        assert len(table) == 20_000
        assert table.select("mote", "at").is_unique().all()


def test_two_imports_at_once_on_the_servers_do_not_wait_for_each_other(
    tmp_path: Path, addresses: dict[str, str]
) -> None:
    with stack.on_servers(tmp_path / "data", addresses) as sieis:
        sieis.folder.mkdir()
        sieis.manage("migrate", "-v0")
        path = str(export(tmp_path, 60_000))
        first = sieis.start("import", "import_readings", path, *ORDER, "--time-zone", "Europe/Berlin")
        sieis.wait_until(lambda: "Sending: " in sieis.tail("import"), "import")

        first.send_signal(signal.SIGSTOP)  # so that it is under way, however fast it is
        refused = sieis.manage("import_readings", path, *ORDER, check=False)
        first.send_signal(signal.SIGCONT)

        assert refused.returncode == 1
        assert "another import is under way" in refused.stderr
        assert sieis.wait_until(lambda: "All 60,000 rows" in sieis.tail("import"), "stays away", wait_s=120)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_import_that_a_signal_ends_is_completed_by_its_repeat(tmp_path: Path, how: int) -> None:
    with stack.embedded(tmp_path / "data", SIEIS_BATCH_MAX="500", SIEIS_SLOW_CYCLE_S="1") as sieis:
        sieis.folder.mkdir()
        sieis.manage("migrate", "-v0")
        path = str(export(tmp_path, 30_000))
        sieis.start("import", "import_readings", path, *ORDER, "--time-zone", "Europe/Berlin")
        sieis.wait_until(lambda: (sieis.folder / "lake" / "silver" / "indoor" / "_delta_log").exists(), "import")

        code = sieis.stop("import", how)

        assert code != 0
        if how != signal.SIGKILL:
            assert "Nothing is lost: repeat the same command" in sieis.tail("import")
        repeated = sieis.manage("import_readings", path, *ORDER).stdout
        assert "that an interrupted import had left were brought in first" in repeated
        assert "All 30,000 rows are accounted for." in repeated
        assert len(silver(sieis, "bronze")) == 30_000, "no row is sent twice"
        table = silver(sieis)
        assert len(table) == 30_000
        assert table.select("mote", "at").is_unique().all()
