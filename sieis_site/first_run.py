"""What stands before the first page: tables, files, roles, and in the demo motes with a past and a model."""

from __future__ import annotations

import contextlib
import hashlib
import re
from argparse import ArgumentTypeError
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from ingestion.validation import reports
from mlops import registry, training_jobs
from mlops.models import Kind
from sensors import gold, grading
from sensors.lake import lake
from sensors.models import Mote, SensorGrade
from sensors.registry import current_fleet
from sensors.roles import create_demo_accounts, install_roles
from sensors.stores import hot
from sieis_site import demo
from sieis_site.schedule import install_schedule
from sieis_site.telling import step


def days(text: str) -> float:
    """How much of a past the demo gets, as people type it."""
    if not re.fullmatch(r"\d{1,4}(\.\d+)?", text):
        raise ArgumentTypeError(f"“{text}” is no number of days; expected one such as 7 or 0.5")
    return float(text)


def prepare(*, history_days: float = 7.0) -> None:
    """Brings an empty or older data folder to where it can serve; what is done is not done again."""
    _migrate()
    collect_static()
    setup(history_days=history_days)


def setup(*, history_days: float = 7.0) -> None:
    """Roles and schedule; in the demo accounts, the pack, its history and the first model."""
    install_roles()
    if settings.SIEIS_DEMO:
        _demo(history_days)
    install_schedule()


def _migrate() -> None:
    executor = MigrationExecutor(connections["default"])
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        with step("Creating the database's tables"):
            call_command("migrate", verbosity=0)


def collect_static() -> None:
    """Hashed copies of the static files, made anew when the code or a requirement has changed."""
    root = Path(settings.STATIC_ROOT)
    sources = sorted(
        [*Path(settings.BASE_DIR, "static").rglob("*"), *Path(settings.BASE_DIR, "requirements").iterdir()]
    )
    facts = [(str(source), source.stat().st_mtime_ns, source.stat().st_size) for source in sources]
    of_now, of_then = hashlib.sha256(repr(facts).encode()).hexdigest(), root / "sources.sha256"
    is_there = (root / "staticfiles.json").exists() and of_then.exists() and of_then.read_text() == of_now
    if not is_there:
        with step("Preparing static files"):
            call_command("collectstatic", verbosity=0, interactive=False)
        of_then.write_text(of_now)


def _demo(history_days: float) -> None:
    from sensors.installation import install_pack

    now = timezone.now()
    create_demo_accounts(settings.SIEIS_DEMO_PASSWORD, now)
    if not Mote.objects.exists():
        with step("Installing the indoor pack"):
            install_pack(
                demo.pack(),
                site_code=settings.SIEIS_DEFAULT_SITE,
                time_zone=settings.SIEIS_TIME_ZONE,
                who=None,
                now=now,
            )
    if not demo.has_past():
        with step(f"Loading {history_days:g} days of simulated history through the reading path") as tell:
            demo.load_past(history_days, tell)
        with step("Summing up its hours"):
            gold.aggregate_all(lake(), now=timezone.now())
    if registry.production(demo.PACK) is None:
        _train()
    if registry.production(demo.PACK, kind=Kind.FORECAST) is None:
        _train_forecasts_later()
    if not SensorGrade.objects.exists():
        _look_at_the_data()


def _look_at_the_data() -> None:
    """What each night looks at: grades and a quality report, so that their pages have something to show at once."""
    with step("Grading sensors and checking what is stored"):
        now = timezone.now()
        grading.grade_motes(lake=lake(), store=hot(), now=now)
        for scope in reports.scopes():
            asked = reports.ask(scope, reports.Span(), trigger="schedule", who=None, now=now)
            reports.make_report(asked, lake=lake(), hot=hot(), fleet=current_fleet(), now=now, limits=reports.limits())


def _train_forecasts_later() -> None:
    """By the worker, when everything serves already: it takes up what waits as it starts."""
    with contextlib.suppress(training_jobs.AlreadyTraining):
        training_jobs.request(
            demo.PACK, trigger="first_run", who=None, now=timezone.now(), kind=Kind.FORECAST,
            parameters={"promote": "always"},
        )  # fmt: skip


def _train() -> None:
    """Train before serve: the first model, by the same job that retrains later."""
    now = timezone.now()
    with step("Training the first model") as tell:
        if not settings.HAS_REDIS:
            training_jobs.expire_leases(now, lease=timedelta(0))
        try:
            job = training_jobs.request(
                demo.PACK, trigger="first_run", who=None, now=now, parameters={"promote": "always"}
            )
        except training_jobs.AlreadyTraining as running:
            job = running.job
        done = training_jobs.run_in_process(job.pk, watch=lambda job: tell(job.progress, job.message))
    if registry.production(demo.PACK) is None:
        raise CommandError(f"The first model could not be trained: {done.message}")
