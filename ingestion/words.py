"""Numbers and ages as the pages say them at first paint; static/js/lib/format.js goes on the same way. Pure."""

from __future__ import annotations

import math
import re

NOTHING = "–"
GROUPED = "\u202f"  # parts groups of three digits in every language


def decimals_of(resolution: float) -> int:
    """Digits behind the point that a sensor of this resolution deserves; more than two only make a table restless."""
    return min(2, max(0, math.ceil(-math.log10(resolution) - 1e-9))) if resolution > 0 else 2


def number(value: float | None, decimals: int) -> str:
    """
    >>> number(-3.21, 1), number(-0.001, 2), number(None, 1), number(1234.5, 1) == "1\\u202f234.5"
    ('−3.2', '0.00', '–', True)
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.{decimals}f}".replace(",", GROUPED)
    return text.removeprefix("-") if float(f"{value:.{decimals}f}") == 0 else text.replace("-", "−")


def percent(share: float | None) -> str:
    """A share 0..1; never "100 %" while anything is missing.

    >>> percent(0.99999), percent(1.0), percent(None)
    ('99.9 %', '100 %', '–')
    """
    if share is None or not math.isfinite(share):
        return NOTHING
    tenths = min(999, round(share * 1000)) if share < 1 else 1000
    return f"{tenths / 10:.{0 if tenths in (0, 1000) else 1}f} %"


def ago(seconds: float | None) -> str:
    """How long ago, in the largest unit that fits.

    >>> ago(0.4), ago(12), ago(3700), ago(None)
    ('now', '12 s ago', '1 h ago', 'never')
    """
    if seconds is None:
        return "never"
    if seconds < 1.5:
        return "now"
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds) if size == 1 else int(seconds // size)} {unit} ago"
    return f"{int(seconds // 86_400)} d ago"


def natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts codes as people count them: 2 before 10.

    >>> sorted(["m10", "m2", "7"], key=natural)
    ['7', 'm2', 'm10']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text.lower()) if part]


def count(n: int) -> str:
    """
    >>> count(1234567) == "1\\u202f234\\u202f567"
    True
    """
    return f"{n:,}".replace(",", GROUPED)
