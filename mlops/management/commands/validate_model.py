"""manage.py validate_model: judges registered versions on newer held-out days and keeps each result."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import validating
from mlops.models import ModelVersion, Validation
from sensors.lake import lake
from sensors.management.instants import instant
from sensors.registry import current_fleet


class Command(BaseCommand):
    help = "Judges a version, or all that serve, on days newer than those that it was made of; keeps the result."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", nargs="?", help="Its name, such as indoor/anomaly_detector_v3_20260302")
        parser.add_argument("--all-production", action="store_true", help="Every version that serves")
        parser.add_argument("--start", type=instant, help="From this instant on, such as 2026-03-01T00:00Z")
        parser.add_argument("--end", type=instant, help="Up to this instant")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["version"]) == options["all_production"]:
            raise CommandError("Name a version, or say --all-production.")
        given: dict[str, Any] = {"lake": lake(), "fleet": current_fleet(), "trigger": "command", "now": timezone.now(),
                 "start": options["start"], "end": options["end"]}  # fmt: skip
        if options["all_production"]:
            made, left = validating.validate_production(**given)
            for words in left:
                self.stderr.write(words)
        else:
            made = [self._one(options["version"], given)]
        for one in made:
            self.stdout.write(_line(one))
        if not made:
            raise CommandError("No version was validated.")
        if not all(one.holds for one in made):
            raise CommandError("Not every version holds on newer days.")

    def _one(self, name: str, given: dict[str, Any]) -> Validation:
        version = ModelVersion.objects.filter(name=name).select_related("profile").first()
        if version is None:
            newest = ", ".join(ModelVersion.objects.values_list("name", flat=True)[:5]) or "none yet"
            raise CommandError(f"There is no version “{name}”; the newest are: {newest}.")
        try:
            return validating.validate(version, who=None, **given)
        except validating.CannotValidate as refusal:
            raise CommandError(str(refusal)) from refusal


def _line(one: Validation) -> str:
    figures = one.metrics
    return (
        f"{one.version.name}: {'holds' if one.holds else 'DOES NOT HOLD'} on {one.n_readings:,} readings from "
        f"{one.starts_at:%Y-%m-%d %H:%M} to {one.ends_at:%Y-%m-%d %H:%M} UTC: "
        f"{figures['false_events_per_mote_week']:.2f} false events a mote and week, "
        f"{figures['flagged_share']:.3%} flagged, {figures['n_found']} of {figures['n_planted']} planted faults found"
        + ("" if one.holds else f". {one.words}")
    )
