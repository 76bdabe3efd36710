"""What an administrator does with versions in the admin."""

from __future__ import annotations

from mlops import registry
from mlops.models import TrainingJob
from sensors.models import Mote
from tests.conftest import NOON
from tests.people import *  # noqa: F403


def act(client, action: str, *versions):
    data = {"action": action, "_selected_action": [version.pk for version in versions]}
    return client.post("/admin/mlops/modelversion/", data, follow=True).content.decode()


def test_a_version_is_trained_again_for_its_own_scope_once(version, admin_client):
    own = version(mote=Mote.objects.get(code="7"))

    assert "queued for training" in act(admin_client, "train_again", own)
    assert "being trained already" in act(admin_client, "train_again", own)

    assert [str(job.mote) for job in TrainingJob.objects.all()] == ["main/7"]


def test_a_motes_version_is_withdrawn(version, admin_client):
    own = version(mote=Mote.objects.get(code="7"))
    registry.promote(own, who=None, why="test", now=NOON)

    assert "withdrawn" in act(admin_client, "withdraw", own)
    assert "does not serve" in act(admin_client, "withdraw", own)

    assert registry.production("indoor", own.mote) is None
