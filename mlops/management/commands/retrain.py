"""manage.py retrain: asks for the next model of a profile by its own policy, and shows old beside new."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import candidates, training_jobs
from mlops.models import Kind, TrainingJob
from mlops.parameters import BadParameters
from sensors.models import ProcessHeartbeat, Profile

POLL_S = 1.0
ALIVE = timedelta(minutes=1)


class Command(BaseCommand):
    help = "Queues the training of the next model of each profile that has one (or the one named), for the workers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", help="Retrain this profile only")
        parser.add_argument("--days", type=float, help="Learn from the last so many days, whatever the policy says")
        parser.add_argument("--manual", action="store_true", help="Leave it to an engineer whether the result serves")
        parser.add_argument("--here", action="store_true", help="Train in this process instead of in a worker")
        parser.add_argument("--wait", action="store_true", help="Wait for the result and show it beside what served")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = {} if options["days"] is None else {"days": options["days"]}
        asked |= {"promote": "manual"} if options["manual"] else {}
        codes = [options["profile"]] if options["profile"] else _with_a_model()
        if not (options["here"] or _has_worker()):
            raise CommandError("No worker has said that it lives; start one, or train in this process with --here.")
        failures = [words for code in codes if (words := self._retrain(code, asked, options))]
        if failures:
            raise CommandError("\n".join(failures))

    def _retrain(self, code: str, asked: dict[str, Any], options: dict[str, Any]) -> str:
        """Why it failed; empty if it did not."""
        try:
            job = training_jobs.request(code, trigger="command", who=None, now=timezone.now(), parameters=asked)
        except (training_jobs.AlreadyTraining, training_jobs.UnknownProfile, BadParameters) as refusal:
            return str(refusal)
        if options["here"]:
            job = training_jobs.run_in_process(job.pk)
        else:
            training_jobs.dispatch(job)
            self.stdout.write(f"Job {job.pk} for {code} is queued; a worker takes it up within a minute or two.")
            if not options["wait"]:
                return ""
            job = _waited_for(job)
        if job.result is not None:
            self.stdout.write(candidates.report(job.result))
        return "" if job.status == TrainingJob.Status.SUCCEEDED else f"Training of {code} {job.status}: {job.message}"


def _with_a_model() -> list[str]:
    codes = list(Profile.objects.filter(model_versions__kind=Kind.DETECTOR).distinct().values_list("code", flat=True))
    if not codes:
        raise CommandError("No profile has a model yet; train a first one: manage.py train")
    return codes


def _has_worker() -> bool:
    return ProcessHeartbeat.objects.filter(kind="worker", beat_at__gt=timezone.now() - ALIVE).exists()


def _waited_for(job: TrainingJob) -> TrainingJob:
    while job.status in TrainingJob.UNFINISHED:
        time.sleep(POLL_S)
        job.refresh_from_db()
    return job
