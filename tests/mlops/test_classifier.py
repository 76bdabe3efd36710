"""The smoke classifier as a version: trained from labelled readings, judged by detectors not met, asked by the API."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from mlops import classifying, gate, history, predicting, registry, training, training_jobs
from mlops.classifying import FittedClassifier, Profiled
from mlops.models import Kind, Label, ModelVersion, TrainingJob
from mlops.smoke import WINDOWS_S, Recording, SmokeClassifier
from sensors.lake import lake
from sensors.models import Mote, Profile
from sensors.readings import concat, micros
from sensors.registry import profiles
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

N = 1800  # seconds of each detector
FIRE = (1000, 1500)


def world(seed: int) -> np.ndarray:
    """Half an hour of a detector: temperature and TVOC wander, and rise while there is smoke."""
    random = np.random.default_rng(seed)
    values = np.array([22.0, 300.0]) + np.cumsum(random.normal(0, [0.01, 0.5], (N, 2)), axis=0)
    values[slice(*FIRE)] += np.linspace([1.0, 200.0], [30.0, 9000.0], FIRE[1] - FIRE[0])
    return values


@pytest.fixture
def detectors(db):
    """Three detectors with a fire each, labelled, in the lake."""
    kind = builders.profile(
        builders.channel("temperature", aliases=("Temperature[C]",), physical=(-40.0, 125.0)),
        builders.channel("tvoc", aliases=("TVOC[ppb]",), physical=(0.0, 60000.0), normal=(0.0, 900.0)),
        code="smoke", step_s=1.0, interval_s=1.0,
    )  # fmt: skip
    builders.install_fleet(motes=("d1", "d2", "d3"), profile=kind)
    motes = Mote.objects.order_by("code")
    said = [builders.batch(kind, world(one.pk), mote=one.pk, start_us=micros(NOON), step_s=1.0) for one in motes]
    table = concat(said).to_table().with_columns(pl.int_range(3 * N, dtype=pl.Int64).alias("offset"))
    lake().append("silver/smoke", table, app_ids={0: "sensor-readings/0"}, next_offsets={0: 3 * N})
    for mote in motes:
        begin, end = (NOON + timedelta(seconds=s) for s in FIRE)
        Label.objects.create(mote=mote, kind="fire", starts_at=begin, ends_at=end, source="simulator")
    return list(Mote.objects.order_by("code"))


def trained(**parameters):
    """By the job itself, which fits eight times over."""
    job = training_jobs.request(
        "smoke", trigger="person", who=None, now=END, parameters=parameters, kind=Kind.CLASSIFIER
    )
    assert training_jobs.claim(job, now=END)
    return training.train(job, now=END).version


@pytest.fixture(scope="module")
def small():
    """A classifier of few trees."""
    label = np.zeros(N, dtype=np.bool_)
    label[slice(*FIRE)] = True
    recordings = [Recording(f"{n}", world(n), label, f"{n}") for n in (11, 12)]
    with_past, alone = (SmokeClassifier(n_trees=5, windows=windows).fit(recordings) for windows in (WINDOWS_S, ()))
    return FittedClassifier(Profiled("smoke", 1), ("temperature", "tvoc"), {"seed": 42}, with_past, alone)


@pytest.fixture
def version(detectors, small):
    def make():
        smoke = Profile.objects.get(code="smoke")
        metrics = {"precision": 0.9, "is_simulated": True}
        return registry.register(small, profile=smoke, data={}, metrics=metrics, job=None, now=NOON)

    return make


@pytest.fixture
def serving(version):
    return registry.promote(version(), who=None, why="test", now=NOON)


END = NOON + timedelta(seconds=N)


def test_a_classifier_is_judged_by_detectors_it_has_not_met_and_its_card_says_how_little_that_proves(
    detectors, alice_client
):
    version = trained()
    card = alice_client.get(f"/models/card/{version.name}/").content.decode()
    models = alice_client.get("/models/").content.decode()

    assert version.name.startswith("smoke/smoke_classifier_v1_")
    assert version.features == ["temperature", "tvoc"]
    assert version.stage == "production"
    found = version.metrics
    assert (found["n_recordings"], found["n_families"], found["n_readings"]) == (3, 3, 3 * N)
    assert (found["n_found"], found["n_alarms"]) == (3, 3)
    assert found["false_alarms_per_hour"] <= 1.0
    assert found["median_delay_s"] < 120
    assert found["is_simulated"] is True
    assert found["split"].startswith("by detector")
    assert set(found["alone"]) == {"accuracy", "precision", "recall"}
    assert version.data["told_by"] == {"simulator": 3}
    assert "3 recordings of 3 detectors, each judged by what had learnt from the others" in card
    assert "simulated: no evidence for real smoke" in card
    assert "False alarms an hour" in card
    assert version.name in models
    assert "smoke classifier" in models


def test_the_classifier_and_the_engine_of_a_profile_are_trained_and_serve_apart(serving):
    engine = training_jobs.request("smoke", trigger="person", who=None, now=END)
    classifier = training_jobs.request("smoke", trigger="person", who=None, now=END, kind=Kind.CLASSIFIER)

    with pytest.raises(training_jobs.AlreadyTraining, match=f"The smoke classifier is being .* job {classifier.pk}"):
        training_jobs.request("smoke", trigger="person", who=None, now=END, kind=Kind.CLASSIFIER)
    with pytest.raises(training_jobs.AlreadyTraining, match="Profile smoke"):
        training_jobs.request("smoke", trigger="person", who=None, now=END)
    assert registry.production("smoke") is None
    assert registry.production("smoke", kind=Kind.CLASSIFIER) == serving
    assert not ModelVersion.objects.exists(), "what judges readings is the engine's"
    assert engine.kind == Kind.DETECTOR


def test_without_labels_it_is_said_what_is_missing(detectors):
    Label.objects.all().delete()

    with pytest.raises(history.TooLittleData, match="No label tells of smoke at profile smoke"):
        trained()

    assert TrainingJob.objects.get().message.startswith("No label tells of smoke")


def test_recordings_of_one_detector_alone_judge_nothing(small):
    label = np.arange(N) > FIRE[0]

    with pytest.raises(ValueError, match="of one detector"):
        classifying.hold_out([Recording(str(n), world(n), label, "same") for n in (1, 2)], seed=1)


def test_a_classifier_that_is_right_nearly_always_is_suspected_of_a_leak_and_one_that_cries_wolf_refused():
    good = {"false_alarms_per_hour": 0.1, "precision": 0.9, "found_share": 0.9}

    assert gate.judge_classifier(good, None).promote
    loud = gate.judge_classifier({**good, "false_alarms_per_hour": 10.5}, None)
    assert not loud.promote
    assert "false alarms an hour: 10.5, at most 1 wanted" in loud.words
    assert not gate.judge_classifier({**good, "found_share": 0.7}, {"found_share": 0.9}).promote


# ---- asking it --------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    predicting.predictor.cache_clear()
    predicting.predictor().look_s = 0.0
    yield
    predicting.predictor.cache_clear()


def post(client, **row: object):
    return client.post("/predict", json.dumps(row), content_type="application/json")


CALM, FIERY = {"Temperature[C]": 22.0, "TVOC[ppb]": 300.0}, {"Temperature[C]": 50.0, "TVOC[ppb]": 9000.0}


def test_the_smoke_systems_programs_are_answered_by_the_classifier_beside_the_engine(version, fresh, charlie_client):
    assert charlie_client.get("/health").json()["model_loaded"] is False
    version = registry.promote(version(), who=None, why="test", now=NOON)

    calm, fire = (post(charlie_client, **row).json() for row in (CALM, FIERY))
    info = charlie_client.get("/model/info").json()

    assert (calm["prediction"], calm["prediction_label"]) == (0, "no_fire")
    assert (fire["prediction"], fire["prediction_label"]) == (1, "fire")
    assert fire["confidence"]["fire"] + fire["confidence"]["no_fire"] == pytest.approx(1.0)
    assert fire["model_info"]["version"] == info["version"] == version.name
    assert info["model_type"] == "smoke_classifier"
    assert info["metrics"]["is_simulated"] is True
    assert fire["engine"] is None, "no version of the engine serves"
    assert any("by itself" in words for words in fire["assumed"])
    assert post(charlie_client, **{"Temperature[C]": 22.0}).json()["field"] == "tvoc"
    assert charlie_client.get("/health").json()["model_loaded"] is True


def test_a_promotion_is_swapped_in_and_what_cannot_be_loaded_leaves_the_old_one_answering(
    serving, version, fresh, charlie_client
):
    assert post(charlie_client, **CALM).json()["model_info"]["version"] == serving.name
    second = registry.promote(version(), who=None, why="test", now=NOON)
    assert post(charlie_client, **CALM).json()["model_info"]["version"] == second.name
    kept = registry._read(second.artefact)

    back = registry.roll_back(serving.profile, who=None, why="test", now=END, kind=Kind.CLASSIFIER)
    default_storage.delete(second.artefact)
    default_storage.save(second.artefact, ContentFile(kept + b"changed"))

    assert back == serving
    assert post(charlie_client, **CALM).json()["model_info"]["version"] == serving.name
    with pytest.raises(registry.ArtefactChanged, match="not the one that was registered"):
        registry.promote(second, who=None, why="test", now=END)
    assert post(charlie_client, **CALM).json()["model_info"]["version"] == serving.name


def test_a_named_detector_is_judged_with_its_last_minutes(serving, detectors, fresh, charlie_client):
    kind = profiles()["smoke"]
    at = NOON + timedelta(seconds=FIRE[1] - 1)
    own = builders.batch(kind, world(detectors[0].pk), mote=detectors[0].pk, start_us=micros(NOON), step_s=1.0)
    hot().write(kind, own.to_table())
    values = dict(zip(FIERY, world(detectors[0].pk)[FIRE[1] - 1].tolist(), strict=True))

    told = post(charlie_client, **values, mote_id="d1", timestamp=at.isoformat()).json()

    assert told["prediction_label"] == "fire"
    assert not any("by itself" in words for words in told["assumed"])
