"""Shows that readings arrive: one is sent and followed."""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.streams import StreamUnavailable
from sieis_site.verification import CannotVerify, Hop, verify


class Command(BaseCommand):
    help = "Sends a marked reading and follows it to hot store, score, API, websocket and lake, with times."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--timeout", type=float, default=30.0, help="Seconds that each hop may take (30)")
        parser.add_argument("--url", help="Where the web process answers (http://127.0.0.1:PORT)")

    def handle(self, *args: Any, **options: Any) -> None:
        url = address(options["url"])
        if not 0 <= options["timeout"] < 3600:
            raise CommandError(f"--timeout is {options['timeout']:g}; expected seconds from 0 to 3600")
        n_missed = 0
        try:
            for hop in verify(url=url, timeout_s=options["timeout"]):
                n_missed += not hop.is_ok
                self.stdout.write(line(hop))
                self.stdout.flush()
        except (CannotVerify, StreamUnavailable) as reason:
            raise CommandError(f"✗ {reason}") from None
        if n_missed:
            self.stdout.write(f"{n_missed} hops were not reached; `manage.py doctor` looks at what each leans on")
            sys.exit(1)
        self.stdout.write("the reading arrived everywhere")


def address(given: str | None) -> str:
    url = given or f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise CommandError(f"--url is “{url}”; expected an address such as http://127.0.0.1:8000")
    return f"{parts.scheme}://{parts.netloc}"


def line(hop: Hop) -> str:
    when = f"{hop.ms:8.0f} ms" if hop.ms is not None else " " * 11
    return f"{'✓' if hop.is_ok else '✗'} {hop.name:10}{when}  {hop.words}"
