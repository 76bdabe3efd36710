"""What a training job is asked for, parsed once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

PROMOTE = ("gate", "never", "always", "manual")
DAYS = 10.0
SEED = 42
HORIZON_H = 24.0


class BadParameters(Exception):
    """A parameter that is unknown or out of its range; the text is for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The last `days`, or from `start` to `end`; `promote` says who decides whether the result serves.

    Of forecasts: the member that is tried beside the naive ones (`auto`: each), and how far ahead they shall look.
    """

    days: float = DAYS
    start: datetime | None = None
    end: datetime | None = None
    seed: int = SEED
    promote: str = "gate"
    model: str = ""
    horizon_h: float = HORIZON_H

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Parameters:
        unknown = given.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise BadParameters(f"{', '.join(sorted(unknown))} is no parameter of a training; there are {known}.")
        instants = {name: _instant(name, given.get(name)) for name in ("start", "end")}
        parsed = cls(
            days=_number("days", given.get("days", DAYS)),
            seed=int(_number("seed", given.get("seed", SEED))),
            promote=given.get("promote", "gate"),
            model=str(given.get("model", "")),
            horizon_h=_number("horizon_h", given.get("horizon_h", HORIZON_H)),
            **instants,
        )
        if not 0 < parsed.days <= 3660:
            raise BadParameters(f"days is {parsed.days:g}; expected more than 0 and at most 3660.")
        if not 0 < parsed.horizon_h <= 24 * 366:
            raise BadParameters(f"horizon_h is {parsed.horizon_h:g}; expected more than 0 and at most a year of hours.")
        if parsed.promote not in PROMOTE:
            raise BadParameters(f"promote is “{parsed.promote}”; expected one of {', '.join(PROMOTE)}.")
        if parsed.start and parsed.end and parsed.start >= parsed.end:
            raise BadParameters(f"start {parsed.start.isoformat()} is not before end {parsed.end.isoformat()}.")
        return parsed

    def to_json(self) -> dict[str, Any]:
        instants = {name: value.isoformat() for name in ("start", "end") if (value := getattr(self, name))}
        said = {name: getattr(self, name) for name in ("model", "horizon_h")}
        usual = {"model": "", "horizon_h": HORIZON_H}
        forecasts = {name: value for name, value in said.items() if value != usual[name]}
        return {"days": self.days, "seed": self.seed, "promote": self.promote, **instants, **forecasts}

    def range(self, now: datetime) -> tuple[datetime, datetime]:
        """From when to when readings are learnt."""
        end = self.end or now
        return self.start or end - timedelta(days=self.days), end


def refuse_two_ranges(given: Mapping[str, Any]) -> None:
    """`days` counts back from the end, so that it cannot stand beside a start."""
    if given.get("days") is not None and given.get("start") is not None:
        raise BadParameters(f"days is {given['days']} and start is {given['start']}; give one of them.")


def _number(name: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < float("inf"):
        raise BadParameters(f"{name} is “{given}”; expected a number from 0 on.")
    return float(given)


def _instant(name: str, given: Any) -> datetime | None:
    if given is None:
        return None
    try:
        instant = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        raise BadParameters(f"{name} is “{given}”; expected an ISO 8601 instant such as 2026-03-02T12:00Z.") from None
    if instant.tzinfo is None:
        raise BadParameters(f"{name} is “{given}”, without a time zone; add Z for UTC.")
    return instant
