"""Readings of any age, as corrected: from the hot store, and from the lake what that has no longer or cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import structlog
from django.conf import settings

from sensors import overlay
from sensors.corrections import standing
from sensors.lake import Lake, NoSuchTable, lake
from sensors.readings import INSTANT, KEYS, Profile, stored_schema
from sensors.stores import HotStore, StoreUnavailable, hot
from sensors.stores.tables import with_schema

log = structlog.get_logger(__name__)
HOT, LAKE, BOTH = "hot", "lake", "hot and lake"
LAST_KNOWN = timedelta(hours=6)  # how far the lake is searched for a mote's newest reading


@dataclass(frozen=True, slots=True)
class Found:
    """The readings, which store told them, and in words what could not be asked."""

    table: pl.DataFrame
    tier: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Tiers:
    """The hot store first; the lake for what lies further back than `keep`, and for all if the other is away."""

    hot: HotStore
    lake: Lake
    keep: timedelta

    def between(
        self,
        profile: Profile,
        motes: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        now: datetime,
        limit: int | None = None,
    ) -> Found:
        """Readings with start <= at < end by mote and time; with a limit the first that many of one mote.

        StoreUnavailable only where neither store can be asked.
        """
        try:
            near = self.hot.between(profile, motes, start, end, limit=limit)
        except StoreUnavailable as error:
            log.warning("hot_store_away", error=str(error))
            table = readings_of(self.lake, profile, motes, start, end, limit)
            return Found(self._corrected(profile, motes, table, start, end), LAKE, str(error))
        if start >= now - self.keep:
            return Found(self._corrected(profile, motes, near, start, end), HOT)
        return self._with_lake(profile, motes, near, start, end, limit)

    def latest(self, profile: Profile, motes: Sequence[int], *, now: datetime) -> Found:
        """Each mote's newest reading; StoreUnavailable only where neither store can be asked."""
        try:
            newest, tier, fault = self.hot.latest(profile, motes), HOT, ""
        except StoreUnavailable as error:
            log.warning("hot_store_away", error=str(error))
            known = readings_of(self.lake, profile, motes, now - LAST_KNOWN, now)
            newest = known.group_by("mote", maintain_order=True).last().select(known.columns)
            tier, fault = LAKE, str(error)
        return Found(overlay.corrected(profile, newest, standing(motes)), tier, fault)

    def _with_lake(
        self,
        profile: Profile,
        motes: Sequence[int],
        near: pl.DataFrame,
        start: datetime,
        end: datetime,
        limit: int | None,
    ) -> Found:
        """With what is older than each mote's first reading in the hot store, or all of it where that has none."""
        firsts = near.group_by("mote").agg(pl.col("at").min())["at"]
        until: Any = firsts.max() if len(firsts) == len(set(motes)) else end
        far, fault = near.clear(), ""
        try:
            far = readings_of(self.lake, profile, motes, start, until, limit).join(near, on=KEYS, how="anti")
        except StoreUnavailable as error:
            fault = str(error)
        both = pl.concat([near, far]).sort(KEYS)
        tier = HOT if not len(far) else BOTH if len(near) else LAKE
        return Found(
            self._corrected(profile, motes, both if limit is None else both.head(limit), start, end), tier, fault
        )

    def _corrected(
        self, profile: Profile, motes: Sequence[int], table: pl.DataFrame, start: datetime, end: datetime
    ) -> pl.DataFrame:
        return overlay.corrected(profile, table, standing(motes, start, end))


def readings_of(
    lake: Lake, profile: Profile, motes: Sequence[int], start: datetime, end: datetime, limit: int | None = None
) -> pl.DataFrame:
    """The lake's readings with start <= at < end by mote and time, as they were stored. StoreUnavailable."""
    schema = stored_schema(profile)
    try:
        silver = lake.scan(f"silver/{profile.code}")
        known = set(silver.collect_schema().names())
        days = pl.col("date").is_between(start.astimezone(UTC).date(), end.astimezone(UTC).date())
        at = pl.col("at").cast(INSTANT)
        rows = silver.filter(days & pl.col("mote").is_in(list(motes)) & (at >= start) & (at < end))
        columns = [name for name in schema if name in known]
        order = [name for name in ("partition", "offset") if name in known]
        lazy = rows.select(columns).sort(*KEYS, *order).unique(KEYS, keep="first", maintain_order=True)
        found = (lazy if limit is None else lazy.head(limit)).collect()
    except NoSuchTable:
        return pl.DataFrame(schema=schema)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreUnavailable(f"the lake {lake.root} cannot be read: {error}") from error
    return with_schema(profile, found)


def tiers() -> Tiers:
    """Over the configured stores."""
    return Tiers(hot(), lake(), timedelta(days=settings.SIEIS_HOT_DAYS))
