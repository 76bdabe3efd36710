"""What the list pages can be narrowed to: parsed from the address, wrong values say so beside the field."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import BinaryField, BooleanField, Func, Q, QuerySet, Value

from ingestion.models import Quarantined
from ingestion.wire import REASONS

ANY = ("", "any")
NONE = "(none)"  # asks for messages that name no mote, or no site


class HoldsBytes(Func):
    """Whether a binary column holds these bytes, in either database."""

    arity = 2
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(instr(%(expressions)s) > 0)", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(pg_catalog.position(%(expressions)s) > 0)", **context)


class QuarantineFilter(forms.Form):
    """Which put-aside messages are meant; the same for the page, the API, a bulk deed and the command."""

    reason = forms.ChoiceField(choices=[ANY, *((code, code.replace("_", " ")) for code in REASONS)], required=False)
    status = forms.ChoiceField(
        choices=[
            ("", "waiting"),
            ("all", "all"),
            *((value, label.lower()) for value, label in Quarantined.Status.choices),
        ],
        required=False,
    )
    mote = forms.CharField(max_length=64, required=False)
    site = forms.CharField(max_length=64, required=False)
    topic = forms.CharField(max_length=200, required=False)
    since = forms.DateField(required=False)
    until = forms.DateField(required=False)
    q = forms.CharField(max_length=100, required=False)

    def asked(self) -> dict[str, Any]:
        """What makes sense of the address; the rest is said beside its field and asks for nothing."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}

    def found(self) -> QuerySet[Quarantined]:
        """The last one put aside first."""
        asked = self.asked()
        rows = Quarantined.objects.order_by("-pk")
        status = asked.get("status")
        if status != "all":
            rows = rows.filter(status__in=[status] if status else Quarantined.WAITING)
        names = {"reason": "reason", "mote": "mote_code", "site": "site", "topic": "topic"}
        named = {field: "" if asked[name] == NONE else asked[name] for name, field in names.items() if name in asked}
        rows = rows.filter(**named)
        if "since" in asked:
            rows = rows.filter(received_at__gte=datetime.combine(asked["since"], time(), UTC))
        if "until" in asked:
            rows = rows.filter(received_at__lt=datetime.combine(asked["until"], time(), UTC) + timedelta(days=1))
        if "q" in asked:
            text = Value(asked["q"].encode(errors="replace"), output_field=BinaryField())
            rows = rows.alias(holds=HoldsBytes("payload", text)).filter(Q(detail__icontains=asked["q"]) | Q(holds=True))
        return rows
