from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.importing import jobs, report
from ingestion.importing.alone import alone
from ingestion.importing.bringing import bring_in
from ingestion.importing.columns import parse_map
from ingestion.importing.looking import Look, Request, look
from ingestion.management.commands.simulate import stopper
from ingestion.models import ImportJob
from ingestion.validation.words import plural
from sensors.packs import read_pack, shipped
from sensors.tables.progress import shown
from sensors.tables.times import ORDERS


class Command(BaseCommand):
    help = "Imports readings from CSV or Parquet files as history: judged, stored and accounted, telling nobody."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("paths", nargs="+", metavar="FILE", help="CSV or Parquet files, or folders of them")
        add("--pack", required=True, metavar="P", help=f"What was measured: {', '.join(shipped())}, or a TOML file")
        add("--site", metavar="S", help="The motes' site, created if it is new (default: the one that messages mean)")
        add("--time-zone", default="", metavar="TZ", help="Time zone of a site that is new, such as Europe/Berlin")
        add("--times-in", default="", metavar="TZ", help="Zone of times without an offset (default: the site's)")
        add(
            "--map", action="append", default=[], metavar="NAME=COLUMN,…",
            help="Which column is what, such as mote=moteid,at=ts,temperature=temp; at=Date+Time joins two",
        )  # fmt: skip
        add("--mote", default="", metavar="CODE", help="The one mote of files that name none")
        add("--decimal", default="", choices=[",", "."], help="The decimal mark, where the data leave it open")
        add("--date-order", default="", choices=[*ORDERS], help="Of 02/03/2004, where the data leave it open")
        add("--dry-run", action="store_true", help="Only report what would happen")
        add("--yes", action="store_true", help="Do not ask in a terminal")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            view = look(self.request(options), now=timezone.now())
            for line in view.lines():
                self.stdout.write(line)
            for problem in view.problems:
                self.stdout.write(self.style.WARNING(f"To be settled first: {problem}"))
            if options["dry_run"]:
                self.stdout.write("Nothing was changed: this was a dry run.")
            elif view.problems:
                raise CommandError("; ".join(view.problems))
            elif options["yes"] or not sys.stdin.isatty() or self.is_confirmed():
                self.conclude(self.bring_in(view, options))
            else:
                self.stdout.write("Nothing was changed.")
        except jobs.REFUSALS as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        except KeyboardInterrupt:
            raise CommandError("interrupted before anything was changed") from None

    def request(self, options: dict[str, Any]) -> Request:
        return Request(
            paths=options["paths"],
            pack=read_pack(options["pack"]),
            site=options["site"] or settings.SIEIS_DEFAULT_SITE,
            time_zone=options["time_zone"],
            times_in=options["times_in"],
            mapping=parse_map(options["map"]),
            mote=options["mote"].strip(),
            decimal=options["decimal"],
            date_order=options["date_order"],
        )

    def is_confirmed(self) -> bool:
        return input("Import it? [y/N] ").strip().lower() in ("y", "yes")

    def bring_in(self, view: Look, options: dict[str, Any]) -> ImportJob:
        """Goes on with what an earlier attempt at the same has left."""
        stop = threading.Event()
        asked = {
            name: str(options[name] or "") for name in ("pack", "site", "time_zone", "times_in", "mote", "decimal")
        }
        asked |= {"date_order": options["date_order"], "map": "\n".join(options["map"])}
        with alone(), stopped_by_signals(stop), shown(self.stdout.write) as tell:
            job = jobs.for_command(view, asked, now=timezone.now())
            if job.n_sent:
                self.stdout.write(
                    f"Going on with {job}: {job.n_sent:,} of {plural(job.n_rows, 'row')} were sent already."
                )
            with jobs.failing(job, timezone.now):
                tell = jobs.told_by(tell, job)
                bring_in(view, job, now=timezone.now, stop=stop, tell=tell, warn=self.warn)
        return job

    def warn(self, words: str) -> None:
        self.stderr.write(words)

    def conclude(self, job: ImportJob) -> None:
        for line in job.installed:
            self.stdout.write(f"+ {line}")
        if job.n_left_over:
            left = plural(job.n_left_over, "row")
            self.stdout.write(f"{left} that an interrupted import had left were brought in first.")
        sent = f"{job.n_sent:,} of {plural(job.n_rows, 'row')} sent in {job.seconds:,.1f} s"
        for line in report.fates(job.became, sent):
            self.stdout.write(line)
        if job.n_again:
            self.stdout.write(f"{job.n_again:,} were sent twice because the stream was away; they are among these.")
        if not job.is_accounted:
            raise CommandError(
                f"the books have {sum(job.became.values()):,} of {job.n_through:,} messages: rows are missing, or "
                "somebody else wrote to the history stream meanwhile. Repeat the import: nothing is stored twice"
            )
        if not job.is_complete:
            raise CommandError(
                f"stopped: {job.n_rows - job.n_sent:,} rows were not sent, {job.n_waiting:,} wait in the stream. "
                "Nothing is lost: repeat the same command, and it goes on from there"
            )
        if job.n_rows == 1:
            self.stdout.write(self.style.SUCCESS("The one row is accounted for."))
        else:
            self.stdout.write(self.style.SUCCESS(f"All {job.n_rows:,} rows are accounted for."))


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    previous = {number: signal.signal(number, stopper(stop)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
