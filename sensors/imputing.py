"""A mote's stored readings with their gaps filled as its profile's channels allow: for the eye, never evidence."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from sensors import corrections
from sensors.fleet import Fleet, MoteRef
from sensors.imputation import LAST_DAYS, METHODS, imputed
from sensors.readings import Profile
from sensors.stores import HotStore


def methods(profile: Profile) -> set[str]:
    """Those that any channel of the profile uses."""
    return {channel.imputation.method for channel in profile.channels} & METHODS.keys()


def between(store: HotStore, fleet: Fleet, mote: MoteRef, start: datetime, end: datetime) -> pl.DataFrame:
    """The readings of the range as they are to be read, and what was imputed between them, flagged as that."""
    profile = fleet.profiles[mote.profile]
    used = methods(profile)
    if not used:
        return corrections.between(store, profile, [mote.id], start, end)
    # A gap may reach over the range's ends, and some methods look further back or aside.
    reach = timedelta(seconds=max(channel.imputation.limit_s for channel in profile.channels))
    back = reach + timedelta(days=LAST_DAYS if "seasonal" in used else 0)
    peers = {mote.id: mote.group_key}
    if "neighbours" in used:
        peers |= {
            one.id: one.group_key
            for one in fleet.motes
            if (one.profile, one.group_key) == (mote.profile, mote.group_key)
        }
    found = corrections.between(store, profile, list(peers), start - back, end + reach)
    filled = imputed(profile, found, peers).filter(pl.col("mote") == mote.id, pl.col("at") >= start, pl.col("at") < end)
    return filled.with_columns(
        pl.col("votes", "event_id", "model_version", "partition", "offset").fill_null(0),
        pl.col("is_anomaly").fill_null(False),
        pl.col("profile_version").fill_null(profile.version),
        pl.col("received_at").fill_null(pl.col("at")),
    )
