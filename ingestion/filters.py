"""What the list pages can be narrowed to: parsed from the address, wrong values say so beside the field."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from alerts.models import Alert, Severity
from ingestion.models import Quarantined
from ingestion.wire import REASONS

ANY = ("", "any")


class AlertFilter(forms.Form):
    status = forms.ChoiceField(
        choices=[("", "active"), ("all", "all"), *((value, label.lower()) for value, label in Alert.Status.choices)],
        required=False,
    )
    severity = forms.ChoiceField(
        choices=[ANY, *((value, value) for value in reversed(Severity.values))], required=False
    )
    q = forms.CharField(max_length=100, required=False)

    def found(self) -> QuerySet[Alert]:
        """The last seen first; an address that makes no sense finds what an empty one does."""
        asked: dict[str, Any] = self.cleaned_data if self.is_valid() else {}
        alerts = Alert.objects.with_grades().newest_first()
        alerts = alerts.select_related("mote__site", "acknowledged_by", "resolved_by")
        status, severity, words = (asked.get(name, "") for name in ("status", "severity", "q"))
        if status != "all":
            alerts = alerts.filter(status=status) if status else alerts.filter(status__in=Alert.ACTIVE)
        if severity:
            alerts = alerts.filter(severity=severity)
        for word in words.split():
            alerts = alerts.filter(Q(words__icontains=word) | Q(subject__icontains=word))
        return alerts


class QuarantineFilter(forms.Form):
    reason = forms.ChoiceField(choices=[ANY, *((code, code.replace("_", " ")) for code in REASONS)], required=False)
    status = forms.ChoiceField(
        choices=[ANY, *((value, label.lower()) for value, label in Quarantined.Status.choices)], required=False
    )

    def found(self) -> QuerySet[Quarantined]:
        asked: dict[str, Any] = self.cleaned_data if self.is_valid() else {}
        return Quarantined.objects.filter(**{name: value for name, value in asked.items() if value})
