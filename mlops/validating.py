"""Registered versions judged on days newer than all that they had seen, each result kept with its version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.contrib.auth.models import User

from alerts.services import clear_system_alert, raise_system_alert
from mlops import gate, history, registry
from mlops.detection import held_out
from mlops.models import ModelVersion, Validation
from mlops.probes import probe
from sensors import audit
from sensors.fleet import Fleet
from sensors.readings import concat

KIND = "validation_failed"
MOST_DAYS = timedelta(days=7)

log = structlog.get_logger(__name__)


class CannotValidate(Exception):
    """The version cannot be judged on that range; the text is for the person who asked."""


def validate(
    version: ModelVersion, *, lake: history.Lake, fleet: Fleet, trigger: str, who: User | None, now: datetime,
    start: datetime | None = None, end: datetime | None = None,
) -> Validation:  # fmt: skip
    """Judges the version by the rules of a first model on clean readings that it has not seen."""
    begin, until = _range(version, start, end, now)
    profile = fleet.profiles.get(version.profile.code)
    if profile is None:
        raise CannotValidate(f"Profile {version.profile.code} has no current version; load its pack again.")
    try:
        registry.refuse_other_profile(version, profile.version)
        engine = registry.load(version)
        past = history.read(
            profile, begin, until, lake=lake, fleet=fleet, leave_out=history.to_leave_out(fleet, begin, until),
            mote=version.mote_id,
        )  # fmt: skip
    except (registry.ModelUnloadable, history.NoData, history.TooLittleData, history.ConstantData) as refusal:
        raise CannotValidate(f"{version.name} cannot be validated: {refusal}") from refusal
    days = concat([past.train, past.calibrate, past.held_out])
    metrics = {**held_out(engine, days), **probe(engine, days)}
    judgement = gate.judge(metrics, None, "never")
    broken = [rule.sentence() for rule in judgement.rules if not rule.holds]
    made = Validation.objects.create(
        version=version, made_at=now, trigger=trigger, who=who, starts_at=begin, ends_at=until,
        n_readings=len(days), metrics={**metrics, "rules": judgement.to_json()["rules"]}, holds=not broken,
        words=("; ".join(broken) or "holds on newer days what it promised")[:600],
    )  # fmt: skip
    audit.record(
        deed="validate_version", subject=registry.subject(version), who=who, now=now,
        detail={"holds": made.holds, "words": made.words, "start": begin.isoformat(), "end": until.isoformat()},
    )  # fmt: skip
    return made


def _range(
    version: ModelVersion, start: datetime | None, end: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    seen = datetime.fromisoformat(version.data["parts"]["held_out"]["last_at"])
    until = end or now
    begin = start or max(seen + timedelta(microseconds=1), until - MOST_DAYS)
    if begin <= seen:
        raise CannotValidate(
            f"{version.name} has seen readings up to {seen:%Y-%m-%d %H:%M} UTC; a validation must start after that, "
            f"not at {begin:%Y-%m-%d %H:%M}."
        )
    if until <= begin:
        raise CannotValidate(
            f"There is no time between {begin:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M} UTC; wait until newer "
            "readings are there, a day of them at least."
        )
    return begin, until


def validate_production(
    *, lake: history.Lake, fleet: Fleet, trigger: str, now: datetime, start: datetime | None = None,
    end: datetime | None = None, raise_alert: Callable[..., Any] = raise_system_alert,
    clear: Callable[..., Any] = clear_system_alert,
) -> tuple[list[Validation], list[str]]:  # fmt: skip
    """Every version that serves; what came of it, and why the others could not be judged."""
    made, left = [], []
    for version in ModelVersion.objects.filter(stage=ModelVersion.Stage.PRODUCTION).select_related("profile"):
        try:
            one = validate(version, lake=lake, fleet=fleet, trigger=trigger, who=None, now=now, start=start, end=end)
        except CannotValidate as refusal:
            log.info("not_validated", version=version.name, reason=str(refusal))
            left.append(str(refusal))
            continue
        made.append(one)
        subject = registry.subject(version)
        if one.holds:
            clear(subject=subject, kind=KIND, now=now)
        else:
            text = f"{version.name} does not hold on newer days: {one.words}"
            raise_alert(subject=subject, kind=KIND, words=text, severity="medium", now=now)
    return made, left
