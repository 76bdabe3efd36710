"""Forecasts at hand and what was warned of, in the admin."""

from __future__ import annotations

from django.contrib import admin

from mlops.models import ForecastDay, ForecastWarning, IssuedForecast, RiskDay, StageForecast
from sensors.admin import ReadOnlyAdmin, shown_json


@admin.register(ForecastWarning)
class ForecastWarningAdmin(ReadOnlyAdmin):
    list_display = (
        "mote", "channel", "limit", "value", "is_upper", "probability", "origin_at", "ends_at", "outcome", "closed_at",
        "why",
    )  # fmt: skip
    list_filter = ("outcome", "channel", "mote__profile")
    list_select_related = ("mote__site",)
    date_hierarchy = "origin_at"


@admin.register(IssuedForecast)
class IssuedForecastAdmin(ReadOnlyAdmin):
    list_display = ("mote", "channel", "origin_at", "ends_at", "version", "issued_at", "scored_at")
    list_filter = ("channel", "mote__profile", "version")
    list_select_related = ("mote__site",)
    date_hierarchy = "origin_at"
    exclude = ("values", "risks", "figures")
    readonly_fields = ("shown_risks", "shown_figures")
    shown_risks = shown_json("risks")
    shown_figures = shown_json("figures")


@admin.register(StageForecast)
class StageForecastAdmin(ReadOnlyAdmin):
    list_display = ("mote", "name", "probability", "is_beyond", "at", "earliest", "latest", "origin_at", "ends_at")
    list_filter = ("name", "mote__profile")
    list_select_related = ("mote__site",)


@admin.register(ForecastDay)
class ForecastDayAdmin(ReadOnlyAdmin):
    list_display = ("day", "profile", "channel", "version", "ahead_h", "n", "absolute", "naive", "pinball")
    list_filter = ("profile", "channel", "version")
    date_hierarchy = "day"


@admin.register(RiskDay)
class RiskDayAdmin(ReadOnlyAdmin):
    list_display = ("day", "profile", "tenth", "n", "stated", "n_passed")
    list_filter = ("profile",)
    date_hierarchy = "day"
