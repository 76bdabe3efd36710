"""Looks at everything that SIEIS leans on."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from sieis_site.doctor import Finding, examine

SIGNS = {True: "✓", False: "✗", None: "·"}


class Command(BaseCommand):
    help = "Looks at every address, version, permission and file that SIEIS leans on, and says what to do."
    requires_system_checks: list[str] = []  # what they refuse is found here, with the rest

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in examine(timezone.now()):
            findings.append(finding)
            if not options["json"]:
                self.stdout.write(line(finding))
        bad = [finding for finding in findings if finding.is_ok is False]
        if options["json"]:
            self.stdout.write(json.dumps({"ok": not bad, "findings": [asdict(finding) for finding in findings]}))
        else:
            self.stdout.write(f"{len(bad)} of {len(findings)} need attention" if bad else "all is well")
        if bad:
            sys.exit(1)


def line(finding: Finding) -> str:
    cure = f"\n    → {finding.cure}" if finding.cure else ""
    return f"{SIGNS[finding.is_ok]} {finding.what}: {finding.words}{cure}"
