"""Every command of this project, given what cannot be: a sentence with the wrong value, and an exit code not 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tests import builders
from tests.stack import ROOT

OURS = ("sensors", "alerts", "mlops", "ingestion", "sieis_site")
COMMANDS = sorted(name for name, app in get_commands().items() if app in OURS)
# A word that starts with `HERE/` is a file of the test's own folder.
WRONG: dict[str, list[tuple[str, ...]]] = {
    "aggregate_lake": [("--profile", "nosuch")],
    "alert_budget": [
        ("--profile", "nosuch", "--at-most", "2"), ("--profile", "indoor", "--mote", "main/99", "--at-most", "2"),
        ("--profile", "indoor", "--at-most", "-3"),
        ("--profile", "indoor", "--at-most", "lots"), ("--profile", "indoor", "--at-most", "2", "--days", "-7"),
    ],
    "bridge_mqtt": [
        ("--broker", "nonsense"), ("--broker", "mqtt://h:99999"), ("--broker", "mqtt://h", "--topic", "#/x"),
    ],
    "capability": [("--profile", "nosuch")],
    "consume": [("--nonsense",)],
    "detect": [
        ("HERE/nosuch.csv",), ("HERE/text.csv",), ("HERE/broken.parquet",), ("HERE/good.csv", "--profile", "nosuch"),
        ("HERE/good.csv", "--interval", "-5"), ("HERE/good.csv", "--train-rows", "-2"),
        ("HERE/good.csv", "--train-fraction", "7"), ("HERE/good.csv", "--start", "yesterdayish"),
        ("HERE/good.csv", "--time", "nocolumn"), ("HERE/good.csv", "--values", "nocolumn"),
        ("HERE/good.csv", "--time", "at", "--out", "HERE/nofolder/out.csv"),
        ("HERE/one.csv", "--out", "HERE/./one.csv"), ("HERE/good.csv", "--html", "HERE/same", "--out", "HERE/same"),
        ("HERE/folder",), ("HERE/empty.csv",), ("HERE/good.csv", "--detector", "nosuch"),
        ("HERE/good.csv", "--interval", "99999999d"),
    ],
    "device_key": [("make", "gateway", "--site", "nosuch"), ("make", "gateway", "--mote", "99"), ("revoke", "nosuch"),
                   ("make", " ")],
    "doctor": [("--nonsense",)],
    "export_registry": [("--to", "HERE/nofolder/registry.json")],
    "forecast": [("--mote", "nosuch")],
    "forecast_file": [
        ("HERE/nosuch.csv",), ("HERE/text.csv",), ("HERE/broken.parquet",), ("HERE/good.csv", "--time", "nocolumn"),
        ("HERE/good.csv", "--time", "at", "--horizon", "0"), ("HERE/good.csv", "--time", "at", "--horizon", "-7"),
        ("HERE/good.csv", "--time", "at", "--model", "transformer"), ("HERE/good.csv", "--interval", "-5"),
        ("HERE/good.csv", "--time", "at", "--train-rows", "-2"),
        ("HERE/good.csv", "--time", "at", "--out", "HERE/nofolder/out.parquet"),
        ("HERE/one.csv", "--out", "HERE/one.csv"), ("HERE/folder",), ("HERE/empty.csv",),
    ],
    "grade_sensors": [("--profile", "nosuch"), ("--site", "nosuch"), ("--days", "-2"), ("--days", "many"),
                      ("--days", "nan"), ("--days", "1e300")],
    "import_motes": [("HERE/nosuch.csv",), ("HERE/text.csv",), ("HERE/broken.parquet",)],
    "import_readings": [
        ("HERE/nosuch.csv", "--pack", "indoor"), ("HERE/good.csv", "--pack", "nosuch"),
        ("HERE/broken.parquet", "--pack", "indoor"), ("HERE/good.csv", "--pack", "indoor", "--map", "nonsense"),
        ("HERE/good.csv", "--pack", "indoor", "--times-in", "Mars/Base", "--mote", "7"),
        ("HERE/good.csv", "--pack", "indoor", "--site", "new", "--time-zone", "Mars/Base", "--mote", "7"),
    ],
    "import_registry": [("HERE/nosuch.json",), ("HERE/text.csv",), ("HERE/broken.parquet",), ("HERE/folder",)],
    "load_pack": [
        ("nosuch",), ("HERE/text.csv",), ("HERE/nosuch.toml",), ("indoor", "--motes", "-4", "--yes"),
        ("indoor", "--site", "Not A Code", "--yes"), ("indoor", "--site", "new", "--time-zone", "Mars/Base", "--yes"),
    ],
    "promote": [("nosuch",), ("indoor/nosuch_v9",)],
    "quarantine": [("list", "--limit", "-5"), ("list", "--limit", "x"), ("discard", "999"), ("replay", "999"),
                   ("replay", "1", "--payload", "HERE/nosuch.json"), ("discard", "9" * 20), ("replay", "-5"),
                   ("list", "--since", "2026-02-30"), ("replay", "1", "--all")],
    "reconcile": [("--profile", "nosuch"), ("--site", "nosuch"), ("--from", "yesterdayish"),
                  ("--from", "2026-03-02T00:00Z", "--to", "2026-03-01T00:00Z")],
    "retention": [("--days", "-3"), ("--days", "some")],
    "retrain": [("--profile", "nosuch", "--here"), ("--days", "-1", "--profile", "indoor", "--here"), ("--days", "x")],
    "rollback": [("nosuch",)],
    "run_detect": [("999",), ("x",)],
    "run_training": [("999",), ("x",)],
    "serve": [("--port", "70000"), ("--port", "x"), ("--history-days", "x")],
    "setup": [("--history-days", "x"), ("--history-days", "-2")],
    "setup_roles": [("--nonsense",)],
    "simulate": [
        ("--pack", "nosuch"), ("--pack", "HERE/text.csv"), ("--motes", "-2"), ("--interval", "-1"), ("--speed", "-1"),
        ("--anomaly-rate", "9"), ("--duration", "3 moons"), ("--stop-after", "-1"),
        ("--site", "no such site"),
    ],
    "train": [
        ("--profile", "nosuch"), ("--profile", "indoor", "--mote", "99"), ("--profile", "indoor", "--days", "-1"),
        ("--profile", "indoor", "--start", "yesterdayish"), ("--profile", "indoor", "--seed", "x"),
    ],
    "validate_data": [
        ("--profile", "nosuch"), ("--site", "nosuch"), ("--start", "yesterdayish"), ("--interval", "-1"),
        ("--start", "2026-03-02T00:00Z", "--end", "2026-03-01T00:00Z"),
    ],
    "validate_model": [("nosuch",), ("nosuch", "--start", "yesterdayish"), ("nosuch", "--end", "2026-02-30T00:00Z")],
    "verify": [("--timeout", "x"), ("--timeout", "-1"), ("--url", "nonsense")],
    "verify_evidence": [("HERE/nosuch.zip",), ("HERE/text.csv",), ("HERE/broken.parquet",)],
}  # fmt: skip

HARMLESS = {"indoor", "7", "2", "1", "make", "gateway", "list", "replay", "discard", "revoke", "new"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "text.csv").write_text("what is this = neither\x00 fish nor fowl\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing that anybody wrote PAR1")
    rows = "\n".join(f"2026-03-02T12:{n:02}:00Z,{20 + n % 3}" for n in range(60))
    (tmp_path / "good.csv").write_text(f"at,temperature\n{rows}\n")
    (tmp_path / "one.csv").write_text("at,temperature\n2026-03-02T12:00Z,20\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    return tmp_path


def run(command: BaseCommand, name: str, *arguments: str) -> None:
    """As from a terminal; the checks of the whole system are left out, for time."""
    parser: CommandParser = command.create_parser("manage.py", name)
    options = vars(parser.parse_args(["--skip-checks", *arguments]))
    command.execute(*options.pop("args", ()), **options)


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "arguments"), [(name, one) for name, many in WRONG.items() for one in many])
def test_what_cannot_be_is_refused_with_the_wrong_value_in_a_sentence(
    here: Path, name: str, arguments: tuple[str, ...]
):
    builders.install_fleet(motes=("7",))
    given = [word.replace("HERE", str(here)) if word.startswith("HERE/") else word for word in arguments]

    with pytest.raises(CommandError) as refused:
        run(load_command_class(get_commands()[name], name), name, *given)

    said = str(refused.value)

    wrong = [Path(word).name for word in given if word not in HARMLESS and not word.endswith("good.csv")]
    assert any(word.lstrip("-").rstrip("Z").rpartition("/")[2] in said for word in wrong), said
    assert "Traceback" not in said
    assert len(said) < 600
    assert refused.value.returncode != 0


def test_no_command_of_this_project_is_left_out():
    assert sorted(WRONG) == COMMANDS


@pytest.mark.parametrize("url", ["", "postgres://sieis@127.0.0.1:1/sieis"], ids=["without tables", "unreachable"])
def test_without_a_database_a_command_says_what_is_missing_and_what_to_do(tmp_path: Path, url: str):
    environment = {"SIEIS_EMBEDDED": "1", "SIEIS_DATA": str(tmp_path), "PATH": "/usr/bin:/bin", "DATABASE_URL": url}
    command = [sys.executable, str(ROOT / "manage.py"), "retrain", "--profile", "indoor"]

    told = subprocess.run(command, env=environment, text=True, capture_output=True, check=False, timeout=120)

    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "database" in told.stderr
    assert "manage.py" in told.stderr


@pytest.mark.parametrize("command", ["detect", "forecast_file"])
def test_what_needs_a_file_alone_asks_for_no_setting(tmp_path: Path, command: str):
    given = [sys.executable, str(ROOT / "manage.py"), command, "missing.csv"]
    environment = {"PATH": "/usr/bin:/bin", "SIEIS_DATA": str(tmp_path)}

    told = subprocess.run(given, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)

    assert told.returncode == 1
    assert "missing.csv" in told.stderr
    assert "SIEIS_" not in told.stderr


@pytest.mark.parametrize("command", ["doctor", "forecast", "nosuch"])
def test_without_any_setting_a_command_says_which_one_is_missing(tmp_path: Path, command: str):
    given = [sys.executable, str(ROOT / "manage.py"), command]
    told = subprocess.run(
        given, capture_output=True, text=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, timeout=120
    )

    assert told.returncode != 0
    assert "Traceback" not in told.stderr
    assert "SIEIS_EMBEDDED=1" in told.stderr


def _detect(tmp_path: Path, file: Path, **streams: int) -> subprocess.Popen[str]:
    environment = {"SIEIS_EMBEDDED": "1", "SIEIS_DATA": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, str(ROOT / "manage.py"), "detect", "--skip-checks", str(file)]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, **streams)


def test_a_command_that_is_interrupted_says_so_in_a_word(tmp_path: Path):
    os.mkfifo(tmp_path / "endless.csv")
    running = _detect(tmp_path, tmp_path / "endless.csv")

    with (tmp_path / "endless.csv").open("w"):  # opens as soon as the command reads it
        running.send_signal(signal.SIGINT)
    # Closed by now: a signal that came just before the command began to wait is heard as well.
    _, said = running.communicate(timeout=120)

    assert running.returncode == 130
    assert said.strip() == "Interrupted."


def test_whoever_reads_only_the_first_lines_gets_no_traceback(here: Path):
    running = _detect(here, here / "good.csv", stdout=subprocess.PIPE)

    assert running.stdout
    assert running.stderr
    running.stdout.close()
    said = running.stderr.read()

    assert running.wait(timeout=120) == 1
    assert said.startswith("CommandError: the first 9 rows")
    assert len(said.splitlines()) == 1
