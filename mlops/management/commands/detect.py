"""manage.py detect: judges a file of one's own, with no set-up."""

from __future__ import annotations

import csv
import json
import os
import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mlops.detect import CannotJudge, Judged, Request, judge_file
from mlops.detect.report import page, verdict
from sensors.packs import BadPack, read_pack, shipped
from sensors.tables.progress import shown
from sensors.tables.times import ORDERS

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
SHOWN = 20  # events in the terminal


def seconds(text: str) -> float:
    """How far readings are apart.

    >>> seconds("5min"), seconds("0.5s")
    (300.0, 0.5)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d|)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise ArgumentTypeError(f"“{text}” is no interval; expected such as 1s, 30s, 5min or 1h")
    return float(match[1]) * UNITS[match[2]]


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


def share(text: str) -> float:
    if not re.fullmatch(r"0?\.\d+|0|1(\.0*)?", text):
        raise ArgumentTypeError(f"“{text}” is no share; expected a number between 0 and 1, such as 0.15")
    return float(text)


class Command(BaseCommand):
    help = "Judges a CSV or Parquet file: learns from its beginning, tells what is odd in the rest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("file", type=Path, help="CSV or Parquet; separator, times and numbers are recognised")
        when = parser.add_mutually_exclusive_group()
        when.add_argument("--time", default="", metavar="COLUMN", help="When each row was measured")
        when.add_argument(
            "--interval", type=seconds, metavar="1s", help="How far rows are apart, in a file without times"
        )
        add("--start", type=instant, metavar="T", help="When the first row was measured, with --interval")
        add("--values", default="", metavar="A,B", help="The columns to judge (default: all with numbers)")
        add("--by", default="", metavar="COLUMN", help="Which series a row belongs to")
        learn = parser.add_mutually_exclusive_group()
        learn.add_argument(
            "--train-fraction", type=share, default=0.15, metavar="0.15", help="Of the rows, to learn from"
        )
        learn.add_argument("--train-rows", type=rows, metavar="N", help="Learn from the first N rows")
        learn.add_argument("--train-until", type=instant, metavar="TIME", help="Learn from what was measured before")
        add("--profile", default="", metavar="P", help=f"What was measured: {', '.join(shipped())}, or a TOML file")
        add("--decimal", default="", choices=[",", "."], help="The decimal mark, where the data leave it open")
        add("--date-order", default="", choices=[*ORDERS], help="Of 02/03/2004, where the data leave it open")
        add("--out", type=Path, metavar="CSV", help="Write all rows with what was said of each (.parquet for Parquet)")
        add("--events", type=Path, metavar="JSON", help="Write the events")
        add("--html", type=Path, metavar="HTML", help="Write a report with charts, in one file to send on")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_unwritable(options)
        try:
            with shown(self.stdout.write) as tell:
                judged = judge_file(options["file"], request(options), tell)
        except (CannotJudge, BadPack) as error:
            raise CommandError(str(error)) from None
        for line in (*judged.words, *judged.notes):
            self.stdout.write(line)
        self.summary(judged)
        self.write(judged, options)

    def summary(self, judged: Judged) -> None:
        n_events = len(judged.events)
        self.stdout.write(self.style.SUCCESS(verdict(judged)))
        for found in judged.events[:SHOWN]:
            is_one = found.first_row == found.last_row
            rows = f"row {found.first_row:,}" if is_one else f"rows {found.first_row:,}–{found.last_row:,}"
            series = f"{found.series}: " if found.series else ""
            learnt = " (in the part that was learnt from)" if found.is_training else ""
            self.stdout.write(f"  {found.id}. {rows}, {found.severity}: {series}{found.words}{learnt}")
        if n_events > SHOWN:
            self.stdout.write(f"  … and {n_events - SHOWN:,} more; --events or --html tells all")

    def write(self, judged: Judged, options: dict[str, Any]) -> None:
        try:
            if out := options["out"]:
                table = judged.scored()
                table.write_parquet(out) if out.suffix.lower() == ".parquet" else table.write_csv(out)
            if events := options["events"]:
                events.write_text(json.dumps(judged.told(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            if html := options["html"]:
                html.write_text(page(judged), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}") from None
        for path in filter(None, (options[name] for name in ("out", "events", "html"))):
            self.stdout.write(f"{path} is written.")


def _refuse_unwritable(options: dict[str, Any]) -> None:
    """Before the work, not after it."""
    for path in filter(None, (options[name] for name in ("out", "events", "html"))):
        if not path.parent.is_dir():
            raise CommandError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise CommandError(f"{path} cannot be written: it is a folder, or not yours to write")


def request(options: dict[str, Any]) -> Request:
    if options["start"] and options["interval"] is None:
        raise CommandError("--start says when the first row of a file without times was measured: say --interval too")
    given = {"start": options["start"]} if options["start"] else {}
    return Request(
        time=options["time"],
        interval_s=options["interval"],
        values=tuple(filter(None, map(str.strip, next(csv.reader([options["values"]]), [])))),
        by=options["by"],
        train_fraction=options["train_fraction"],
        train_rows=options["train_rows"],
        train_until=options["train_until"],
        profile=read_pack(options["profile"]).profile if options["profile"] else None,
        decimal=options["decimal"],
        date_order=options["date_order"],
        **given,
    )
