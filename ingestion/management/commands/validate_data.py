"""manage.py validate_data: how good the stored readings are, check by check; fails where a check fails."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.api.report_api import ReportOut
from ingestion.models import QualityReport
from ingestion.validation import reports
from ingestion.validation.printing import printed
from sensors import registry
from sensors.lake import lake
from sensors.management.instants import instant
from sensors.models import Profile, Site
from sensors.stores import hot


class Command(BaseCommand):
    help = "Makes a quality report of each profile and site with motes, or of those named; exits with 1 on a FAIL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", help="Code of the profile")
        parser.add_argument("--site", help="Code of the site")
        parser.add_argument("--start", type=instant, help="First instant, such as 2026-03-01T00:00Z")
        parser.add_argument("--end", type=instant, help="First instant that is left out")
        parser.add_argument("--interval", type=float, help="Seconds to expect between two readings of a mote")
        parser.add_argument("--json", action="store_true", help="One JSON array of reports instead of the text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            span = reports.Span(options["start"], options["end"], options["interval"])
            made = [_made(scope, span) for scope in reports.scopes(options["profile"], options["site"])]
        except (reports.CannotValidate, reports.AlreadyValidating) as refusal:
            raise CommandError(str(refusal)) from refusal
        if options["json"]:
            self.stdout.write(json.dumps(ReportOut(made, many=True).data, ensure_ascii=False, indent=1))
        else:
            self.stdout.write("\n\n".join(printed(report) for report in made))
        failed = [reports.scope_words(report) for report in made if not report.has_passed]
        if failed:
            raise CommandError(f"Not good enough: {'; '.join(failed)}.", returncode=1)


def _made(scope: tuple[Profile, Site], span: reports.Span) -> QualityReport:
    now = timezone.now()
    report = reports.ask(scope, span, trigger="command", who=None, now=now)
    try:
        return reports.make_report(
            report, lake=lake(), hot=hot(), fleet=registry.current_fleet(), now=now, limits=reports.limits()
        )
    except Exception as error:
        raise CommandError(f"{reports.scope_words(report)}: {error}") from error
