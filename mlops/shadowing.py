"""Champion and challenger: a version judges the live readings too, from the lake, where it can hold up nobody.

The reading path knows nothing of it. What it stored, with the serving version's verdict, is read a moment later by a
worker, stepped through the candidate's own state, and compared row by row.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import structlog
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import IntegrityError, transaction
from django.db.models import F

from alerts.services import instant
from mlops import disagreeing, feedback, registry, stretches
from mlops.detection import EngineState, FittedEngine
from mlops.disagreeing import Stretch
from mlops.history import Lake
from mlops.models import ModelVersion, Review, ShadowRun
from sensors import audit, quality
from sensors.fleet import Fleet
from sensors.lake import NoSuchTable
from sensors.readings import Batch, Profile, concat, from_table

MOST_READINGS = 100_000  # in one look; the rest is the next one's
SLICE = 1_000
MOST_SHADOWS = 2  # of a profile at once
DATES = timedelta(days=2)  # a look reads the files of these last dates only
Stage = ModelVersion.Stage

log = structlog.get_logger(__name__)


class CannotShadow(Exception):
    """The version cannot run beside what serves; the text is for the person who asked."""


class AlreadySettled(Exception):
    """Somebody has said what it was; the text says who."""


# ---- starting and stopping ----------------------------------------------------------------------------------


def start(version: ModelVersion, *, who: User | None, now: datetime) -> ShadowRun:
    """Lets the version judge what comes in from now on, in silence."""
    if version.stage == Stage.PRODUCTION or version.mote_id is not None:
        raise CannotShadow(f"{version.name} serves already, or is of one mote; only a profile's other versions can.")
    others = ShadowRun.objects.filter(version__profile=version.profile, stopped_at=None).exclude(version=version)
    if others.count() >= MOST_SHADOWS:
        raise CannotShadow(f"{MOST_SHADOWS} versions of {version.profile.label} run in shadow already; stop one first.")
    try:
        registry.load(version)
        with transaction.atomic():
            run = ShadowRun.objects.create(version=version, started_at=now, started_by=who)
            ModelVersion.objects.filter(pk=version.pk).exclude(stage=Stage.PRODUCTION).update(stage=Stage.SHADOW)
            audit.record(deed="start_shadow", subject=registry.subject(version), who=who, now=now)
    except IntegrityError:
        raise CannotShadow(f"{version.name} runs in shadow already.") from None
    except (registry.ModelUnloadable, registry.ArtefactUnavailable) as refusal:
        raise CannotShadow(str(refusal)) from refusal
    return run


@transaction.atomic
def stop(run: ShadowRun, *, who: User | None, now: datetime) -> None:
    """Ends the run; the version is a candidate again, or archived if it ever served. Stopping twice changes nothing."""
    if not ShadowRun.objects.filter(pk=run.pk, stopped_at=None).update(stopped_at=now):
        return
    back = Stage.ARCHIVED if run.version.promoted_at else Stage.CANDIDATE
    ModelVersion.objects.filter(pk=run.version_id, stage=Stage.SHADOW).update(stage=back)
    audit.record(deed="stop_shadow", subject=registry.subject(run.version), who=who, now=now)


# ---- following ----------------------------------------------------------------------------------------------


def follow_all(now: datetime, *, lake: Lake, fleet: Fleet, storage: Storage) -> int:
    """Judges what has come since the last look, for every run; answers how many readings that were."""
    n = 0
    for run in ShadowRun.objects.filter(stopped_at=None).select_related("version__profile"):
        if run.version.stage != Stage.SHADOW:  # promoted meanwhile
            stop(run, who=None, now=now)
        elif _claim(run, now):
            n += _follow_or_say(run, now, lake=lake, fleet=fleet, storage=storage)
    return n


def _claim(run: ShadowRun, now: datetime) -> bool:
    """True for one of several workers that look at the same moment."""
    return bool(ShadowRun.objects.filter(pk=run.pk, followed_at=run.followed_at).update(followed_at=now))


def _follow_or_say(run: ShadowRun, now: datetime, *, lake: Lake, fleet: Fleet, storage: Storage) -> int:
    try:
        return follow(run, now, lake=lake, fleet=fleet, storage=storage)
    except (registry.ModelUnloadable, registry.ArtefactUnavailable) as trouble:
        ShadowRun.objects.filter(pk=run.pk).update(error=str(trouble)[:400])
        log.warning("shadow_cannot_follow", version=run.version.name, reason=str(trouble))
        return 0


def follow(run: ShadowRun, now: datetime, *, lake: Lake, fleet: Fleet, storage: Storage) -> int:
    """Steps the candidate over the readings that it has not seen, and keeps what came of it in one transaction."""
    profile = fleet.profiles[run.version.profile.code]
    registry.refuse_other_profile(run.version, profile.version)
    rows = _unseen(run, profile, now, lake)
    if rows.is_empty():
        return 0
    engine, began = registry.load(run.version), time.monotonic()
    state = _state(run, engine, profile, lake=lake, fleet=fleet, storage=storage)
    mote, at = rows["mote"].to_numpy(), rows["at"].cast(pl.Int64).to_numpy()
    serving = from_table(profile, rows, fleet.utc_offsets(mote, at))
    candidate = _stepped(engine, state, replace(serving, flags=serving.flags & quality.LATE))
    name = storage.save(f"shadow/{run.pk}.state", ContentFile(state.to_bytes()))
    old = run.state
    _keep(run, serving, candidate, name, time.monotonic() - began)
    if old and old != name:
        storage.delete(old)
    return len(rows)


def _stepped(engine: FittedEngine, state: EngineState, batch: Batch) -> Batch:
    """In slices, and after each a rest as long as it took: in the embedded mode the reading path shares our lock."""
    judged = []
    for begin in range(0, len(batch), SLICE):
        began = time.monotonic()
        judged.append(engine.step(state, batch.take(slice(begin, begin + SLICE)))[1])
        time.sleep(time.monotonic() - began)
    return concat(judged)


def _unseen(run: ShadowRun, profile: Profile, now: datetime, lake: Lake) -> pl.DataFrame:
    """In the order of the stream, what each partition has brought since; the history stream's old days are not live."""
    try:
        silver = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return pl.DataFrame()
    places = {int(partition): offset for partition, offset in run.places.items()}
    expected = pl.col("partition").replace_strict(places, default=0, return_dtype=pl.Int64)
    is_recent = (pl.col("date") >= (now - DATES).date()) & (pl.col("at") >= run.started_at - stretches.WARM_UP)
    is_new = (pl.col("received_at") >= run.started_at) & (pl.col("offset") >= expected)
    found = silver.filter(is_recent & is_new & (pl.col("profile_version") == profile.version))
    return found.sort("partition", "offset").head(MOST_READINGS).collect()


def _state(
    run: ShadowRun, engine: FittedEngine, profile: Profile, *, lake: Lake, fleet: Fleet, storage: Storage
) -> EngineState:
    """What the candidate remembers; at first, of the hours before it was started, so that it has met every mote."""
    if run.state:
        with storage.open(run.state) as file:
            return EngineState.from_bytes(file.read())
    state = engine.start()
    before = stretches.readings(profile, run.started_at - stretches.WARM_UP, run.started_at, lake=lake, fleet=fleet)
    if before is not None:
        engine.step(state, before)
    return state


@transaction.atomic
def _keep(run: ShadowRun, serving: Batch, candidate: Batch, state: str, seconds: float) -> None:
    said = disagreeing.counts(serving, candidate)
    for stretch in disagreeing.disagreements(serving, candidate):
        enqueue(run, stretch, serving.profile.onset)
    for stretch in disagreeing.audits(serving, candidate, seed=run.pk):
        enqueue(run, stretch, serving.profile.onset)
    offsets = {str(p): int(serving.offset[serving.partition == p].max()) + 1 for p in np.unique(serving.partition)}
    ShadowRun.objects.filter(pk=run.pk).update(
        places={**run.places, **offsets}, state=state, error="",
        n_readings=F("n_readings") + said.n_readings, n_both=F("n_both") + said.n_both,
        n_only_serving=F("n_only_serving") + said.n_only_serving,
        n_only_candidate=F("n_only_candidate") + said.n_only_candidate, seconds=F("seconds") + seconds,
    )  # fmt: skip
    run.refresh_from_db()


def enqueue(run: ShadowRun, found: Stretch, onset: float) -> None:
    """Adds the stretch to the queue, or to the one that it goes on from."""
    mine = Review.objects.filter(run=run, mote_id=found.mote, kind=found.kind)
    before = mine.filter(ends_at__gte=instant(found.first_at - disagreeing.APART_US), verdict="").first()
    one = before or Review(
        run=run, mote_id=found.mote, kind=found.kind, starts_at=instant(found.first_at), n_readings=0,
        serving_surprise=0.0, candidate_surprise=0.0,
    )  # fmt: skip
    one.ends_at = instant(found.last_at)
    one.n_readings += found.n_readings
    one.serving_surprise = max(one.serving_surprise, found.serving)
    one.candidate_surprise = max(one.candidate_surprise, found.candidate)
    if found.kind != Review.Kind.AUDIT:
        one.rarity = 1.0 / (1 + mine.exclude(pk=one.pk).count())
        whole = replace(found, serving=one.serving_surprise, candidate=one.candidate_surprise)
        one.weight = one.rarity * whole.disagreement(onset)
    one.save()


# ---- reviewing ----------------------------------------------------------------------------------------------


def settle(review: Review, verdict: str, *, who: User, now: datetime) -> None:
    """A person says what the stretch was; training and gate hear of it as of any label."""
    if verdict not in (feedback.FAULT, feedback.NORMAL):
        raise feedback.BadLabel(f"verdict is “{verdict}”; expected fault or normal.")
    with transaction.atomic():
        moved = Review.objects.filter(pk=review.pk, verdict="").update(verdict=verdict, said_by=who, said_at=now)
        if not moved:
            review.refresh_from_db()
            raise AlreadySettled(f"{review.said_by or 'Somebody'} has said already that it was {review.verdict}.")
        end = max(review.ends_at, review.starts_at + timedelta(seconds=1))
        note = f"reviewed beside {review.run.version.name}"
        feedback.label_stretch(
            review.mote, kind=verdict, starts_at=review.starts_at, ends_at=end, who=who, now=now, note=note
        )


def tally(run: ShadowRun) -> dict[str, Any]:
    """Who was right where the two disagreed, and what the sample by lot says of what nobody disagreed on."""
    settled = Review.objects.filter(run=run).exclude(verdict="")
    says = {Review.Kind.ONLY_SERVING: feedback.FAULT, Review.Kind.ONLY_CANDIDATE: feedback.NORMAL}
    serving = candidate = 0
    for kind, verdict in settled.exclude(kind=Review.Kind.AUDIT).values_list("kind", "verdict"):
        is_serving_right = says[Review.Kind(kind)] == verdict
        serving, candidate = serving + is_serving_right, candidate + (not is_serving_right)
    drawn = settled.filter(kind=Review.Kind.AUDIT)
    n_faults = drawn.filter(verdict=feedback.FAULT).count()
    low, high = feedback.wilson(n_faults, drawn.count())
    return {
        "serving_right": serving, "candidate_right": candidate, "n_audited": drawn.count(),
        "n_audited_faults": n_faults, "audited_low": low, "audited_high": high,
    }  # fmt: skip
