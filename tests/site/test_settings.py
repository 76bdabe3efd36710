"""Settings: what the environment may say, and how a wrong word is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import settings_table
from sieis_site import checks, env

ROOT = Path(__file__).resolve().parents[2]


def refusal(**environ: str) -> str:
    with pytest.raises(env.BadSetting) as refused:
        env.read(environ)
    return str(refused.value)


def manage(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments], cwd=ROOT, text=True, capture_output=True,
        env={"PATH": os.environ["PATH"], **environ}, timeout=60,
    )  # fmt: skip


def test_with_nothing_set_every_variable_has_a_value_of_its_kind():
    values = env.read({})

    assert values.keys() == {variable.name for variable in env.VARIABLES}
    assert values["SIEIS_DATA"] == Path("var")
    assert values["SIEIS_EMBEDDED"] is False
    assert values["SIEIS_BATCH_MAX"] == 20000


def test_an_unknown_variable_of_ours_is_refused_with_the_nearest_name():
    assert refusal(SIEIS_EMBEDED="1") == "SIEIS_EMBEDED is not a setting of SIEIS; did you mean SIEIS_EMBEDDED?"


def test_an_unknown_variable_like_no_other_points_to_the_list():
    assert ".env.example lists all there are" in refusal(SIEIS_WWWWWW="1")


def test_variables_of_others_are_left_alone():
    assert env.read({"PATH": "/bin", "KAFKA_HEAP_OPTS": "-Xmx1g", "SIEIS_SERVICES_HOME": "/srv"})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SIEIS_EMBEDDED", "perhaps", "1 or 0"),
        ("SIEIS_BATCH_MAX", "-3", "a whole number"),
        ("SIEIS_BATCH_MAX", "many", "a whole number"),
        ("SIEIS_SLOW_CYCLE_S", "nan", "seconds"),
        ("SIEIS_SLOW_CYCLE_S", "inf", "seconds"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "host:port, comma-separated"),
        ("KAFKA_BROKER", "kafka:high", "host:port, comma-separated"),
        ("INFLUXDB_V2_URL", "influx:8086", "http://host:8086"),
        ("S3_ENDPOINT_URL", "http://", "http://host:9000"),
    ],
)
def test_a_malformed_value_is_named_with_what_was_expected(name, value, expected):
    assert refusal(**{name: value}) == f"{name} is “{value}”; expected {expected}"


def test_a_malformed_secret_is_named_but_never_shown():
    text = refusal(DATABASE_URL="mysql://sieis:hunter2@db/sieis")

    assert text == "DATABASE_URL is (not shown); expected postgres://user:password@host:5432/name"


def test_a_file_may_hold_a_value(tmp_path):
    path = tmp_path / "token"
    path.write_text("abc123\n")

    assert env.read({"INFLUXDB_V2_TOKEN_FILE": str(path)})["INFLUXDB_V2_TOKEN"] == "abc123"


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path):
    text = refusal(SIEIS_SECRET_KEY_FILE=str(tmp_path / "nothing"))

    assert "SIEIS_SECRET_KEY_FILE names" in text
    assert "No such file" in text


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("INFLUXDB_URL", "INFLUXDB_V2_URL", "http://influx:8086"),
        ("INFLUXDB_TOKEN", "INFLUXDB_V2_TOKEN", "abc"),
        ("INFLUX_BUCKET", "INFLUXDB_V2_BUCKET", "motes"),
        ("KAFKA_BROKER", "KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ("MINIO_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "abc"),
        ("SECRET_KEY", "SIEIS_SECRET_KEY", "abc"),
    ],
)
def test_the_names_of_older_set_ups_still_work(alias, name, value):
    assert env.read({alias: value})[name] == value


def test_our_own_name_wins_over_an_alias_and_an_empty_value_counts_as_unset():
    values = env.read({"INFLUXDB_V2_BUCKET": "ours", "INFLUX_BUCKET": "older", "S3_BUCKET": "", "MINIO_BUCKET": "lake"})

    assert values["INFLUXDB_V2_BUCKET"] == "ours"
    assert values["S3_BUCKET"] == "lake"


def test_a_trailing_slash_of_an_address_makes_no_difference():
    assert env.read({"INFLUXDB_V2_URL": "http://influx:8086/"})["INFLUXDB_V2_URL"] == "http://influx:8086"


def test_an_embedded_part_on_a_server_is_refused_by_the_name_of_the_missing_address(settings):
    settings.DEBUG, settings.SIEIS_EMBEDDED = False, False
    settings.ENV = {**env.read({}), "DATABASE_URL": "postgres://db/sieis", "REDIS_URL": "redis://redis"}

    [error] = checks.embedded_parts_are_meant(None)

    assert error.msg.startswith("KAFKA_BOOTSTRAP_SERVERS, INFLUXDB_V2_URL, S3_ENDPOINT_URL not set")
    assert "SIEIS_EMBEDDED=1" in error.hint


@pytest.mark.parametrize(("debug", "embedded"), [(True, False), (False, True)])
def test_embedded_parts_are_fine_where_they_are_meant(settings, debug, embedded):
    settings.DEBUG, settings.SIEIS_EMBEDDED, settings.ENV = debug, embedded, env.read({})

    assert checks.embedded_parts_are_meant(None) == []


def test_without_a_secret_key_nothing_starts_outside_the_embedded_mode(tmp_path):
    ran = manage("check", SIEIS_DATA=str(tmp_path))

    assert ran.returncode != 0
    assert "SIEIS_SECRET_KEY is not set" in ran.stderr


def test_a_wrong_setting_ends_any_command_with_one_sentence(tmp_path):
    ran = manage("check", SIEIS_DATA=str(tmp_path), SIEIS_EMBEDDED="1", SIEIS_DEMOO="1")

    assert ran.returncode == 1
    assert ran.stderr == "SIEIS cannot start: SIEIS_DEMOO is not a setting of SIEIS; did you mean SIEIS_DEMO?\n"


def test_the_example_file_shows_every_setting_with_its_default():
    assert (ROOT / ".env.example").read_text() == settings_table.example()


def test_the_readme_shows_every_setting_with_its_default():
    readme = (ROOT / "README.md").read_text()

    shown = readme.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]

    assert shown.strip() == settings_table.table().strip()
