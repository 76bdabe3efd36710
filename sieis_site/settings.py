"""The composition root's values: which part serves which need, from the environment alone."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured

from sieis_site import env
from sieis_site.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
try:
    ENV = env.read(os.environ)
except env.BadSetting as error:
    sys.exit(f"SIEIS cannot start: {error}")

SIEIS_DATA = (BASE_DIR / ENV["SIEIS_DATA"]).resolve()
SIEIS_EMBEDDED: bool = ENV["SIEIS_EMBEDDED"]
SIEIS_DEMO: bool = ENV["SIEIS_DEMO"]
SIEIS_DEMO_PASSWORD: str = ENV["SIEIS_DEMO_PASSWORD"]
SIEIS_DEFAULT_SITE: str = ENV["SIEIS_SITE"]
SIEIS_TIME_ZONE: str = ENV["SIEIS_TIME_ZONE"]
SIEIS_METRICS_TOKEN: str = ENV["SIEIS_METRICS_TOKEN"]
SIEIS_BATCH_MAX: int = ENV["SIEIS_BATCH_MAX"]
SIEIS_BATCH_WAIT_S: float = ENV["SIEIS_BATCH_WAIT_S"]
SIEIS_SLOW_CYCLE_S: float = ENV["SIEIS_SLOW_CYCLE_S"]
SIEIS_SLOW_CYCLE_READINGS: int = ENV["SIEIS_SLOW_CYCLE_READINGS"]
SIEIS_FUTURE_S: float = ENV["SIEIS_FUTURE_S"]
ML_RETRAIN_HOUR: int | None = ENV["ML_RETRAIN_HOUR"]
ML_TRAINING_INTERVAL_HOURS: float | None = ENV["ML_TRAINING_INTERVAL_HOURS"]
MODEL_RELOAD_INTERVAL: float = ENV["MODEL_RELOAD_INTERVAL"]
SIEIS_FALLBACK_THRESHOLD: float = ENV["SIEIS_FALLBACK_THRESHOLD"]
SIEIS_CANARY: bool = ENV["SIEIS_CANARY"]
SIEIS_URL: str = ENV["SIEIS_URL"]
MQTT_URL: str = ENV["MQTT_URL"]
SIEIS_INGEST_PER_MINUTE: int = ENV["SIEIS_INGEST_PER_MINUTE"]
SIEIS_HOT_DAYS: float = ENV["SIEIS_HOT_DAYS"]
SIEIS_FORECASTS_KEPT: int = ENV["SIEIS_FORECASTS_KEPT"]
SIEIS_FORECAST_STALE_HOURS: float = ENV["SIEIS_FORECAST_STALE_HOURS"]
SIEIS_FORECAST_MAPE_WEIGHT: float = ENV["SIEIS_FORECAST_MAPE_WEIGHT"]
SIEIS_RISK_LOW: float = ENV["SIEIS_RISK_LOW"]
SIEIS_RISK_HIGH: float = ENV["SIEIS_RISK_HIGH"]
SIEIS_QUARANTINE_DAYS: float = ENV["SIEIS_QUARANTINE_DAYS"]
SIEIS_QUARANTINE_MAX: int = ENV["SIEIS_QUARANTINE_MAX"]
DEBUG: bool = ENV["SIEIS_DEBUG"]

try:
    SIEIS_DATA.mkdir(parents=True, exist_ok=True)
    if not os.access(SIEIS_DATA, os.W_OK):
        raise PermissionError(13, "not writable")
except OSError as error:
    sys.exit(f"SIEIS cannot start: the data folder {SIEIS_DATA} cannot be used ({error.strerror}); set SIEIS_DATA")
# Compiled kernels outlive the process; beside the code they could not be written in a read-only image.
os.environ.setdefault("NUMBA_CACHE_DIR", str(SIEIS_DATA / "numba"))


def _secret_key() -> str:
    if ENV["SIEIS_SECRET_KEY"]:
        return str(ENV["SIEIS_SECRET_KEY"])
    if not (SIEIS_EMBEDDED or DEBUG):
        raise ImproperlyConfigured(
            "SIEIS_SECRET_KEY is not set. Set it to 50 or more random characters, "
            "or set SIEIS_EMBEDDED=1 to run everything in one process on this machine."
        )
    path = SIEIS_DATA / "secret_key"
    if not path.exists():
        fresh = path.with_name(f"secret_key.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(64))
        try:
            os.link(fresh, path)  # the first of two starting processes wins
        except FileExistsError:
            pass
        fresh.unlink()
    return path.read_text().strip()


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = [*ENV["SIEIS_ALLOWED_HOSTS"], "localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = ENV["SIEIS_TRUSTED_ORIGINS"]
CORS_ALLOWED_ORIGINS = ENV["SIEIS_CORS_ORIGINS"]
CORS_URLS_REGEX = r"^/api/"

INSTALLED_APPS = [
    *(["daphne"] if "runserver" in sys.argv else []),  # which it gives the live channel; all else serves without
    # Without its autodiscover, which loads everything: the pages' process does that (urls.py), beat never.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "axes",
    "corsheaders",
    "sensors",
    "alerts",
    "mlops",
    "ingestion",
    "sieis_site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "sieis_site.security.ContentSecurityPolicy",
    "sieis_site.security.BodyLimit",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "sieis_site.packing.Packing",  # below whitenoise, whose files are compressed already
    "django.middleware.http.ConditionalGetMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "sieis_site.own_time.OwnTimeZone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "sensors.slips.ExactQueries",
]
ROOT_URLCONF = "sieis_site.urls"
ASGI_APPLICATION = "sieis_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "sieis_site.context.site",
            ]
        },
    }
]

# ---- rows -------------------------------------------------------------------------------------------------


def _postgres(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        # A request has a thread of its own, which takes its connection along: one that is kept is only forgotten.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"connect_timeout": 5},
    }


SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": SIEIS_DATA / "sieis.sqlite3",
    # A file, as in real life: an in-memory database has other locks, and tests write from several threads.
    "TEST": {"NAME": SIEIS_DATA / "test.sqlite3"},
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON",
    },
}
DATABASES = {"default": _postgres(ENV["DATABASE_URL"]) if ENV["DATABASE_URL"] else SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ---- stream, hot store, lake, artefacts ---------------------------------------------------------------------
KAFKA_GROUP: str = ENV["KAFKA_GROUP"]
SIEIS_TOPICS = {
    "readings": ENV["KAFKA_TOPIC"],
    "history": ENV["KAFKA_HISTORY_TOPIC"],
    "labels": ENV["KAFKA_LABELS_TOPIC"],
}
SIEIS_STREAM: dict[str, Any] = (
    {
        "BACKEND": "ingestion.streams.kafka.KafkaStream",
        "OPTIONS": {"servers": ENV["KAFKA_BOOTSTRAP_SERVERS"]},
    }
    if ENV["KAFKA_BOOTSTRAP_SERVERS"]
    else {
        "BACKEND": "ingestion.streams.segments.SegmentStream",
        "OPTIONS": {"folder": SIEIS_DATA / "stream", "keep_days": ENV["SIEIS_STREAM_DAYS"]},
    }
)
SIEIS_HOT_STORE: dict[str, Any] = (
    {
        "BACKEND": "sensors.stores.influx.InfluxStore",
        "OPTIONS": {
            "url": ENV["INFLUXDB_V2_URL"],
            "org": ENV["INFLUXDB_V2_ORG"],
            "bucket": ENV["INFLUXDB_V2_BUCKET"],
            "token": ENV["INFLUXDB_V2_TOKEN"],
        },
    }
    if ENV["INFLUXDB_V2_URL"]
    else {"BACKEND": "sensors.stores.sqlite.SqliteStore", "OPTIONS": {"path": SIEIS_DATA / "hot.sqlite3"}}
)
_s3 = {
    "endpoint_url": ENV["S3_ENDPOINT_URL"],
    "access_key": ENV["AWS_ACCESS_KEY_ID"],
    "secret_key": ENV["AWS_SECRET_ACCESS_KEY"],
    "region_name": ENV["AWS_REGION"],
}
SIEIS_LAKE: dict[str, Any] = (
    {"root": f"s3://{ENV['S3_BUCKET']}/lake", "s3": _s3}
    if ENV["S3_ENDPOINT_URL"]
    else {"root": str(SIEIS_DATA / "lake"), "s3": None}
)
STORAGES = {
    "default": (
        {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                **_s3, "bucket_name": ENV["S3_BUCKET"], "location": "files", "file_overwrite": True,
                "client_config": Config(
                    connect_timeout=3, read_timeout=10, retries={"max_attempts": 2, "mode": "standard"},
                    s3={"addressing_style": "path"}, signature_version="s3v4",
                ),
            },
        }
        if ENV["S3_ENDPOINT_URL"]
        else {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": SIEIS_DATA / "files", "allow_overwrite": True},
        }
    ),
    "staticfiles": {"BACKEND": "sieis_site.storage.HashedStaticFiles"},
}  # fmt: skip

# ---- jobs, live channel, cache ------------------------------------------------------------------------------


def _redis(place: int) -> str:
    """The same server, `place` databases further on: clearing the cache must not empty the job queue."""
    parts = urlsplit(ENV["REDIS_URL"])
    return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + place}").geturl()


def _live_channel() -> dict[str, Any]:
    """What is published reaches all databases of a server: the name keeps those apart that share one."""
    return {"hosts": [_redis(1)], "prefix": f"sieis{urlsplit(_redis(1)).path.strip('/')}"}


HAS_REDIS = bool(ENV["REDIS_URL"])
CELERY_BROKER_URL = _redis(0) if HAS_REDIS else "memory://localhost"
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ACKS_LATE = False  # state lives in job rows: at start, queued rows are sent again
CELERY_TIMEZONE = SIEIS_TIME_ZONE
CELERY_BEAT_SCHEDULER = "sieis_site.beating:Scheduler"
CHANNEL_LAYERS = {
    "default": (
        {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": _live_channel()}
        if HAS_REDIS
        else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
    )
}
CACHES = {
    "default": (
        {
            "BACKEND": "sieis_site.cache.ForgetfulCache",
            "LOCATION": _redis(2),
            "OPTIONS": {"socket_connect_timeout": 1.0, "socket_timeout": 2.0},
        }
        if HAS_REDIS
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

# ---- e-mail -------------------------------------------------------------------------------------------------
_smtp = urlsplit(ENV["SIEIS_SMTP_URL"])
EMAIL_HOST = _smtp.hostname or ""
EMAIL_PORT = _smtp.port or (465 if _smtp.scheme == "smtps" else 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_smtp.username or ""), unquote(_smtp.password or "")
EMAIL_USE_SSL = _smtp.scheme == "smtps"
EMAIL_USE_TLS = bool(EMAIL_HOST_USER) and not EMAIL_USE_SSL
DEFAULT_FROM_EMAIL: str = ENV["SIEIS_MAIL_FROM"]

# ---- people and security ------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ACCESS_FAILURE_LOG = False
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "live"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if ENV["SIEIS_HTTPS"]:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# ---- API ----------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["sensors.parsers.Json"],
    # The pages' session, and name and password for programs; the latter count as login attempts when they fail.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "sensors.authentication.CookieSession",
        "sensors.authentication.ByToken",
        "sensors.authentication.NameAndPassword",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["sensors.roles.CanView"],
    "EXCEPTION_HANDLER": "sensors.problems.problem_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "user": "1200/minute",
        "ingest": f"{SIEIS_INGEST_PER_MINUTE}/minute",
    },
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "SIEIS",
    "DESCRIPTION": "Smart Indoor Environmental Intelligence System",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["sensors.roles.CanView"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    # Choices stand where they are used: shared ones would need a name each.
    "POSTPROCESSING_HOOKS": ["sensors.problems.document_problems"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# ---- pages --------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = SIEIS_TIME_ZONE
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = SIEIS_DATA / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
# One process serves its own files: no collectstatic before a laptop shows its first page.
WHITENOISE_USE_FINDERS = DEBUG
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

LOGGING_CONFIG = None
logging_config(ENV["SIEIS_LOG_FORMAT"], ENV["SIEIS_LOG_LEVEL"])
