"""A report as text, in the mission's layout. Pure but for the row that it is given."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ingestion.models import QualityReport
from ingestion.validation.reports import Change, Comparison, compared, scope_words
from ingestion.validation.words import count, percent

MARKS = {True: ("✓", "PASS"), False: ("✗", "FAIL"), None: ("·", "nothing to judge")}
WIDTH = 116


def printed(report: QualityReport) -> str:
    return "\n".join(_lines(report))


def _lines(report: QualityReport) -> Iterator[str]:
    since = compared(report)
    version = f"profile version {report.profile_version}"
    yield f"Data quality of {scope_words(report)}: {count(report.n_readings)} readings, {version}"
    yield ""
    for check in report.checks:
        mark, verdict = MARKS[check["has_passed"]]
        change = _change(since.checks.get(check["name"])) if since else ""
        yield f"{mark} {check['label']}: {check['figure']} — {verdict}{change}"
        yield from _indented(f"{check['words']} Limit: {check['limit']}." if check["limit"] else check["words"])
    batteries = [(one["mote"], one["battery"]) for one in report.detail["motes"] if one.get("battery")]
    if batteries:
        yield ""
        yield "Batteries that ran low:"
        for mote, sentence in batteries:
            yield from _indented(f"{mote}: {sentence}")
    yield ""
    yield report.detail["left_out"]["words"]
    quality = percent((report.quality_percent or 0.0) / 100)
    took = f"({report.seconds:.1f} s)"
    yield f"Overall quality: {quality} — {MARKS[report.has_passed][1]}{_overall_change(since)} {took}"


def _overall_change(since: Comparison | None) -> str:
    if since is None or since.quality is None:
        return ""
    if since.quality == 0:
        return f", as in report {since.report.pk}"
    return (
        f", {abs(since.quality):.2f} points {'better' if since.quality > 0 else 'worse'} than report {since.report.pk}"
    )


def _change(change: Change | None) -> str:
    if change is None or change.is_better is None or change.points is None:
        return ""
    return f" ({abs(change.points):.2f} points {'better' if change.is_better else 'worse'} than last time)"


def _indented(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, WIDTH, initial_indent="    ", subsequent_indent="    ")
