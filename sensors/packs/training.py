"""What a pack says of its detector's training and when it runs by itself. Pure."""

from __future__ import annotations

import re
from typing import Any

from sensors.packs.tables import Table, is_number

PROMOTE = ("gate", "never", "always")  # as mlops.parameters has them, which lies above
WEEKLY = "0 3 * * 1"
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
PART = re.compile(r"\*(?:/[1-9]\d*)?|(\d+)(?:-(\d+)(?:/[1-9]\d*)?)?")


def detector(table: Table) -> dict[str, Any]:
    """The `[detector]` table: what a training of this profile takes where nobody asks for something else."""
    given = {
        "days": table.number("days", None, above=0, to=3660),
        "seed": table.take("seed", "a whole number from 0", _is_seed, None),
        "promote": table.take("promote", f"one of {', '.join(PROMOTE)}", lambda v: v in PROMOTE, None),
    }
    table.finish()
    return {name: value for name, value in given.items() if value is not None}


def schedule(table: Table) -> dict[str, Any]:
    """The `[schedule]` table."""
    expected = f'minute, hour, day, month and weekday as cron has them, such as "{WEEKLY}" for Monday 03:00'
    line = table.take("retrain", expected, is_cron, None)
    table.finish()
    return {} if line is None else {"retrain": line}


def is_cron(line: Any) -> bool:
    """
    >>> is_cron("*/15 0-6 1,15 * 1-5"), is_cron("0 24 * * *"), is_cron("daily")
    (True, False, False)
    """
    fields = line.split() if isinstance(line, str) else []
    return len(fields) == len(FIELDS) and all(
        _is_cron_part(part, *limits) for field, limits in zip(fields, FIELDS, strict=True) for part in field.split(",")
    )


def _is_cron_part(part: str, low: int, high: int) -> bool:
    match = PART.fullmatch(part)
    return match is not None and all(low <= int(number) <= high for number in match.groups() if number)


def _is_seed(value: Any) -> bool:
    return is_number(value) and isinstance(value, int) and value >= 0
