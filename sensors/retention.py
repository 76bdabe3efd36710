"""How long the hot store keeps readings; the lake keeps them all."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from sensors import registry
from sensors.models import Mote
from sensors.stores import HotStore


def forget_old_readings(store: HotStore, *, keep: timedelta) -> int:
    """Deletes what is older than `keep`, back from the newest reading of the same site; answers for how many motes.

    Back from the newest and not from now: a site whose data ended years ago keeps its last weeks.
    """
    n = 0
    for profile in registry.profiles().values():
        motes: dict[int, list[int]] = {}
        for pk, site in Mote.objects.filter(profile__code=profile.code).values_list("pk", "site_id"):
            motes.setdefault(site, []).append(pk)
        for members in motes.values():
            newest = store.latest(profile, members).select(pl.col("at").max()).item()
            if newest is not None:
                store.forget(profile, members, newest - keep)
                n += len(members)
    return n
