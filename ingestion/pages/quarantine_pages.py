"""The pages of the quarantine: all of it, one message, and adopting a mote."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from ingestion import adoption, replay_jobs, replaying
from ingestion.filters import QuarantineFilter
from ingestion.models import Quarantined
from ingestion.pages import quarantine_page
from ingestion.replaying import CannotReplay
from ingestion.running import parts
from ingestion.streams import StreamUnavailable
from ingestion.words import count
from sensors.models import Profile, Site, Zone
from sensors.roles import OPERATE, demand, may, person, role_required
from sensors.stores import StoreUnavailable

ROWS = Quarantined.objects.select_related("settled_by")
STREAM_AWAY = "The stream does not take it now: {}. Nothing was marked; try again when Health says that it is there."


@require_safe
@role_required()
def quarantine(request: HttpRequest) -> HttpResponse:
    shown = quarantine_page.context(QuarantineFilter(request.GET), request.GET.dict(), timezone.now())
    shown["not_kept"] = quarantine_page.not_kept() if shown["n_not_kept"] else []
    return render(request, "quarantine.html", {**shown, "may_act": may(request.user, OPERATE)})


@role_required(OPERATE)
@require_POST
def settle(request: HttpRequest) -> HttpResponse:
    """Replays or discards the chosen messages, or all that fit the filters."""
    asked = QueryDict(request.POST.get("filters", "")).dict()
    is_all = request.POST.get("scope") == "all"
    keys = [int(key) for key in request.POST.getlist("message") if key.isdecimal()]
    chosen = QuarantineFilter(asked).found() if is_all else Quarantined.objects.filter(pk__in=keys)
    told = {key: str(value) for key, value in asked.items() if key != "view"} if is_all else {"chosen": str(len(keys))}
    try:
        if request.POST.get("deed") == "discard":
            n = replaying.discard(chosen.order_by(), who=person(request), now=timezone.now(), asked=told)
            messages.success(request, f"{count(n)} discarded. They stay to be seen until they are too old.")
        elif is_all:
            replay_jobs.dispatch(replay_jobs.ask(told, who=person(request), now=timezone.now()))
        else:
            _replay_chosen(request, list(chosen.order_by("pk")))
    except (replay_jobs.AlreadyReplaying, replay_jobs.NothingToReplay, CannotReplay) as refusal:
        messages.warning(request, str(refusal))
    except (StreamUnavailable, StoreUnavailable) as away:
        messages.error(request, STREAM_AWAY.format(away))
    return redirect(f"{reverse('quarantine')}?{request.POST.get('filters', '')}")


def _replay_chosen(request: HttpRequest, rows: list[Quarantined]) -> None:
    sent = replaying.replay_chosen(rows, parts=parts(), who=person(request), now=timezone.now())
    if sent.n:
        messages.success(
            request, f"{count(sent.n)} of {count(len(rows))} sent again; what becomes of them shows in a moment."
        )
    for fate in {fate.name: fate for key, fate in sent.fates.items() if key not in sent.keys}.values():
        messages.warning(request, f"{count(sent.left[fate.name])} stayed. {fate.words}")


@require_http_methods(["GET", "HEAD", "POST"])
@role_required()
def message(request: HttpRequest, pk: int) -> HttpResponse:
    """One message; a POST replays it, as it is or repaired, discards it or takes it back."""
    row = get_object_or_404(ROWS, pk=pk)
    payload = None
    if request.method == "POST":
        demand(request.user, OPERATE)
        payload = request.POST.get("payload")
        payload = payload.replace("\r\n", "\n") if payload else payload  # as forms send the ends of lines
        if (answer := _deed(request, row, payload)) is not None:
            return answer
    shown = quarantine_page.message_context(row, parts=parts(), now=timezone.now(), payload=payload)
    return render(request, "quarantine/message.html", {**shown, "may_act": may(request.user, OPERATE)})


def _deed(request: HttpRequest, row: Quarantined, payload: str | None) -> HttpResponse | None:
    """What the form asks for; None where the page is to be shown again with what was entered."""
    who, now, deed = person(request), timezone.now(), request.POST.get("deed")
    one = Quarantined.objects.filter(pk=row.pk)
    if deed == "discard":
        n = replaying.discard(one, who=who, now=now, asked={"message": row.place})
        messages.info(request, "Discarded." if n else "Somebody else was faster.")
    elif deed == "take_back":
        replaying.take_back(row, who=who, now=now)
    elif deed == "replay" and payload is not None:
        try:
            fate = replaying.replay(row, parts=parts(), who=who, now=now, payload=payload.encode(errors="replace"))
        except CannotReplay as refusal:
            messages.error(request, str(refusal))
            return None
        except (StreamUnavailable, StoreUnavailable) as away:
            messages.error(request, STREAM_AWAY.format(away))
            return None
        messages.success(request, f"Sent again. {fate.words}")
    else:
        return None
    return redirect("quarantine-message", row.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@role_required(OPERATE)
def adopt(request: HttpRequest) -> HttpResponse:
    """The form that registers an unknown mote, filled in as its messages tell; a POST does it."""
    asked: dict[str, Any] = (request.POST if request.method == "POST" else request.GET).dict()
    unknown = adoption.unknown(asked.get("mote", ""), asked.get("named_site", asked.get("site", "")))
    given: dict[str, str] = {}
    if request.method == "POST":
        given = {name: asked.get(name, "") for name in ("site", "profile", "zone", "label")}
        try:
            mote = adoption.adopt(unknown, **_named(given), who=person(request), now=timezone.now())
        except ValidationError as wrong:
            messages.error(request, " ".join(wrong.messages))
        else:
            adoption.release_soon()
            messages.success(
                request, f"{mote} is registered; its {count(unknown.n)} held messages flow in within seconds."
            )
            return redirect("mote", mote.site.code, mote.code)
    return render(request, "quarantine/adopt.html", quarantine_page.adoption_context(unknown, given))


def _named(given: dict[str, str]) -> dict[str, Any]:
    """The rows that the form's codes name."""
    site = Site.objects.filter(code=given["site"]).first()
    profile = Profile.objects.filter(code=given["profile"]).first()
    if site is None or profile is None:
        raise ValidationError("Choose a site and a profile; an administrator can add others.")
    zone = Zone.objects.filter(site=site, code=given["zone"]).first()
    return {"site": site, "profile": profile, "zone": zone, "label": given["label"].strip()[:120]}
