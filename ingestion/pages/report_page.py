"""Quality reports as the pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from ingestion.models import QualityReport
from ingestion.validation import failing, reports
from ingestion.validation.words import duration, percent
from ingestion.words import NOTHING, count, decimals_of, number
from sensors import quality
from sensors.fleet import Fleet
from sensors.models import ProfileVersion
from sensors.readings import Channel

VERDICTS = {True: ("ok", "i-check", "pass"), False: ("bad", "i-cross", "fail"), None: ("", "i-low", "nothing to judge")}
AROUND = timedelta(minutes=30)  # shown of a mote on both sides of a reading


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mark, its shape and its word."""

    look: str
    icon: str
    word: str

    @classmethod
    def of(cls, has_passed: bool | None) -> Verdict:
        return cls(*VERDICTS[has_passed])


@dataclass(frozen=True, slots=True)
class Line:
    """A report in the list."""

    report: QualityReport
    verdict: Verdict
    quality: str
    readings: str
    failed: list[str]

    @property
    def is_unfinished(self) -> bool:
        return self.report.state in reports.UNFINISHED


def line(report: QualityReport) -> Line:
    failed = [check["label"] for check in report.checks if check["has_passed"] is False]
    return Line(report, Verdict.of(report.has_passed), _quality(report), count(report.n_readings), failed)


def _quality(report: QualityReport) -> str:
    return NOTHING if report.quality_percent is None else f"{report.quality_percent:.2f}"


def scope_choices() -> list[tuple[str, str]]:
    """Each profile and site with motes, as a form offers them."""
    try:
        return [(f"{p.code}@{s.code}", f"{p.label} at {s.label}") for p, s in reports.scopes()]
    except reports.CannotValidate:
        return []


def latest() -> list[Line]:
    """The last finished report of each profile and site with motes, for the Data quality page."""
    newest: dict[tuple[str, str], QualityReport] = {}
    done = QualityReport.objects.filter(state=reports.State.DONE).select_related("profile", "site").defer("detail")
    for profile, site in _scopes():
        if found := done.filter(profile=profile, site=site).first():
            newest[profile.code, site.code] = found
    return [line(found) for found in newest.values()]


def _scopes() -> list[tuple[Any, Any]]:
    try:
        return list(reports.scopes())
    except reports.CannotValidate:
        return []


# ---- a report -----------------------------------------------------------------------------------------------


def context(report: QualityReport) -> dict[str, Any]:
    since = reports.compared(report)
    checks = [_check(check, since) for check in report.checks]
    measured = channels(report)
    return {
        "report": report,
        "line": line(report),
        "since": since,
        "change": _change_words(since.quality, "better", "worse") if since else "",
        "checks": checks,
        "n_passed": sum(check["has_passed"] is True for check in report.checks),
        "motes": [_mote(report, one, measured) for one in report.detail.get("motes", [])],
        "channels": measured,
        "batteries": [one for one in report.detail.get("motes", []) if one.get("battery")],
        "first_at": _at(report.detail.get("first_at")),
        "last_at": _at(report.detail.get("last_at")),
    }


def channels(report: QualityReport) -> list[Channel]:
    """Of the version of the profile that judged it."""
    version = ProfileVersion.objects.filter(profile=report.profile, number=report.profile_version).first()
    return list(version.as_profile().channels) if version else []


def _check(check: Mapping[str, Any], since: reports.Comparison | None) -> dict[str, Any]:
    change = since.checks.get(check["name"]) if since else None
    points = change.points if change and change.is_better is not None else None
    return {
        **check,
        "verdict": Verdict.of(check["has_passed"]),
        "change": _change_words(-points, "better", "worse") if points is not None else "",
        "is_better": change.is_better if change else None,
        "query": urlencode({"check": check["name"]}) if check["lists"] and check["n"] else "",
    }


def _change_words(points: float | None, up: str, down: str) -> str:
    if points is None:
        return ""
    if points == 0:
        return "as last time"
    return f"{abs(points):.2f} points {up if points > 0 else down}"


def _mote(report: QualityReport, told: Mapping[str, Any], channels: list[Channel]) -> dict[str, Any]:
    """A row of the table; what is out of range leads to its readings."""
    if not told["n"]:
        return {**told, "is_silent": True}
    first, last = _at(told["first_at"]), _at(told["last_at"])
    return {
        **told,
        "n": count(told["n"]),
        "is_off": told["n"] != told["booked"] and not (report.starts_at or report.ends_at),
        "delivered": percent(told["delivered"]),
        "by_profile": percent(told["delivered_by_profile"]) if _is_other(told) else "",
        "booked": count(told["booked"]),
        "own": f"{told['own_interval_s']:.3g} s" if told["own_interval_s"] else NOTHING,
        "gap": duration(told["longest_gap_s"]) if told["longest_gap_s"] else NOTHING,
        "gap_address": mote_address(report, told["mote"], _at(told["gap_ends_at"])),
        "address": mote_address(report, told["mote"], last),
        "first_at": first,
        "last_at": last,
        "cells": [_cell(told, channel) for channel in channels],
    }


def _is_other(told: Mapping[str, Any]) -> bool:
    """Whether the mote was judged by another interval than the profile's, by more than a sensor's clock is off."""
    return abs(told["delivered"] - told["delivered_by_profile"]) > 0.005


def _cell(told: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    counts = told["channels"][channel.code]
    outside = counts["below"] + counts["above"]
    of = outside + counts["suspect"] + counts["trusted"]
    digits = decimals_of(channel.resolution)
    return {
        "channel": channel,
        "outside": percent(outside / of) if of else NOTHING,
        "span": f"{number(counts['min'], digits)} … {number(counts['max'], digits)}" if of else "no value",
        "nulls": count(counts["null"]) if counts["null"] and channel.formula is None else "",
        "excluded": count(counts["excluded"]) if counts["excluded"] else "",
        "query": urlencode({"check": f"range:{channel.code}", "mote": told["mote"]}) if outside else "",
    }


def mote_address(report: QualityReport, code: str, at: datetime | None) -> str:
    """The mote's own page, around an instant."""
    site = report.site.code if report.site else ""
    if at is None:
        return f"/motes/{site}/{code}/"
    around = {"from": (at - AROUND).isoformat(), "to": (at + AROUND).isoformat()}
    return f"/motes/{site}/{code}/?{urlencode(around)}"


def _at(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# ---- the readings behind a verdict --------------------------------------------------------------------------


def listing_context(report: QualityReport, asked: Mapping[str, str]) -> dict[str, Any]:
    listed = [check for check in report.checks if check["lists"]]
    return {
        "report": report,
        "check": next((one for one in listed if one["name"] == asked.get("check")), None),
        "listed": listed,
        "motes": [one["mote"] for one in report.detail.get("motes", []) if one["n"]],
        "without_place": urlencode({name: asked[name] for name in ("check", "mote", "flag") if asked.get(name)}),
    }


def failing_context(report: QualityReport, page: failing.Page, fleet: Fleet) -> dict[str, Any]:
    profile = fleet.profiles[report.profile.code]
    codes = {mote.id: mote.code for mote in fleet.motes}
    return {
        "channels": profile.channels,
        "rows": [_reading(report, row, codes, profile.channels) for row in page.rows.iter_rows(named=True)],
        "following": str(page.following) if page.following else "",
    }


def _reading(
    report: QualityReport, row: Mapping[str, Any], codes: Mapping[int, str], channels: tuple[Channel, ...]
) -> dict[str, Any]:
    code, flags = codes[row["mote"]], row["flags"]
    marked = [bool(flags >> (quality.CHANNEL_SHIFT + place) & 1) for place in range(len(channels))]
    return {
        "at": row["at"],
        "mote": code,
        "address": mote_address(report, code, row["at"]),
        "cells": [
            {"text": number(row[channel.code], decimals_of(channel.resolution)), "is_marked": is_marked}
            for channel, is_marked in zip(channels, marked, strict=True)
        ],
        "flags": quality.names(flags),
        "waited": duration(round(row["waited_s"], 1)) if row["waited_s"] is not None else NOTHING,
    }
