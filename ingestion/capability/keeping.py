"""Capability tables of what serves: which readings and which model they are measured on, and where they are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import QuerySet

from ingestion.capability import grounds
from ingestion.capability.grounds import Ground
from ingestion.capability.measuring import measure
from ingestion.capability.models import CapabilityTable
from mlops import history, registry
from mlops.detection import Engine, FittedEngine
from mlops.models import ModelVersion
from sensors.fleet import there_is_no
from sensors.lake import lake
from sensors.models import Mote, Profile, ProfileVersion
from sensors.packs import Pack, PackMote
from sensors.readings import Profile as Kind
from sensors.readings import concat, micros
from sensors.registry import current_fleet, profiles

MOST = timedelta(days=4)  # of readings: enough faults of every kind, in about a minute
MOST_QUICKLY = timedelta(days=1.5)
LEARN, JUDGE = timedelta(days=7), timedelta(days=3)  # where simulated readings must do
READINGS = 900_000  # to learn from, at most: motes that report every second learn from fewer days
MOST_MOTES = 60
STALE_AFTER = timedelta(days=7)
Report = Callable[[float, str], None]


class CannotMeasure(Exception):
    """Why a profile's model was not measured, and what to do."""


@dataclass(frozen=True)
class Subject:
    """A model, and readings without a fault that it has not learnt."""

    engine: FittedEngine
    ground: Ground
    version: ModelVersion | None


def measure_profile(
    code: str,
    *,
    now: Callable[[], datetime],
    is_quick: bool = False,
    is_fresh: bool = False,
    trigger: str = "command",
    report: Report = lambda progress, words: None,
) -> CapabilityTable:
    """Measures what serves the profile, or a model trained for it, and keeps the table. Raises CannotMeasure."""
    profile = Profile.objects.filter(code=code).first()
    if profile is None:
        raise CannotMeasure(there_is_no("profile", code, profiles()))
    began = time.monotonic()
    version = None if is_fresh else registry.production(code)
    report(0.0, "Reading" if version else "Simulating")
    subject = _serving(version, now(), is_quick) if version else simulated(_pack(profile), is_quick)
    table = measure(subject.engine, subject.ground, is_quick=is_quick, tell=report)
    return CapabilityTable.objects.create(
        profile=profile,
        version=subject.version,
        is_simulated=subject.version is None,
        is_quick=is_quick,
        starts_at=_instant(subject.ground.at[0]),
        ends_at=_instant(subject.ground.at[-1]),
        measured_at=now(),
        seconds=round(time.monotonic() - began, 1),
        trigger=trigger,
        table=table,
    )


def _instant(at: int) -> datetime:
    return datetime.fromtimestamp(int(at) / 1e6, UTC)


def _serving(version: ModelVersion, now: datetime, is_quick: bool) -> Subject:
    """The serving model on the fleet's own readings since those that it was fitted on."""
    fleet = current_fleet()
    kind = fleet.profiles[version.profile.code]
    try:
        registry.refuse_other_profile(version, kind.version)
        engine = registry.load(version)
        start = max(_held_out_from(version), now - (MOST_QUICKLY if is_quick else MOST))
        past = history.read(
            kind, start, now, lake=lake(), fleet=fleet, leave_out=history.to_leave_out(fleet, start, now)
        )
    except (registry.ModelUnloadable, registry.ArtefactUnavailable) as error:
        raise CannotMeasure(str(error)) from error
    except (history.NoData, history.TooLittleData, history.ConstantData) as error:
        raise CannotMeasure(f"{error} --fresh measures a new model on simulated readings instead.") from error
    whole = concat([past.train, past.calibrate, past.held_out])
    return Subject(engine, grounds.recorded(whole, _simulator(kind.code), _measured(kind)), version)


def _held_out_from(version: ModelVersion) -> datetime:
    """What is later was not learnt from."""
    said = version.data.get("parts", {}).get("held_out", {}).get("first_at")
    return datetime.fromisoformat(said) if said else version.created_at


def _simulator(code: str) -> dict[str, object]:
    settings = ProfileVersion.objects.filter(profile__code=code, is_current=True).values_list("settings", flat=True)
    return dict((settings.first() or {}).get("simulator", {}))


def _measured(kind: Kind) -> Kind:
    return Pack("", kind).measured


def _pack(profile: Profile) -> Pack:
    """The profile as it is, with the motes that it has here; a simulator needs some."""
    version = profile.versions.get(is_current=True)
    rows = Mote.objects.filter(profile=profile, is_probe=False).exclude(state="retired").order_by("pk")
    motes = tuple(PackMote(mote.code, mote.code, mote.x, mote.y, "") for mote in rows[:MOST_MOTES])
    if not motes:
        raise CannotMeasure(f"Profile {profile.code} has no motes yet, so there is none to simulate. Add one first.")
    return Pack(f"{profile.code}.toml", version.as_profile(), motes=motes, **version.settings)


def simulated(pack: Pack, is_quick: bool = False, seed: int = 1) -> Subject:
    """A model of the pack's own world, trained here, and the days after those that it learnt from."""
    per_day = len(pack.motes) * timedelta(days=1).total_seconds() / pack.profile.interval_s
    learn = min(LEARN, timedelta(days=max(1.0, READINGS / per_day)))
    judge = min(JUDGE / 2 if is_quick else JUDGE, learn)
    begin = micros(datetime(2026, 3, 2, tzinfo=UTC))  # a Monday
    middle = begin + learn // timedelta(microseconds=1)
    past = grounds.simulated(pack, begin, middle, seed=seed)
    engine = Engine().fit(grounds.clean(past, begin, middle))
    return Subject(
        engine, grounds.simulated(pack, middle, middle + judge // timedelta(microseconds=1), seed=seed), None
    )


# ---- what is kept -------------------------------------------------------------------------------------------


def newest() -> list[CapabilityTable]:
    """The newest table of each profile; one of what serves before one of a model that does not."""
    found: dict[int, CapabilityTable] = {}
    for table in tables():
        found.setdefault(table.profile_id, table)
    return sorted(found.values(), key=lambda table: table.profile.code)


def tables() -> QuerySet[CapabilityTable]:
    return CapabilityTable.objects.select_related("profile", "version")


def due(now: datetime) -> list[str]:
    """Profiles whose serving model has no table, or one of long ago."""
    serving = ModelVersion.objects.filter(stage=ModelVersion.Stage.PRODUCTION, mote=None).select_related("profile")
    fresh = CapabilityTable.objects.filter(measured_at__gt=now - STALE_AFTER, version__in=serving)
    known = set(fresh.values_list("version_id", flat=True))
    return [version.profile.code for version in serving if version.pk not in known]


def labels(made: CapabilityTable) -> dict[str, str]:
    """What people call the table's channels."""
    return {channel["code"]: channel["label"] for channel in made.table["channels"]}
