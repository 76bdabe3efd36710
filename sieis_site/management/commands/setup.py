"""What a new installation needs beside its tables: roles, schedule, and in the demo a fleet with a past."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from sieis_site.first_run import days, setup


class Command(BaseCommand):
    help = "Installs roles and schedule; with SIEIS_DEMO=1 also accounts, the indoor pack, its history and a model."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--history-days", type=days, default=7.0, help="Days of simulated history of a new demo")

    def handle(self, *args: Any, **options: Any) -> None:
        setup(history_days=options["history_days"])
