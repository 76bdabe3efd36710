"""The hot store: recent readings, quickly. A port; which adapter serves it is named in settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import polars as pl
from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from sensors.readings import Profile


class StoreUnavailable(Exception):
    """The store cannot be reached or cannot take anything now: wait and try the same again."""


class StoreRefused(Exception):
    """The store is there and will never take this: trying again is useless."""


class HotStore(Protocol):
    """Keeps readings of a profile by (mote, at). Writing the same reading twice changes nothing.

    Tables have the columns of `sensors.readings.stored_schema`, answers sorted by (mote, at) with absent channels null.
    """

    def write(self, profile: Profile, table: pl.DataFrame) -> None: ...

    def latest(self, profile: Profile, motes: Sequence[int]) -> pl.DataFrame:
        """The newest measured reading of each mote that has one."""
        ...

    def between(
        self,
        profile: Profile,
        motes: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Readings with start <= at < end; with a limit, the first that many."""
        ...

    def existing(self, profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
        """The stored readings that lie at these keys, a table with columns mote and at."""
        ...

    def count(self, profile: Profile, start: datetime, end: datetime, *, motes: Sequence[int] | None = None) -> int:
        """How many readings have start <= at < end, of all motes or of these."""
        ...

    def counts(self, profile: Profile, motes: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
        """How many readings have start <= at < end, by hour and mote: columns hour, mote, n, without empty hours."""
        ...

    def forget(self, profile: Profile, motes: Sequence[int], before: datetime) -> None:
        """Deletes what these motes measured before an instant."""
        ...

    def ping(self) -> None:
        """Returns if the store could take a write now, raises StoreUnavailable otherwise."""
        ...

    def close(self) -> None: ...


_hot: HotStore | None = None


def hot() -> HotStore:
    """The configured hot store, one a process, built at first use."""
    global _hot
    if _hot is None:
        chosen = settings.SIEIS_HOT_STORE
        _hot = import_string(chosen["BACKEND"])(**chosen["OPTIONS"])
    return _hot


def _forget_hot(*, setting: str, **kwargs: object) -> None:
    global _hot
    if setting == "SIEIS_HOT_STORE" and _hot is not None:
        _hot.close()
        _hot = None


setting_changed.connect(_forget_hot)
