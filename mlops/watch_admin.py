"""Retrain policies in the admin."""

from __future__ import annotations

from django.contrib import admin

from mlops.models import RetrainPolicy
from sensors.admin import AuditedAdmin


@admin.register(RetrainPolicy)
class RetrainPolicyAdmin(AuditedAdmin):
    list_display = ("profile", "mode", "days", "after_import", "on_drift", "on_labels", "rest_hours")
    list_select_related = ("profile",)
