"""How a file is to be read, as forms and the API say it: checked once, kept as words."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from mlops.detect import CannotJudge, Request
from mlops.detect.reading import ENGINE
from mlops.detect.residual import DETECTORS, why_not
from sensors.readings import Profile
from sensors.registry import profiles
from sensors.tables.times import ORDERS

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
WORDS = ("time", "interval", "start", "values", "by", "train", "profile", "decimal", "date_order", "detector")
TRAIN = "15 %"
# What the command's refusals name by option, the page and the API have under these names.
SPOKEN = {
    "--train-fraction, --train-rows or --train-until": "“Learn from the first” (train)",
    "--values": "“Columns to judge” (values)",
    "--interval": "“No times: one row every” (interval)",
    "--by": "“One series for each” (by)",
    "--time COLUMN": "“Time” (time)",
    "--time": "“Time” (time)",
    "--start": "“No times: first row at” (start)",
    "--profile": "“Profile of the sensors” (profile)",
    "--decimal": "“Decimal mark” (decimal)",
    "--date-order": "“Dates such as 02/03/04” (date_order)",
}


def spoken(text: str) -> str:
    """A refusal or remark of the command, for those who have a form.

    >>> spoken("name it with --values to judge it")
    'name it with “Columns to judge” (values) to judge it'
    """
    for option, name in SPOKEN.items():
        text = re.sub(rf"{option}( 1s| T)?(?![\w-])", name, text)
    return text


def kept(given: Mapping[str, object]) -> dict[str, str]:
    """What was said, without what was left to the data."""
    said = {name: str(given.get(name) or "").strip() for name in WORDS}
    return {name: text for name, text in said.items() if text}


def request(asked: Mapping[str, str]) -> Request:
    """Raises CannotJudge with what is wrong."""
    fraction, rows, until = train(asked.get("train", TRAIN))
    interval = asked.get("interval", "")
    if asked.get("start") and not interval:
        raise CannotJudge("“First row at” is for a file without times: say how far its rows are apart, too")
    found = Request(
        time=asked.get("time", ""),
        interval_s=seconds(interval) if interval else None,
        values=tuple(filter(None, map(str.strip, next(csv.reader([asked.get("values", "")]), [])))),
        by=asked.get("by", ""),
        train_fraction=fraction,
        train_rows=rows,
        train_until=until,
        profile=_profile(asked["profile"]) if asked.get("profile") else None,
        decimal=_one_of("decimal mark", asked.get("decimal", ""), (",", ".")),
        date_order=_one_of("order of a date", asked.get("date_order", ""), tuple(ORDERS)),
        detector=_detector(asked.get("detector", ENGINE)),
    )
    return replace(found, start=instant(asked["start"])) if asked.get("start") else found


def train(text: str) -> tuple[float, int | None, datetime | None]:
    """A share of the rows, a number of rows, or until when.

    >>> train("15 %"), train("400 rows")
    ((0.15, None, None), (0.15, 400, None))
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip()):
        if not 0 <= float(match[1]) < 100:
            raise CannotJudge(f"“{text}” of the rows to learn from; expected less than 100 %")
        return float(match[1]) / 100.0, None, None
    if match := re.fullmatch(r"(\d{1,9})(?:\s*rows)?", text.strip()):
        return 0.15, int(match[1]), None
    try:
        return 0.15, None, instant(text)
    except CannotJudge:
        raise CannotJudge(
            f"“{text}” is nothing to learn from; expected a share such as 15 %, a number of rows such as 400, or a "
            "time such as 2026-03-01 12:00 until which to learn"
        ) from None


def seconds(text: str) -> float:
    """
    >>> seconds("5min")
    300.0
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|min|h|d|)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise CannotJudge(f"“{text}” is no interval; expected such as 1s, 30s, 5min or 1h")
    return float(match[1]) * UNITS[match[2]]


def instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CannotJudge(f"“{text}” is no time; expected such as 2026-03-01 or 2026-03-01T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _profile(code: str) -> Profile:
    known = profiles()
    if code not in known:
        raise CannotJudge(f"there is no profile “{code}”; there are: {', '.join(known) or 'none yet'}")
    return known[code]


def _detector(given: str) -> str:
    """One that can judge here: better refused at once than by the worker."""
    if trouble := why_not(_one_of("detector", given, DETECTORS)):
        raise CannotJudge(trouble)
    return given


def _one_of(what: str, given: str, allowed: tuple[str, ...]) -> str:
    if given and given not in allowed:
        raise CannotJudge(f"“{given}” is no {what}; expected one of {' '.join(allowed)}")
    return given
