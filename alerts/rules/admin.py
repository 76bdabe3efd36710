"""Rules in the admin: looked at, switched and removed; they are written where they can be tried."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from alerts.rules import deeds
from alerts.rules.models import Rule, RuleState
from sensors.admin import ReadOnlyAdmin, act_on_each, shown_json
from sensors.roles import ENGINEERING, may, person


@admin.register(Rule)
class RuleAdmin(ReadOnlyAdmin):
    list_display = ("name", "version", "severity", "where", "is_on", "changed_at", "changed_by", "removed_at")
    list_filter = ("is_on", "severity", "profile")
    list_select_related = ("profile", "site", "zone__site", "mote__site", "changed_by")
    search_fields = ("name",)
    exclude = ("definition",)
    readonly_fields = ("shown_definition",)
    shown_definition = shown_json("definition")
    actions = ("switch_on", "switch_off", "remove")

    def has_act_permission(self, request: HttpRequest) -> bool:
        return may(request.user, ENGINEERING)

    @admin.action(description="Switch on", permissions=["act"])
    def switch_on(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        self._switch(request, chosen, is_on=True)

    @admin.action(description="Switch off: its alerts end", permissions=["act"])
    def switch_off(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        self._switch(request, chosen, is_on=False)

    def _switch(self, request: HttpRequest, chosen: QuerySet[Rule], *, is_on: bool) -> None:
        def switch(rule: Rule) -> None:
            deeds.switch_rule(rule, is_on=is_on, who=person(request), now=timezone.now())

        act_on_each(self, request, chosen.filter(removed_at=None), switch, f"switched {'on' if is_on else 'off'}")

    @admin.action(description="Remove: its alerts end", permissions=["act"])
    def remove(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        def remove(rule: Rule) -> None:
            deeds.remove_rule(rule, who=person(request), now=timezone.now())

        act_on_each(self, request, chosen.filter(removed_at=None), remove, "removed")


@admin.register(RuleState)
class RuleStateAdmin(ReadOnlyAdmin):
    list_display = ("rule", "version", "since_at", "judged_at", "leased_until", "trouble")
    list_select_related = ("rule",)
    exclude = ("motes",)
    readonly_fields = ("shown_motes",)
    shown_motes = shown_json("motes")
