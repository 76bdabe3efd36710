"""Mends one store from the other by what each lacks at (mote, at). Deletes nothing, invents nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import polars as pl

from ingestion.reconciling import comparison, reading
from ingestion.reconciling.reading import Look, Scope
from sensors.lake import Lake
from sensors.readings import stored_schema
from sensors.stores import HotStore

PLACE = ["mote", "at"]


def mend_stores(
    scope: Scope, look: Look, *, lake: Lake, hot: HotStore, tell: Callable[[], None]
) -> tuple[Iterator[str], int]:
    """Writes each store what it lacks of the other, a day at a time; answers what was done, and how many readings."""
    did: Counter[str] = Counter()
    mended = look.mended
    for day in reading.by_day(comparison.differing(look.lines)):
        cold, warm = reading.cold_rows(scope, day, lake), reading.hot_rows(scope, day, hot)
        lost = cold.unique(PLACE, keep="first", maintain_order=True).join(warm, on=PLACE, how="anti")
        if look.boundary is not None and len(lost := lost.filter(pl.col("at") >= look.boundary)):
            hot.write(scope.profile, lost)
            did["to_hot"] += len(lost)
        mended = _mend_lake(scope, look, warm.join(cold, on=PLACE, how="anti"), lake, mended, did)
        did["twice"] += len(cold) - cold.n_unique(PLACE)
        tell()
    return _told(did), did["to_hot"] + did["to_lake"]


def _mend_lake(scope: Scope, look: Look, lacking: pl.DataFrame, lake: Lake, mended: int, did: Counter[str]) -> int:
    """Only what came by a stream goes into the lake; what is still under way comes by itself."""
    stranger = pl.any_horizontal(pl.col(reading.ORIGIN).is_null())
    did["strangers"] += len(lacking.filter(stranger))
    lacking = lacking.filter(~stranger)
    coming = reading.under_way(reading.keys(lacking), look.marks, lake)
    lacking = lacking.join(coming, on=PLACE, how="anti").select(list(stored_schema(scope.profile)))
    if not len(lacking):
        return mended
    lake.mend(scope.table, lacking, app_id=scope.mending_id, after=mended)
    did["to_lake"] += len(lacking)
    return mended + 1


def _told(did: Counter[str]) -> Iterator[str]:
    if n := did["to_hot"]:
        yield f"{n:,} readings were written from the lake to the hot store"
    if n := did["to_lake"]:
        yield f"{n:,} readings were written from the hot store to the lake"
    if n := did["strangers"]:
        yield f"{n:,} readings of the hot store came by no stream (they name no message): left where they are"
    if n := did["twice"]:
        yield f"{n:,} readings stand in the lake more than once: left as they are"
