"""manage.py retention: how long the hot store keeps readings, and what another number of days would take away."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ingestion.pages.retention_page import LONGEST_DAYS, SHORTEST_DAYS, Preview, preview
from sensors.stores import StoreUnavailable, hot


def days(text: str) -> float:
    if not re.fullmatch(r"-?\d{1,6}(\.\d+)?", text):
        raise ArgumentTypeError(f"“{text}” is no number of days; expected one such as 14")
    return float(text)


class Command(BaseCommand):
    help = "Says how long the hot store keeps readings and previews another number of days; deletes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=days, metavar="N", help="What if it were so many (default: as it is set)")
        parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        days = settings.SIEIS_HOT_DAYS if options["days"] is None else options["days"]
        if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
            raise CommandError(f"--days is {days:g}; expected {SHORTEST_DAYS:g} to {LONGEST_DAYS:g}")
        try:
            found = preview(hot(), days)
        except StoreUnavailable as error:
            raise CommandError(f"The hot store does not answer: {error}") from None
        self.stdout.write(json.dumps(_spoken(found), default=str) if options["json"] else "\n".join(_lines(found)))


def _spoken(found: Preview) -> dict[str, Any]:
    names = ("days", "n_leaving", "n_motes", "n_alerts", "n_events", "words")
    told = {name: getattr(found, name) for name in names}
    return {**told, "hot_days": settings.SIEIS_HOT_DAYS, "cuts": [asdict(cut) for cut in found.cuts]}


def _lines(found: Preview) -> list[str]:
    lines = [found.words]
    for cut in found.cuts:
        leaving = f"{cut.n_leaving:>12,} of {cut.n_readings:,}"
        lines.append(f"{leaving} readings of {cut.profile} at {cut.site}, those before {cut.cut_at:%Y-%m-%d %H:%M} UTC")
    if found.days != settings.SIEIS_HOT_DAYS:
        lines.append(f"To change it, set SIEIS_HOT_DAYS={found.days:g} and start every process again.")
    return lines
