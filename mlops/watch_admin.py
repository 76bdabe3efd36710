"""Retrain policies, drift and validations in the admin."""

from __future__ import annotations

from django.contrib import admin

from mlops.models import DriftDay, RetrainPolicy, Review, ShadowRun, Validation
from sensors.admin import AuditedAdmin, ReadOnlyAdmin, shown_json


@admin.register(RetrainPolicy)
class RetrainPolicyAdmin(AuditedAdmin):
    list_display = ("profile", "mode", "days", "after_import", "on_drift", "on_labels", "rest_hours")
    list_select_related = ("profile",)


@admin.register(DriftDay)
class DriftDayAdmin(ReadOnlyAdmin):
    list_display = ("day", "profile", "kind", "name", "shift", "effect", "is_over", "version")
    list_filter = ("profile", "kind", "is_over")
    list_select_related = ("profile", "version")
    date_hierarchy = "day"


@admin.register(Validation)
class ValidationAdmin(ReadOnlyAdmin):
    list_display = ("version", "made_at", "trigger", "starts_at", "ends_at", "n_readings", "holds", "words")
    list_filter = ("holds", "trigger", "version__profile")
    list_select_related = ("version",)
    exclude = ("metrics",)
    readonly_fields = ("shown_metrics",)
    shown_metrics = shown_json("metrics")


@admin.register(ShadowRun)
class ShadowRunAdmin(ReadOnlyAdmin):
    list_display = ("version", "started_at", "stopped_at", "n_readings", "n_only_serving", "n_only_candidate", "error")
    list_filter = ("version__profile",)
    list_select_related = ("version",)


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    list_display = ("mote", "kind", "starts_at", "ends_at", "weight", "verdict", "said_by", "run")
    list_filter = ("kind", "verdict")
    list_select_related = ("mote__site", "run__version", "said_by")
    date_hierarchy = "starts_at"
