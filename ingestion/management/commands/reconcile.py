"""manage.py reconcile: recounts both stores against the books; fails where an hour differs."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.api.books_api import ReconciliationOut
from ingestion.models import Reconciliation
from ingestion.reconciling import comparison, deed
from ingestion.validation.words import plural
from sensors import registry
from sensors.lake import lake
from sensors.management.instants import instant
from sensors.stores import StoreUnavailable, hot

SHOWN_MOTES = 10


class Command(BaseCommand):
    help = "Compares books, lake and hot store hour by hour; --heal mends. Exits with 1 while an hour differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", help="Code of the profile; all by default")
        parser.add_argument("--site", help="Code of the site; all by default")
        parser.add_argument("--from", dest="start", type=instant, help="First hour, such as 2026-03-01T00:00Z")
        parser.add_argument("--to", dest="end", type=instant, help="First hour that is left out")
        parser.add_argument("--heal", action="store_true", help="Mend what differs")
        parser.add_argument("--json", action="store_true", help="One JSON object instead of the text")

    def handle(self, *args: Any, **options: Any) -> None:
        request = deed.Request(
            options["profile"], options["site"], options["start"], options["end"], heals=options["heal"]
        )
        now = timezone.now()
        try:
            made = deed.ask(request, trigger="command", who=None, now=now)
            found = deed.reconcile(made, lake=lake(), hot=hot(), fleet=registry.current_fleet(), now=now)
        except (deed.CannotReconcile, deed.AlreadyReconciling, StoreUnavailable) as refusal:
            raise CommandError(str(refusal)) from refusal
        if options["json"]:
            self.stdout.write(json.dumps(ReconciliationOut(made).data, ensure_ascii=False, indent=1))
        else:
            self.stdout.write("\n".join(_lines(made, found)))
        if made.n_left:
            hint = "" if made.heals else "; --heal mends what can be mended"
            raise CommandError(f"{_differ(made.n_left)}{hint}.", returncode=1)


def _lines(made: Reconciliation, found: list[deed.Found]) -> list[str]:
    lines = [] if found else ["There is nothing to compare: no site has motes. `manage.py load_pack` brings a fleet."]
    for one in found:
        place = f"{one.scope.profile.label} at {one.scope.site.code}"
        lines.append(
            f"{place}: {one.n_readings:,} readings in {plural(one.n_hours, 'hour')}, {_differ(len(one.differed), '')}"
        )
        for hour in one.differed:
            lines.append(f"  {hour.hour:%Y-%m-%d %H}:00 UTC  {_words(_counts(hour))}")
            lines += [f"    mote {mote['code']}: {_words(mote)}" for mote in hour.motes[:SHOWN_MOTES]]
            if len(hour.motes) > SHOWN_MOTES:
                lines.append(f"    and {plural(len(hour.motes) - SHOWN_MOTES, 'mote')} more")
    lines += made.did
    return [*lines, f"{_differ(made.n_left)} now; took {made.seconds} s." if made.heals else _took(made)]


def _counts(hour: comparison.Hour) -> dict[str, Any]:
    return {name: getattr(hour, name) for name in comparison.COUNTS}


def _words(counts: dict[str, Any]) -> str:
    figures = f"books {counts['booked']:,}, lake {counts['cold']:,}, hot store {counts['hot']:,} of {counts['due']:,}"
    return f"{figures}. {comparison.words(**{name: counts[name] for name in comparison.COUNTS})}"


def _differ(n: int, noun: str = "hour") -> str:
    of_what = plural(n, noun) if noun else f"{n:,}"
    return f"{of_what} {'differs' if n == 1 else 'differ'}"


def _took(made: Reconciliation) -> str:
    return f"Took {made.seconds} s."
