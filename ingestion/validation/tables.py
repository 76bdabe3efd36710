"""A report by mote and channel, as it is kept and shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ingestion.validation import words
from ingestion.validation.checks import Evidence
from ingestion.validation.figures import Found
from sensors.readings import Battery, Channel

SHOWN = ("excluded", "null", "below", "above", "abnormal", "suspect", "trusted")


def detail(evidence: Evidence) -> dict[str, Any]:
    """Everything beside the checks."""
    found = evidence.found
    kept = {"limits": evidence.limits.to_json(), "motes": [], "left_out": left_out(evidence)}
    if found is None:
        return kept
    return {
        **kept,
        "first_at": found.first_at.isoformat(),
        "last_at": found.last_at.isoformat(),
        "n_days": evidence.n_days,
        "hot_from": evidence.hot_from.isoformat() if evidence.hot_from else None,
        "motes": motes(evidence, found),
    }


def left_out(evidence: Evidence) -> dict[str, Any]:
    """What people took out or recalibrated, counted apart from every check."""
    found, overlays = evidence.found, evidence.scope.overlays
    measured = [channel.code for channel in evidence.measured]
    excluded = sum(found.channel(code)["excluded"] for code in measured) if found else 0
    corrected = found.total("corrected") if found else 0
    sentence = (
        f"People left {words.plural(excluded, 'value')} out, which no check counts, and recalibrated "
        f"{words.plural(corrected, 'reading')}, which are judged as they read now."
    )
    return {
        "stretches": len(overlays),
        "excluded": excluded,
        "corrected": corrected,
        "words": sentence if overlays else "Nobody left anything out or recalibrated it.",
    }


def motes(evidence: Evidence, found: Found) -> list[dict[str, Any]]:
    """One entry a mote, silent ones last."""
    gaps = {mote: (at, waited_s) for mote, at, waited_s in found.gaps.iter_rows()}
    told = [
        _mote(evidence, row, gaps.get(row["mote"]))
        for row in sorted(found.motes.iter_rows(named=True), key=lambda row: list(evidence.codes).index(row["mote"]))
    ]
    return [*told, *({"mote": code, "n": 0} for code in evidence.silent)]


def _mote(evidence: Evidence, row: Mapping[str, Any], gap: tuple[datetime, float] | None) -> dict[str, Any]:
    delivery = evidence.delivery[row["mote"]]
    profile = evidence.scope.profile
    return {
        "mote": evidence.codes[row["mote"]],
        "n": row["n"],
        "booked": evidence.books.stored.get(row["mote"], 0),
        "first_at": row["first"].isoformat(),
        "last_at": row["last"].isoformat(),
        "interval_s": delivery.interval_s,
        "own_interval_s": delivery.own_s,
        "delivered": delivery.share,
        "delivered_by_profile": delivery.by_profile,
        "silences": row["silences"],
        "longest_gap_s": gap[1] if gap else None,
        "gap_ends_at": gap[0].isoformat() if gap else None,
        "channels": {channel.code: _channel(row, channel.code) for channel in profile.channels},
        "battery": _battery(row, profile.battery, profile.channels) if profile.battery else "",
    }


def _channel(row: Mapping[str, Any], code: str) -> dict[str, Any]:
    at = row[f"{code}/first_outside"]
    return {
        **{name: row[f"{code}/{name}"] for name in SHOWN},
        "min": row[f"{code}/min"],
        "max": row[f"{code}/max"],
        "first_outside_at": at.isoformat() if at else None,
    }


def _battery(row: Mapping[str, Any], battery: Battery, channels: tuple[Channel, ...]) -> str:
    """When the battery of a mote was low, and what its other channels did then; empty where it never was."""
    if not row["low"]:
        return ""
    channel = next(one for one in channels if one.code == battery.channel)
    until = row["last_not_low"]
    since = f" and was not seen above it after {words.instant(until)}" if until and until < row["last"] else ""
    sentence = (
        f"{channel.label} first fell below {words.value(battery.low, channel)} on {words.instant(row['first_low'])}"
        f"{since}: {words.percent(row['low'] / row['n'])} of the readings."
    )
    others = [one for one in channels if one.code != battery.channel and one.formula is None]
    return " ".join([sentence, *(_meanwhile(row, one) for one in others if row[f"{one.code}/outside_low"])])


def _meanwhile(row: Mapping[str, Any], channel: Channel) -> str:
    below, above, low = (row[f"{channel.code}/{name}"] for name in ("below", "above", "outside_low"))
    otherwise = row["n"] - row["low"]
    ends = [row[f"{channel.code}/{end}"] for end, n in (("min", below), ("max", above)) if n]
    return (
        f"{channel.label} was then out of range in {words.percent(low / row['low'])} of them (in the others in "
        f"{words.percent((below + above - low) / otherwise if otherwise else None)}), first on "
        f"{words.instant(row[f'{channel.code}/first_outside'])}, as far as "
        f"{' and '.join(words.value(end, channel) for end in ends)}."
    )
