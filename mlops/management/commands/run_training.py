"""manage.py run_training JOB: the training process of a job that its starter has claimed."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import children, training
from mlops.models import Kind, TrainingJob
from mlops.reports import training_report

AFTER_OTHERS = 10  # forecasts have time: the demo learns its first beside pages that somebody has just opened


class Command(BaseCommand):
    help = "Internal: trains for a claimed job. People use manage.py train."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", type=int)
        parser.add_argument("--watched", action="store_true", help="End when stdin ends: the starter is gone")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["watched"]:
            children.end_with_parent()
        job = TrainingJob.objects.select_related("profile", "mote__site").filter(pk=options["job"]).first()
        if job is None:
            raise CommandError(f"There is no job {options['job']}.")
        if job.kind == Kind.FORECAST:
            os.nice(AFTER_OTHERS)
        try:
            trained = training.train(job, now=timezone.now())
        except Exception as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        self.stdout.write(training_report(trained.version))
