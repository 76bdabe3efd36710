"""manage.py import_registry PATH: takes over the versions of another registry, archived until they are validated."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import keeping


class Command(BaseCommand):
    help = "Takes over the models of a model_registry.json, a folder with one, or a backup."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="Say what would be taken over, and read no artefact")
        parser.add_argument(
            "--trust", action="store_true", help="The artefacts are yours: unpickling one runs what it says"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = keeping.read_registry(options["path"])
        except keeping.BadRegistry as error:
            raise CommandError(str(error)) from None
        for one in found:
            self.stdout.write(one.told)
        if options["dry_run"]:
            return
        if not options["trust"]:
            raise CommandError(
                "Nothing was taken over: artefacts are pickles, and whoever wrote one can make it run anything here. "
                "If they come from people you trust, say --trust."
            )
        self._take_over(found)

    def _take_over(self, found: list[keeping.Found]) -> None:
        n = 0
        for one in found:
            try:
                version = keeping.take_over(one, who=None, now=timezone.now())
            except keeping.BadRegistry as error:
                self.stderr.write(f"not taken over: {error}")
            else:
                n += 1
                self.stdout.write(f"{version.name}: archived; it can serve once it is validated.")
        if not n:
            raise CommandError("No version was taken over.")
