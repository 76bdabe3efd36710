"""manage.py run_detect RUN: the process in which somebody's file is judged."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from ingestion.detecting import runs
from ingestion.detecting.models import DetectRun
from mlops.children import end_with_parent

NICE = 5  # readings come first


class Command(BaseCommand):
    help = "Internal: judges an uploaded file for a run that was claimed. People use manage.py detect."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", type=int)
        parser.add_argument("--watched", action="store_true", help="End when stdin ends: the starter is gone")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["watched"]:
            os.nice(NICE)
            end_with_parent()
        run = DetectRun.objects.filter(pk=options["run"]).first()
        if run is None:
            raise CommandError(f"There is no run {options['run']}.")
        runs.judge(run, storage=default_storage)
