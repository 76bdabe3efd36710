"""Brings gold, the hourly aggregates of the lake, up to its readings and corrections."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from sensors import gold, registry
from sensors.fleet import there_is_no
from sensors.lake import lake
from sensors.stores import StoreUnavailable


class Command(BaseCommand):
    help = "Aggregates the hours of the lake that changed since the last time; what the schedule does by itself."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--profile", help="only this one")
        parser.add_argument("--whole", action="store_true", help="every hour anew, whatever changed")

    def handle(self, *args: Any, **options: Any) -> None:
        known = registry.profiles()
        if options["profile"] not in (None, *known):
            raise CommandError(there_is_no("profile", options["profile"], known))
        began = time.perf_counter()
        try:
            done = gold.aggregate_all(lake(), now=timezone.now(), is_whole=options["whole"], only=options["profile"])
        except StoreUnavailable as away:
            raise CommandError(str(away)) from away
        for one in done:
            how = "anew" if one.is_whole else "changed"
            self.stdout.write(f"{one.profile}: {one.n_hours:,} hours {how}, {one.n_rows:,} rows written")
        if not done:
            self.stdout.write("There is nothing in the lake yet.")
        self.stdout.write(f"{time.perf_counter() - began:.1f} s")
