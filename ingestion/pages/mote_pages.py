"""The pages of motes: all of them, and each."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from ingestion.pages import mote_page, motes_page
from sensors import services
from sensors.models import Mote, Profile, Site, Zone
from sensors.roles import ENGINEERING, OPERATE, may, person, role_required
from sensors.stores import hot
from sensors.tiers import tiers

ON_A_PAGE = 500


@require_safe
@role_required()
def motes(request: HttpRequest) -> HttpResponse:
    form = motes_page.MoteFilter(request.GET)
    asked = form.asked()
    found = motes_page.context(asked, store=hot(), now=timezone.now())
    query = request.GET.copy()
    query.pop("page", None)
    unsorted = query.copy()
    unsorted.pop("sort", None)
    shown = {
        **found,
        "form": form,
        "asked": asked,
        "sort": asked["sort"] or "code",
        "page": Paginator(found["rows"], ON_A_PAGE).get_page(request.GET.get("page")),
        "query": query.urlencode(),
        "unsorted": unsorted.urlencode(),
        "states": [(code, *mote_page.STATES[code]) for code in mote_page.STATES],
        "may_act": may(request.user, OPERATE),
        "may_register": may(request.user, ENGINEERING),
    }
    if shown["may_register"]:
        shown |= {
            "sites": Site.objects.all(),
            "profiles": Profile.objects.all(),
            "zones": Zone.objects.select_related("site"),
        }
    return render(request, "motes.html", shown)


@require_safe
@role_required()
def mote(request: HttpRequest, site: str, code: str) -> HttpResponse:
    found = Mote.objects.select_related("site", "zone", "profile").filter(site__code=site, code=code).first()
    if found is None:
        raise Http404(f"There is no mote “{code}” at site “{site}”.")
    shown = mote_page.context(found, request.GET.dict(), tiers=tiers(), now=timezone.now(), user=request.user)
    return render(request, "mote.html", shown)


@role_required(OPERATE)
@require_POST
def change_states(request: HttpRequest) -> HttpResponse:
    """All chosen motes into one state."""
    state = request.POST.get("state", "")
    chosen = list(Mote.objects.select_related("site", "zone", "profile").filter(pk__in=_keys(request)))
    if state not in Mote.State.values:
        messages.error(request, f"“{state}” is no state; expected one of {', '.join(Mote.State.values)}.")
    elif not chosen:
        messages.warning(request, "No mote was chosen.")
    else:
        try:
            n = services.change_motes(chosen, state=state, who=person(request), now=timezone.now())
            messages.success(request, f"{n} of {len(chosen)} motes changed; all are {state} now.")
        except ValidationError as wrong:
            messages.error(request, " ".join(wrong.messages))
    back = request.POST.get("back", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, None) else "motes")


def _keys(request: HttpRequest) -> list[int]:
    return [int(key) for key in request.POST.getlist("mote") if key.isdecimal()]
