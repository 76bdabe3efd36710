"""What every page knows: version, mode and navigation."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from alerts.notifying.waiting import waiting
from ingestion import tour
from sensors.models import Preferences
from sensors.roles import OPERATE, may


@lru_cache(maxsize=1)
def version() -> str:
    """The newest version that CHANGELOG.md names."""
    found = re.search(r"^## \[?(\d+\.\d+\.\d+)", (settings.BASE_DIR / "CHANGELOG.md").read_text(), re.MULTILINE)
    return found[1] if found else "unreleased"


def site(request: HttpRequest) -> dict[str, Any]:
    """`waiting` is asked for where the header shows it, and costs nothing elsewhere."""
    wants = getattr(request, "preferences", None)
    return {
        "zone": timezone.get_current_timezone_name(),
        "account_theme": wants.theme if wants is not None else "",
        "tour": lambda: _tour(request, wants),
        "sieis_version": version(),
        "is_demo": settings.SIEIS_DEMO,
        "waiting": lambda: waiting(timezone.now()),
    }


def _tour(request: HttpRequest, wants: Preferences | None) -> str:
    """Whether the page offers the tour: not at all, by a button, or, to whom it is new, in words."""
    if not tour.is_there() or not request.user.is_authenticated or not may(request.user, OPERATE):
        return ""
    return "again" if wants is None or wants.toured_at else "new"
