"""Checkpoints, snapshots, quarantine and books in the admin: to be read."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ingestion.api import payload_text
from ingestion.models import Checkpoint, LedgerHour, QualityReport, Quarantined, StateSnapshot
from ingestion.wire import KEPT_BYTES
from sensors.admin import AuditedAdmin, ReadOnlyAdmin, shown_json


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin, AuditedAdmin):
    """To be read, and to be deleted where a partition shall be read from its start (StreamClosed says when)."""

    list_display = ("topic", "partition", "next_offset", "owner", "epoch", "saved_at")
    list_filter = ("topic",)
    search_fields = ("topic", "owner")
    exclude = ("configuration",)
    readonly_fields = ("shown_configuration",)
    shown_configuration = shown_json("configuration")

    def has_delete_permission(self, request: HttpRequest, obj: Checkpoint | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


@admin.register(StateSnapshot)
class StateSnapshotAdmin(ReadOnlyAdmin):
    list_display = ("topic", "partition", "next_offset", "size", "taken_at", "blob")
    list_filter = ("topic",)
    search_fields = ("topic", "blob", "sha256")
    date_hierarchy = "taken_at"


@admin.register(Quarantined)
class QuarantinedAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "reason", "detail", "mote_code", "status", "size", "topic", "partition", "offset")
    list_filter = ("reason", "status", "topic")
    search_fields = ("mote_code", "detail", "reason")
    date_hierarchy = "received_at"
    readonly_fields = ("message",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quarantined]:
        return super().get_queryset(request).defer("payload")

    @admin.display(description="Message, as text")
    def message(self, one: Quarantined) -> SafeString:
        return format_html("<pre>{}</pre>", payload_text(one, KEPT_BYTES))


@admin.register(LedgerHour)
class LedgerHourAdmin(ReadOnlyAdmin):
    list_display = (
        "hour", "profile", "topic", "partition", "received", "stored", "quarantined", "duplicate", "held",
    )  # fmt: skip
    list_filter = ("profile", "topic")
    search_fields = ("profile", "topic")
    date_hierarchy = "hour"
    exclude = ("motes",)
    readonly_fields = ("shown_motes",)
    shown_motes = shown_json("motes", "readings stored by mote key")


@admin.register(QualityReport)
class QualityReportAdmin(ReadOnlyAdmin):
    list_display = ("asked_at", "profile", "site", "state", "has_passed", "quality_percent", "n_readings", "trigger")
    list_filter = ("state", "has_passed", "profile", "site", "trigger")
    search_fields = ("profile__code", "site__code", "error")
    date_hierarchy = "asked_at"
    exclude = ("checks", "detail")
    readonly_fields = ("shown_checks", "shown_detail")
    shown_checks = shown_json("checks")
    shown_detail = shown_json("detail")
