"""How long the hot store keeps readings; the lake keeps them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from sensors import registry
from sensors.models import Mote, Site
from sensors.readings import Profile
from sensors.stores import HotStore

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
ASKED_ONE_BY_ONE = 200  # motes of a site and profile; of more it is not said how many of them lose readings


@dataclass(frozen=True, slots=True)
class Cut:
    """What keeping for so long would take out of the hot store now, of one profile at one site."""

    profile: str
    site: str
    newest_at: datetime
    cut_at: datetime
    n_readings: int
    n_leaving: int
    n_motes: int | None  # that would lose readings; None where there are too many to ask each

    @property
    def share(self) -> float:
        return self.n_leaving / self.n_readings if self.n_readings else 0.0


def forget_old_readings(store: HotStore, *, keep: timedelta) -> int:
    """Deletes what is older than `keep`, back from the newest reading of the same site; answers for how many motes.

    Back from the newest and not from now: a site whose data ended years ago keeps its last weeks.
    """
    n = 0
    for profile, _, members, newest in _groups(store):
        store.forget(profile, members, newest - keep)
        n += len(members)
    return n


def preview(store: HotStore, *, keep: timedelta) -> list[Cut]:
    """What the next night would delete if readings were kept for so long; deletes nothing."""
    sites = dict(Site.objects.values_list("pk", "code"))
    return [_cut(store, *group, keep=keep, sites=sites) for group in _groups(store)]


def _groups(store: HotStore) -> Iterator[tuple[Profile, int, list[int], datetime]]:
    """Each profile and site with its motes and its newest reading, where there is one."""
    for profile in registry.profiles().values():
        motes: dict[int, list[int]] = {}
        for pk, site in Mote.objects.filter(profile__code=profile.code).values_list("pk", "site_id"):
            motes.setdefault(site, []).append(pk)
        for site, members in motes.items():
            newest = store.latest(profile, members).select(pl.col("at").max()).item()
            if newest is not None:
                yield profile, site, members, newest


def _cut(
    store: HotStore,
    profile: Profile,
    site: int,
    motes: Sequence[int],
    newest: datetime,
    *,
    keep: timedelta,
    sites: dict[int, str],
) -> Cut:
    cut_at = newest - keep
    n_leaving = store.count(profile, BEGINNING, cut_at, motes=motes)
    n_all = n_leaving + store.count(profile, cut_at, newest + timedelta(microseconds=1), motes=motes)
    n_motes: int | None = 0
    if n_leaving:
        few = len(motes) <= ASKED_ONE_BY_ONE
        n_motes = sum(len(store.between(profile, [one], BEGINNING, cut_at, limit=1)) for one in motes) if few else None
    return Cut(profile.code, sites[site], newest, cut_at, n_all, n_leaving, n_motes)
