"""Targets, routes and the log of messages in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from alerts.notifying import deeds
from alerts.notifying.models import Delivery, Mention, Notice, Route, Target
from sensors.admin import AuditedAdmin, ReadOnlyAdmin, act_on_each, shown_json
from sensors.roles import OPERATE, may, person


@admin.register(Target)
class TargetAdmin(ReadOnlyAdmin):
    """Made where their address is checked, on the Notifications page; here they are looked at and removed."""

    list_display = ("name", "kind", "shown_address", "owner", "made_at", "removed_at")
    list_filter = ("kind",)
    list_select_related = ("owner",)
    search_fields = ("name",)
    exclude = ("address", "secret")
    readonly_fields = ("shown_address",)
    actions = ("remove",)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.change_target")

    @admin.action(description="Remove: nothing is sent there any more", permissions=["act"])
    def remove(self, request: HttpRequest, chosen: QuerySet[Target]) -> None:
        def remove(target: Target) -> None:
            deeds.remove_target(target, who=person(request), now=timezone.now())

        act_on_each(self, request, chosen.filter(removed_at=None), remove, "removed")


@admin.register(Route)
class RouteAdmin(AuditedAdmin):
    list_display = ("__str__", "target", "least_severity", "zone", "mode", "after_s", "is_on")
    list_filter = ("is_on", "mode", "least_severity")
    list_select_related = ("target", "zone__site", "site")
    search_fields = ("name", "target__name")
    autocomplete_fields = ("target", "site", "zone")


class Mentions(admin.TabularInline):
    model = Mention
    extra = 0
    can_delete = False
    fields = ("alert", "what")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("key", "target", "what", "state", "due_at", "sent_at", "n_tries", "trouble")
    list_filter = ("state", "what", "target")
    list_select_related = ("target",)
    search_fields = ("key", "trouble")
    date_hierarchy = "made_at"
    exclude = ("message",)
    readonly_fields = ("shown_message",)
    shown_message = shown_json("message")
    inlines = (Mentions,)
    actions = ("redeliver",)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return may(request.user, OPERATE)

    @admin.action(description="Send once more, with the same key", permissions=["act"])
    def redeliver(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        def again(delivery: Delivery) -> None:
            deeds.redeliver(delivery, who=person(request), now=timezone.now())

        act_on_each(self, request, chosen.select_related("target"), again, "on their way again", deeds.NotSent)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ("alert", "what", "at", "due_at", "is_held", "planned_at", "outcome")
    list_filter = ("what", "outcome", "is_held")
    list_select_related = ("alert",)
    search_fields = ("alert__subject",)


@admin.register(Mention)
class MentionAdmin(ReadOnlyAdmin):
    list_display = ("alert", "what", "delivery")
    list_select_related = ("alert", "delivery")
