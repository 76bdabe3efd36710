"""manage.py device_key: makes the key that a device sends readings with, or ends one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion import devices
from ingestion.models import DeviceKey
from sensors.fleet import there_is_no
from sensors.models import Mote, Site


class Command(BaseCommand):
    help = "Makes a key with which a mote or a gateway sends readings by HTTP, lists the keys, or revokes one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        make = verbs.add_parser("make", help="Makes a key and prints it, this one time")
        make.add_argument("name", help="Whose key it is, such as “gateway of the second floor”")
        make.add_argument("--site", metavar="S", help="The device's site (default: the one that messages mean)")
        make.add_argument("--mote", metavar="M", help="The one mote that it speaks for (default: all of the site)")
        verbs.add_parser("list", help="Lists the keys")
        revoke = verbs.add_parser("revoke", help="Ends a key at once")
        revoke.add_argument("public_id", help="The part of the key between the underscores")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, options["verb"])(options)

    def make(self, options: dict[str, Any]) -> None:
        if not options["name"].strip():
            raise CommandError(f"“{options['name']}” is no name; expected whose key it is, such as “gateway, floor 2”.")
        code = options["site"] or settings.SIEIS_DEFAULT_SITE
        site = Site.objects.filter(code=code).first()
        if site is None:
            raise CommandError(there_is_no("site", code, Site.objects.values_list("code", flat=True)))
        mote = Mote.objects.filter(site=site, code=options["mote"]).first() if options["mote"] else None
        if options["mote"] and mote is None:
            raise CommandError(f"Site {code} has no mote “{options['mote']}”.")
        try:
            made = devices.make_key(name=options["name"], site=site, mote=mote, who=None, now=timezone.now())
        except ValidationError as wrong:
            raise CommandError(" ".join(wrong.messages)) from None
        self.stdout.write(made.text)
        self.stderr.write("Keep it now: only its hash is stored. Send it as “Authorization: Bearer …”.")

    def list(self, options: dict[str, Any]) -> None:
        if not DeviceKey.objects.exists():
            self.stderr.write("There is no key yet; `manage.py device_key make NAME` makes one.")
        for key in DeviceKey.objects.select_related("site", "mote"):
            scope = f"mote {key.mote.code}" if key.mote else "all motes"
            used = f"last used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
            ended = f", revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            self.stdout.write(f"{key.public_id}  {key.site.code}  {scope}  {key.name}  {used}{ended}")

    def revoke(self, options: dict[str, Any]) -> None:
        key = DeviceKey.objects.filter(public_id=options["public_id"]).first()
        if key is None:
            raise CommandError(f"There is no key “{options['public_id']}”; `manage.py device_key list` shows them.")
        if not devices.revoke_key(key, who=None, now=timezone.now()):
            raise CommandError(f"The key {key} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC already.")
        self.stdout.write(f"{key} is revoked; nothing is taken with it any more.")
