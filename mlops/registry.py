"""The registry: versions are stored whole, promoted one at a time, and checked before they are trusted."""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version as installed
from typing import Any, Protocol, Self

import joblib
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import models, transaction

from alerts.services import clear_system_alert, raise_system_alert
from mlops.classifying import FittedClassifier
from mlops.forecasts.learnt import FittedForecasts
from mlops.models import KIND_FLAGS, Kind, ModelVersion, TrainingJob, VersionCounter
from sensors import audit
from sensors.models import Mote, Onset, Profile, ProfileVersion
from sensors.registry import touch_fleet

CHANGED = "artefact_changed"
# What an artefact's meaning hangs on; a newer patch release is trusted to read what an older one wrote.
LIBRARIES = ("joblib", "numba", "numpy", "scikit-learn")


class NotValidated(Exception):
    """A model without metrics from held-out data; it is never registered."""


class JobTakenAway(Exception):
    """The job was cancelled or given up while it worked; what it made is not registered."""


class AlreadyPromoted(Exception):
    """The version serves already."""


class NothingToRollBackTo(Exception):
    """No earlier version of the scope ever served."""


class NotServing(Exception):
    """The version is not in production."""


class ArtefactUnavailable(Exception):
    """The artefact storage does not answer or does not keep what it was given: wait and try again."""


class ModelUnloadable(Exception):
    """A version that must not serve as it is; the subclass says why."""


class ArtefactMissing(ModelUnloadable):
    pass


class ArtefactChanged(ModelUnloadable):
    pass


class LibraryChanged(ModelUnloadable):
    pass


class OtherProfileVersion(ModelUnloadable):
    pass


class Profiled(Protocol):
    """Which version of which profile something was made for."""

    @property
    def code(self) -> str: ...
    @property
    def version(self) -> int: ...


class Fitted(Protocol):
    """What a version keeps: an engine, a classifier or forecasts."""

    @property
    def profile(self) -> Profiled: ...
    @property
    def features(self) -> Sequence[str]: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def calibration(self) -> Any: ...
    @property
    def own_onset(self) -> float | None: ...
    def numbered(self, number: int) -> Self: ...


def kind_of(fitted: Any) -> Kind:
    kinds = {FittedClassifier: Kind.CLASSIFIER, FittedForecasts: Kind.FORECAST}
    return kinds.get(type(fitted), Kind.DETECTOR)


def libraries() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: installed(name) for name in LIBRARIES}}


def subject(version: ModelVersion) -> str:
    """What audit entries and alerts about the version are filed under."""
    return f"model:{version.name}"


def register(
    fitted: Fitted,
    *,
    profile: Profile,
    mote: Mote | None = None,
    data: Mapping[str, Any],
    metrics: Mapping[str, Any],
    job: TrainingJob | None,
    now: datetime,
    is_import: bool = False,
) -> ModelVersion:
    """Stores what was fitted and then its row; with a job, only if that job is still running.

    An import comes without metrics of ours, and archived: `promote` refuses it until somebody has measured it.
    """
    if not metrics and not is_import:
        raise NotValidated(
            f"A model of {profile} has no metrics from held-out data; evaluate it before registering it."
        )
    number = _next_number(profile)
    # The profile's code makes the name unique, since each profile counts its own versions.
    scope = f"{profile.code}/{mote.site.code}/{mote.code}" if mote else profile.code
    kind = kind_of(fitted)
    name = f"{scope}/{kind.value}_v{number}_{now:%Y%m%d}"
    content = _dumped(fitted.numbered(number))
    artefact = _stored(f"models/{name}.joblib", content)
    try:
        with transaction.atomic():
            version = ModelVersion.objects.create(
                number=number,
                kind=kind,
                name=name,
                profile=profile,
                mote=mote,
                stage=ModelVersion.Stage.ARCHIVED if is_import else ModelVersion.Stage.CANDIDATE,
                artefact=artefact,
                sha256=_sha256(content),
                size=len(content),
                profile_version=fitted.profile.version,
                features=list(fitted.features),
                parameters=dict(fitted.parameters),
                libraries=libraries(),
                seed=int(fitted.parameters["seed"]),
                data=dict(data),
                metrics=dict(metrics),
                calibration=dict(fitted.calibration),
                created_at=now,
            )
            if fitted.own_onset is not None:
                # Readings that it will judge are told by it for ever.
                Onset.objects.create(profile=profile, model_version=number, surprise=fitted.own_onset)
                touch_fleet()
            if job is not None:
                _hand_over(job, version)
    except Exception:
        default_storage.delete(artefact)
        raise
    return version


def _next_number(profile: Profile) -> int:
    """A number that nobody else gets, ever; one that ends unused stays unused."""
    with transaction.atomic():
        VersionCounter.objects.get_or_create(profile=profile)
        VersionCounter.objects.filter(profile=profile).update(last=models.F("last") + 1)
        return VersionCounter.objects.get(profile=profile).last


def _hand_over(job: TrainingJob, version: ModelVersion) -> None:
    moved = TrainingJob.objects.filter(
        pk=job.pk, status=TrainingJob.Status.RUNNING, result=None, cancel_requested=False
    ).update(result=version)
    if not moved:
        raise JobTakenAway(f"Job {job.pk} is no longer running; its model is not registered.")


def _dumped(fitted: Fitted) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(fitted, buffer, compress=3)
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stored(name: str, content: bytes) -> str:
    """The name under which the storage keeps exactly this content."""
    try:
        kept = default_storage.save(name, ContentFile(content))
        same = _read(kept) == content
    except Exception as error:  # every storage backend has errors of its own
        raise ArtefactUnavailable(f"The artefact storage did not take {name}: {error}") from error
    if not same:
        raise ArtefactUnavailable(f"The artefact storage gave back other bytes than it was given for {name}.")
    return kept


def _read(name: str) -> bytes:
    with default_storage.open(name) as file:
        return bytes(file.read())


def load(version: ModelVersion) -> Any:
    """What was fitted; nothing of the artefact is unpickled unless its checksum is the registered one."""
    content = checked(version)
    _refuse_changed_libraries(version)
    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:  # whatever a pickle of another age may raise
        raise LibraryChanged(
            f"{version.name} was written by code that this release no longer reads ({error}); {_refit(version)}."
        ) from error


def checked(version: ModelVersion) -> bytes:
    """The artefact's bytes, which are those that were registered."""
    try:
        content = _read(version.artefact)
    except FileNotFoundError:
        raise ArtefactMissing(
            f"The artefact of {version.name} is not at {version.artefact}; restore it from a backup or train again."
        ) from None
    except Exception as error:  # every storage backend has errors of its own
        raise ArtefactUnavailable(f"The artefact of {version.name} cannot be read now: {error}") from error
    if _sha256(content) != version.sha256:
        raise ArtefactChanged(
            f"The artefact of {version.name} is not the one that was registered: its SHA-256 is "
            f"{_sha256(content)[:12]}…, registered was {version.sha256[:12]}…. Restore it from a backup or train again."
        )
    return content


def _refit(version: ModelVersion) -> str:
    """How to make the like of it with what is installed: on the same days, with the same seed."""
    parts = version.data.get("parts", {})
    scope = f"--profile {version.profile.code}" + (f" --mote {version.mote}" if version.mote else "")
    days = f" --start {parts['train']['first_at']} --end {parts['held_out']['last_at']}" if parts else ""
    flags = KIND_FLAGS[Kind(version.kind)]
    return f"refit it with manage.py train {scope}{flags}{days} --seed {version.seed}"


def _refuse_changed_libraries(version: ModelVersion) -> None:
    here = libraries()
    changed = [
        f"{name} {there} there, {here[name]} here"
        for name, there in version.libraries.items()
        if name in LIBRARIES and _minor(there) != _minor(here[name])
    ]
    if changed:
        raise LibraryChanged(f"{version.name} was made with other libraries: {'; '.join(changed)}; {_refit(version)}.")


def _minor(release: str) -> list[str]:
    return release.split(".")[:2]


def refuse_other_profile(version: ModelVersion, current: int) -> None:
    """A model knows the channels of its own profile version only."""
    if version.profile_version != current:
        raise OtherProfileVersion(
            f"{version.name} was made for version {version.profile_version} of its profile, which is now at "
            f"version {current}; train again."
        )


def production(profile_code: str, mote: Mote | None = None, *, kind: Kind = Kind.DETECTOR) -> ModelVersion | None:
    """The version that serves the profile as a whole, or the one that the mote has for itself."""
    return (
        ModelVersion.every.select_related("profile", "mote__site")
        .filter(profile__code=profile_code, mote=mote, kind=kind, stage=ModelVersion.Stage.PRODUCTION)
        .first()
    )


def serving(profile_code: str, mote: Mote | None = None, *, kind: Kind = Kind.DETECTOR) -> ModelVersion | None:
    """The version that judges the profile, or the mote: its own, else the profile's."""
    own = production(profile_code, mote, kind=kind) if mote else None
    return own or production(profile_code, kind=kind)


def promote(version: ModelVersion, *, who: User | None, why: str, now: datetime) -> ModelVersion:
    """Makes the version serve its scope and archives the one that did; refuses one that could not be loaded."""
    _refuse_unfit(version, now)
    return _serve(version, deed="promote_version", who=who, why=why, now=now)


def roll_back(
    profile: Profile, *, who: User | None, why: str, now: datetime, mote: Mote | None = None,
    kind: Kind = Kind.DETECTOR,
) -> ModelVersion:  # fmt: skip
    """Lets the version serve again that served the scope before this one."""
    serving = production(profile.code, mote, kind=kind)
    earlier = ModelVersion.every.filter(profile=profile, mote=mote, kind=kind, promoted_at__isnull=False)
    if serving is not None:
        # Only downwards: rolling back twice must not bring back what was rolled back first.
        earlier = earlier.filter(number__lt=serving.number)
    target = earlier.order_by("-promoted_at", "-number").first()
    if target is None:
        raise NothingToRollBackTo(
            f"No earlier model of {mote or profile} ever served, so there is none to roll back to."
        )
    _refuse_unfit(target, now)
    return _serve(target, deed="roll_back_version", who=who, why=why, now=now)


@transaction.atomic
def withdraw(version: ModelVersion, *, who: User | None, why: str, now: datetime) -> ModelVersion:
    """Takes a version out of production with none in its place: a mote is judged by its profile's model again."""
    moved = ModelVersion.every.filter(pk=version.pk, stage=ModelVersion.Stage.PRODUCTION).update(
        stage=ModelVersion.Stage.ARCHIVED
    )
    if not moved:
        raise NotServing(f"{version.name} does not serve, so it cannot be withdrawn.")
    audit.record(deed="withdraw_version", subject=subject(version), who=who, now=now, detail={"why": why})
    version.refresh_from_db()
    return version


def _refuse_unfit(version: ModelVersion, now: datetime) -> None:
    if not version.metrics and not version.validations.filter(holds=True).exists():
        raise NotValidated(
            f"{version.name} was imported and has not held on days of ours: manage.py validate_model {version.name}"
        )
    current = ProfileVersion.objects.get(profile_id=version.profile_id, is_current=True)
    refuse_other_profile(version, current.number)
    try:
        load(version)
    except ArtefactChanged as changed:
        # Somebody has touched what is ours: more people should hear of it than the one who wanted to promote it.
        raise_system_alert(subject=subject(version), kind=CHANGED, words=str(changed), severity="high", now=now)
        raise


@transaction.atomic
def _serve(version: ModelVersion, *, deed: str, who: User | None, why: str, now: datetime) -> ModelVersion:
    # Two promotions of a scope follow each other; the constraint would only let the second one fail.
    Profile.objects.select_for_update(no_key=True).get(pk=version.profile_id)
    scope = ModelVersion.every.filter(profile_id=version.profile_id, mote=version.mote, kind=version.kind)
    previous = scope.filter(stage=ModelVersion.Stage.PRODUCTION).first()
    if previous is not None and previous.pk == version.pk:
        raise AlreadyPromoted(f"{version.name} serves already.")
    scope.filter(stage=ModelVersion.Stage.PRODUCTION).update(stage=ModelVersion.Stage.ARCHIVED)
    scope.filter(pk=version.pk).update(stage=ModelVersion.Stage.PRODUCTION, promoted_at=now)
    audit.record(
        deed=deed,
        subject=subject(version),
        who=who,
        now=now,
        detail={"why": why, "previous": previous.name if previous else None},
    )
    clear_system_alert(subject=subject(version), kind=CHANGED, now=now)
    version.refresh_from_db()
    return version
