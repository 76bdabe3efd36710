"""Checkpoints, snapshots, quarantine and books in the admin: to be read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ingestion import devices
from ingestion.models import (
    Booked,
    CapabilityTable,
    Checkpoint,
    DetectRun,
    DeviceKey,
    HourDifference,
    ImportJob,
    IntakeReceipt,
    LedgerHour,
    NotKept,
    QualityReport,
    Quarantined,
    Reconciliation,
    ReplayJob,
    StateSnapshot,
)
from ingestion.payloads import shown
from ingestion.wire import KEPT_BYTES
from sensors.admin import AuditedAdmin, ReadOnlyAdmin, on_page, shown_json
from sensors.roles import person


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
    list_display = (
        "received_at", "reason", "detail", "mote_code", "status", "size", "topic", "partition", "offset", "page",
    )  # fmt: skip
    page = on_page("quarantine-message", "pk")
    list_filter = ("reason", "status", "topic")
    search_fields = ("mote_code", "detail", "reason")
    date_hierarchy = "received_at"
    readonly_fields = ("message",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quarantined]:
        return super().get_queryset(request).defer("payload")

    @admin.display(description="Message, as text")
    def message(self, one: Quarantined) -> SafeString:
        return format_html("<pre>{}</pre>", shown(bytes(one.payload), one.size, KEPT_BYTES))


@admin.register(NotKept)
class NotKeptAdmin(ReadOnlyAdmin):
    list_display = ("hour", "reason", "n", "topic", "partition")
    list_filter = ("reason", "topic")
    date_hierarchy = "hour"


@admin.register(ReplayJob)
class ReplayJobAdmin(ReadOnlyAdmin):
    list_display = ("asked_at", "who", "state", "n_asked", "n_sent", "done_at", "error")
    list_filter = ("state",)
    date_hierarchy = "asked_at"
    exclude = ("asked", "left")
    readonly_fields = ("shown_asked", "shown_left")
    shown_asked = shown_json("asked")
    shown_left = shown_json("left")


@admin.register(LedgerHour)
class LedgerHourAdmin(ReadOnlyAdmin):
    list_display = (
        "hour", "profile", "topic", "partition", "received", "stored", "quarantined", "duplicate", "held",
    )  # fmt: skip
    list_filter = ("profile", "topic")
    search_fields = ("profile", "topic")
    date_hierarchy = "hour"
    exclude = ("motes", "others")
    readonly_fields = ("shown_motes", "shown_others")
    shown_motes = shown_json("motes", "readings stored by mote key")
    shown_others = shown_json("others", "the other fates by mote")


@admin.register(Booked)
class BookedAdmin(ReadOnlyAdmin):
    list_display = ("topic", "topic_id", "partition", "next_offset", "received_at")
    list_filter = ("topic",)
    search_fields = ("topic", "topic_id")


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyAdmin):
    list_display = ("asked_at", "state", "heals", "trigger", "who", "n_hours", "n_differing", "n_left", "seconds")
    list_filter = ("state", "heals", "trigger")
    search_fields = ("error", "who__username")
    date_hierarchy = "asked_at"
    exclude = ("did",)
    readonly_fields = ("shown_did",)
    shown_did = shown_json("did", "what it did")


@admin.register(HourDifference)
class HourDifferenceAdmin(ReadOnlyAdmin):
    list_display = ("hour", "profile", "site", "booked", "cold", "due", "hot", "found_at", "equal_at")
    list_filter = ("profile", "site")
    search_fields = ("profile__code", "site__code")
    date_hierarchy = "hour"
    exclude = ("motes",)
    readonly_fields = ("shown_motes",)
    shown_motes = shown_json("motes")


@admin.register(QualityReport)
class QualityReportAdmin(ReadOnlyAdmin):
    list_display = (
        "asked_at", "profile", "site", "state", "has_passed", "quality_percent", "n_readings", "trigger", "page",
    )  # fmt: skip
    page = on_page("report", "pk")
    list_filter = ("state", "has_passed", "profile", "site", "trigger")
    search_fields = ("profile__code", "site__code", "error")
    date_hierarchy = "asked_at"
    exclude = ("checks", "detail")
    readonly_fields = ("shown_checks", "shown_detail")
    shown_checks = shown_json("checks")
    shown_detail = shown_json("detail")


@admin.register(DeviceKey)
class DeviceKeyAdmin(ReadOnlyAdmin):
    """Made on the Devices page, by the API or by manage.py device_key, which show the secret once."""

    list_display = ("name", "public_id", "site", "mote", "made_at", "made_by", "last_used_at", "revoked_at")
    list_filter = ("site", "revoked_at")
    search_fields = ("name", "public_id", "mote__code")
    list_select_related = ("site", "mote__site", "made_by")
    exclude = ("secret_sha256",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[DeviceKey]) -> None:
        n = sum(devices.revoke_key(key, who=person(request), now=timezone.now()) for key in chosen)
        self.message_user(request, f"{n} revoked; nothing is taken with them any more.")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and admin.ModelAdmin.has_change_permission(self, request, obj)


@admin.register(IntakeReceipt)
class IntakeReceiptAdmin(ReadOnlyAdmin):
    list_display = ("key", "idempotency_key", "made_at")
    search_fields = ("idempotency_key", "key__name", "key__public_id")
    list_select_related = ("key",)
    date_hierarchy = "made_at"
    exclude = ("answer",)
    readonly_fields = ("shown_answer",)
    shown_answer = shown_json("answer")


@admin.register(ImportJob)
class ImportJobAdmin(ReadOnlyAdmin):
    """To be read; started, stopped and discarded on its page."""

    list_display = (
        "__str__",
        "state",
        "profile",
        "site",
        "n_rows",
        "n_sent",
        "trigger",
        "who",
        "started_at",
        "done_at",
        "page",
    )
    page = on_page("import", "pk")
    list_filter = ("state", "trigger", "profile", "site")
    search_fields = ("site", "error", "files")
    date_hierarchy = "asked_at"
    exclude = ("asked", "files", "foretold", "became", "installed", "leg", "tail")
    readonly_fields = ("shown_files", "shown_asked", "shown_became", "shown_foretold", "shown_leg")
    shown_files = shown_json("files")
    shown_asked = shown_json("asked")
    shown_became = shown_json("became")
    shown_foretold = shown_json("foretold")
    shown_leg = shown_json("leg")


@admin.register(CapabilityTable)
class CapabilityTableAdmin(ReadOnlyAdmin):
    list_display = ("profile", "version", "is_simulated", "is_quick", "measured_at", "seconds", "trigger")
    list_filter = ("profile", "is_simulated", "trigger")
    list_select_related = ("profile", "version")
    date_hierarchy = "measured_at"


@admin.register(DetectRun)
class DetectRunAdmin(ReadOnlyAdmin):
    list_display = ("name", "who", "size", "state", "asked_at", "done_at", "seconds")
    list_filter = ("state", "trigger")
    search_fields = ("name", "who__username")
    list_select_related = ("who",)
    date_hierarchy = "asked_at"
