"""manage.py alert_budget: what "at most N events a week" would have told and missed, and making it so."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import budgets, registry, training_jobs
from mlops.budget import Choice, NoHistory, Point, Unreachable
from sensors.lake import lake
from sensors.registry import current_fleet

REFUSED = (
    budgets.BadBudget, budgets.NothingServes, budgets.NoBudget, NoHistory, Unreachable, training_jobs.UnknownMote,
    registry.ModelUnloadable, registry.ArtefactUnavailable,
)  # fmt: skip


class Command(BaseCommand):
    help = "Shows what a budget of events a week would have told and missed of the last weeks; --apply makes it so."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", required=True)
        parser.add_argument("--mote", default="", help="Only this one, as site/code; it gets an onset of its own")
        parser.add_argument("--at-most", type=float, help="Events a week, of all motes of the profile together")
        parser.add_argument("--days", type=float, default=budgets.DAYS, help="How far back to look (28)")
        parser.add_argument("--apply", action="store_true", help="Judge by it from now on")
        parser.add_argument("--undo", action="store_true", help="Take the last budget back")

    def handle(self, *args: Any, **options: Any) -> None:
        fleet, now = current_fleet(), timezone.now()
        if options["undo"] == (options["at_most"] is not None):
            raise CommandError("Say --at-most and a number of events a week, or --undo.")
        try:
            of = budgets.scope(fleet, options["profile"], options["mote"])
            if options["undo"]:
                self.stdout.write(f"{budgets.undo(of, who=None, now=now).name} judges {of.words} now.")
                return
            found = budgets.preview(of, options["at_most"], lake=lake(), fleet=fleet, now=now, days=options["days"])
            self.stdout.write(_told(found))
            if options["apply"]:
                version = budgets.apply(of, found, who=None, now=now)
                self.stdout.write(f"{version.name} judges {of.words} with it from now on; --undo takes it back.")
            else:
                self.stdout.write("Nothing was changed; --apply makes it so.")
        except REFUSED as refusal:
            raise CommandError(str(refusal)) from refusal


def _told(found: Choice) -> str:
    lines = [
        f"{found.n_readings:,} readings of {found.n_motes} motes over {found.weeks:.2f} weeks; "
        f"{found.n_faults} faults are known.",
        f"{'':8}{'onset':>8}{'a week':>10}{'busiest':>10}{'missed':>8}",
        _line("now", found.now),
        _line("chosen", found.chosen),
        f"{len(found.lost.mote)} events less and {len(found.gained.mote)} more than now; "
        f"{len(found.newly_missed)} known faults would be missed that are caught now.",
    ]
    return "\n".join(lines)


def _line(name: str, one: Point) -> str:
    return f"{name:8}{one.onset:>8.2f}{one.a_week:>10.2f}{one.busiest:>10.0f}{one.n_missed:>8}"
