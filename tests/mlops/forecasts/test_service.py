"""The same on real servers: readings in InfluxDB, lake in a bucket."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import pytest

from mlops.forecasts.serving import Foreteller
from sensors.registry import current_fleet
from tests import stack
from tests.conftest import NOON
from tests.contracts.test_lake import empty, s3_options
from tests.mlops.forecasts.world import fill, install, trained

pytestmark = [pytest.mark.service, pytest.mark.django_db]


def test_forecasts_from_influxdb_and_a_bucket_are_those_of_the_embedded_stores(
    addresses: dict[str, str], settings: Any
) -> None:
    fleet = install()
    trained(horizon_h=3.0)
    embedded = told()
    name, s3 = f"sieis-test-forecasts-{secrets.token_hex(4)}", s3_options(addresses)
    try:
        with stack._influx(addresses, name):
            settings.SIEIS_LAKE = {"root": f"s3://{addresses['S3_BUCKET']}/{name}", "s3": s3}
            settings.SIEIS_HOT_STORE = {
                "BACKEND": "sensors.stores.influx.InfluxStore",
                "OPTIONS": {
                    "url": addresses["INFLUXDB_V2_URL"], "org": addresses.get("INFLUXDB_V2_ORG", "sieis"),
                    "bucket": name, "token": addresses["INFLUXDB_V2_TOKEN"],
                },
            }  # fmt: skip
            fill(fleet)
            served = told()
    finally:
        empty(addresses["S3_BUCKET"], name, s3)

    assert len(served) == 4
    assert all(np.allclose(one, other) for one, other in zip(served, embedded, strict=True))


def told() -> list[Any]:
    found = list(Foreteller().forecasts_of(current_fleet().motes, [], None, now=NOON))
    return [one.mean for one in found]
