"""manage.py promote: makes a model version serve."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import registry
from mlops.models import ModelVersion


class Command(BaseCommand):
    help = "Makes a model version serve its scope and archives the one that did."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", help="Its name, such as indoor/anomaly_detector_v3_20260302")
        parser.add_argument("--why", default="manage.py promote", help="The reason that the audit keeps")

    def handle(self, *args: Any, **options: Any) -> None:
        version = ModelVersion.every.filter(name=options["version"]).first()
        if version is None:
            newest = ", ".join(ModelVersion.every.values_list("name", flat=True)[:5]) or "none yet"
            raise CommandError(f"There is no version “{options['version']}”; the newest are: {newest}.")
        try:
            registry.promote(version, who=None, why=options["why"], now=timezone.now())
        except (
            registry.AlreadyPromoted,
            registry.ModelUnloadable,
            registry.NotValidated,
            registry.ArtefactUnavailable,
        ) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{version.name} serves now; every process takes it up within seconds.")
