"""What a view of History asks for: its address, parsed, and the addresses that lead on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import QueryDict

from sensors.aggregates import Aggregates
from sensors.fleet import Fleet
from sensors.readings import Channel
from sensors.selection import HOUR, NoSuch, Selection, floor_hour, selection

DEFAULT_DAYS = 7
MOST_COMPARED = 8
RAW_UP_TO, HOURS_UP_TO, DAYS_UP_TO = timedelta(hours=6), timedelta(days=14), timedelta(days=730)
COMPARED = {"": "nothing", "before": "the stretch before", "motes": "mote by mote"}
PRESETS = (("1 d", 1), ("7 d", 7), ("30 d", 30), ("90 d", 90), ("1 y", 365))


@dataclass(frozen=True, slots=True)
class Asked:
    """The address, parsed. What makes no sense of it stands in `errors` by field, and the default is shown."""

    selected: Selection
    first: date
    last: date
    compare: str
    heat: Channel
    every: str
    errors: Mapping[str, str]
    picked: tuple[str, ...]  # motes named in the address, as site/code

    @property
    def zone(self) -> str:
        return self.selected.motes[0].time_zone if self.selected.motes else "UTC"

    @property
    def span(self) -> timedelta:
        return self.selected.end - self.selected.start

    @property
    def start_local(self) -> datetime:
        return self.selected.start.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    @property
    def end_local(self) -> datetime:
        return self.selected.end.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def address(self, **changes: Any) -> str:
        """The same view with something changed; None takes it out."""
        channels = [one.code for one in self.selected.channels]
        held: dict[str, Any] = {
            "profile": self.selected.profile.code,
            "from": self.start_local.isoformat(timespec="minutes"),
            "to": self.end_local.isoformat(timespec="minutes"),
            "mote": list(self.picked),
            "channel": channels if len(channels) < len(self.selected.profile.channels) else [],
            "compare": self.compare or None,
            "heat": self.heat.code if self.heat != self.selected.channels[0] else None,
        }
        return "?" + urlencode({key: value for key, value in (held | changes).items() if value is not None}, doseq=True)

    def moved(self, by: timedelta, wider: timedelta = timedelta()) -> str:
        start, end = self.start_local + by - wider, self.end_local + by + wider
        return self.address(**{"from": start.isoformat(timespec="minutes"), "to": end.isoformat(timespec="minutes")})

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Label, address and whether it is what is shown; each ends where this one ends."""
        spans = ((label, timedelta(days=days)) for label, days in PRESETS)
        return [
            (
                label,
                self.address(**{"from": (self.end_local - span).isoformat(timespec="minutes")}),
                abs(self.span - span) < HOUR * 2,
            )
            for label, span in spans
        ]

    @property
    def before(self) -> str:
        return self.moved(-self.span)

    @property
    def after(self) -> str:
        return self.moved(self.span)

    @property
    def wider(self) -> str:
        return self.moved(timedelta(), self.span / 2)


def asked(query: QueryDict, fleet: Fleet, aggregates: Aggregates, now: datetime) -> Asked | None:
    """None while there is no mote to ask about."""
    errors: dict[str, str] = {}
    picked = tuple(query.getlist("mote"))
    chosen = _selection(fleet, query, picked, errors, now)
    if chosen is None:
        return None
    zone = ZoneInfo(chosen.motes[0].time_zone) if chosen.motes else ZoneInfo("UTC")
    known = aggregates.ends(chosen.profile, chosen.ids, now=now)
    newest = (known[1] + HOUR if known else now).astimezone(zone)
    default_end = datetime.combine(newest.date() + timedelta(days=1), time(), zone)
    end = _local(query.get("to"), zone, errors, "to") or default_end
    start = _local(query.get("from"), zone, errors, "from") or end - timedelta(days=DEFAULT_DAYS)
    if start >= end:
        errors["from"] = f"{start:%Y-%m-%d %H:%M} is not before {end:%Y-%m-%d %H:%M}; the week before is shown."
        start = end - timedelta(days=DEFAULT_DAYS)
    shown = replace(chosen, start=floor_hour(start), end=floor_hour(end - timedelta(microseconds=1)) + HOUR)
    named = {name if "/" in name else f"{fleet.default_site}/{name}" for name in picked}
    heat = next((one for one in shown.channels if one.code == query.get("heat")), shown.channels[0])
    compare = query.get("compare", "")
    if compare == "motes" and len(shown.motes) > MOST_COMPARED:
        errors["mote"] = f"At most {MOST_COMPARED} motes are compared; {len(shown.motes)} are chosen. Choose some."
        compare = ""
    return Asked(
        selected=shown,
        first=start.date(),
        last=(end - timedelta(microseconds=1)).date(),
        compare=compare if compare in COMPARED else "",
        heat=heat,
        every=_every(shown),
        errors=errors,
        picked=tuple(name for mote in shown.motes if (name := f"{mote.site}/{mote.code}") in named),
    )


def _selection(
    fleet: Fleet, query: QueryDict, picked: Sequence[str], errors: dict[str, str], now: datetime
) -> Selection | None:
    """What of the address cannot be is left out and said, part by part."""
    wanted: dict[str, Any] = {"profile": query.get("profile", ""), "channels": query.getlist("channel")}
    members = []
    for name in picked:
        site, _, code = name.rpartition("/")
        found = fleet.find(code, site or None)
        if found is None or found.profile not in fleet.profiles:
            errors["mote_id"] = f"There is no mote “{name}”; it is left out."
        elif wanted["profile"] in ("", found.profile):
            members.append(found)
    for _ in range(3):
        try:
            chosen = selection(fleet, start=now - HOUR, end=now, **wanted)
            break
        except NoSuch as wrong:
            if wrong.field not in ("profile", "channel"):
                return None
            if not wanted[wrong.field if wrong.field == "profile" else "channels"]:
                return None
            errors[wrong.field] = str(wrong)
            wanted["profile" if wrong.field == "profile" else "channels"] = ""
    of_profile = tuple(mote for mote in members if mote.profile == chosen.profile.code)
    return replace(chosen, motes=of_profile) if of_profile else chosen


def _local(text: str | None, zone: ZoneInfo, errors: dict[str, str], field: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if not 1971 <= found.year < 2100:
            raise ValueError
    except ValueError:
        errors[field] = f"“{text}” is no date; expected one such as 2026-03-02."
        return None
    return found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)


def _every(shown: Selection) -> str:
    span = shown.end - shown.start
    if span <= RAW_UP_TO and len(shown.motes) <= MOST_COMPARED:
        return "raw"
    return "1h" if span <= HOURS_UP_TO else "1d" if span <= DAYS_UP_TO else "1w"
