"""What becomes of versions beside serving: bundles, backups, the registry as a file, and which of them are kept."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import joblib
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import models, transaction

from alerts.models import Alert, Event
from mlops import registry
from mlops.detection import FittedEngine
from mlops.models import ModelVersion
from sensors import audit
from sensors.models import Mote, Profile

KEPT = 5  # versions of a scope, beside those that ever served
KEPT_BACKUPS = 10
BACKUPS = "backups/models"
REGISTRY = "model_registry.json"
VERIFY = '''"""Checks that this bundle is whole: python verify.py"""
import hashlib, json, pathlib, sys

here = pathlib.Path(__file__).parent
wanted = json.loads((here / "manifest.json").read_text(encoding="utf-8"))["sha256"]
changed = [name for name, digest in wanted.items()
           if not (here / name).is_file() or hashlib.sha256((here / name).read_bytes()).hexdigest() != digest]
print("Changed or missing: " + ", ".join(changed) if changed else f"All {len(wanted)} files are as they were packed.")
sys.exit(1 if changed else 0)
'''


class BadRegistry(Exception):
    """A file that is no registry, or one that holds nothing that could be taken over."""


def card(version: ModelVersion) -> dict[str, Any]:
    """All that the registry knows of a version, as JSON."""
    return {
        "version": version.name,
        "model_id": version.name.rpartition("/")[2],
        "number": version.number,
        "kind": version.kind,
        "profile": version.profile.code,
        "mote": str(version.mote) if version.mote else None,
        "stage": version.stage,
        "is_active": version.stage == ModelVersion.Stage.PRODUCTION,
        "model_path": version.artefact,
        "sha256": version.sha256,
        "size": version.size,
        "created_at": version.created_at.isoformat(),
        "promoted_at": version.promoted_at.isoformat() if version.promoted_at else None,
        "profile_version": version.profile_version,
        "features": version.features,
        "parameters": version.parameters,
        "libraries": version.libraries,
        "seed": version.seed,
        "data": version.data,
        "metrics": version.metrics,
    }


# ---- bundles and backups --------------------------------------------------------------------------------------


def bundle(version: ModelVersion) -> bytes:
    """A ZIP with the artefact, its card, and a program that says whether both are still what they were."""
    content = registry.checked(version)
    return _zipped({"model.joblib": content, "card.json": as_json(card(version))})


def backup(now: datetime) -> str:
    """All versions with their artefacts in one ZIP, named after the instant; the newest ten are kept."""
    versions = list(ModelVersion.every.select_related("profile", "mote__site").order_by("pk"))
    files, lost = {REGISTRY: as_json(exported(versions))}, []
    for version in versions:
        try:
            files[version.artefact] = registry.checked(version)
        except (registry.ModelUnloadable, registry.ArtefactUnavailable) as error:
            lost.append(str(error))
    if lost:
        files["lost.txt"] = "\n".join(lost).encode()
    name = default_storage.save(f"{BACKUPS}/models_{now:%Y%m%dT%H%M%SZ}.zip", ContentFile(_zipped(files)))
    _, kept = default_storage.listdir(BACKUPS)
    for old in sorted(kept)[:-KEPT_BACKUPS]:
        default_storage.delete(f"{BACKUPS}/{old}")
    return name


def _zipped(files: Mapping[str, bytes]) -> bytes:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in {
            **files,
            "manifest.json": as_json({"sha256": digests}),
            "verify.py": VERIFY.encode(),
        }.items():
            packed.writestr(name, content)
    return blob.getvalue()


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


# ---- the registry as a file -----------------------------------------------------------------------------------


def exported(versions: Iterable[ModelVersion]) -> dict[str, Any]:
    """`model_registry.json`: every version, and which are active."""
    cards = [card(version) for version in versions]
    return {"models": cards, "active_models": [one["version"] for one in cards if one["is_active"]]}


@dataclass(frozen=True, slots=True)
class Found:
    """A version that a registry file names, with its artefact; `trouble` says why it cannot be taken over."""

    entry: Mapping[str, Any]
    content: bytes
    trouble: str = ""

    @property
    def name(self) -> str:
        return str(self.entry.get("version") or self.entry.get("model_id") or "without a name")

    @property
    def told(self) -> str:
        return f"{self.name}: {self.trouble or f'{len(self.content):,} bytes, checksum as declared'}"


def read_registry(path: Path) -> list[Found]:
    """What a `model_registry.json`, a folder with one, or a backup has. Nothing is unpickled."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                files = {name: packed.read(name) for name in packed.namelist()}
        else:
            files = {REGISTRY: (path / REGISTRY if path.is_dir() else path).read_bytes()}
        entries = json.loads(files[REGISTRY])
        entries = entries.get("models", entries) if isinstance(entries, dict) else entries
        entries = [{"version": name, **one} for name, one in entries.items()] if isinstance(entries, dict) else entries
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        why = f"it has no {REGISTRY}" if isinstance(error, KeyError) or path.is_dir() else error
        raise BadRegistry(
            f"{path} is no registry: {why}. Expected {REGISTRY}, a folder with one, or a backup."
        ) from None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise BadRegistry(f"{path} has no list of models under “models”.")
    return [_found(one, files, path if path.is_dir() else path.parent) for one in entries]


def _found(entry: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> Found:
    named = str(entry.get("model_path") or entry.get("artefact") or entry.get("path") or "")
    if not named:
        return Found(entry, b"", "names no artefact (model_path)")
    if ".." in PurePosixPath(named).parts:
        return Found(entry, b"", f"names an artefact outside its folder: {named}")
    content = files.get(named)
    if content is None:
        places = [folder / named.lstrip("/"), folder / PurePosixPath(named).name]
        content = next((place.read_bytes() for place in places if place.is_file()), None)
    if content is None:
        return Found(entry, b"", f"its artefact is not there: {named}")
    declared = entry.get("sha256")
    if declared and declared != hashlib.sha256(content).hexdigest():
        return Found(entry, content, "its artefact is not the one that was registered (SHA-256)")
    if not declared:
        return Found(entry, content, "declares no SHA-256, so nobody can say whether its artefact is the one it was")
    return Found(entry, content)


def take_over(found: Found, *, who: User | None, now: datetime) -> ModelVersion:
    """Registers it as archived, under a number of ours; it cannot serve before it is validated here.

    Unpickles: only for somebody who has said that the file is trusted.
    """
    if found.trouble:
        raise BadRegistry(found.told)
    known = ModelVersion.every.filter(sha256=found.entry["sha256"]).first()
    if known is not None:
        raise BadRegistry(f"{found.name} is here already, as {known.name}.")
    try:
        fitted = joblib.load(io.BytesIO(found.content))
    except Exception as error:  # whatever a pickle of another place may raise
        raise BadRegistry(f"{found.name} cannot be read here: {error}. Train again on its data.") from error
    if not isinstance(fitted, FittedEngine):
        # A classifier learnt labels and a forecast remembers readings that are not here to hold it to.
        raise BadRegistry(f"{found.name} is a {type(fitted).__name__}, no detection engine; train again on its data.")
    profile = Profile.objects.filter(code=fitted.profile.code).first()
    if profile is None:
        raise BadRegistry(f"{found.name} judges profile {fitted.profile.code}, which is not here; load its pack first.")
    mote = _mote_of(found, profile)
    data = {**found.entry.get("data", {}), "imported_as": found.name, "claimed_metrics": found.entry.get("metrics", {})}
    with transaction.atomic():
        version = registry.register(
            fitted, profile=profile, mote=mote, data=data, metrics={}, job=None, now=now, is_import=True
        )
        audit.record(
            deed="import_version", subject=registry.subject(version), who=who, now=now, detail={"of": found.name}
        )
    return version


def _mote_of(found: Found, profile: Profile) -> Mote | None:
    named = found.entry.get("mote")
    if not named:
        return None
    site, _, code = str(named).rpartition("/")
    mote = Mote.objects.filter(profile=profile, code=code, site__code=site).select_related("site").first()
    if mote is None:
        raise BadRegistry(f"{found.name} judges mote {named}, which is not here.")
    return mote


# ---- which are kept -------------------------------------------------------------------------------------------


def expendable(profile: Profile) -> list[ModelVersion]:
    """Versions that nobody can ask for any more: not among the last five of their scope, and never served or cited."""
    unserved = ModelVersion.every.filter(
        profile=profile, promoted_at=None, stage__in=(ModelVersion.Stage.CANDIDATE, ModelVersion.Stage.ARCHIVED)
    )
    cited = set(
        Event.objects.filter(mote__profile=profile, alert__status__in=Alert.ACTIVE).values_list(
            "model_version", flat=True
        )
    )
    young = {
        pk
        for mote, kind in ModelVersion.every.filter(profile=profile).values_list("mote", "kind").distinct().order_by()
        for pk in ModelVersion.every.filter(profile=profile, mote=mote, kind=kind)
        .order_by("-number")
        .values_list("pk", flat=True)[:KEPT]
    }
    return [one for one in unserved if one.pk not in young and one.number not in cited]


def retire(profile: Profile, *, now: datetime) -> list[str]:
    """Removes what is expendable: the row first, so that no version is ever without its artefact for long."""
    gone = []
    for version in expendable(profile):
        try:
            with transaction.atomic():
                audit.record(deed="remove_version", subject=registry.subject(version), now=now)
                version.delete()
        except models.ProtectedError:
            continue  # somebody has come to hold it meanwhile
        default_storage.delete(version.artefact)
        gone.append(version.name)
    return gone
