"""manage.py rollback: lets the model version serve again that served before."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops import registry
from mlops.models import Kind
from sensors.fleet import there_is_no
from sensors.models import Profile
from sensors.registry import profiles


class Command(BaseCommand):
    help = "Lets the version serve again that served the profile before the present one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("profile")
        parser.add_argument("--kind", choices=Kind.values, default=Kind.DETECTOR, help="Which of its models")
        parser.add_argument("--why", default="manage.py rollback", help="The reason that the audit keeps")

    def handle(self, *args: Any, **options: Any) -> None:
        profile = Profile.objects.filter(code=options["profile"]).first()
        if profile is None:
            raise CommandError(there_is_no("profile", options["profile"], profiles()))
        try:
            version = registry.roll_back(
                profile, who=None, why=options["why"], now=timezone.now(), kind=Kind(options["kind"])
            )
        except (
            registry.NothingToRollBackTo,
            registry.ModelUnloadable,
            registry.NotValidated,
            registry.ArtefactUnavailable,
        ) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{version.name} serves again; every process takes it up within seconds.")
