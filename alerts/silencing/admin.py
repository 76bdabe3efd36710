"""Silences in the admin, and which alerts they kept quiet."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from alerts.silencing.models import Silence, Suppression
from sensors.admin import AuditedAdmin, ReadOnlyAdmin


@admin.register(Silence)
class SilenceAdmin(AuditedAdmin):
    list_display = ("where", "starts_at", "ends_at", "weekly", "is_maintenance", "reason", "made_by", "lifted_at")
    list_filter = ("is_maintenance", "zone")
    list_select_related = ("site", "zone__site", "mote__site", "made_by")
    search_fields = ("reason", "mote__code", "zone__code")
    date_hierarchy = "starts_at"
    autocomplete_fields = ("site", "zone", "mote")
    readonly_fields = ("made_at", "made_by", "lifted_at", "lifted_by")

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        obj.made_by, obj.made_at = obj.made_by or request.user, obj.made_at or timezone.now()
        super().save_model(request, obj, form, change)


@admin.register(Suppression)
class SuppressionAdmin(ReadOnlyAdmin):
    list_display = ("alert", "silence", "since_at", "ended_at")
    list_select_related = ("alert", "silence__site", "silence__zone__site", "silence__mote__site")
