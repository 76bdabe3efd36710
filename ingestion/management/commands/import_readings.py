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

from ingestion.checkpoints import Fenced
from ingestion.importing import report
from ingestion.importing.columns import BadMap, parse_map
from ingestion.importing.deed import Brought, CannotImport, Look, Request, bring_in, look
from ingestion.management.commands.simulate import stopper
from ingestion.streams import StreamClosed, StreamRefused
from sensors.installation import CannotInstall
from sensors.lake import LakeFenced
from sensors.packs import BadPack, read_pack, shipped
from sensors.stores import StoreUnavailable
from sensors.tables.files import BadFile
from sensors.tables.progress import shown
from sensors.tables.times import ORDERS

REFUSALS = (
    BadFile, BadMap, BadPack, CannotImport, CannotInstall, Fenced, LakeFenced, StoreUnavailable, StreamClosed,
    StreamRefused,
)  # fmt: skip


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
                self.conclude(view, self.bring_in(view))
            else:
                self.stdout.write("Nothing was changed.")
        except REFUSALS as error:
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

    def bring_in(self, view: Look) -> Brought:
        stop = threading.Event()
        with stopped_by_signals(stop), shown(self.stdout.write) as tell:
            return bring_in(view, who=None, now=timezone.now, stop=stop, tell=tell, warn=self.stderr.write)

    def conclude(self, view: Look, done: Brought) -> None:
        for line in done.installed:
            self.stdout.write(f"+ {line}")
        if done.n_left_over:
            self.stdout.write(f"{done.n_left_over:,} rows that an interrupted import had left were brought in first.")
        for line in report.fates(
            done.by_fate, f"{done.n_sent:,} of {done.n_rows:,} rows sent in {done.seconds:,.1f} s"
        ):
            self.stdout.write(line)
        if done.n_again:
            self.stdout.write(f"{done.n_again:,} were sent twice because the stream was away; they are among these.")
        if not done.is_accounted:
            raise CommandError(
                f"the books have {sum(done.by_fate.values()):,} of {done.n_sent + done.n_again:,} messages: somebody "
                "else wrote to the history stream meanwhile, or rows are missing. Repeat the import: nothing is stored "
                "twice"
            )
        if not done.is_complete:
            raise CommandError(
                f"stopped: {done.n_rows - done.n_sent:,} rows were not sent, {done.n_waiting:,} wait in the stream. "
                "Nothing is lost: repeat the same command, and what is stored already will be known as such"
            )
        self.stdout.write(self.style.SUCCESS(f"All {done.n_rows:,} rows are accounted for."))


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    previous = {number: signal.signal(number, stopper(stop)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
