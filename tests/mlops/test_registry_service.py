"""Artefacts on a real object store: kept, checked, missed by name; a store that is away registers nothing."""

from __future__ import annotations

import uuid

import boto3
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from mlops import registry
from mlops.models import ModelVersion

pytestmark = pytest.mark.service


def storage(addresses: dict[str, str], **changes: str) -> dict[str, object]:
    options = {
        "endpoint_url": addresses["S3_ENDPOINT_URL"],
        "access_key": addresses["AWS_ACCESS_KEY_ID"],
        "secret_key": addresses["AWS_SECRET_ACCESS_KEY"],
        "region_name": addresses.get("AWS_REGION", "us-east-1"),
        "location": "files",
        "file_overwrite": True,
        "addressing_style": "path",
    }
    return {"default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {**options, **changes}}}


@pytest.fixture
def bucket(addresses, settings):
    """A bucket of this test alone, as the artefact storage."""
    name = f"registry-{uuid.uuid4().hex[:12]}"
    client = boto3.client(
        "s3", endpoint_url=addresses["S3_ENDPOINT_URL"], region_name=addresses.get("AWS_REGION", "us-east-1"),
        aws_access_key_id=addresses["AWS_ACCESS_KEY_ID"], aws_secret_access_key=addresses["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    client.create_bucket(Bucket=name)
    settings.STORAGES = {**settings.STORAGES, **storage(addresses, bucket_name=name)}
    yield name
    for item in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=item["Key"])
    client.delete_bucket(Bucket=name)


def test_a_version_is_kept_in_the_bucket_and_refused_when_it_was_changed_there(bucket, version):
    one = version()

    assert registry.load(one).number == 1
    default_storage.save(one.artefact, ContentFile(b"something else"))
    with pytest.raises(registry.ArtefactChanged):
        registry.load(one)
    default_storage.delete(one.artefact)
    with pytest.raises(registry.ArtefactMissing, match="restore it from a backup or train again"):
        registry.load(one)


def test_with_the_store_away_nothing_is_registered(addresses, settings, version):
    away = storage(addresses, bucket_name="nowhere", endpoint_url="http://127.0.0.1:9")
    settings.STORAGES = {**settings.STORAGES, **away}

    with pytest.raises(registry.ArtefactUnavailable):
        version()

    assert not ModelVersion.objects.exists()
