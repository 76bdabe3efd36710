"""manage.py grade_sensors: grades every mote's channels now, and says why each is no better."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from io import StringIO
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from sensors.fleet import there_is_no
from sensors.grading import DAYS, grade_motes
from sensors.lake import lake
from sensors.models import Mote, Profile, SensorGrade, Site
from sensors.stores import StoreUnavailable, hot

LONGEST_DAYS = 3_660
COLOURS = {"A": "green", "B": "green", "C": "yellow", "D": "red", "F": "red"}


class Command(BaseCommand):
    help = "Grades each mote's channels A to F by their last days, keeps the grades, and prints them with the reasons."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--site", metavar="S", help="Only this site's motes")
        parser.add_argument("--profile", metavar="P", help="Only motes of this profile")
        parser.add_argument("--days", type=float, default=DAYS, metavar="N", help="So many days (default: %(default)g)")
        parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")

    def handle(self, *args: object, **options: Any) -> None:
        if not 0 < options["days"] <= LONGEST_DAYS:
            raise CommandError(f"--days is {options['days']:g}; expected a number above 0, at most {LONGEST_DAYS:,}")
        for model, option in ((Site, "site"), (Profile, "profile")):
            _refuse_unknown(model, option, options[option])
        chosen = {name: options[name] for name in ("days", "site", "profile")}
        try:
            kept = grade_motes(lake=lake(), store=hot(), now=timezone.now(), **chosen)
        except StoreUnavailable as error:
            raise CommandError(str(error)) from error
        names = dict(Mote.objects.select_related("site").in_bulk([one.mote_id for one in kept]))
        if options["json"]:
            self.stdout.write(json.dumps([_spoken(one, names[one.mote_id]) for one in kept]))
        elif kept:
            self.stdout.write(_printed(_table(kept, names), is_terminal=self.stdout.isatty()))
        else:
            self.stdout.write("Nothing to grade: no mote has readings yet.")


def _refuse_unknown(model: type[Site] | type[Profile], option: str, code: str | None) -> None:
    known = list(model.objects.values_list("code", flat=True))
    if code is not None and code not in known:
        raise CommandError(there_is_no(option, code, known))


def _spoken(one: SensorGrade, mote: Mote) -> dict[str, Any]:
    return {
        "site": mote.site.code, "mote": mote.code, "channel": one.channel, "grade": one.grade, "reasons": one.reasons,
        "figures": one.figures, "profile_version": one.profile_version, "starts_at": one.starts_at.isoformat(),
        "ends_at": one.ends_at.isoformat(),
    }  # fmt: skip


def _printed(table: Table, *, is_terminal: bool) -> str:
    """As wide as the terminal; in a file no line is broken."""
    console = Console(file=StringIO(), force_terminal=is_terminal, width=None if is_terminal else 240)
    with console.capture() as printed:
        console.print(table)
    return printed.get()


def _table(kept: list[SensorGrade], motes: dict[int, Mote]) -> Table:
    table = Table("Mote", "Channel", "Grade", "Why")
    for one in kept:
        letter = f"[{COLOURS[one.grade]}]{one.grade}[/]"
        table.add_row(str(motes[one.mote_id]), one.channel, letter, "; ".join(one.reasons))
    return table
