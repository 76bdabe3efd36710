"""System checks: what would run and yet be wrong is refused before it starts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.checks import check_admin_app
from django.core.checks import CheckMessage, Error, register


@register
def the_admin_is_whole(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Its own check may come before the addresses, which load what it looks at."""
    admin.autodiscover()
    return list(check_admin_app(app_configs))


@register
def embedded_parts_are_meant(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """An address forgotten on a server must not end in a file on its disk."""
    if settings.DEBUG or settings.SIEIS_EMBEDDED:
        return []
    missing = [name for name in SERVER_ADDRESSES if not settings.ENV[name]]
    if not missing:
        return []
    return [
        Error(
            f"{', '.join(missing)} not set, so an embedded part would be used on a server.",
            hint="Set the address, or SIEIS_EMBEDDED=1 if this process shall use embedded parts.",
            id="sieis.E001",
        )
    ]


SERVER_ADDRESSES = (
    "DATABASE_URL",
    "REDIS_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
    "INFLUXDB_V2_URL",
    "S3_ENDPOINT_URL",
)
