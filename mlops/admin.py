"""Model versions, training jobs, what served when and labels in the admin."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from mlops import registry, training_jobs, watch_admin
from mlops.forecasts import record_admin
from mlops.models import Label, ModelVersion, ServingPeriod, TrainingJob, VersionCounter
from sensors.admin import AuditedAdmin, ReadOnlyAdmin, act_on_each, on_page, shown_json
from sensors.roles import ENGINEERING, may, person

__all__ = ["record_admin", "watch_admin"]


class _Engineered(ReadOnlyAdmin):
    def has_operate_permission(self, request: HttpRequest) -> bool:
        return may(request.user, ENGINEERING)


@admin.register(ModelVersion)
class ModelVersionAdmin(_Engineered):
    list_display = ("name", "kind", "profile", "mote", "stage", "number", "created_at", "promoted_at", "page")
    page = on_page("model-card", "name")
    list_filter = ("kind", "stage", "profile")
    list_select_related = ("profile", "mote__site")
    search_fields = ("name", "sha256")
    date_hierarchy = "created_at"
    exclude = ("features", "parameters", "libraries", "data", "metrics", "calibration")
    readonly_fields = ("shown_metrics", "shown_data", "shown_features", "shown_parameters", "shown_libraries")
    shown_metrics = shown_json("metrics")
    shown_data = shown_json("data")
    shown_features = shown_json("features")
    shown_parameters = shown_json("parameters")
    shown_libraries = shown_json("libraries")
    actions = ("promote", "withdraw", "train_again")

    @admin.action(description="Promote: let this version serve its profile", permissions=["operate"])
    def promote(self, request: HttpRequest, chosen: QuerySet[ModelVersion]) -> None:
        if len(chosen) != 1:
            self.message_user(request, "Choose one version: only one can serve.", messages.WARNING)
            return

        def promote(version: ModelVersion) -> None:
            registry.promote(version, who=person(request), why="promoted in the admin", now=timezone.now())

        act_on_each(
            self, request, chosen, promote, "promoted",
            registry.AlreadyPromoted, registry.ModelUnloadable, registry.NotValidated, registry.ArtefactUnavailable,
        )  # fmt: skip

    @admin.action(description="Withdraw: its mote is judged by the profile's model again", permissions=["operate"])
    def withdraw(self, request: HttpRequest, chosen: QuerySet[ModelVersion]) -> None:
        def withdraw(version: ModelVersion) -> None:
            registry.withdraw(version, who=person(request), why="withdrawn in the admin", now=timezone.now())

        act_on_each(self, request, chosen, withdraw, "withdrawn", registry.NotServing)

    @admin.action(description="Train: make the next version for the same profile or mote", permissions=["operate"])
    def train_again(self, request: HttpRequest, chosen: QuerySet[ModelVersion]) -> None:
        def train(version: ModelVersion) -> None:
            code, now = version.profile.code, timezone.now()
            training_jobs.dispatch(
                training_jobs.request(
                    code, trigger="person", who=person(request), now=now, mote=version.mote, kind=version.kind
                )
            )

        act_on_each(self, request, chosen, train, "queued for training", training_jobs.AlreadyTraining)


@admin.register(TrainingJob)
class TrainingJobAdmin(_Engineered):
    list_display = (
        "id",
        "kind",
        "profile",
        "status",
        "progress",
        "trigger",
        "requested_by",
        "queued_at",
        "finished_at",
        "result",
        "page",
    )
    page = on_page("training")
    list_filter = ("kind", "status", "profile", "trigger")
    list_select_related = ("profile", "requested_by", "result")
    search_fields = ("message", "result__name")
    date_hierarchy = "queued_at"
    exclude = ("parameters",)
    readonly_fields = ("shown_parameters",)
    shown_parameters = shown_json("parameters")
    actions = ("cancel",)

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(self, request: HttpRequest, chosen: QuerySet[TrainingJob]) -> None:
        def cancel(job: TrainingJob) -> None:
            training_jobs.cancel(job, who=person(request), now=timezone.now())

        act_on_each(self, request, chosen, cancel, "cancelled", training_jobs.NotUnfinished)


@admin.register(ServingPeriod)
class ServingPeriodAdmin(ReadOnlyAdmin):
    list_display = ("version", "topic", "partition", "from_offset", "started_at", "who", "why")
    list_filter = ("topic", "version__profile")
    list_select_related = ("version",)
    search_fields = ("version__name", "who", "why")
    date_hierarchy = "started_at"


@admin.register(VersionCounter)
class VersionCounterAdmin(ReadOnlyAdmin):
    list_display = ("profile", "last")
    list_select_related = ("profile",)


@admin.register(Label)
class LabelAdmin(AuditedAdmin):
    list_display = ("mote", "channel", "kind", "starts_at", "ends_at", "source", "note")
    list_filter = ("kind", "source")
    list_select_related = ("mote__site",)
    search_fields = ("mote__code", "kind", "note")
    date_hierarchy = "starts_at"
    autocomplete_fields = ("mote",)
