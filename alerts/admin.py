"""Alerts, events and maintenance windows in the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from alerts import lifecycle
from alerts.changes import Actor
from alerts.models import Alert, AlertChange, Event, Evidence, Judgement, MaintenanceWindow
from sensors.admin import AuditedAdmin, ReadOnlyAdmin, act_on_each, on_page, shown_json
from sensors.roles import OPERATE, may


class AlertChangeInline(admin.TabularInline):
    """The story, to be read."""

    model = AlertChange
    extra = 0
    can_delete = False
    fields = readonly_fields = ("at", "who", "deed", "before", "after", "note", "door", "address")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = (
        "subject", "kind", "status", "severity", "words", "n_events", "assignee", "first_seen_at", "last_seen_at",
        "page",
    )  # fmt: skip
    page = on_page("alert", "pk")
    list_filter = ("status", "severity", "kind", "mote__site", "assignee")
    list_select_related = ("mote__site", "assignee")
    search_fields = ("subject", "words", "changes__note")
    date_hierarchy = "last_seen_at"
    actions = ("acknowledge", "start", "resolve", "close", "reopen")
    inlines = (AlertChangeInline,)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return may(request.user, OPERATE)

    @admin.action(description="Acknowledge: somebody has it in hand", permissions=["act"])
    def acknowledge(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        self._act(request, chosen, lifecycle.acknowledge, "acknowledged")

    @admin.action(description="Start: you are working on it", permissions=["act"])
    def start(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        self._act(request, chosen, lifecycle.start, "started")

    @admin.action(description="Resolve: it has ended", permissions=["act"])
    def resolve(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        self._act(request, chosen, lifecycle.resolve, "resolved")

    @admin.action(description="Close: nothing more is to be learnt from it", permissions=["act"])
    def close(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        self._act(request, chosen, lifecycle.close, "closed")

    @admin.action(description="Open again", permissions=["act"])
    def reopen(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        self._act(request, chosen, lifecycle.reopen, "opened again")

    def _act(self, request: HttpRequest, chosen: QuerySet[Alert], deed: Callable[..., Alert], done: str) -> None:
        def act(alert: Alert) -> None:
            deed(alert, by=Actor.of(request, "admin"), now=timezone.now())

        act_on_each(self, request, chosen, act, done, lifecycle.AlreadyMoved)


@admin.register(AlertChange)
class AlertChangeAdmin(ReadOnlyAdmin):
    list_display = ("at", "alert", "deed", "before", "after", "who", "door", "address", "note")
    list_filter = ("deed", "door", "after", "alert__mote__site")
    list_select_related = ("alert", "who")
    search_fields = ("alert__subject", "note", "who__username")
    date_hierarchy = "at"


@admin.register(Judgement)
class JudgementAdmin(ReadOnlyAdmin):
    list_display = ("alert", "verdict", "note", "by", "at")
    list_filter = ("verdict", "alert__kind", "alert__mote__site")
    list_select_related = ("alert", "by")
    search_fields = ("alert__subject", "note")
    date_hierarchy = "at"


@admin.register(Evidence)
class EvidenceAdmin(ReadOnlyAdmin):
    list_display = ("alert", "occasion", "taken_at", "verdict", "is_reproduced", "size", "sha256")
    list_filter = ("occasion", "verdict", "is_reproduced")
    list_select_related = ("alert",)
    search_fields = ("alert__subject", "sha256")
    date_hierarchy = "taken_at"


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = (
        "mote", "started_at", "ended_at", "peak_channel", "peak_value", "layer", "peak_surprise", "model_version",
    )  # fmt: skip
    list_filter = ("layer", "peak_channel", "is_history", "mote__site")
    list_select_related = ("mote__site",)
    search_fields = ("mote__code", "words")
    date_hierarchy = "noticed_at"
    exclude = ("contributions",)
    readonly_fields = ("shown_contributions",)
    shown_contributions = shown_json("contributions")


@admin.register(MaintenanceWindow)
class MaintenanceWindowAdmin(AuditedAdmin):
    list_display = ("mote", "zone", "starts_at", "ends_at", "reason", "created_by")
    list_filter = ("zone",)
    list_select_related = ("mote__site", "zone__site", "created_by")
    search_fields = ("mote__code", "zone__code", "reason")
    date_hierarchy = "starts_at"
    autocomplete_fields = ("mote", "zone")
    readonly_fields = ("created_by",)

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        obj.created_by = obj.created_by or request.user
        super().save_model(request, obj, form, change)


# Django finds admins only here.
import alerts.grouping.admin
import alerts.notifying.admin
import alerts.rules.admin
import alerts.silencing.admin  # noqa: F401
