"""Checking an evidence bundle: is it what was written, and do its readings get the same scores again?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from alerts.models import Evidence
from mlops.evidence import rescoring
from mlops.evidence.bundle import BadBundle, Bundle
from mlops.evidence.rescoring import CannotLoad
from mlops.evidence.taking import Engines
from mlops.models import ModelVersion
from sensors.readings import Profile, from_table


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found; `is_known` says whether this installation has written that very file."""

    alert: int
    words: str
    is_known: bool
    n_readings: int
    peak_stored: float | None
    peak_again: float | None
    worst: float
    n_by_neighbours: int

    @property
    def is_same(self) -> bool:
        return self.n_readings > 0 and self.worst <= rescoring.SAME


def verify(data: bytes) -> Verified:
    """Scores the bundle's readings again. BadBundle or CannotLoad say why that cannot be done."""
    bundle = Bundle.from_bytes(data)
    told = bundle.told
    profile = msgspec.convert(told["profile"], Profile)
    # No state is one, too: that of an engine which had met nothing yet.
    if "from_offset" not in told["scoring"] or not len(bundle.readings):
        raise BadBundle(f"The bundle cannot be scored again: {told['scoring'].get('why', 'it has no readings')}.")
    versions = told["scoring"].get("versions", [])
    _refuse_other_models(versions, profile.code)
    threshold = next((one["threshold"] for one in versions if "threshold" in one), None)
    batch = from_table(profile, bundle.readings, bundle.readings["utc_offset_s"].to_numpy())
    again = rescoring.rescore(bundle.state, batch, Engines(profile, threshold=threshold))
    peak = _row_of(told["event"]["peak_at"], bundle)
    return Verified(
        alert=told["alert"]["id"],
        words=told["alert"]["words"],
        is_known=Evidence.objects.filter(sha256=hashlib.sha256(data).hexdigest()).exists(),
        n_readings=len(batch),
        peak_stored=None if peak is None else float(batch.surprise[peak]),
        peak_again=None if peak is None else float(again.batch.surprise[peak]),
        worst=again.worst,
        n_by_neighbours=int(again.by_neighbours.sum()),
    )


def _refuse_other_models(versions: list[dict[str, Any]], profile: str) -> None:
    """The version that the registry has under a number must be the one that judged."""
    for one in versions:
        found = ModelVersion.objects.filter(profile__code=profile, number=one["number"]).first()
        if one["sha256"] is not None and (found is None or found.sha256 != one["sha256"]):
            there = "has none of that number" if found is None else f"has {found.sha256[:12]} there"
            raise CannotLoad(f"{one['name']} (sha256 {str(one['sha256'])[:12]}) judged, but this registry {there}.")


def _row_of(at: str, bundle: Bundle) -> int | None:
    rows = bundle.readings["at"].dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").to_list()
    return rows.index(at) if at in rows else None
