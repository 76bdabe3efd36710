"""Texts in CSV files that people open in a spreadsheet. Pure."""

from __future__ import annotations

FORMULA = frozenset("=+-@\t\r")
MARK = "'"


def guarded(cell: str) -> str:
    """So that no spreadsheet takes a text for a formula; `unguarded` gives it back.

    >>> guarded("=1+1"), guarded("'=1"), guarded("plain")
    ("'=1+1", "''=1", 'plain')
    """
    return f"{MARK}{cell}" if _needs(cell) else cell


def unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == MARK and _needs(cell[1:]) else cell


def _needs(cell: str) -> bool:
    return cell[:1] in FORMULA or (cell[:1] == MARK and _needs(cell[1:]))
