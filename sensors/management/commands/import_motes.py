"""Brings a fleet from a CSV file: new motes are registered, known ones changed, all or none."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from sensors import mote_csv, mote_import
from sensors.lake import lake
from sensors.stores import hot

SIGNS = {mote_import.NEW: "+", mote_import.CHANGED: "~", mote_import.REFUSED: "!"}


class Command(BaseCommand):
    help = "Brings a fleet from a CSV file: new motes are registered, known ones changed, all or none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="CSV with a first line such as site,code,label,profile,zone,x,y")
        parser.add_argument("--dry-run", action="store_true", help="only say what would become of each line")

    def handle(self, *args: Any, **options: Any) -> None:
        deed = mote_import.preview if options["dry_run"] else mote_import.bring
        try:
            file = mote_csv.parse(options["file"].read_bytes(), str(options["file"]))
            became = deed(file, who=None, now=timezone.now(), store=hot(), lake=lake())
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}") from None
        except mote_csv.BadFleet as wrong:
            raise CommandError(str(wrong)) from None
        except mote_import.Refused as refusal:
            self.tell(refusal.became)
            raise CommandError(str(refusal)) from None
        self.tell(became)
        if options["dry_run"]:
            self.stdout.write("Nothing was changed: this was a dry run.")

    def tell(self, became: mote_import.Became) -> None:
        for row in became.rows:
            if row.verdict != mote_import.SAME:
                changes = [f"{name} {before} → {after}" for name, (before, after) in row.changes.items()]
                words = "; ".join([*changes, *row.wrong])
                self.stdout.write(f"{SIGNS[row.verdict]} line {row.line}: {row.site}/{row.mote} {words}".rstrip())
        if became.zones:
            self.stdout.write(f"New zones: {', '.join(became.zones)}")
        if became.unused:
            self.stdout.write(f"Columns that nothing uses: {', '.join(became.unused)}")
        self.stdout.write(", ".join(f"{n} {verdict}" for verdict, n in became.counts.items()))
