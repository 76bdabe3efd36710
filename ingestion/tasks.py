"""Celery's doors to what the reading path's side does by order and by schedule."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from alerts.lookout import look_after
from ingestion import checkpoints, evidencing, intake, quarantine, replay_jobs, replaying
from ingestion.capability import running as capability
from ingestion.detecting import runs
from ingestion.flow import canary, looking
from ingestion.importing import jobs as imports
from ingestion.models import ImportJob, QualityReport, Reconciliation, ReplayJob
from ingestion.reconciling import deed as reconciling
from ingestion.running import parts
from ingestion.streams import stream
from ingestion.validation import reports
from sensors import registry
from sensors.lake import lake
from sensors.stores import hot

log = structlog.get_logger(__name__)


@shared_task
def make_report(report_id: int) -> None:
    report = QualityReport.objects.select_related("profile", "site").get(pk=report_id)
    made = reports.make_report(
        report, lake=lake(), hot=hot(), fleet=registry.current_fleet(), now=timezone.now(), limits=reports.limits()
    )
    log.info("report_made", report=made.pk, state=made.state, quality=made.quality_percent, seconds=made.seconds)


@shared_task
def validate_all() -> None:
    """Asks for a report of each profile and site with motes, unless one is being made."""
    try:
        wanted = reports.scopes()
    except reports.CannotValidate as nobody:
        log.info("nothing_to_validate", reason=str(nobody))
        return
    for scope in wanted:
        try:
            report = reports.ask(scope, reports.Span(), trigger="schedule", who=None, now=timezone.now())
        except reports.AlreadyValidating as error:
            log.info("report_not_needed", reason=str(error))
        else:
            reports.dispatch(report)


@shared_task
def expire_reports() -> None:
    for waiting in reports.expire(timezone.now()):
        reports.dispatch(waiting)


@shared_task
def reconcile(reconciliation_id: int) -> None:
    made = Reconciliation.objects.select_related("profile", "site", "who").get(pk=reconciliation_id)
    reconciling.reconcile(made, lake=lake(), hot=hot(), fleet=registry.current_fleet(), now=timezone.now())
    log.info("reconciled", reconciliation=made.pk, state=made.state, hours=made.n_hours, left=made.n_left)


@shared_task
def reconcile_all() -> None:
    """Compares books and stores of everything, unless that is being done; heals nothing."""
    try:
        made = reconciling.ask(reconciling.Request(), trigger="schedule", who=None, now=timezone.now())
    except reconciling.AlreadyReconciling as error:
        log.info("reconciliation_not_needed", reason=str(error))
        return
    reconciling.dispatch(made)


@shared_task
def expire_reconciliations() -> None:
    for waiting in reconciling.expire(timezone.now()):
        reconciling.dispatch(waiting)


@shared_task
def retire_snapshots() -> None:
    """Drops the states from which no stream can be read any more."""
    retired = sum(checkpoints.retire_snapshots(stream(name), default_storage) for name in ("readings", "history"))
    log.info("snapshots_retired", n=retired)


@shared_task
def release_held() -> None:
    """Sends on the held messages of motes that have been registered since, by whichever door."""
    n = replaying.release_held(parts=parts(), now=timezone.now())
    if n:
        log.info("held_messages_released", n=n)


@shared_task
def replay_messages(job_id: int) -> None:
    job = replay_jobs.run(ReplayJob.objects.select_related("who").get(pk=job_id), parts=parts(), now=timezone.now)
    log.info("messages_replayed", job=job.pk, state=job.state, sent=job.n_sent, left=job.left)


@shared_task
def expire_replays() -> None:
    for waiting in replay_jobs.expire(timezone.now()):
        replay_jobs.dispatch(waiting)


@shared_task
def run_import(job_id: int) -> None:
    job = ImportJob.objects.select_related("who").filter(pk=job_id).first()
    if job is not None:  # somebody may have discarded it since
        imports.run(job, storage=default_storage, now=timezone.now)
        log.info("import_ran", job=job_id, state=job.state, sent=job.n_sent, became=job.became)


@shared_task
def recover_imports() -> None:
    """Lets imports whose process is gone go on, and forgets uploads that nobody started."""
    waiting = imports.recover()
    if waiting is not None:
        imports.dispatch(waiting)
    imports.forget_old(storage=default_storage, now=timezone.now())


@shared_task
def forget_old_quarantine() -> None:
    log.info("old_quarantine_forgotten", messages=quarantine.forget_old(timezone.now()))


@shared_task
def forget_receipts() -> None:
    log.info("receipts_forgotten", receipts=intake.forget_receipts(timezone.now()))


@shared_task
def watch_flow() -> None:
    """Looks whether readings flow: motes, clocks, consumers; and whether those who look elsewhere still do."""
    fleet = registry.current_fleet()
    seen = looking.look(store=hot(), fleet=fleet, topic=settings.SIEIS_TOPICS["readings"], now=timezone.now())
    look_after(looking.KIND, now=timezone.now())
    log.debug("flow_looked_at", motes=seen["n_motes"], silent=seen["n_silent"], skewed=seen["n_skewed"])


@shared_task
def send_canary() -> None:
    if not settings.SIEIS_CANARY or canary.is_too_early(settings.SIEIS_TOPICS["readings"], timezone.now()):
        return
    run = canary.send(stream=stream("readings"), store=hot(), now=timezone.now())
    if run is not None:
        canary.record(run, site=settings.SIEIS_DEFAULT_SITE, now=timezone.now())


@shared_task
def measure_capability() -> None:
    """Plants faults for each model that serves and has no table of what it finds, or an old one."""
    measured = capability.measure_due(timezone.now())
    if measured:
        log.info("capability_measured", profiles=measured)


@shared_task
def judge_file(run_id: int) -> None:
    run = runs.run_in_process(run_id)
    log.info("file_judged", run=run.pk, state=run.state, seconds=run.seconds)


@shared_task
def tidy_judged_files() -> None:
    for waiting in runs.tidy(timezone.now(), storage=default_storage):
        runs.dispatch(waiting)


@shared_task
def take_evidence() -> None:
    """Keeps what is known of alerts that were raised, grew or ended since."""
    n = evidencing.take_due(timezone.now())
    if n:
        log.info("evidence_was_taken", alerts=n)
