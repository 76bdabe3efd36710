"""manage.py train: trains models now, in the foreground, and says what came of it."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from mlops import training_jobs
from mlops.classifying import SMOKE
from mlops.forecasting.file import AUTO
from mlops.forecasting.members import DEEP, MEMBERS
from mlops.management.file_arguments import seconds
from mlops.models import Kind, TrainingJob
from mlops.parameters import BadParameters
from mlops.reports import summary, training_report
from sensors.models import Mote, Profile

POLL_S = 0.5
REFUSED = (training_jobs.UnknownProfile, training_jobs.UnknownMote, BadParameters)


class Command(BaseCommand):
    help = "Trains a model for each profile that has active motes (or the one named) and promotes it if it passes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", help="Train this profile only")
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--mote", metavar="M", help="A model for this mote alone, named as site/code or code")
        scope.add_argument(
            "--each-mote", action="store_true", help="A model for every active mote, one after the other"
        )
        scope.add_argument(
            "--classifier", action="store_true", help="The classifier of smoke, from what is labelled as smoke"
        )
        parser.add_argument(
            "--kind", choices=Kind.values, default=Kind.DETECTOR, help="The engine, the smoke classifier or forecasts"
        )
        parser.add_argument(
            "--model", choices=[*MEMBERS, *DEEP, AUTO], help="Forecasts: what to try beside the naive ones; auto: each"
        )
        parser.add_argument("--horizon", type=seconds, metavar="24h", help="Forecasts: how far ahead")
        parser.add_argument("--days", type=float, help="Learn from the last so many days")
        parser.add_argument("--start", help="Learn from this instant on, such as 2026-03-01T00:00Z")
        parser.add_argument("--end", help="Learn up to this instant")
        parser.add_argument("--seed", type=int, help="Seed of all that is random")
        parser.add_argument("--no-promote", action="store_true", help="Leave the new version a candidate")
        parser.add_argument("--wait", action="store_true", help="If a training runs already, wait for that one")

    def handle(self, *args: Any, **options: Any) -> None:
        given = {name: options[name] for name in ("days", "start", "end", "seed", "model") if options[name] is not None}
        given |= {"horizon_h": options["horizon"] / 3600} if options["horizon"] else {}
        parameters = {**given, "promote": "never"} if options["no_promote"] else given
        self.kind = Kind.CLASSIFIER if options["classifier"] else Kind(options["kind"])
        named = options["profile"] or (SMOKE if self.kind == Kind.CLASSIFIER else "")
        codes = [named] if named else _profiles_in_use()
        try:
            scopes = [(code, mote) for code in codes for mote in _motes(code, options)]
        except training_jobs.UnknownMote as error:
            raise CommandError(str(error)) from None
        failures = {
            str(mote or code): words
            for code, mote in scopes
            if (words := self._train(code, mote, parameters, options["wait"]))
        }
        if options["each_mote"]:
            self.stdout.write(summary(len(scopes), failures))
        if failures:
            raise CommandError("\n".join(failures.values()))

    def _train(self, code: str, mote: Mote | None, parameters: dict[str, Any], wait: bool) -> str:
        """Why it failed; empty if it did not."""
        with _progress(Console(stderr=True), str(mote or code)) as show:
            try:
                job = training_jobs.request(
                    code, trigger="command", who=None, now=timezone.now(), parameters=parameters, mote=mote,
                    kind=self.kind,
                )  # fmt: skip
                job = self.run(job, show)
            except training_jobs.AlreadyTraining as error:
                if not wait:
                    return f"{error} Or add --wait."
                job = _wait_for(error.job, show)
            except REFUSED as error:
                return str(error)
        if job.result is not None:
            self.stdout.write(training_report(job.result))
        if job.status != TrainingJob.Status.SUCCEEDED:
            return f"Training of {mote or code} {job.status}: {job.message}"
        return ""

    def run(self, job: TrainingJob, show: Any) -> TrainingJob:
        return training_jobs.run_in_process(job.pk, watch=show)


def _motes(code: str, options: dict[str, Any]) -> list[Mote | None]:
    """Whom to train: the profile as a whole is None."""
    if options["each_mote"]:
        return list(training_jobs.motes_to_train(code))
    return [training_jobs.find_mote(code, options["mote"]) if options["mote"] else None]


def _profiles_in_use() -> list[str]:
    in_use = Profile.objects.filter(motes__state=Mote.State.ACTIVE, motes__is_probe=False).distinct()
    codes = list(in_use.values_list("code", flat=True))
    if not codes:
        raise CommandError("No profile has an active mote; load a pack first: manage.py load_pack indoor")
    return codes


def _wait_for(job: TrainingJob, show: Any) -> TrainingJob:
    while job.status in TrainingJob.UNFINISHED:
        show(job)
        time.sleep(POLL_S)
        job.refresh_from_db()
    return job


@contextmanager
def _progress(console: Console, scope: str) -> Iterator[Any]:
    columns = (
        TextColumn(scope),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Queued", total=1.0)
        yield lambda job: progress.update(bar, completed=job.progress, description=job.message)
