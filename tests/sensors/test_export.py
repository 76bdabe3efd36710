"""Downloads hold every reading of the selection, with units and flags, in three forms that others can read."""

from __future__ import annotations

import io
import json
import zlib
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asgiref.sync import async_to_sync

from sensors import analytics_api, quality
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import profiles
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db(transaction=True)  # files are made in threads of their own
DAY = timedelta(days=1)
BAD = quality.OUT_OF_RANGE | 1 << quality.CHANNEL_SHIFT


@pytest.fixture
def two_days(monkeypatch):
    """Two readings of mote 7 on one day, two on the next, one of them flagged; and one of mote 8."""
    monkeypatch.setattr(analytics_api.timezone, "now", lambda: NOON)
    builders.install_fleet(motes=("7", "8"))
    motes = {mote.code: mote.pk for mote in Mote.objects.all()}
    profile = profiles()["indoor"]
    for code, start, temperatures in (
        ("7", NOON - 2 * DAY, [20.0, 21.0]),
        ("7", NOON - DAY, [22.0, 999.0]),
        ("8", NOON - DAY, [5.0]),
    ):
        n = len(temperatures)
        values = np.column_stack([temperatures, np.full(n, 40.0), np.full(n, np.nan), np.full(n, 2.7)])
        batch = builders.batch(profile, values, mote=motes[code], start_us=micros(start))
        batch.flags[:] = np.where(np.array(temperatures) > 100, BAD, 0)
        hot().write(profile, batch.to_table())


def export(client, *, packing="", **query):
    asked = {"start": (NOON - 3 * DAY).isoformat(), **query}
    answer = client.get("/api/v1/sensors/export", asked, headers={"Accept-Encoding": packing})
    assert answer.status_code == 200

    async def received():
        return b"".join([piece async for piece in answer.streaming_content])

    return async_to_sync(received)(), answer.headers


def test_a_csv_has_units_in_its_head_flags_in_words_and_an_empty_field_for_what_was_not_measured(
    two_days, charlie_client
):
    body, headers = export(charlie_client, mote_id="7", form="csv")

    lines = body.decode().splitlines()
    assert lines[0].startswith("site,mote,at,temperature [°C],humidity [%],light [lux],voltage [V],flags,suspect,")
    assert len(lines) == 1 + 4
    assert lines[1].startswith("main,7,2026-02-28T12:00:00Z,20.0,40.0,,2.7,")
    assert "999.0" in lines[4]
    assert "out_of_range,temperature" in lines[4]
    assert headers["Content-Disposition"] == ('attachment; filename="sieis-mote-7-20260227T1200-20260302T1200Z.csv"')


def test_parquet_and_ndjson_hold_the_same_readings(two_days, charlie_client):
    parquet = pl.read_parquet(io.BytesIO(export(charlie_client, form="parquet")[0]))
    rows = [json.loads(line) for line in export(charlie_client, form="ndjson")[0].splitlines()]

    assert parquet["temperature [°C]"].to_list() == [row["temperature"] for row in rows]
    assert sorted(parquet["temperature [°C]"].to_list()) == [5.0, 20.0, 21.0, 22.0, 999.0]
    assert parquet["mote"].to_list() == [row["mote"] for row in rows]


def test_only_the_channels_asked_for_are_in_it(two_days, charlie_client):
    head = export(charlie_client, channel="humidity", form="csv")[0].decode().splitlines()[0]

    assert head.startswith("site,mote,at,humidity [%],flags")


def test_a_selection_without_a_reading_is_a_file_with_columns_and_no_row(two_days, charlie_client):
    nothing = {"start": (NOON - 9 * DAY).isoformat(), "end": (NOON - 8 * DAY).isoformat()}

    assert len(export(charlie_client, form="csv", **nothing)[0].decode().splitlines()) == 1
    empty = pl.read_parquet(io.BytesIO(export(charlie_client, form="parquet", **nothing)[0]))
    assert (len(empty), empty.columns[3]) == (0, "temperature [°C]")


def test_a_file_that_would_have_a_hole_breaks_off_instead(two_days, charlie_client, tmp_path):
    profile = profiles()["indoor"]
    old = builders.batch(
        profile, [[20.0, 40.0, 1.0, 2.7]], mote=Mote.objects.get(code="7").pk, start_us=micros(NOON - 60 * DAY)
    )
    lake().append("silver/indoor", old.to_table(), app_ids={0: "t/0"}, next_offsets={0: 1})
    span = {"start": (NOON - 61 * DAY).isoformat(), "end": (NOON - 59 * DAY).isoformat()}
    assert len(export(charlie_client, **span)[0].splitlines()) == 2
    for file in (tmp_path / "lake").rglob("*.parquet"):
        file.unlink()

    with pytest.raises(StoreUnavailable, match="cannot be read"):
        export(charlie_client, **span)


def test_a_compressed_download_is_one_whole_which_browsers_read_to_its_end(two_days, charlie_client):
    plain, _ = export(charlie_client, form="csv")
    packed, headers = export(charlie_client, form="csv", packing="gzip")

    unpacker = zlib.decompressobj(wbits=31)  # reads one whole and no second, as Chromium does
    assert headers["Content-Encoding"] == "gzip"
    assert unpacker.decompress(packed) == plain
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")


def test_mallory_downloads_nothing(two_days, client):
    assert client.get("/api/v1/sensors/export").status_code in (401, 403)
