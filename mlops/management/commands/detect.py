"""manage.py detect: judges a file of one's own, with no set-up."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mlops.detect import CannotJudge, Judged, Request, judge_file
from mlops.detect.reading import ENGINE
from mlops.detect.report import page, verdict
from mlops.detect.residual import DETECTORS
from mlops.management.file_arguments import add_file_arguments, instant, of_file, refuse_unwritable, rows
from sensors.packs import BadPack, read_pack, shipped
from sensors.tables.progress import shown

SHOWN = 20  # events in the terminal


def share(text: str) -> float:
    if not re.fullmatch(r"0?\.\d+|0|1(\.0*)?", text):
        raise ArgumentTypeError(f"“{text}” is no share; expected a number between 0 and 1, such as 0.15")
    return float(text)


class Command(BaseCommand):
    help = "Judges a CSV or Parquet file: learns from its beginning, tells what is odd in the rest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add_file_arguments(parser, "judge")
        learn = parser.add_mutually_exclusive_group()
        learn.add_argument(
            "--train-fraction", type=share, default=0.15, metavar="0.15", help="Of the rows, to learn from"
        )
        learn.add_argument("--train-rows", type=rows, metavar="N", help="Learn from the first N rows")
        learn.add_argument("--train-until", type=instant, metavar="TIME", help="Learn from what was measured before")
        add("--profile", default="", metavar="P", help=f"What was measured: {', '.join(shipped())}, or a TOML file")
        add(
            "--detector", choices=DETECTORS, default=ENGINE,
            help="The engine's layers, or a forecast's error: of a ridge regression, or of an LSTM (needs PyTorch)",
        )  # fmt: skip
        add("--out", type=Path, metavar="CSV", help="Write all rows with what was said of each (.parquet for Parquet)")
        add("--events", type=Path, metavar="JSON", help="Write the events")
        add("--html", type=Path, metavar="HTML", help="Write a report with charts, in one file to send on")

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_unwritable((options[name] for name in ("out", "events", "html")), read=options["file"])
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


def request(options: dict[str, Any]) -> Request:
    return Request(
        **of_file(options),
        train_fraction=options["train_fraction"],
        train_rows=options["train_rows"],
        train_until=options["train_until"],
        detector=options["detector"],
        profile=read_pack(options["profile"]).profile if options["profile"] else None,
    )
