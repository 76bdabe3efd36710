"""The page where a fleet comes in by CSV: first what would become of each line, then, confirmed, all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from sensors import mote_csv, mote_import
from sensors.lake import lake
from sensors.models import Mote, Profile, Site
from sensors.roles import ENGINEERING, person, role_required
from sensors.stores import hot
from sensors.tables import files


@require_http_methods(["GET", "HEAD", "POST"])
@role_required(ENGINEERING)
def bring_motes(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _shown(request, "")
    upload = request.FILES.get("file")
    raw = upload.read(mote_csv.MAX_BYTES + 1) if upload else request.POST.get("text", "").encode()
    source = (upload.name if upload else request.POST.get("source")) or "motes.csv"
    seen = request.POST.get("confirmed")
    try:
        file = mote_csv.parse(raw, source)
        asked: dict[str, Any] = {"who": person(request), "now": timezone.now(), "store": hot(), "lake": lake()}
        if not seen:
            return _shown(request, source, raw, mote_import.preview(file, **asked))
        became = mote_import.bring(file, seen=seen, **asked)
    except mote_csv.BadFleet as wrong:
        return _shown(request, source, raw, trouble=str(wrong), status=400)
    except mote_import.Refused as refusal:
        return _shown(request, source, raw, refusal.became, trouble=str(refusal), status=409)
    counts = became.counts
    messages.success(request, f"{counts['new']} motes are new, {counts['changed']} changed, {counts['same']} stay.")
    return redirect("motes")


def _shown(
    request: HttpRequest,
    source: str,
    raw: bytes = b"",
    became: mote_import.Became | None = None,
    *,
    trouble: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "source": source,
        "text": _text(raw, source),
        "became": became,
        "rows": sorted(became.rows, key=_by_weight) if became else [],
        "trouble": trouble,
        "columns": ",".join(mote_csv.COLUMNS),
        "most": mote_csv.MAX_ROWS,
        "sites": Site.objects.all(),
        "profiles": Profile.objects.all(),
        "n_left": _n_left(became) if became else 0,
    }
    return render(request, "motes/bring.html", context, status=status)


def _by_weight(row: mote_import.Outcome) -> tuple[int, int]:
    """What needs a look first."""
    return (mote_import.REFUSED, mote_import.CHANGED, mote_import.NEW, mote_import.SAME).index(row.verdict), row.line


def _text(raw: bytes, source: str) -> str:
    """For the text area, whatever the file's encoding was."""
    try:
        return files.text_of(Path(source), raw)[0]
    except files.BadFile:
        return raw.decode(errors="replace")


def _n_left(became: mote_import.Became) -> int:
    """Motes that the file says nothing of."""
    named = {(row.site, row.mote) for row in became.rows}
    there = Mote.objects.filter(is_probe=False).values_list("site__code", "code")
    return sum(key not in named for key in there)
