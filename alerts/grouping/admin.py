"""Incidents in the admin."""

from __future__ import annotations

from django.contrib import admin

from alerts.grouping.models import Incident, Membership
from sensors.admin import ReadOnlyAdmin


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_display = ("id", "cause", "shared", "n_alerts", "first_mover", "opened_at", "ended_at")
    list_filter = ("cause",)
    list_select_related = ("first_mover",)
    search_fields = ("shared", "first_mover__subject")
    date_hierarchy = "opened_at"


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    list_display = ("incident", "alert", "began_at", "joined_at")
    list_select_related = ("incident", "alert")
