"""What every test may ask for: people, a small fleet, the embedded parts in a folder of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.environment import ADDRESSES

# Shared, noisy machines: slowness is measured in bench/, never by a test.
hypothesis_settings.register_profile(
    "sieis", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], database=None
)
hypothesis_settings.load_profile("sieis")

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def addresses() -> dict[str, str]:
    """The real servers' addresses; a service test without them fails, it never skips."""
    needed = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "INFLUXDB_V2_URL", "S3_ENDPOINT_URL")
    missing = [name for name in needed if name not in ADDRESSES]
    if missing:
        pytest.fail(f"not set: {', '.join(missing)}; `deploy/native-services env` prints them")
    return ADDRESSES


@pytest.fixture(autouse=True)
def embedded(settings, tmp_path):
    """Stream, stores and lake of this test alone."""
    settings.SIEIS_DATA = tmp_path
    settings.SIEIS_STREAM = {
        "BACKEND": "ingestion.streams.segments.SegmentStream",
        "OPTIONS": {"folder": tmp_path / "stream", "keep_days": 3.0},
    }
    settings.SIEIS_HOT_STORE = {
        "BACKEND": "sensors.stores.sqlite.SqliteStore",
        "OPTIONS": {"path": tmp_path / "hot.sqlite3"},
    }
    settings.SIEIS_LAKE = {"root": str(tmp_path / "lake"), "s3": None}
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "files", "allow_overwrite": True},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
