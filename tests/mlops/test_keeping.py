"""Versions as bundles and backups, as a registry file that others read and write, and which of them are kept."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from io import StringIO

import joblib
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from alerts.models import Alert, Event
from mlops import keeping, registry
from mlops.models import ModelVersion
from sensors.models import Mote
from tests.conftest import NOON
from tests.mlops.conftest import LATER
from tests.people import *  # noqa: F403


def said(*command: str, **options: object) -> str:
    out = StringIO()
    call_command(*command, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def packed(version, tmp_path):
    """A backup of one version, unpacked, as another place would send it."""
    version()
    with default_storage.open(keeping.backup(NOON)) as file, zipfile.ZipFile(io.BytesIO(file.read())) as backup:
        backup.extractall(tmp_path)
    ModelVersion.objects.all().delete()
    return tmp_path


# ---- bundles ----------------------------------------------------------------------------------------------------


def test_a_bundle_says_itself_whether_it_is_whole(version, charlie_client, tmp_path):
    one = version()

    answer = charlie_client.get(f"/api/v1/models/{one.name}/bundle")

    assert answer["Content-Disposition"].endswith('anomaly_detector_v1_20260302.zip"')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        bundle.extractall(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["version"], card["sha256"], card["seed"]) == (one.name, one.sha256, 42)
    verify = [sys.executable, str(tmp_path / "verify.py")]
    whole = subprocess.run(verify, capture_output=True, text=True, check=False)
    (tmp_path / "model.joblib").write_bytes(b"another model")
    changed = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (whole.returncode, whole.stdout.strip()) == (0, "All 2 files are as they were packed.")
    assert (changed.returncode, changed.stdout.strip()) == (1, "Changed or missing: model.joblib")


def test_a_changed_artefact_is_not_handed_out(version, charlie_client):
    one = version()
    default_storage.save(one.artefact, ContentFile(b"something else"))

    answer = charlie_client.get(f"/api/v1/models/{one.name}/bundle")

    assert answer.status_code == 409
    assert "SHA-256" in answer.json()["detail"]


def test_a_changed_artefact_is_refused_and_alerted_when_somebody_promotes_it(version):
    one = version()
    good = registry.checked(one)
    default_storage.save(one.artefact, ContentFile(b"something else"))

    with pytest.raises(registry.ArtefactChanged):
        registry.promote(one, who=None, why="test", now=NOON)

    alert = Alert.objects.get(subject=registry.subject(one), kind="artefact_changed")
    assert alert.status == Alert.Status.OPEN
    default_storage.save(one.artefact, ContentFile(good))
    registry.promote(one, who=None, why="restored", now=LATER)
    alert.refresh_from_db()
    assert alert.status == Alert.Status.RESOLVED


# ---- backups and the file ----------------------------------------------------------------------------------------


def test_backups_are_named_by_their_instant_and_the_newest_ten_are_kept(version):
    version()

    for minute in range(12):
        keeping.backup(NOON.replace(minute=minute))

    _, kept = default_storage.listdir("backups/models")
    assert sorted(kept)[0] == "models_20260302T120200Z.zip"
    assert len(kept) == 10


def test_a_registry_is_exported_for_those_who_expect_the_file(version, tmp_path):
    one = version()
    registry.promote(one, who=None, why="test", now=NOON)

    assert "names 1 versions" in said("export_registry", "--to", str(tmp_path / "model_registry.json"))

    told = json.loads((tmp_path / "model_registry.json").read_text())
    assert told["active_models"] == [one.name]
    assert told["models"][0]["metrics"]["found_share"] == 0.9
    assert "models_" in said("export_registry", "--backup")


def test_a_dry_run_says_what_an_import_would_take_and_reads_nothing(packed, indoor):
    out = said("import_registry", str(packed), "--dry-run")

    assert "indoor/anomaly_detector_v1_20260302: " in out
    assert "checksum as declared" in out
    assert not ModelVersion.objects.exists()


def test_without_trust_nothing_is_unpickled(packed, indoor):
    with pytest.raises(CommandError, match="say --trust"):
        said("import_registry", str(packed))

    assert not ModelVersion.objects.exists()


def test_an_imported_version_is_archived_under_a_number_of_ours_and_serves_only_once_validated(packed, indoor):
    assert "archived; it can serve once it is validated" in said("import_registry", str(packed), "--trust")

    version = ModelVersion.objects.get()
    assert (version.number, version.stage, version.metrics) == (2, "archived", {})
    assert version.data["imported_as"] == "indoor/anomaly_detector_v1_20260302"
    assert version.data["claimed_metrics"]["found_share"] == 0.9
    with pytest.raises(registry.NotValidated, match=r"manage\.py validate_model"):
        registry.promote(version, who=None, why="test", now=LATER)

    version.validations.create(
        made_at=LATER,
        trigger="test",
        starts_at=NOON,
        ends_at=LATER,
        n_readings=1,
        metrics={},
        holds=True,
        words="holds",
    )
    assert registry.promote(version, who=None, why="it holds", now=LATER).stage == "production"
    assert registry.load(version).number == 2


def test_what_cannot_be_taken_over_is_told_one_by_one(packed, indoor, tmp_path):
    file = packed / "model_registry.json"
    (entry,) = json.loads(file.read_text())["models"]
    foreign = packed / "foreign.joblib"
    joblib.dump({"a": "forest"}, foreign)
    digest = registry._sha256(foreign.read_bytes())
    file.write_text(
        json.dumps(
            {
                "changed": {**entry, "version": "changed", "sha256": "0" * 64},
                "missing": {"model_path": "nowhere.pkl"},
                "outside": {"model_path": "../../etc/passwd"},
                "foreign": {"model_path": "foreign.joblib", "sha256": digest},
                "unsigned": {"model_path": "foreign.joblib"},
            }
        )
    )
    err = StringIO()

    with pytest.raises(CommandError, match="No version was taken over"):
        said("import_registry", str(packed), "--trust", stderr=err)

    for words in (
        "changed: its artefact is not the one that was registered",
        "missing: its artefact is not there",
        "outside: names an artefact outside its folder",
        "foreign is a dict, no detection engine",
        "unsigned: declares no SHA-256",
    ):
        assert words in err.getvalue()


def test_a_file_that_is_no_registry_is_refused_with_what_was_expected(indoor, tmp_path):
    (tmp_path / "model_registry.json").write_text("[1, 2]")

    with pytest.raises(CommandError, match="no list of models"):
        said("import_registry", str(tmp_path))
    with pytest.raises(CommandError, match=r"Expected model_registry\.json"):
        said("import_registry", str(tmp_path / "nothing"))


# ---- which are kept ----------------------------------------------------------------------------------------------


def test_the_last_five_and_all_that_ever_served_or_an_open_alert_cites_are_kept(version, indoor):
    versions = [version() for _ in range(9)]
    registry.promote(versions[0], who=None, why="test", now=NOON)
    registry.promote(versions[1], who=None, why="test", now=LATER)
    mote = Mote.objects.get(code="7")
    alert = Alert.objects.create(
        subject="mote:main/7", kind="anomaly", severity="high", mote=mote, words="x", first_seen_at=NOON,
        last_seen_at=NOON,
    )  # fmt: skip
    Event.objects.create(
        mote=mote, alert=alert, noticed_at=NOON, started_at=NOON, last_at=NOON, n_readings=1, peak_surprise=5.0,
        peak_at=NOON, peak_channel="light", peak_value=1.0, layer="level", contributions={}, words="x", model_version=3,
    )  # fmt: skip
    artefact = versions[3].artefact

    assert keeping.retire(indoor, now=LATER) == [versions[3].name]

    assert list(ModelVersion.objects.order_by("number").values_list("number", flat=True)) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert not default_storage.exists(artefact)
    assert keeping.retire(indoor, now=LATER) == []


def test_each_scope_keeps_its_own_last_five(version, indoor):
    for _ in range(6):
        version()
    own = version(mote=Mote.objects.get(code="7"))

    assert len(keeping.retire(indoor, now=LATER)) == 1
    assert ModelVersion.objects.filter(pk=own.pk).exists()
