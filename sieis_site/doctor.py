"""What `manage.py doctor` looks at: every address, version, permission and file that SIEIS leans on, and what to do."""

from __future__ import annotations

import importlib.metadata
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import redis
import urllib3
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from ingestion.health import ALIVE
from ingestion.streams import stream
from mlops import registry as models
from sensors import registry
from sensors.lake import lake
from sensors.models import Mote, ProcessHeartbeat
from sensors.stores import hot

PYTHONS = ((3, 11), (3, 12), (3, 13))
FREE_GIB = 2.0
SKEW_S = 5.0
ANSWER_S = 5.0
START = "start it, or correct the address"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. is_ok None: worth knowing, nothing to mend."""

    what: str
    is_ok: bool | None
    words: str
    cure: str = ""


Findings = Iterator[Finding]


def judged(what: str, is_ok: bool, words: str, cure: str) -> Finding:
    return Finding(what, is_ok, words, "" if is_ok else cure)


def examine(now: datetime) -> Findings:
    """Everything, one finding after the other; what fails unexpectedly is a finding too, and the rest goes on."""
    for name, cure, check in CHECKS:
        try:
            yield from check(now)
        except Exception as error:  # a doctor who faints at the first wound helps nobody
            text = " ".join(str(error).split()) or type(error).__name__
            yield Finding(name, False, text[:300], cure)


# ---- this machine ---------------------------------------------------------------------------------------------


def python(now: datetime) -> Findings:
    found = sys.version_info[:2]
    yield judged("Python", found in PYTHONS, f"{found[0]}.{found[1]}", "use Python 3.11, 3.12 or 3.13")


def libraries(now: datetime) -> Findings:
    wanted = dict(pins((settings.BASE_DIR / "requirements" / "base.txt").read_text()))
    differing = [f"{name} {installed} instead of {version}" for name, version in wanted.items()
                 if (installed := _installed(name)) != version]  # fmt: skip
    words = ", ".join(differing) or f"{len(wanted)} as pinned"
    yield judged(
        "libraries", not differing, words, "pip install -r requirements/base.txt -c requirements/constraints.txt"
    )


def pins(requirements: str) -> Iterator[tuple[str, str]]:
    for line in requirements.splitlines():
        name, is_pin, version = line.partition("#")[0].strip().partition("==")
        if is_pin:
            yield name, version


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def data_folder(now: datetime) -> Findings:
    folder = Path(settings.SIEIS_DATA)
    probe = folder / f"doctor-{secrets.token_hex(4)}"
    probe.write_bytes(b"x")
    probe.unlink()
    free_gib = shutil.disk_usage(folder).free / 2**30
    words = f"{folder} can be written, {free_gib:.1f} GiB free"
    yield judged("data folder", free_gib >= FREE_GIB, words, f"free space: at least {FREE_GIB:g} GiB are wanted")


def static_files(now: datetime) -> Findings:
    manifest = Path(settings.STATIC_ROOT) / "staticfiles.json"
    is_there = manifest.exists() or settings.DEBUG
    yield judged("static files", is_there, "collected" if is_there else f"no {manifest}", "manage.py collectstatic")


# ---- the database ---------------------------------------------------------------------------------------------


def database(now: datetime) -> Findings:
    with connection.cursor() as cursor:
        is_postgres = connection.vendor == "postgresql"
        cursor.execute("SHOW server_version" if is_postgres else "SELECT sqlite_version()")
        version = cursor.fetchone()[0].split()[0]
        oldest = connection.features.minimum_database_version or (0,)
        is_new = tuple(map(int, version.split(".")[: len(oldest)])) >= oldest
        needed = ".".join(map(str, oldest))
        name = connection.display_name
        yield judged("database", is_new, f"{name} {version} answers", f"Django needs {name} {needed} or newer")
        cursor.execute("CREATE TEMPORARY TABLE sieis_doctor (n integer)")
        cursor.execute("DROP TABLE sieis_doctor")
        if is_postgres:
            cursor.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')")
            may_create = bool(cursor.fetchone()[0])
            words = "tables can be made" if may_create else "its user may not make tables"
            yield judged("database rights", may_create, words, "GRANT CREATE ON SCHEMA public TO that user")
            cursor.execute("SELECT clock_timestamp()")
            yield skew("database clock", cursor.fetchone()[0])
    yield from _migrations(now)


def skew(what: str, theirs: datetime) -> Finding:
    """Readings are judged by when they were measured and when they arrived: clocks must agree."""
    off_s = abs((theirs - datetime.now(UTC)).total_seconds())
    cure = "let time be kept on both machines: timedatectl set-ntp true"
    return judged(what, off_s <= SKEW_S, f"{off_s:.1f} s off ours", cure)


def _skew_of(what: str, date: str | None) -> Findings:
    if date:
        yield skew(what, parsedate_to_datetime(date))


def _migrations(now: datetime) -> Findings:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    words = f"{len(plan)} not applied" if plan else "all applied"
    yield judged("migrations", not plan, words, "manage.py migrate")
    if not plan:
        yield from _contents(now)


def _contents(now: datetime) -> Findings:
    profiles = registry.profiles()
    words = f"{', '.join(profiles) or 'none'}; {Mote.objects.on_page().count()} motes"
    yield judged("profiles", bool(profiles), words, "manage.py load_pack indoor")
    for code in profiles:
        version = models.production(code)
        cure = "train one on the Models page, or manage.py train; until then the pack's normal bands judge"
        yield Finding(
            f"model {code}", True if version else None, str(version or "none in production"), "" if version else cure
        )
    alive = ProcessHeartbeat.objects.filter(beat_at__gte=now - ALIVE).values_list("kind", flat=True)
    kinds = ", ".join(sorted(set(alive))) or "none runs now"
    yield Finding("processes", True if alive else None, kinds)


# ---- the other servers ----------------------------------------------------------------------------------------


def readings_stream(now: datetime) -> Findings:
    stream("readings").ping()
    if settings.ENV["KAFKA_BOOTSTRAP_SERVERS"]:
        yield from _kafka(settings.ENV["KAFKA_BOOTSTRAP_SERVERS"])
    else:
        yield Finding("stream", True, f"segment log in {settings.SIEIS_DATA / 'stream'}")


def _kafka(servers: str) -> Findings:
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=servers.split(","), request_timeout_ms=int(ANSWER_S * 1000))
    try:
        brokers = admin.describe_cluster()["brokers"]
        version = admin.get_broker_version_data(brokers[0]["broker_id"]).broker_version
        words = f"Kafka {'.'.join(map(str, version))}, {len(brokers)} brokers answer at {servers}"
        yield judged("stream", version >= (2, 1), words, "SIEIS needs Kafka 2.1 or newer, and is tested with 4.1")
        there = set(admin.list_topics())
    finally:
        admin.close()
    for topic in settings.SIEIS_TOPICS.values():
        if topic in there:
            yield Finding(f"topic {topic}", True, "there")
        else:
            yield _creatable(servers, topic)


def _creatable(servers: str, topic: str) -> Finding:
    """Asks the broker whether it would create the topic, and creates nothing."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 2})
    asked = admin.create_topics([NewTopic(topic, 4)], validate_only=True, request_timeout=ANSWER_S)
    try:
        asked[topic].result(ANSWER_S)
    except KafkaException as refusal:
        words = f"not there, and the broker would not create it: {refusal.args[0].str()}"
        return Finding(f"topic {topic}", False, words, f"kafka-topics.sh --create --topic {topic} --partitions 4")
    return Finding(f"topic {topic}", True, "not there yet; it is created at its first use")


def hot_store(now: datetime) -> Findings:
    url = settings.ENV["INFLUXDB_V2_URL"]
    if url:
        answer = urllib3.request("GET", f"{url}/health", timeout=ANSWER_S, retries=False)
        version = str(answer.json().get("version", "")).removeprefix("v")
        cure = "SIEIS speaks to InfluxDB 2; set INFLUXDB_V2_URL to one"
        yield judged("hot store", _is_influxdb_2(version), f"InfluxDB {version} answers at {url}", cure)
        yield from _skew_of("hot store clock", answer.headers.get("Date"))
        yield _bucket(url)
    hot().ping()
    place = f"bucket {settings.ENV['INFLUXDB_V2_BUCKET']}" if url else "SQLite in the data folder"
    yield Finding("hot store rights", True, f"{place} takes writes")


def _bucket(url: str) -> Finding:
    """The bucket as InfluxDB describes it; a token that may only write into it cannot ask, and need not."""
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.rest import ApiException

    name, organisation = settings.ENV["INFLUXDB_V2_BUCKET"], settings.ENV["INFLUXDB_V2_ORG"]
    cure = f"influx bucket create --org {organisation} --name {name}, or set INFLUXDB_V2_BUCKET"
    with InfluxDBClient(
        url, settings.ENV["INFLUXDB_V2_TOKEN"], org=organisation, timeout=int(ANSWER_S * 1000)
    ) as client:
        try:
            found = client.buckets_api().find_bucket_by_name(name)
        except ApiException as refusal:
            return Finding(f"bucket {name}", None, f"the token may not describe it (HTTP {refusal.status})")
    if found is None:
        return Finding(f"bucket {name}", False, f"not in the organisation {organisation}", cure)
    days = found.retention_rules[0].every_seconds / 86_400 if found.retention_rules else 0
    return Finding(f"bucket {name}", True, f"keeps {days:g} days" if days else "keeps everything")


def _is_influxdb_2(version: str) -> bool:
    return version.startswith("2.") or version == "dev"  # "dev": built from source


def data_lake(now: datetime) -> Findings:
    lake().ping()
    yield Finding("lake", True, f"{settings.SIEIS_LAKE['root']} answers")


def artefacts(now: datetime) -> Findings:
    name = default_storage.save(f"doctor/{secrets.token_hex(8)}", ContentFile(b"x"))
    with default_storage.open(name) as file:
        is_same = file.read() == b"x"
    default_storage.delete(name)
    where = settings.ENV["S3_ENDPOINT_URL"] or "the data folder"
    words = f"{where} keeps and deletes files" if is_same else f"{where} gives back something else"
    yield judged("artefacts", is_same, words, "look at the storage behind S3_ENDPOINT_URL")
    if settings.ENV["S3_ENDPOINT_URL"]:
        answer = urllib3.request("HEAD", settings.ENV["S3_ENDPOINT_URL"], timeout=ANSWER_S, retries=False)
        yield from _skew_of("artefacts clock", answer.headers.get("Date"))


def jobs_and_channel(now: datetime) -> Findings:
    if not settings.HAS_REDIS:
        yield Finding("jobs, live channel", True, "in memory, within the web process")
        return
    channel: Any = settings.CHANNEL_LAYERS["default"]["CONFIG"]
    addresses = {
        "jobs": settings.CELERY_BROKER_URL,
        "live channel": channel["hosts"][0],
        "cache": settings.CACHES["default"]["LOCATION"],
    }
    for what, address in addresses.items():
        client = redis.Redis.from_url(address, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
        try:
            yield from _redis(what, client)
        finally:
            client.close()


def _redis(what: str, client: redis.Redis) -> Findings:
    key = f"sieis:doctor:{secrets.token_hex(8)}"
    client.set(key, b"x", ex=60)
    client.delete(key)
    place: Any = client.get_connection_kwargs()
    words = f"Redis {{}} takes writes at {place['host']}:{place['port']}/{place['db']}"
    if what != "jobs":
        yield Finding(what, True, words.format("").replace("  ", " "))
        return
    facts: Any = client.info()
    version = str(facts["redis_version"])
    is_new = tuple(map(int, version.split(".")[:2])) >= (6, 2)
    yield judged(what, is_new, words.format(version), "SIEIS needs Redis 6.2 or newer")
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory") and policy != "noeviction":
        yield Finding("jobs, when full", False, f"maxmemory-policy {policy} throws jobs away", "set noeviction")


CHECKS: tuple[tuple[str, str, Callable[[datetime], Findings]], ...] = (
    ("Python", "", python),
    ("libraries", "install requirements/base.txt anew", libraries),
    ("data folder", "make SIEIS_DATA a folder that this user can write", data_folder),
    ("static files", "manage.py collectstatic", static_files),
    ("database", f"DATABASE_URL: {START}, name and password", database),
    ("stream", f"KAFKA_BOOTSTRAP_SERVERS: {START}", readings_stream),
    ("hot store", f"INFLUXDB_V2_URL, _ORG, _BUCKET, _TOKEN: {START}", hot_store),
    ("lake", f"S3_ENDPOINT_URL, S3_BUCKET, AWS_*: {START}; the bucket must exist", data_lake),
    ("artefacts", f"S3_ENDPOINT_URL, S3_BUCKET, AWS_*: {START}; the bucket must exist", artefacts),
    ("jobs, live channel", f"REDIS_URL: {START}", jobs_and_channel),
)
