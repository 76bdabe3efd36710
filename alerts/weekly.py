"""Hours of the week in a time zone: when a route tells, a rule judges, a silence comes again. Pure.

>>> night = Weekly.parse({"days": [0], "from": "22:00", "to": "06:00", "time_zone": "UTC"})
>>> str(night)
'Mon 22:00–06:00 UTC'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY = timedelta(days=1)
known_time_zones = cache(available_timezones)  # which reads a folder of some hundred files


class BadHours(ValueError):
    """What was given names no hours of a week; the text says what was wrong."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """On these days (0 is Monday) from one time to another; one that ends before it begins ends the next day."""

    days: tuple[int, ...]
    begins: time
    ends: time
    time_zone: str

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Weekly:
        """From {"days": [0, 1], "from": "08:00", "to": "18:00", "time_zone": "Europe/Berlin"}."""
        if not isinstance(given, Mapping) or set(given) != {"days", "from", "to", "time_zone"}:
            raise BadHours(f"“{given}” is no week; expected days, from, to and time_zone.")
        days = given["days"]
        if not isinstance(days, list) or not days or not all(type(day) is int and day in range(7) for day in days):
            raise BadHours(f"“{days}” names no days; expected a list such as [0, 4], 0 for Monday.")
        if not isinstance(given["time_zone"], str) or given["time_zone"] not in known_time_zones():
            raise BadHours(f"“{given['time_zone']}” is no IANA time zone; expected a name such as Europe/Berlin.")
        return cls(tuple(sorted(set(days))), _time(given["from"]), _time(given["to"]), given["time_zone"])

    def as_json(self) -> dict[str, Any]:
        return {
            "days": list(self.days), "from": f"{self.begins:%H:%M}", "to": f"{self.ends:%H:%M}",
            "time_zone": self.time_zone,
        }  # fmt: skip

    def covers(self, at: datetime) -> bool:
        return self.span_at(at) is not None

    def span_at(self, at: datetime) -> tuple[datetime, datetime] | None:
        """The stretch that holds the instant: from and to; None outside."""
        return next(((one, end) for one, end in self.spans(at, at + timedelta(microseconds=1))), None)

    def spans(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The stretches that touch a span, in order."""
        zone = ZoneInfo(self.time_zone)
        day, last = start.astimezone(zone).date() - DAY, end.astimezone(zone).date()
        while day <= last:
            if day.weekday() in self.days:
                begins, ends = self._on(day, zone)
                if begins < end and ends > start:
                    yield begins, ends
            day += DAY

    def _on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        until = day if self.ends > self.begins else day + DAY
        return datetime.combine(day, self.begins, zone), datetime.combine(until, self.ends, zone)

    def __str__(self) -> str:
        return f"{_days(self.days)} {self.begins:%H:%M}–{self.ends:%H:%M} {self.time_zone}"


def _time(given: Any) -> time:
    try:
        found = time.fromisoformat(given)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is not None:
        raise BadHours(f"“{given}” is no time of day; expected one such as 08:30.")
    return found


def _days(days: tuple[int, ...]) -> str:
    """'every day', 'Mon–Fri', 'Mon, Wed'."""
    if len(days) == 7:
        return "every day"
    if len(days) > 2 and days == tuple(range(days[0], days[-1] + 1)):
        return f"{DAYS[days[0]]}–{DAYS[days[-1]]}"
    return ", ".join(DAYS[day] for day in days)
