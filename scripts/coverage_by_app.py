"""Prints the branch coverage of each app from coverage's JSON report and fails below the floor."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

APPS = ("sieis_site", "ingestion", "mlops", "alerts", "sensors")
FLOOR = 80.0


def by_app(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, Counter[str]]:
    sums = {app: Counter[str]() for app in APPS}
    for name, file in report["files"].items():
        app = Path(name).parts[0]
        if app in sums:
            figures = file["summary"]
            sums[app]["covered"] += figures["covered_lines"] + figures["covered_branches"]
            sums[app]["all"] += figures["num_statements"] + figures["num_branches"]
    return sums


def main() -> int:
    low = []
    print("coverage of lines and branches")
    for app, sums in by_app(json.loads(Path(sys.argv[1]).read_text())).items():
        percent = 100 * sums["covered"] / sums["all"] if sums["all"] else 100.0
        print(f"  {app:12} {percent:5.1f} %")
        if percent < FLOOR:
            low.append(app)
    if low:
        print(f"below {FLOOR:.0f} %: {', '.join(low)}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
