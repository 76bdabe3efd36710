"""What the reading path asks of the registry: which engine judges a profile now, and which one judged a message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import OuterRef, QuerySet, Subquery

from alerts.services import clear_system_alert, raise_system_alert
from mlops import registry
from mlops.detection import FittedEngine
from mlops.detection.standin import stand_in
from mlops.models import Kind, ModelVersion, ServingPeriod
from mlops.scoped import scoped
from sensors.models import ProfileVersion
from sensors.readings import Profile

UNLOADABLE = "model_unloadable"
TRY_AGAIN_AFTER = timedelta(seconds=60)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A version and its engine, loaded."""

    version: ModelVersion
    engine: Any  # what was fitted: of the kind that this serves, such as a FittedEngine


@dataclass(frozen=True, slots=True)
class Judges:
    """What judges a profile now: one engine for all its motes, and the versions in it; none is the fallback."""

    engine: FittedEngine
    versions: tuple[ModelVersion, ...]


@dataclass(frozen=True, slots=True)
class Swap:
    """One profile's change of engine; None is the pack's fallback."""

    profile: str
    before: ModelVersion | None
    after: ModelVersion | None


# What a version serves: a profile as a whole (mote 0), or one mote of it.
Scope = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Refusal:
    version: ModelVersion
    words: str
    try_again_at: datetime


class Serving:
    """The engines of one process. `refresh` changes them, one reference at a time; asking for one costs a look-up."""

    def __init__(
        self,
        *,
        kind: Kind = Kind.DETECTOR,
        raise_alert: Callable[..., object] = raise_system_alert,
        clear_alert: Callable[..., object] = clear_system_alert,
    ) -> None:
        self._kind = kind
        self._raise_alert = raise_alert
        self._clear_alert = clear_alert
        self._served: dict[Scope, Served | None] = {}
        self._whole: dict[Profile, Judges] = {}  # until something is swapped
        self._composing = threading.RLock()
        self._fallbacks: dict[Profile, FittedEngine] = {}
        self._refused: dict[Scope, _Refusal] = {}
        self._refreshing = threading.Lock()

    def engine_for(self, profile: Profile) -> FittedEngine:
        """The production version's engine if it knows this version of the profile, else the pack's fallback.

        Motes that have a version of their own are judged by that one.
        """
        return self.judges_for(profile).engine

    def judges_for(self, profile: Profile) -> Judges:
        """That engine with its versions, as they belong together even while another thread swaps."""
        whole = self._whole.get(profile)
        if whole is None:
            with self._composing:
                whole = self._whole[profile] = self._composed(profile)
        return whole

    def _composed(self, profile: Profile) -> Judges:
        served, others = self.served_for(profile), self.own(profile)
        own = {one.version.mote_id: one.engine for one in others if one.version.mote_id}
        versions = tuple(one.version for one in (*((served,) if served else ()), *others))
        return Judges(scoped(served.engine if served else self._fallback(profile), own), versions)

    def version_for(self, profile: Profile) -> ModelVersion | None:
        """The version whose engine `engine_for` answers; None is the fallback."""
        served = self.served_for(profile)
        return served.version if served else None

    def versions_for(self, profile: Profile) -> list[ModelVersion]:
        """All versions that judge readings of the profile: its own, then those of single motes."""
        return list(self.judges_for(profile).versions)

    def trouble_with(self, version: ModelVersion) -> str:
        """Why a version in production does not judge here, as the last refresh found it; empty where it does."""
        refusal = self._refused.get(_scope(version))
        return refusal.words if refusal and refusal.version.pk == version.pk else ""

    def served_for(self, profile: Profile) -> Served | None:
        """What is in production for the profile as a whole, if it is loaded and knows this version of the profile."""
        self._meet(profile)
        served = self._served[profile.code, 0]
        return served if served and served.engine.profile.version == profile.version else None

    def own(self, profile: Profile) -> list[Served]:
        """What single motes of it have for themselves."""
        self._meet(profile)
        return [
            served
            for (code, mote), served in sorted(self._served.items(), key=lambda item: item[0])
            if code == profile.code and mote and served and served.engine.profile.version == profile.version
        ]

    def _meet(self, profile: Profile) -> None:
        """What is in production when the process first meets the profile."""
        if (profile.code, 0) not in self._served:
            self._served |= {(profile.code, 0): None} | _first_look(profile, self._kind)

    def _put(self, scope: Scope, served: Served | None) -> Served | None:
        """Swaps one reference and answers what was there."""
        with self._composing:
            before = self._served.get(scope)
            self._served[scope] = served
            self._whole.clear()
            return before

    def _fallback(self, profile: Profile) -> FittedEngine:
        if profile not in self._fallbacks:
            self._fallbacks[profile] = stand_in(profile, threshold=settings.SIEIS_FALLBACK_THRESHOLD)
        return self._fallbacks[profile]

    def go_back_to(self, profile: Profile, number: int, own: Mapping[str, int] | None = None) -> None:
        """Serves the version of that number (0: the fallback), and these of single motes, until the next refresh.

        For a replay: what a crash left unsaved is judged as it was judged. A version that is gone or cannot be loaded
        changes nothing.
        """
        self._meet(profile)
        wanted = {0: number, **{int(mote): one for mote, one in (own or {}).items()}}
        for code, mote in list(self._served):
            if code == profile.code:
                self._go_back((code, mote), wanted.pop(mote, 0))
        for mote, one in wanted.items():
            self._go_back((profile.code, mote), one)

    def _go_back(self, scope: Scope, number: int) -> None:
        current = self._served.get(scope)
        if (current.version.number if current else 0) == number:
            return
        if number == 0:
            self._put(scope, None)
            return
        version = ModelVersion.objects.filter(profile__code=scope[0], number=number).select_related("profile").first()
        try:
            if version is not None:
                self._put(scope, Served(version, registry.load(version)))
        except (registry.ModelUnloadable, registry.ArtefactUnavailable) as error:
            log.warning("replay_by_another_version", wanted=number, reason=str(error))

    def refresh(self, now: datetime) -> list[Swap]:
        """Swaps in what was promoted since; what cannot be loaded leaves the old one serving and raises an alert."""
        with self._refreshing:
            wanted = {_scope(version): version for version in _production(self._kind)}
            swaps = [self._bring_in(version, now) for version in wanted.values() if self._is_due(version, now)]
            swaps += [self._let_go(scope) for scope in self._served.keys() - wanted.keys()]
        return [swap for swap in swaps if swap is not None]

    def _is_due(self, version: ModelVersion, now: datetime) -> bool:
        """Whether the version is not the one in place, or no longer fits its profile, and was not refused just now."""
        refusal = self._refused.get(_scope(version))
        if refusal and refusal.version.pk == version.pk and now < refusal.try_again_at:
            return False
        served = self._served.get(_scope(version))
        return served is None or served.version.pk != version.pk or not _fits(version)

    def _bring_in(self, version: ModelVersion, now: datetime) -> Swap | None:
        code = version.profile.code
        try:
            registry.refuse_other_profile(version, _current_profile(version))
            loaded = Served(version, registry.load(version))
        except (registry.ModelUnloadable, registry.ArtefactUnavailable) as error:
            self._refuse(version, error, now)
            return None
        before = self._put(_scope(version), loaded)
        self._forgive(version, now)
        log.info("model_swapped", profile=code, version=version.name, before=before and before.version.name)
        return Swap(code, before.version if before else None, version)

    def _refuse(self, version: ModelVersion, error: Exception, now: datetime) -> None:
        self._forgive_other(version, now)
        self._refused[_scope(version)] = _Refusal(version, str(error), now + TRY_AGAIN_AFTER)
        self._raise_alert(
            subject=registry.subject(version), kind=UNLOADABLE, words=str(error), severity="high", now=now
        )
        log.error("model_unloadable", version=version.name, reason=str(error))

    def _forgive(self, version: ModelVersion, now: datetime) -> None:
        self._forgive_other(version, now)
        self._refused.pop(_scope(version), None)
        self._clear_alert(subject=registry.subject(version), kind=UNLOADABLE, now=now)

    def _forgive_other(self, version: ModelVersion, now: datetime) -> None:
        """Another version took the refused one's place, so that nothing is wrong with that one any more."""
        refusal = self._refused.get(_scope(version))
        if refusal and refusal.version.pk != version.pk:
            self._clear_alert(subject=registry.subject(refusal.version), kind=UNLOADABLE, now=now)

    def _let_go(self, scope: Scope) -> Swap | None:
        before = self._put(scope, None)
        return Swap(scope[0], before.version, None) if before else None


def _scope(version: ModelVersion) -> Scope:
    return version.profile.code, version.mote_id or 0


def _first_look(profile: Profile, kind: Kind) -> dict[Scope, Served | None]:
    """What serves a profile when the process first meets it; the next refresh tries a failure again and tells it."""
    found: dict[Scope, Served | None] = {}
    for version in _production(kind).filter(profile__code=profile.code):
        try:
            found[_scope(version)] = Served(version, registry.load(version))
        except (registry.ModelUnloadable, registry.ArtefactUnavailable) as error:
            log.error("model_unloadable", version=version.name, reason=str(error))
    return found


def _production(kind: Kind) -> QuerySet[ModelVersion, Any]:
    current = ProfileVersion.objects.filter(profile=OuterRef("profile"), is_current=True).values("number")
    return (
        ModelVersion.every.filter(kind=kind, stage=ModelVersion.Stage.PRODUCTION)
        .select_related("profile", "mote__site")
        .defer("data", "metrics", "calibration", "features")
        .annotate(current_profile=Subquery(current[:1]))
    )


def _current_profile(version: ModelVersion) -> int:
    """0 where the profile has no current version any more."""
    return getattr(version, "current_profile", None) or 0  # annotated by _production


def _fits(version: ModelVersion) -> bool:
    return version.profile_version == _current_profile(version)


def record_serving(
    version: ModelVersion,
    *,
    topic: str,
    topic_id: str = "",
    partition: int,
    from_offset: int,
    who: str,
    why: str,
    now: datetime,
) -> ServingPeriod:
    """Notes from which message of a partition on the version judges; noting it again changes nothing."""
    period, _ = ServingPeriod.objects.get_or_create(
        version=version,
        topic=topic,
        topic_id=topic_id,
        partition=partition,
        from_offset=from_offset,
        defaults={"started_at": now, "who": who, "why": why},
    )
    return period


def served(
    topic: str, partition: int, offset: int, *, profile: str, topic_id: str = "", mote: int | None = None
) -> ModelVersion | None:
    """The version of the profile, or of one mote, that judged a message; None where no model served yet.

    `topic_id` is the broker's id of the topic, since one that was made anew counts its offsets anew.
    """
    period = (
        ServingPeriod.objects.filter(
            topic=topic,
            topic_id=topic_id,
            partition=partition,
            from_offset__lte=offset,
            version__profile__code=profile,
            version__mote=mote,
        )
        .select_related("version__profile")
        .order_by("-from_offset", "-pk")
        .first()
    )
    return period.version if period else None
