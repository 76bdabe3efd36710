"""manage.py capability: plants every kind of fault and counts which the models find; keeps the table."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.capability import keeping
from ingestion.capability.models import CapabilityTable
from ingestion.capability.telling import cannot, markdown
from mlops.children import end_with_parent
from sensors.models import Profile

NICE = 10  # whoever lives on this machine comes first


class Command(BaseCommand):
    help = "Plants every kind of fault in clean readings and counts which ones the serving models find."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", help="Code of the profile (default: all)")
        parser.add_argument("--quick", action="store_true", help="Fewer faults of each kind, in a third of the time")
        parser.add_argument(
            "--fresh", action="store_true", help="Train a model on simulated readings instead of taking what serves"
        )
        parser.add_argument(
            "--watched", action="store_true", help="Give way to others, and end with the parent process"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["watched"]:
            os.nice(NICE)
            end_with_parent()
        codes = [options["profile"]] if options["profile"] else list(Profile.objects.values_list("code", flat=True))
        if not codes:
            raise CommandError("There is no profile yet; load a pack first: manage.py load_pack indoor")
        failed = [why for code in codes if (why := self._measure(code, options))]
        if failed:
            raise CommandError(" ".join(failed), returncode=1)

    def _measure(self, code: str, options: dict[str, Any]) -> str:
        """Why it could not be measured."""
        try:
            made = keeping.measure_profile(
                code, now=timezone.now, is_quick=options["quick"], is_fresh=options["fresh"],
                trigger="schedule" if options["watched"] else "command", report=self._report,
            )  # fmt: skip
        except keeping.CannotMeasure as reason:
            return f"{code}: {reason}"
        self._tell(made)
        return ""

    def _report(self, progress: float, words: str) -> None:
        self.stderr.write(f"{progress:4.0%} {words}")

    def _tell(self, made: CapabilityTable) -> None:
        model = made.version.name if made.version else "a model trained for this"
        whose = "simulated readings" if made.is_simulated else "the fleet's own readings"
        self.stdout.write(
            f"{made.profile.label}: {model}, on {made.table['readings']:,} of {whose} "
            f"({made.starts_at:%Y-%m-%d %H:%M} to {made.ends_at:%Y-%m-%d %H:%M} UTC), {made.seconds:.0f} s"
        )
        self.stdout.write(markdown(made.table))
        self.stdout.write("What it cannot do:")
        for words in cannot(made.table, keeping.labels(made)):
            self.stdout.write(f"- {words}")
