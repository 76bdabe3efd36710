"""What commands that read a file of one's own ask about it, and how they refuse."""

from __future__ import annotations

import csv
import os
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from sensors.tables.times import ORDERS

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST_S = 366 * UNITS["d"]  # so that rows numbered by it end before the calendar does


def seconds(text: str) -> float:
    """How far readings are apart.

    >>> seconds("5min"), seconds("0.5s")
    (300.0, 0.5)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d|)", text.strip())
    length_s = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < length_s <= LONGEST_S:
        raise ArgumentTypeError(f"“{text}” is no interval; expected such as 1s, 30s, 5min or 1h, and at most 366d")
    return length_s


def instant(text: str) -> datetime:
    """An instant; UTC where no offset stands."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"“{text}” is no time; expected such as 2026-03-01 or 2026-03-01T12:00Z") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def rows(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,11}", text):
        raise ArgumentTypeError(f"“{text}” is no number of rows; expected a whole number from 1")
    return int(text)


def add_file_arguments(parser: ArgumentParser, verb: str) -> None:
    """The file, its columns and its notation; `verb` is what the command does with them."""
    add = parser.add_argument
    add("file", type=Path, help="CSV or Parquet; separator, times and numbers are recognised")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--time", default="", metavar="COLUMN", help="When each row was measured")
    when.add_argument("--interval", type=seconds, metavar="1s", help="How far rows are apart, in a file without times")
    add("--start", type=instant, metavar="T", help="When the first row was measured, with --interval")
    add("--values", default="", metavar="A,B", help=f"The columns to {verb} (default: all with numbers)")
    add("--by", default="", metavar="COLUMN", help="Which series a row belongs to")
    add("--decimal", default="", choices=[",", "."], help="The decimal mark, where the data leave it open")
    add("--date-order", default="", choices=[*ORDERS], help="Of 02/03/2004, where the data leave it open")


def of_file(options: dict[str, Any]) -> dict[str, Any]:
    """What was said of the file, as a Request takes it."""
    if options["start"] and options["interval"] is None:
        raise CommandError("--start says when the first row of a file without times was measured: say --interval too")
    return {
        "time": options["time"],
        "interval_s": options["interval"],
        "values": tuple(filter(None, map(str.strip, next(csv.reader([options["values"]]), [])))),
        "by": options["by"],
        "decimal": options["decimal"],
        "date_order": options["date_order"],
        **({"start": options["start"]} if options["start"] else {}),
    }


def refuse_unwritable(paths: Iterable[Path | None], *, read: Path) -> None:
    """Before the work, not after it. What is `read` is never written over, nor one result over another."""
    taken = {read.resolve()}
    for path in filter(None, paths):
        if path.resolve() in taken:
            raise CommandError(
                f"{path} would be written over what is read, or twice: give each result a name of its own"
            )
        taken.add(path.resolve())
        if not path.parent.is_dir():
            raise CommandError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise CommandError(f"{path} cannot be written: it is a folder, or not yours to write")
