"""Scores the readings of an evidence bundle again and says whether they come to the same."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mlops.evidence.bundle import BadBundle
from mlops.evidence.rescoring import CannotLoad
from mlops.evidence.verification import Verified, verify


class Command(BaseCommand):
    help = "Checks an evidence bundle: its parts are as written, and its readings get the same scores again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="As downloaded from the page of an alert")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            found = verify(file.read_bytes())
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        except (BadBundle, CannotLoad, ValueError) as error:
            raise CommandError(f"{file}: {error}") from error
        self.stdout.write(f"Alert {found.alert}: {found.words}")
        self.stdout.write(_told(found))
        origin = "This installation wrote the file." if found.is_known else "Another installation wrote the file."
        self.stdout.write(f"Its parts are as they were written. {origin}")
        if not found.is_same:
            raise CommandError(f"The scores differ by up to {found.worst:.3g}; 1e-9 is allowed.")
        self.stdout.write(self.style.SUCCESS(f"Verified: largest difference {found.worst:.3g} over all readings."))


def _told(found: Verified) -> str:
    if found.peak_stored is None:
        return f"{found.n_readings:,} readings were scored again; the peak is not among them."
    words = (
        f"{found.n_readings:,} readings were scored again. Surprise at the peak: {found.peak_stored:.12g} stored, "
        f"{found.peak_again:.12g} now."
    )
    if not found.n_by_neighbours:
        return words
    return f"{words} In {found.n_by_neighbours:,} the neighbours said more than the mote's own past, as stored."
