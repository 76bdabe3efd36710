"""Small fleets and batches for tests, in a few plain words each."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sensors import models, registry
from sensors.readings import Batch, Channel, Profile


def channel(code: str = "temperature", **changes: Any) -> Channel:
    values: dict[str, Any] = {
        "code": code,
        "label": code.capitalize(),
        "unit": "°C",
        "physical": (-10.0, 50.0),
        "normal": (18.0, 28.0),
        "resolution": 0.01,
        "max_rate_per_s": 0.5,
        "flat_after_s": 3600.0,
    }
    return Channel(**{**values, **changes})


def profile(*channels: Channel, **changes: Any) -> Profile:
    values: dict[str, Any] = {
        "code": "indoor", "version": 1, "label": "Indoor", "step_s": 30.0, "interval_s": 30.0,
        "channels": channels or (channel(),),
    }  # fmt: skip
    return Profile(**{**values, **changes})


def batch(
    profile: Profile,
    values: Any,
    *,
    mote: Any = 1,
    start_us: int = 1_772_452_800_000_000,
    step_s: float = 30.0,
) -> Batch:
    """Readings of one mote (or of `mote`, an array) a step apart, as from partition 0."""
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.shape[1] != len(profile.channels):
        table = table.reshape(-1, len(profile.channels))
    n = len(table)
    at = start_us + (np.arange(n) * step_s * 1e6).astype(np.int64)
    return Batch(
        profile=profile,
        mote=np.broadcast_to(np.asarray(mote, dtype=np.int64), (n,)).copy(),
        at=at,
        values=table,
        utc_offset_s=np.zeros(n, dtype=np.int64),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(n, dtype=np.int64),
        received_at=at + 50_000,
    )


def install_fleet(*, motes: tuple[str, ...] = ("7",), profile: Profile | None = None, site: str = "main") -> None:
    """Motes of one profile in one zone, in the database."""
    chosen = profile or _default_profile()
    now = datetime(2026, 3, 1, tzinfo=UTC)
    place, _ = models.Site.objects.get_or_create(code=site, defaults={"label": site, "time_zone": "UTC"})
    zone, _ = models.Zone.objects.get_or_create(site=place, code="lab", defaults={"label": "Lab"})
    kind, _ = models.Profile.objects.get_or_create(code=chosen.code, defaults={"label": chosen.label})
    version, is_new = models.ProfileVersion.objects.get_or_create(
        profile=kind, number=chosen.version,
        defaults={
            "step_s": chosen.step_s, "interval_s": chosen.interval_s, "is_current": True, "created_at": now,
            "battery": asdict(chosen.battery) if chosen.battery else None,
        },
    )  # fmt: skip
    if is_new:
        for place_no, one in enumerate(chosen.channels):
            models.Channel.objects.create(
                version=version, position=place_no, code=one.code, label=one.label, unit=one.unit,
                physical_min=one.physical[0], physical_max=one.physical[1], normal_min=one.normal[0],
                normal_max=one.normal[1], resolution=one.resolution, max_rate_per_s=one.max_rate_per_s,
                flat_after_s=one.flat_after_s, aliases=list(one.aliases), is_detected=one.is_detected,
                formula=asdict(one.formula) if one.formula else None,
                imputation=one.imputation.method, imputation_limit_s=one.imputation.limit_s,
            )  # fmt: skip
    for code in motes:
        models.Mote.objects.create(site=place, zone=zone, code=code, profile=kind)
    registry.touch_fleet()


def _default_profile() -> Profile:
    return profile(
        channel(),
        channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%"),
        channel("light", physical=(0.0, 2000.0), normal=(0.0, 500.0), unit="lux"),
        channel("voltage", physical=(2.0, 3.0), normal=(2.3, 3.0), unit="V"),
    )
