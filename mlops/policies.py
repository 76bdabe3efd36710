"""What makes a profile's model be trained again, and who decides whether the result serves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from mlops.models import RetrainPolicy
from sensors import audit
from sensors.models import Profile


def policy(profile: Profile) -> RetrainPolicy:
    """The profile's policy, or the default one, which is in no table yet."""
    return RetrainPolicy.objects.filter(profile=profile).first() or RetrainPolicy(profile=profile)


def wishes(profile: Profile) -> dict[str, Any]:
    """What the policy says of a training that nobody asked otherwise."""
    held = policy(profile)
    days = {} if held.days is None else {"days": held.days}
    return days if held.mode == RetrainPolicy.Mode.MANAGED else {**days, "promote": "manual"}


@transaction.atomic
def change_policy(profile: Profile, changes: Mapping[str, Any], *, who: User | None, now: datetime) -> RetrainPolicy:
    """Sets what is given and leaves the rest as it is."""
    held, _ = RetrainPolicy.objects.select_for_update().get_or_create(profile=profile)
    for name, value in changes.items():
        setattr(held, name, value)
    held.full_clean()
    held.save()
    audit.record(deed="change_retraining", subject=f"profile:{profile.code}", who=who, now=now, detail=dict(changes))
    return held
