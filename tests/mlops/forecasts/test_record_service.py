"""The record on a real object store: what is kept there is there once, whoever writes."""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from mlops.forecasts import record
from sensors.lake import lake
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.contracts.test_lake import empty, s3_options
from tests.mlops.forecasts.issued import said

pytestmark = [pytest.mark.django_db, pytest.mark.service]
HOUR = timedelta(hours=1)


@pytest.fixture
def bucket(addresses, settings):
    """A corner of the real bucket, cleared afterwards."""
    s3, prefix = s3_options(addresses), f"test-{random.randrange(16**12):012x}"
    settings.SIEIS_LAKE = {"root": f"s3://{addresses['S3_BUCKET']}/{prefix}", "s3": s3}
    yield settings
    empty(addresses["S3_BUCKET"], prefix, s3)


def test_forecasts_lie_in_the_bucket_once_and_what_was_missing_follows(bucket):
    install_fleet()
    for hour in range(3):
        record.keep([said(NOON + hour * HOUR, np.full(12, 21.0 + hour))], now=NOON + hour * HOUR)
        if hour != 1:  # the store was away at one
            record.to_lake(lake())
    bucket.SIEIS_LAKE = dict(bucket.SIEIS_LAKE)  # another process, which has not seen the table

    assert record.to_lake(lake()) == 0

    kept = lake().scan("forecasts").group_by("origin_at").agg(pl.len(), pl.col("mean").first()).sort("origin_at")
    assert kept.collect().rows() == [(NOON + hour * HOUR, 12, 21.0 + hour) for hour in range(3)]
