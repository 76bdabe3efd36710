"""Every setting that SIEIS reads from its environment: declared once, parsed once, refused by name when wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class BadSetting(Exception):
    """A variable that is unknown or malformed; the text is for the person who set it."""


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    parse: Callable[[str], Any]
    default: str
    expected: str
    help: str
    aliases: tuple[str, ...] = ()
    is_secret: bool = False


def _text(raw: str) -> str:
    return raw


def _switch(raw: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    return words[raw.strip().lower()] if raw.strip() else False


def _items(raw: str) -> list[str]:
    return [item.strip() for item in raw.split(",") if item.strip()]


def _whole(raw: str) -> int:
    value = int(raw)
    if value < 0:
        raise ValueError
    return value


def _hour(raw: str) -> int | None:
    if not raw:
        return None
    value = int(raw)
    if not 0 <= value <= 23:
        raise ValueError
    return value


def _hours(raw: str) -> float | None:
    if not raw:
        return None
    value = _number(raw)
    if value < 1:
        raise ValueError
    return value


def _number(raw: str) -> float:
    value = float(raw)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def _share(raw: str) -> float:
    value = _number(raw)
    if value > 1:
        raise ValueError
    return value


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw and (urlsplit(raw).scheme not in schemes or not urlsplit(raw).netloc):
            raise ValueError
        return raw.rstrip("/") if "http" in schemes else raw

    return parse


def _servers(raw: str) -> str:
    for item in _items(raw):
        host, _, port = item.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError
    return raw


SWITCH = "1 or 0"
VARIABLES: tuple[Variable, ...] = (
    Variable("SIEIS_DATA", Path, "var", "a folder", "Where files go: databases, stream, lake, artefacts"),
    Variable("SIEIS_DEBUG", _switch, "0", SWITCH, "Django's debug pages; never on a server that others reach", ("DEBUG",)),
    Variable("SIEIS_EMBEDDED", _switch, "0", SWITCH, "Allows embedded parts where no address is set (outside DEBUG)"),
    Variable("SIEIS_DEMO", _switch, "0", SWITCH, "Demo accounts, the indoor pack and simulated sensors; 127.0.0.1 only"),
    Variable("SIEIS_DEMO_PASSWORD", _text, "demo", "text", "Password of the demo accounts", is_secret=True),
    Variable("SIEIS_SECRET_KEY", _text, "", "50 or more random characters",
             "Signs sessions; generated and kept in SIEIS_DATA in the embedded mode, required otherwise",
             ("SECRET_KEY", "DJANGO_SECRET_KEY"), is_secret=True),
    Variable("SIEIS_ALLOWED_HOSTS", _items, "", "host names, comma-separated",
             "Names under which the site is reached; this machine's own always work", ("ALLOWED_HOSTS",)),
    Variable("SIEIS_TRUSTED_ORIGINS", _items, "", "origins such as https://sieis.example.com, comma-separated",
             "Origins that may post forms when a proxy ends TLS"),
    Variable("SIEIS_CORS_ORIGINS", _items, "", "origins such as https://board.example.com, comma-separated",
             "Origins whose pages may call the API from a browser; none by default"),
    Variable("SIEIS_HTTPS", _switch, "0", SWITCH, "Secure cookies, HSTS and redirect to https; set it behind TLS"),
    Variable("SIEIS_SITE", _text, "main", "a site code", "The site of messages that name none"),
    Variable("SIEIS_TIME_ZONE", _text, "UTC", "an IANA time zone such as Europe/Berlin",
             "Time zone of the first site and of the pages"),
    Variable("SIEIS_METRICS_TOKEN", _text, "", "text", "Bearer token for /metrics; without it only a login opens them",
             is_secret=True),
    Variable("SIEIS_LOG_FORMAT", _text, "auto", "auto, json or text", "How logs are written; auto: text in a terminal"),
    Variable("SIEIS_LOG_LEVEL", _text, "INFO", "DEBUG, INFO, WARNING or ERROR", "What is logged"),
    Variable("SIEIS_BATCH_MAX", _whole, "20000", "a whole number", "Readings in one batch at most; from 10,000 motes on up to eight times as many"),
    Variable("SIEIS_BATCH_WAIT_S", _number, "0.05", "seconds", "How long a batch waits for more readings"),
    Variable("SIEIS_SLOW_CYCLE_S", _number, "15", "seconds", "Between two commits to lake and checkpoint"),
    Variable("SIEIS_SLOW_CYCLE_READINGS", _whole, "100000", "a whole number", "Readings after which it comes sooner"),
    Variable("SIEIS_FUTURE_S", _number, "300", "seconds", "How far ahead of its arrival a reading may be measured"),
    Variable("SIEIS_FALLBACK_THRESHOLD", _number, "3.0", "a number of robust scales",
             "Without a model: how far from its mote's last 1,000 readings one is anomalous"),
    Variable("SIEIS_CANARY", _switch, "1", SWITCH, "Sends a marked reading every minute and tells how long it takes"),
    Variable("SIEIS_INGEST_PER_MINUTE", _whole, "600", "a whole number", "Requests by HTTP that a device may send a minute"),
    Variable("SIEIS_STREAM_DAYS", _number, "3", "days", "How long the embedded stream keeps its messages"),
    Variable("SIEIS_HOT_DAYS", _number, "30", "days", "How long the hot store keeps readings, back from a site's newest"),
    Variable("SIEIS_FORECASTS_KEPT", _whole, "100", "a whole number",
             "Forecasts a mote and channel at hand; the lake keeps every one"),
    Variable("SIEIS_FORECAST_STALE_HOURS", _number, "48", "hours",
             "No forecast of a channel whose last reading is older"),
    Variable("SIEIS_FORECAST_MAPE_WEIGHT", _share, "0.3", "a share from 0 to 1",
             "What MAPE counts in a forecast version's score; R² counts the rest"),
    Variable("SIEIS_RISK_LOW", _share, "0.2", "a share from 0 to 1", "A risk below it is low"),
    Variable("SIEIS_RISK_HIGH", _share, "0.5", "a share from 0 to 1", "A risk from it on is high"),
    Variable("SIEIS_QUARANTINE_DAYS", _number, "90", "days", "How long messages that were put aside are kept"),
    Variable("SIEIS_QUARANTINE_MAX", _whole, "1000000", "a whole number",
             "Messages kept put aside at most; further ones are only counted"),
    Variable("ML_RETRAIN_HOUR", _hour, "", "an hour from 0 to 23",
             "Hour of the scheduled trainings, in SIEIS_TIME_ZONE, instead of the pack's own"),
    Variable("ML_TRAINING_INTERVAL_HOURS", _hours, "", "hours, at least 1",
             "Between two scheduled trainings: 24 daily and 168 weekly at that hour, others whenever so much time is over"),
    Variable("MODEL_RELOAD_INTERVAL", _number, "2", "seconds", "How often each process looks whether another model serves"),
    Variable("KAFKA_TOPIC", _text, "sensor-readings", "a topic name", "Where readings arrive"),
    Variable("KAFKA_HISTORY_TOPIC", _text, "sensor-history", "a topic name", "Where imported history travels"),
    Variable("KAFKA_LABELS_TOPIC", _text, "sensor-labels", "a topic name", "Where the simulator tells what it injected"),
    Variable("KAFKA_GROUP", _text, "sieis", "a group name", "The consumers' group"),
    Variable("DATABASE_URL", _url("postgres", "postgresql"), "", "postgres://user:password@host:5432/name",
             "PostgreSQL instead of SQLite", is_secret=True),
    Variable("REDIS_URL", _url("redis", "rediss"), "", "redis://host:6379/0",
             "Redis for jobs (its database n), live channel (n+1) and cache (n+2)", is_secret=True),
    Variable("KAFKA_BOOTSTRAP_SERVERS", _servers, "", "host:port, comma-separated", "Kafka instead of the segment log",
             ("KAFKA_BROKER", "KAFKA_BROKERS")),
    Variable("SIEIS_URL", _url("http", "https"), "", "https://sieis.example.com", "Where people reach the pages; links in messages"),
    Variable("SIEIS_SMTP_URL", _url("smtp", "smtps"), "", "smtp://user:password@host:587",
             "The mail server of notifications; smtp uses STARTTLS where a user is named, smtps TLS from the start", is_secret=True),
    Variable("SIEIS_MAIL_FROM", _text, "sieis@localhost", "an e-mail address", "Whom notifications come from"),
    Variable("MQTT_URL", _url("mqtt", "mqtts"), "", "mqtt://user:password@host:1883", "What `manage.py bridge_mqtt` listens to",
             is_secret=True),
    Variable("INFLUXDB_V2_URL", _url("http", "https"), "", "http://host:8086", "InfluxDB 2 instead of the embedded hot store",
             ("INFLUXDB_URL", "INFLUX_URL")),
    Variable("INFLUXDB_V2_ORG", _text, "sieis", "an organisation", "InfluxDB's organisation", ("INFLUXDB_ORG", "INFLUX_ORG")),
    Variable("INFLUXDB_V2_BUCKET", _text, "sensors", "a bucket", "InfluxDB's bucket", ("INFLUXDB_BUCKET", "INFLUX_BUCKET")),
    Variable("INFLUXDB_V2_TOKEN", _text, "", "text", "InfluxDB's token", ("INFLUXDB_TOKEN", "INFLUX_TOKEN"), is_secret=True),
    Variable("S3_ENDPOINT_URL", _url("http", "https"), "", "http://host:9000",
             "S3 or MinIO instead of folders for lake and artefacts", ("MINIO_URL", "AWS_S3_ENDPOINT_URL")),
    Variable("S3_BUCKET", _text, "sieis", "a bucket", "Bucket of lake and artefacts", ("MINIO_BUCKET",)),
    Variable("AWS_ACCESS_KEY_ID", _text, "", "text", "Key of the bucket", ("MINIO_ACCESS_KEY",), is_secret=True),
    Variable("AWS_SECRET_ACCESS_KEY", _text, "", "text", "Its secret", ("MINIO_SECRET_KEY",), is_secret=True),
    Variable("AWS_REGION", _text, "us-east-1", "a region", "Region of the bucket", ("AWS_DEFAULT_REGION",)),
)  # fmt: skip
# Read by what starts SIEIS (make, the command line), not by the settings; listed so that nobody is refused for them.
OUTSIDE = {
    "PORT": "The port of `make run` and `manage.py serve`, 8000 by default",
    "SIEIS_SERVICES_HOME": "Where `deploy/native-services` keeps what it built and its servers' data",
}


def read(environ: Mapping[str, str]) -> dict[str, Any]:
    """The value of every variable, from NAME, NAME_FILE or an alias of either."""
    refuse_unknown(environ)
    return {variable.name: _value(variable, environ) for variable in VARIABLES}


def refuse_unknown(environ: Iterable[str]) -> None:
    known = {*OUTSIDE, *(name for variable in VARIABLES for name in (variable.name, f"{variable.name}_FILE"))}
    for name in environ:
        if name.startswith("SIEIS_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; .env.example lists all there are"
            raise BadSetting(f"{name} is not a setting of SIEIS{hint}")


def _value(variable: Variable, environ: Mapping[str, str]) -> Any:
    raw, name = variable.default, variable.name
    for candidate in (variable.name, *variable.aliases):
        if environ.get(candidate):
            raw, name = environ[candidate], candidate
            break
        if environ.get(f"{candidate}_FILE"):
            raw, name = _file(f"{candidate}_FILE", environ[f"{candidate}_FILE"]), candidate
            break
    try:
        return variable.parse(raw)
    except (ValueError, KeyError):
        shown = "(not shown)" if variable.is_secret else f"“{raw}”"
        raise BadSetting(f"{name} is {shown}; expected {variable.expected}") from None


def _file(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise BadSetting(f"{name} names “{path}”, which cannot be read: {error.strerror}") from None
