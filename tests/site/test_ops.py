"""What stands around SIEIS: the commands, the native servers, the compose file, the dashboards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from detect_secrets.settings import transient_settings

from ingestion import metrics
from scripts import bootstrap, coverage_by_app, secret_scan
from sieis_site import env

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, env={"PATH": os.environ["PATH"], **environ}, timeout=30
    )


# ---- make -------------------------------------------------------------------------------------------------------


def test_make_explains_at_most_ten_targets_and_every_one_it_has():
    makefile = (ROOT / "Makefile").read_text()
    [targets] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)

    said = run("make").stdout

    assert re.findall(r"^  make ([a-z-]+)  ", said, re.MULTILINE) == targets.split()
    assert len(targets.split()) <= 10


IN_A_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('make', sys.argv[1:])"
SERVER = """
import signal, sys
def end(*_):
    print("stopped once", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, end)
print("serving", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize(("how", "status"), [("ctrl-c", 0), ("term", -signal.SIGTERM)])
def test_ctrl_c_in_a_terminal_reaches_the_server_once_and_make_reports_no_error(tmp_path, how, status):
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "Makefile").write_text(
        f"run:\n\t@exec {sys.executable} {ROOT}/scripts/foreground.py {sys.executable} server.py\n"
    )
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", IN_A_TERMINAL, "make", "-C", str(tmp_path), "--no-print-directory", "run"]
    make = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = read_until(ours, b"serving")

    if how == "ctrl-c":
        os.write(ours, b"\x03")
        said = read_until(ours, b"stopped once\r\n")
    else:
        make.terminate()

    assert make.wait(10) == status
    assert b"Error" not in said
    assert b"***" not in said
    os.close(ours)


def read_until(terminal: int, words: bytes) -> bytes:
    said, deadline = b"", time.monotonic() + 10
    while words not in said and time.monotonic() < deadline:
        said += os.read(terminal, 4096)
    return said


# ---- the virtual environment ------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout whose .venv is not made yet."""
    (tmp_path / "requirements").mkdir()
    for name in ("base", "dev", "constraints"):
        (tmp_path / "requirements" / f"{name}.txt").write_text(f"# {name}\n")
    venv = tmp_path / ".venv"
    paths = {"ROOT": tmp_path, "VENV": venv, "PYTHON": venv / "bin" / "python", "UNFINISHED": venv / "sieis-unfinished"}
    for name, path in paths.items():
        monkeypatch.setattr(bootstrap, name, str(path))
    return tmp_path


def installed(place: Path, *kinds: str) -> None:
    (place / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (place / ".venv" / "bin" / "python").touch()
    for kind in kinds:
        Path(bootstrap.stamp(kind)).write_text(bootstrap.fingerprint(kind))


def test_what_is_installed_is_not_installed_again_until_a_requirement_changes(place):
    assert not bootstrap.is_installed("base")

    installed(place, "base")
    assert bootstrap.is_installed("base")
    assert not bootstrap.is_installed("dev")

    (place / "requirements" / "constraints.txt").write_text("polars==2.1.0\n")
    assert not bootstrap.is_installed("base")


def test_an_interrupted_install_is_started_over(place, capsys, monkeypatch):
    installed(place, "base")
    Path(bootstrap.UNFINISHED).touch()
    monkeypatch.setattr(sys, "executable", "/bin/true")  # makes no environment, at no cost

    assert not bootstrap.is_installed("base")
    bootstrap.make_venv()

    assert "did not finish: starting over" in capsys.readouterr().out
    assert not (place / ".venv" / "bin").exists()


def test_an_old_python_is_named_with_those_that_will_do(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(SystemExit, match=r"SIEIS needs Python 3\.11, 3\.12 or 3\.13; found 3\.8 at /"):
        bootstrap.use_a_supported_python()


def test_a_python_without_ensurepip_is_told_which_package_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)

    with pytest.raises(SystemExit, match=r"apt-get install python3\.\d+-venv"):
        bootstrap.require_venv()


def test_a_folder_that_is_not_ours_is_one_sentence(place, monkeypatch):
    monkeypatch.setattr(bootstrap, "VENV", "/proc/nobody/.venv")
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "base"])

    with pytest.raises(SystemExit, match=r"/proc/nobody/\.venv cannot be written"):
        bootstrap.main()


# ---- the checks -------------------------------------------------------------------------------------------------


def test_an_app_below_the_floor_fails_the_check(tmp_path, monkeypatch, capsys):
    def file(covered: int) -> dict[str, dict[str, int]]:
        return {"summary": {"covered_lines": covered, "num_statements": 80, "covered_branches": 0, "num_branches": 20}}

    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": {"sensors/a.py": file(80), "mlops/a.py": file(70), "mlops/b.py": file(80)}}))
    monkeypatch.setattr(sys, "argv", ["coverage_by_app.py", str(report)])

    assert coverage_by_app.main() == 1

    said = capsys.readouterr().out
    assert "sensors       80.0 %" in said
    assert "below 80 %: mlops" in said


def test_a_secret_in_a_file_is_found(tmp_path):
    (tmp_path / "settings.py").write_text('AWS_KEY = "AKIA' + "QYLPMN5HHHFPZAM2" + '"\nPORT = 8000\n')

    with transient_settings(secret_scan.SETTINGS):
        [(_, secret)] = list(secret_scan.findings([str(tmp_path / "settings.py")]))

    assert (secret.type, secret.line_number) == ("AWS Access Key", 1)


# ---- native servers ---------------------------------------------------------------------------------------------


def test_the_native_servers_tell_every_address_in_names_that_settings_know(tmp_path):
    said = run("deploy/native-services", "env", SIEIS_SERVICES_HOME=str(tmp_path), HOME=str(tmp_path)).stdout

    told = dict(re.findall(r"^export ([A-Z0-9_]+)=(.*)$", said, re.MULTILINE))
    values = env.read(told)
    assert all(values[name] for name in ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "S3_ENDPOINT_URL"))
    assert told.keys() <= values.keys()


def test_a_server_that_does_not_exist_is_refused_by_name(tmp_path):
    ran = run("deploy/native-services", "up", "mysql", SIEIS_SERVICES_HOME=str(tmp_path), HOME=str(tmp_path))

    assert ran.returncode == 1
    assert "there is no server “mysql”; there are: postgres redis kafka influxdb minio" in ran.stderr


# ---- docker compose ---------------------------------------------------------------------------------------------

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
FROM_DOT_ENV = {"SIEIS_DEMO_PASSWORD", "SIEIS_SMTP_URL", "MQTT_URL"}  # secrets of which the file makes none
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_every_image_is_pinned_and_every_container_has_its_memory():
    for name, service in SERVICES.items():
        _, _, tag = service["image"].partition(":")
        assert tag, name
        assert tag != "latest", name
        assert service["mem_limit"], name


def test_containers_are_reached_from_this_machine_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_our_containers_get_settings_that_exist_and_secrets_as_files_only():
    secret = {variable.name for variable in env.VARIABLES if variable.is_secret} - {"REDIS_URL", *FROM_DOT_ENV}
    for service in OURS.values():
        given = {name: str(value or "") for name, value in service["environment"].items() if name != "SETUP_PACK"}
        env.refuse_unknown(given)
        assert not secret & given.keys()
        files = {value.removeprefix("/run/secrets/") for name, value in given.items() if name.endswith("_FILE")}
        assert files == set(service["secrets"])
    assert {name for service in SERVICES.values() for name in service.get("secrets", [])} == COMPOSE["secrets"].keys()


def test_whatever_setting_is_written_into_dot_env_reaches_the_containers():
    decided_here = {  # by the servers of the file, or by the image
        "SIEIS_DATA", "SIEIS_EMBEDDED", "SIEIS_STREAM_DAYS", "INFLUXDB_V2_ORG", "INFLUXDB_V2_BUCKET", "S3_BUCKET",
        "AWS_REGION",
    }  # fmt: skip
    every = {variable.name for variable in env.VARIABLES} - decided_here
    for service in OURS.values():
        assert every == {name.removesuffix("_FILE") for name in service["environment"]} - {"PORT", "SETUP_PACK"}
        assert all(service["environment"][name] is None for name in FROM_DOT_ENV)


def test_nothing_serves_before_the_servers_are_healthy_and_the_first_model_is_trained():
    servers = {"postgres", "redis", "kafka", "influxdb", "minio"}

    assert all("healthcheck" in SERVICES[name] for name in (*servers, "web", "consumer", "worker"))
    needs = {name: condition["condition"] for name, condition in SERVICES["setup"]["depends_on"].items()}
    assert needs == {
        "migrate": "service_completed_successfully", **dict.fromkeys(servers - {"postgres"}, "service_healthy")
    }  # fmt: skip
    for name in ("web", "consumer", "worker", "beat"):
        assert SERVICES[name]["depends_on"]["setup"]["condition"] == "service_completed_successfully"


def test_the_secrets_that_containers_need_are_made_and_kept(tmp_path):
    script = tmp_path / "make-secrets"
    script.write_text((ROOT / "deploy" / "make-secrets").read_text())
    script.chmod(0o755)
    (tmp_path / "secrets").mkdir()

    assert run(str(script)).returncode == 0
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert run(str(script)).stdout == ""

    assert made.keys() == COMPOSE["secrets"].keys()
    assert made["postgres_password"] in made["database_url"]
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_the_image_runs_a_supported_python_as_nobody_special():
    dockerfile = (ROOT / "Dockerfile").read_text()

    pythons = re.findall(r"^FROM python:(\d+)\.(\d+)\.\d+-", dockerfile, re.MULTILINE)

    assert len(pythons) == dockerfile.count("FROM ")
    assert {(int(major), int(minor)) for major, minor in pythons} <= set(bootstrap.SUPPORTED)
    assert re.search(r"^USER sieis$", dockerfile, re.MULTILINE)


# ---- dashboards -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_dashboards_and_alert_rules_ask_for_metrics_that_exist():
    boards = [json.loads(path.read_text()) for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")]
    asked = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    told = set(re.findall(r"^# TYPE (\S+) ", metrics.exposition().decode(), re.MULTILINE))
    told |= {f"{name}_bucket" for name in told}

    names = {name for expression in asked for name in re.findall(r"\b((?:sieis|process)_[a-z_]+)\b", expression)}

    assert len(boards) == 2
    assert names <= told
