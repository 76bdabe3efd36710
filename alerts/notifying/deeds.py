"""What people do with targets, routes and deliveries. Each deed leaves an audit entry in its transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from alerts.notifying import sending
from alerts.notifying.models import Delivery, Route, Target
from alerts.weekly import BadHours, Weekly
from sensors import audit

FULL_DAY = 86_400


class NotSent(Exception):
    """The message cannot be sent again now; says why."""


@transaction.atomic
def make_target(*, name: str, kind: str, address: str, owner: User | None, who: User, now: datetime) -> Target:
    """Somewhere to send to. A webhook gets a secret of its own, which signs what it receives."""
    target = Target(name=name.strip(), kind=kind, address=address.strip(), owner=owner, made_at=now)
    refuse_bad_address(target)
    if kind == Target.Kind.WEBHOOK:
        target.secret = sending.fresh_secret()
    target.save()
    _audit("make_target", target, who, now, kind=kind)
    return target


def refuse_bad_address(target: Target) -> None:
    """ValidationError says what was expected of an address of this kind."""
    if not target.name:
        raise ValidationError({"name": "A target needs a name, such as Night shift."})
    if target.owner_id and target.kind != Target.Kind.EMAIL:
        raise ValidationError({"kind": "A target of one's own is an e-mail address; engineers make the others."})
    if target.kind == Target.Kind.EMAIL:
        try:
            validate_email(target.address)
        except ValidationError:
            raise ValidationError({"address": f"“{target.address}” is no e-mail address."}) from None
    elif target.kind == Target.Kind.WEBHOOK:
        parts = urlsplit(target.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValidationError({"address": "Expected an address such as https://example.com/hook."})
    elif not sending.is_chat_address(target.address):
        raise ValidationError(
            {
                "address": "No chat service is known by this address; expected one such as slack://token or ntfys://topic."
            }
        )


@transaction.atomic
def remove_target(target: Target, *, who: User, now: datetime) -> None:
    """From now on nothing goes there, also what waits; its log stays."""
    Target.objects.filter(pk=target.pk, removed_at=None).update(removed_at=now)
    target.deliveries.filter(state=Delivery.State.WAITING).update(
        state=Delivery.State.FAILED, trouble="Its target was removed."
    )
    target.routes.all().delete()
    _audit("remove_target", target, who, now)


@transaction.atomic
def keep_route(route: Route, *, who: User, now: datetime) -> Route:
    """Saves a route, new or changed; ValidationError says what of it cannot be."""
    if route.target.removed_at is not None:
        raise ValidationError({"target": f"{route.target} was removed."})
    if route.after_s > FULL_DAY:
        raise ValidationError({"after_s": f"{route.after_s} s is more than a day; expected at most {FULL_DAY}."})
    if route.hours:
        try:
            route.hours = Weekly.parse(route.hours).as_json()
        except BadHours as wrong:
            raise ValidationError({"hours": str(wrong)}) from wrong
    if not isinstance(route.kinds, list) or not all(isinstance(kind, str) for kind in route.kinds):
        raise ValidationError({"kinds": "Expected a list of kinds, such as anomaly or silent; empty for all."})
    if route.zone and route.site and route.zone.site_id != route.site_id:
        raise ValidationError({"zone": f"The zone {route.zone} is not of the site {route.site}."})
    verb = "change" if route.pk else "make"
    route.full_clean(exclude=["kinds", "hours"])
    route.save()
    _audit(f"{verb}_route", route, who, now, target=route.target.name)
    return route


@transaction.atomic
def remove_route(route: Route, *, who: User, now: datetime) -> None:
    _audit("remove_route", route, who, now, target=route.target.name)
    route.delete()


@transaction.atomic
def redeliver(delivery: Delivery, *, who: User, now: datetime) -> Delivery:
    """Sends the same message once more, with the same key; NotSent while it is under way anyway."""
    over = (Delivery.State.SENT, Delivery.State.FAILED)
    if delivery.target.removed_at is not None:
        raise NotSent(f"{delivery.target} was removed; nothing can be sent there any more.")
    moved = Delivery.objects.filter(pk=delivery.pk, state__in=over).update(
        state=Delivery.State.WAITING, due_at=now, n_tries=1, trouble=""
    )
    if not moved:
        raise NotSent("This message is still on its way; it is tried again by itself.")
    _audit("redeliver_message", delivery, who, now, target=delivery.target.name)
    delivery.refresh_from_db()
    return delivery


@transaction.atomic
def send_test(target: Target, *, who: User, now: datetime) -> Delivery:
    """A message that speaks of nothing, to see whether it arrives; at most one in ten seconds."""
    if target.deliveries.filter(group="test", made_at__gt=now - timedelta(seconds=10)).exists():
        raise NotSent("A test was asked for a moment ago; its line in the log says what became of it.")
    n = target.deliveries.filter(group="test").count() + 1
    _audit("test_target", target, who, now)
    return Delivery.objects.create(
        key=f"test:{target.pk}:{n}", target=target, group="test", what="test", made_at=now, due_at=now
    )


def _audit(deed: str, about: Target | Route | Delivery, who: User, now: datetime, **detail: Any) -> None:
    subject = f"{about._meta.model_name}:{about}"[:200]
    audit.record(deed=deed, subject=subject, who=who, now=now, detail={"id": about.pk, **detail})
