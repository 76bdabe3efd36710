"""manage.py quarantine: lists what was put aside, sends it again or discards it."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion import replay_jobs, replaying
from ingestion.filters import QuarantineFilter
from ingestion.models import Quarantined
from ingestion.pages import quarantine_page
from ingestion.payloads import shown
from ingestion.running import parts
from ingestion.streams import StreamUnavailable
from ingestion.wire import REASONS
from sensors.stores import StoreUnavailable

FILTERS = {
    "reason": "One of the reasons of docs/wire.md",
    "mote": "Code of the mote; (none): names none",
    "site": "Its site; (none): names none",
    "topic": "The topic it came by",
    "since": "First day of arrival, YYYY-MM-DD, UTC",
    "until": "Last day of arrival",
    "q": "Text of the message, or of its detail",
}
A_DAY = "Expected a day such as 2026-03-01."
AWAY = "Nothing of the rest was marked: {}"


def whole(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ArgumentTypeError(f"“{text}” is no number of lines; expected a whole number from 1")
    return int(text)


def key(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,17}", text):
        raise ArgumentTypeError(f"“{text}” is no key of a message; `manage.py quarantine list --messages` shows them")
    return int(text)


class Command(BaseCommand):
    help = "Lists the messages that were put aside, by kind or one by one; sends them again, or discards them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="What waits, by kind; --messages: one by one")
        listing.add_argument("--messages", action="store_true", help="One by one, the last put aside first")
        listing.add_argument(
            "--status", choices=["all", *Quarantined.Status.values], default="", help="Not only waiting"
        )
        listing.add_argument("--limit", type=whole, default=50, metavar="N", help="Lines at most (default: 50)")
        listing.add_argument("--json", action="store_true", help="One JSON object a line")
        replay = verbs.add_parser("replay", help="Sends messages again that would be taken now")
        replay.add_argument("--payload", metavar="FILE", type=Path, help="The repaired message, for one key")
        discard = verbs.add_parser("discard", help="Marks messages as needed by nobody")
        for verb in (replay, discard):
            verb.add_argument(
                "ids", nargs="*", type=key, metavar="KEY", help="Keys of messages, as the list shows them"
            )
            verb.add_argument("--all", action="store_true", help="All that wait and fit the filters")
        for verb in (listing, replay, discard):
            for name, words in FILTERS.items():
                verb.add_argument(f"--{name}", metavar=name[0].upper(), default="", help=words)

    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("ids") and options["all"]:
            raise CommandError("Give keys of messages or --all, not both.")
        asked = {name: options[name] for name in FILTERS if options[name]}
        form = QuarantineFilter(asked)
        if not form.is_valid():
            expected = {"reason": f" Reasons: {', '.join(REASONS)}."} | dict.fromkeys(("since", "until"), f" {A_DAY}")
            words = (f"--{name} {asked[name]}: {' '.join(map(str, told))}{expected.get(name, '')}"
                     for name, told in form.errors.items())  # fmt: skip
            raise CommandError(" ".join(words))
        try:
            getattr(self, options["verb"])(asked, options)
        except (replaying.CannotReplay, replay_jobs.AlreadyReplaying, replay_jobs.NothingToReplay) as refusal:
            raise CommandError(str(refusal)) from None
        except (StreamUnavailable, StoreUnavailable) as away:
            raise CommandError(AWAY.format(away)) from None

    def list(self, asked: dict[str, str], options: dict[str, Any]) -> None:
        rows = QuarantineFilter({**asked, "status": options["status"]}).found()
        most = options["limit"]
        lines = [*(self._messages(rows[:most]) if options["messages"] else self._kinds(rows, most))]
        for told, text in lines:
            self.stdout.write(json.dumps(told) if options["json"] else text)
        if not lines:
            words = "No message fits that." if asked or options["status"] else "No message waits in the quarantine."
            self.stderr.write(words)

    def _messages(self, rows: Any) -> Any:
        for row in rows:
            told = {"id": row.pk, "place": row.place, "received_at": f"{row.received_at:%Y-%m-%dT%H:%M:%SZ}",
                    "reason": row.reason, "status": row.status, "site": row.site, "mote": row.mote_code,
                    "detail": row.detail, "payload": shown(bytes(row.payload), row.size, 200)}  # fmt: skip
            yield told, f"{row.pk:>8}  {told['received_at']}  {row.reason:<16} {row.mote_code:<8} {told['payload']}"

    def _kinds(self, rows: Any, limit: int) -> Any:
        for kind in quarantine_page.spoken(list(quarantine_page.kinds(rows)[:limit])):
            told = {"n": kind.n, "reason": kind.reason, "site": kind.site, "mote": kind.mote_code, "topic": kind.topic,
                    "first_at": f"{kind.first_at:%Y-%m-%dT%H:%M:%SZ}", "last_at": f"{kind.last_at:%Y-%m-%dT%H:%M:%SZ}",
                    "newest": kind.newest.pk}  # fmt: skip
            yield told, f"{kind.n:>8}  {kind.reason:<16} {kind.mote_code:<8} {kind.topic}, last {told['last_at']}"

    def replay(self, asked: dict[str, str], options: dict[str, Any]) -> None:
        if options["payload"]:
            self._repair(options)
        elif options["ids"]:
            rows = self._named(options["ids"])
            settled = Counter(row.status for row in rows if not row.waits)
            sent = replaying.replay_chosen(rows, parts=parts(), who=None, now=timezone.now())
            self.stdout.write(f"{sent.n} sent again")
            self._left({**sent.left, **{f"{status} already": n for status, n in settled.items()}})
        else:
            self._refuse_all(options)
            job = replay_jobs.ask(asked, who=None, now=timezone.now())
            job = replay_jobs.run(job, parts=parts(), now=timezone.now)
            self.stdout.write(f"{job.n_sent:,} of {job.n_asked:,} sent again")
            self._left(job.left)
            if job.error:
                raise CommandError(job.error)

    def _repair(self, options: dict[str, Any]) -> None:
        if len(options["ids"]) != 1:
            raise CommandError("--payload repairs one message: give its key, and no other.")
        try:
            payload = options["payload"].read_bytes()
        except OSError as error:
            raise CommandError(f"{options['payload']} cannot be read: {error.strerror}.") from None
        [row] = self._named(options["ids"])
        fate = replaying.replay(row, parts=parts(), who=None, now=timezone.now(), payload=payload.strip())
        self.stdout.write(f"Sent again. {fate.words}")

    def discard(self, asked: dict[str, str], options: dict[str, Any]) -> None:
        if options["ids"]:
            rows, told = Quarantined.objects.filter(pk__in=[one.pk for one in self._named(options["ids"])]), {}
        else:
            self._refuse_all(options)
            rows, told = QuarantineFilter(asked).found().order_by(), asked
        self.stdout.write(f"{replaying.discard(rows, who=None, now=timezone.now(), asked=told):,} discarded")

    def _refuse_all(self, options: dict[str, Any]) -> None:
        if not options["all"]:
            raise CommandError("Give keys of messages, or --all with filters such as --reason unknown_mote.")

    def _named(self, keys: Any) -> Any:
        rows = list(Quarantined.objects.filter(pk__in=keys).order_by("pk"))
        if missing := {*keys} - {row.pk for row in rows}:
            raise CommandError(f"There is no message {', '.join(map(str, sorted(missing)))} in the quarantine.")
        return rows

    def _left(self, left: dict[str, int]) -> None:
        for reason, n in left.items():
            self.stdout.write(f"{n:>8,} stayed: {reason.replace('_', ' ')}")
