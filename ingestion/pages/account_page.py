"""The page of one's own account."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from alerts.notifying.models import Target
from alerts.weekly import known_time_zones
from sensors import account
from sensors.models import ApiToken, Preferences
from sensors.roles import person


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    time_zone = forms.ChoiceField(required=False, label="Time zone")
    theme = forms.ChoiceField(required=False, choices=Preferences.Theme.choices, label="Theme")

    class Meta:
        model = User
        fields = ("first_name", "last_name", "email")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zones = ((name, name) for name in sorted(known_time_zones()))
        self.fields["time_zone"].choices = [("", f"the site's: {settings.TIME_ZONE}"), *zones]  # type: ignore[attr-defined]
        self.fields["time_zone"].widget.attrs["data-site"] = settings.TIME_ZONE
        for field in self.fields.values():
            field.widget.attrs["class"] = "field"


@require_http_methods(["GET", "HEAD", "POST"])
def account_page(request: HttpRequest) -> HttpResponse:
    # A copy: what is wrong must not be shown as the account's name in the header.
    user, now = User.objects.get(pk=person(request).pk), timezone.now()
    wants = account.preferences_of(user)
    form = AccountForm(
        request.POST or None, instance=user, initial={"time_zone": wants.time_zone, "theme": wants.theme}
    )
    if form.is_valid():
        try:
            account.change_account(person(request), now=now, **form.cleaned_data)
            messages.success(request, "Your account is as you want it.")
            return redirect("account")
        except ValidationError as wrong:
            form.add_error(None, wrong)
    shown = {
        "form": form,
        "logins": account.logins(user, this=request.session.session_key, now=now),
        "n_tokens": ApiToken.objects.filter(user=user, revoked_at=None, expires_at__gt=now).count(),
        "targets": Target.objects.standing().filter(owner=user),
    }
    return render(request, "account.html", shown, status=400 if form.errors else 200)


@require_POST
def end_logins(request: HttpRequest) -> HttpResponse:
    """Of the one that is named, else of all other browsers."""
    this, only = request.session.session_key, request.POST.get("name", "")
    n = account.end_logins(person(request), this=this, only=only, now=timezone.now())
    messages.success(request, f"Logged out of {n} other browser{'' if n == 1 else 's'}.")
    return redirect("account")
