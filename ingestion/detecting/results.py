"""What is kept of a judged file: three files to take along, and what its page shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops.detect import Judged
from mlops.detect.report import charts, page, verdict

FILES = {
    "scored.csv": "text/csv; charset=utf-8",
    "events.json": "application/json",
    "report.html": "text/html; charset=utf-8",
}
SHOWN = "shown.json"  # charts and events of the page
MOST_SHOWN = 200
MOST_CHARTS = 12


def write(judged: Judged, folder: Path) -> dict[str, Any]:
    """Writes all of it; answers what the run's row keeps."""
    judged.scored().write_csv(folder / "scored.csv")
    told = judged.told()
    (folder / "events.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(page(judged), encoding="utf-8")
    shown = {"charts": charts(judged, MOST_CHARTS), "events": told["events"][:MOST_SHOWN]}
    (folder / SHOWN).write_text(json.dumps(shown, ensure_ascii=False), encoding="utf-8")
    n_high = sum(found.severity == "high" for found in judged.events)
    return {
        "verdict": verdict(judged), "words": told["words"], "notes": told["notes"], "rows": told["rows"],
        "judged": told["judged"], "training_rows": told["training_rows"], "channels": told["channels"],
        "series": told["series"], "events": len(judged.events), "high": n_high,
    }  # fmt: skip
