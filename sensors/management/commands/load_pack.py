from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from sensors.installation import CannotInstall, Installed, install_pack
from sensors.models import Profile
from sensors.packs import BadPack, Pack, read_pack, shipped


class Command(BaseCommand):
    help = "Installs a pack: a profile with its channels, and its motes at a site. Shows what would change first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("pack", metavar="NAME-or-FILE", help=f"One of {', '.join(shipped())}, or a TOML file")
        add("--site", metavar="S", help="The motes' site (default: the one that messages mean)")
        add("--time-zone", metavar="TZ", help="Time zone of a site that is new, such as Europe/Berlin")
        add("--motes", type=int, metavar="N", help="So many motes instead of the pack's own number")
        add("--dry-run", action="store_true", help="Only show what would change")
        add("--yes", action="store_true", help="Do not ask")
        add(
            "--unless-installed",
            action="store_true",
            help="Leave a profile alone that is there, for what runs at each start",
        )

    def handle(self, *args: object, **options: Any) -> None:
        pack = self.read(options)
        if options["unless_installed"] and Profile.objects.filter(code=pack.profile.code).exists():
            self.stdout.write(f"{pack.profile.code} is installed, and stays as it is.")
            return
        planned = self.install(pack, options, is_rehearsal=True)
        for line in planned.lines():
            self.stdout.write(line)
        if not planned.is_changed:
            self.stdout.write(
                f"Nothing changes: {pack.profile.code} is installed as version {planned.profile_version}."
            )
        elif options["dry_run"]:
            self.stdout.write("Nothing was changed: this was a dry run.")
        elif options["yes"] or self.is_confirmed():
            done = self.install(pack, options)
            self.stdout.write(self.style.SUCCESS(f"{pack.profile.code}, version {done.profile_version}, is installed."))
            if done.is_new_version:
                self.stdout.write(
                    "A model knows the version that it was trained on: until the next training the normal bands judge. "
                    f"To train now: python manage.py train --profile {pack.profile.code}"
                )
        else:
            self.stdout.write("Nothing was changed.")

    def read(self, options: dict[str, Any]) -> Pack:
        n = options["motes"]
        if n is not None and n < 0:
            raise CommandError(f"--motes is {n}; expected a whole number from 0")
        try:
            pack = read_pack(options["pack"])
            return pack if n is None else pack.with_motes(n)
        except BadPack as error:
            raise CommandError(str(error)) from None

    def install(self, pack: Pack, options: dict[str, Any], *, is_rehearsal: bool = False) -> Installed:
        try:
            return install_pack(
                pack,
                site_code=options["site"] or settings.SIEIS_DEFAULT_SITE,
                time_zone=options["time_zone"] or settings.SIEIS_TIME_ZONE,
                who=None,
                now=timezone.now(),
                is_rehearsal=is_rehearsal,
            )
        except (CannotInstall, ValidationError) as error:
            raise CommandError("; ".join(getattr(error, "messages", [str(error)]))) from None

    def is_confirmed(self) -> bool:
        if not sys.stdin.isatty():
            raise CommandError("nobody is there to ask: confirm with --yes, or look with --dry-run")
        return input("Install it? [y/N] ").strip().lower() in ("y", "yes")
