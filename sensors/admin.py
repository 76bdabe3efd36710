"""Sites, zones, motes and profiles in the admin; and what the admins of the other apps share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sensors import audit, corrections, services, tokens
from sensors.models import (
    ApiToken,
    AuditEntry,
    Channel,
    Correction,
    FleetRevision,
    Mote,
    Onset,
    Preferences,
    ProcessHeartbeat,
    Profile,
    ProfileVersion,
    SensorGrade,
    Site,
    Zone,
)
from sensors.roles import person


class ReadOnlyAdmin(admin.ModelAdmin):
    """For what is immutable or written by SIEIS itself: to be read and searched."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AuditedAdmin(admin.ModelAdmin):
    """For what people write: each change leaves an audit entry in the same transaction."""

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            self._record(request, "change" if change else "add", obj, detail=spoken_changes(obj, form))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self._record(request, "remove", obj)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)

    def _record(self, request: HttpRequest, verb: str, obj: Model, detail: dict[str, Any] | None = None) -> None:
        kind = obj._meta.model_name
        audit.record(
            deed=f"{verb}_{kind}", subject=f"{kind}:{obj}"[:200], detail=detail, who=person(request), now=timezone.now()
        )


def changes(obj: Model, form: ModelForm[Any]) -> dict[str, tuple[Any, Any]]:
    """What a form changed: field, what it was, what it became."""
    return {name: (form.initial.get(name), getattr(obj, name, None)) for name in form.changed_data}


def spoken_changes(obj: Model, form: ModelForm[Any]) -> dict[str, Any]:
    return {name: [str(before), str(after)] for name, (before, after) in changes(obj, form).items()}


def shown_json(field: str, label: str | None = None) -> Callable[[Any, Any], SafeString]:
    """An admin column that shows a JSON field indented."""

    @admin.display(description=label or field.replace("_", " "))
    def shown(self: Any, obj: Any) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(getattr(obj, field), indent=2, ensure_ascii=False))

    return shown


def on_page(route: str, *fields: str) -> Callable[[Any, Any], str]:
    """An admin column that leads to where the pages show the same; the fields go into the address."""

    @admin.display(description="page")
    def page(self: Any, obj: Any) -> str:
        named = [attrgetter(field)(obj) for field in fields]
        return format_html('<a href="{}">open</a>', reverse(route, args=named))

    return page


def act_on_each(
    model_admin: admin.ModelAdmin[Any],
    request: HttpRequest,
    chosen: Iterable[Any],
    deed: Callable[[Any], object],
    done: str,
    *refusals: type[Exception],
) -> None:
    """Runs a deed for each chosen row, and says how many were done and why others were not."""
    n = 0
    for obj in chosen:
        try:
            deed(obj)
            n += 1
        except refusals as refusal:
            words = " ".join(refusal.messages) if isinstance(refusal, ValidationError) else str(refusal)
            model_admin.message_user(request, words, messages.WARNING)
    if n:
        model_admin.message_user(request, f"{n} {done}.", messages.SUCCESS)


class FleetAdmin(admin.ModelAdmin):
    """Goes through sensors.services, so that every process reads the fleet anew."""

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        services.keep_fleet_part(obj, changes=changes(obj, form), who=person(request), now=timezone.now())

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Site)
class SiteAdmin(FleetAdmin):
    list_display = ("code", "label", "time_zone")
    search_fields = ("code", "label")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("code",) if obj else ()


@admin.register(Zone)
class ZoneAdmin(FleetAdmin):
    list_display = ("code", "label", "site")
    list_filter = ("site",)
    list_select_related = ("site",)
    search_fields = ("code", "label")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def delete_model(self, request: HttpRequest, obj: Zone) -> None:
        services.remove_zone(obj, who=person(request), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Zone]) -> None:
        for zone in queryset:
            self.delete_model(request, zone)


@admin.register(Mote)
class MoteAdmin(FleetAdmin):
    """Motes are retired, not deleted: their readings keep their name."""

    list_display = ("code", "site", "zone", "profile", "state", "last_seen_at", "label", "page")
    page = on_page("mote", "site.code", "code")
    list_filter = ("state", "profile", "site", "zone")
    list_select_related = ("site", "zone__site", "profile")
    search_fields = ("code", "label")
    readonly_fields = ("last_seen_at",)
    actions = ("commission", "activate", "maintain", "retire")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Stored readings and alerts are filed under these.
        return ("site", "code", "profile", *self.readonly_fields) if obj else self.readonly_fields

    @admin.action(description="Into commissioning: no alerts, no training", permissions=["change"])
    def commission(self, request: HttpRequest, chosen: QuerySet[Mote]) -> None:
        self._move(request, chosen, Mote.State.COMMISSIONING)

    @admin.action(description="Set active: readings may raise alerts", permissions=["change"])
    def activate(self, request: HttpRequest, chosen: QuerySet[Mote]) -> None:
        self._move(request, chosen, Mote.State.ACTIVE)

    @admin.action(description="Into maintenance: no new alerts, no training", permissions=["change"])
    def maintain(self, request: HttpRequest, chosen: QuerySet[Mote]) -> None:
        self._move(request, chosen, Mote.State.MAINTENANCE)

    @admin.action(description="Retire: messages are put aside, open alerts resolved", permissions=["change"])
    def retire(self, request: HttpRequest, chosen: QuerySet[Mote]) -> None:
        self._move(request, chosen, Mote.State.RETIRED)

    def _move(self, request: HttpRequest, chosen: QuerySet[Mote], state: Mote.State) -> None:
        def move(mote: Mote) -> None:
            services.change_mote(mote, state=state, who=person(request), now=timezone.now())

        act_on_each(self, request, chosen, move, f"now {state.label.lower()}", ValidationError)


class ChannelsOfVersion(admin.TabularInline):
    model = Channel
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Profile)
class ProfileAdmin(ReadOnlyAdmin):
    """Profiles come from packs: manage.py load_pack."""

    list_display = ("code", "label", "page")
    page = on_page("profile", "code")
    search_fields = ("code", "label")


@admin.register(ProfileVersion)
class ProfileVersionAdmin(ReadOnlyAdmin):
    list_display = ("profile", "number", "is_current", "step_s", "interval_s", "created_at")
    list_filter = ("profile", "is_current")
    list_select_related = ("profile",)
    search_fields = ("profile__code",)
    inlines = (ChannelsOfVersion,)
    exclude = ("settings",)
    readonly_fields = ("shown_settings",)
    shown_settings = shown_json("settings")


@admin.register(Channel)
class ChannelAdmin(ReadOnlyAdmin):
    list_display = (
        "code", "version", "unit", "physical_min", "physical_max", "normal_min", "normal_max", "flat_after_s",
    )  # fmt: skip
    list_filter = ("version__profile", "version__is_current")
    list_select_related = ("version__profile",)
    search_fields = ("code", "label")


@admin.register(Onset)
class OnsetAdmin(ReadOnlyAdmin):
    list_display = ("profile", "model_version", "surprise")
    list_filter = ("profile",)
    list_select_related = ("profile",)


@admin.register(FleetRevision)
class FleetRevisionAdmin(ReadOnlyAdmin):
    list_display = ("number",)


@admin.register(ProcessHeartbeat)
class ProcessHeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("name", "kind", "beat_at")
    list_filter = ("kind",)
    search_fields = ("name",)
    exclude = ("detail",)
    readonly_fields = ("shown_detail",)
    shown_detail = shown_json("detail")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "who", "deed", "subject")
    list_filter = ("deed",)
    list_select_related = ("who",)
    search_fields = ("subject", "deed", "who__username")
    date_hierarchy = "at"
    exclude = ("detail",)
    readonly_fields = ("shown_detail",)
    shown_detail = shown_json("detail")


@admin.register(Correction)
class CorrectionAdmin(ReadOnlyAdmin):
    """Made and taken back on the mote's page or by the API; here to be searched, and taken back."""

    list_display = ("mote", "channel", "kind", "offset", "starts_at", "ends_at", "why", "made_by", "undone_at")
    list_filter = ("kind", "channel", "mote__site")
    search_fields = ("mote__code", "why", "channel")
    list_select_related = ("mote__site", "made_by")
    date_hierarchy = "starts_at"
    actions = ("take_back",)

    @admin.action(description="Take back the selected corrections", permissions=["change"])
    def take_back(self, request: HttpRequest, chosen: QuerySet[Correction]) -> None:
        now = timezone.now()
        act_on_each(
            self, request, chosen, lambda one: corrections.undo_correction(one, who=person(request), now=now),
            "taken back", corrections.AlreadyUndone,
        )  # fmt: skip

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and admin.ModelAdmin.has_change_permission(self, request, obj)


@admin.register(SensorGrade)
class SensorGradeAdmin(ReadOnlyAdmin):
    list_display = ("mote", "channel", "grade", "starts_at", "ends_at", "graded_at")
    list_filter = ("grade", "channel", "mote__site")
    search_fields = ("mote__code", "channel")
    list_select_related = ("mote__site",)
    exclude = ("reasons",)
    readonly_fields = ("shown_reasons",)
    shown_reasons = shown_json("reasons")


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Made by its person, on the page or by the API, which show the secret once. Administrators may revoke any."""

    list_display = ("name", "user", "scope", "public_id", "made_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = ("scope", "revoked_at")
    search_fields = ("name", "public_id", "user__username")
    list_select_related = ("user",)
    exclude = ("secret_sha256",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiToken]) -> None:
        n = sum(tokens.revoke_token(token, who=person(request), now=timezone.now()) for token in chosen)
        self.message_user(request, f"{n} revoked; they let nobody in any more.")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and admin.ModelAdmin.has_change_permission(self, request, obj)


@admin.register(Preferences)
class PreferencesAdmin(ReadOnlyAdmin):
    """How people want the pages; each sets their own on Account."""

    list_display = ("user", "time_zone", "theme", "toured_at")
    list_filter = ("theme",)
    search_fields = ("user__username",)
    list_select_related = ("user",)
