"""manage.py export_registry: the registry as model_registry.json, or with its artefacts as a ZIP."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import keeping
from mlops.models import ModelVersion


class Command(BaseCommand):
    help = "Writes model_registry.json; with --backup a timestamped ZIP with all artefacts into the artefact storage."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=Path, default=Path(keeping.REGISTRY), metavar="FILE")
        parser.add_argument("--backup", action="store_true", help="Everything, artefacts too, in the artefact storage")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["backup"]:
            name = keeping.backup(timezone.now())
            self.stdout.write(f"{name} has {default_storage.size(name):,} bytes; the newest ten are kept.")
            return
        versions = list(ModelVersion.every.select_related("profile", "mote__site").order_by("pk"))
        try:
            options["to"].write_bytes(keeping.as_json(keeping.exported(versions)))
        except OSError as error:
            raise CommandError(f"{options['to']} cannot be written: {error.strerror}") from None
        self.stdout.write(f"{options['to']} names {len(versions)} versions; their artefacts stay in the storage.")
