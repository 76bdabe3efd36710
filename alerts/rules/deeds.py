"""What people do with rules: keep, switch, remove, bring and take away. Each deed leaves an audit entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from alerts.rules import saying
from alerts.rules.models import Rule
from alerts.rules.running import announce, end_alerts
from sensors import audit, registry
from sensors.models import Mote, Profile, Site, Zone

PLACES: dict[str, tuple[type[Profile | Site | Zone | Mote], bool]] = {
    "profile": (Profile, False), "site": (Site, False), "zone": (Zone, True), "mote": (Mote, True),
}  # fmt: skip
FIELDS = ("name", "severity", *PLACES, "is_on")


def checked(rule: Rule) -> Rule:
    """The rule as it can be judged; ValidationError says by field what of it cannot be."""
    rule.name = rule.name.strip()
    if not rule.name:
        raise ValidationError({"name": "A rule needs a name, such as Too warm."})
    try:
        told = rule.parsed()
    except saying.BadRule as wrong:
        raise ValidationError({wrong.field: str(wrong)}) from wrong
    if rule.mote is not None:
        rule.profile = rule.mote.profile
    if told.channels and rule.profile is None:
        raise ValidationError({"profile": "A condition on a channel needs the profile that has it."})
    if rule.profile is not None:
        known = registry.profiles()[rule.profile.code].names
        strange = sorted(told.channels - set(known))
        if strange:
            raise ValidationError(
                {"conditions": f"Profile {rule.profile} has no channel “{strange[0]}”; it has {', '.join(known)}."}
            )
    return rule


@transaction.atomic
def keep_rule(rule: Rule, *, who: User, now: datetime) -> Rule:
    """Saves a rule, new or as its next version: what an older one raised is ended, and judged anew."""
    checked(rule)
    if Rule.objects.filter(name=rule.name, removed_at=None).exclude(pk=rule.pk).exists():
        raise ValidationError({"name": f"There is a rule “{rule.name}” already."})
    verb = "change" if rule.pk else "make"
    if rule.pk:
        rule.version += 1
        _end(rule, now)
    rule.changed_at, rule.changed_by = now, who
    rule.save()
    detail = {"id": rule.pk, "version": rule.version, "definition": rule.definition}
    audit.record(deed=f"{verb}_rule", subject=f"rule:{rule.name}", who=who, now=now, detail=detail)
    return rule


@transaction.atomic
def switch_rule(rule: Rule, *, is_on: bool, who: User, now: datetime) -> Rule:
    moved = Rule.objects.filter(pk=rule.pk, is_on=not is_on).update(
        is_on=is_on, version=rule.version + 1, changed_at=now, changed_by=who
    )
    if moved:
        _end(rule, now)
        audit.record(
            deed="switch_rule", subject=f"rule:{rule.name}", who=who, now=now, detail={"is_on": is_on, "id": rule.pk}
        )
    rule.refresh_from_db()
    return rule


@transaction.atomic
def remove_rule(rule: Rule, *, who: User, now: datetime) -> None:
    """Its alerts end; what they said stays."""
    Rule.objects.filter(pk=rule.pk).update(removed_at=now, is_on=False)
    _end(rule, now)
    audit.record(deed="remove_rule", subject=f"rule:{rule.name}", who=who, now=now, detail={"id": rule.pk})


def _end(rule: Rule, now: datetime) -> None:
    transaction.on_commit(partial(announce, end_alerts(rule, now)))


def of_json(given: Mapping[str, Any], onto: Rule | None = None) -> Rule:
    """A rule from what `as_json` wrote, or a part of it; places are named by their codes."""
    rule = onto or Rule(definition={})
    for name in FIELDS:
        if name in given:
            setattr(rule, name, _place(name, given[name]) if name in PLACES else given[name])
    rule.definition = given.get("definition", rule.definition)
    return checked(rule)


def as_json(rule: Rule) -> dict[str, Any]:
    """What another SIEIS can take in."""
    places = {name: str(place) if (place := getattr(rule, name)) else None for name in PLACES}
    return {"name": rule.name, "severity": rule.severity, **places, "is_on": rule.is_on, "definition": rule.definition}


def _place(name: str, given: str | None) -> Any:
    if not given:
        return None
    model, has_site = PLACES[name]
    site, _, code = given.partition("/") if has_site else ("", "", given)
    found = model._default_manager.filter(code=code, **({"site__code": site} if has_site else {})).first()
    if found is None:
        raise ValidationError({name: f"There is no {name} “{given}”{'; expected site/code' if has_site else ''}."})
    return found


@transaction.atomic
def take_in(rules: Sequence[Mapping[str, Any]], *, who: User, now: datetime) -> list[Rule]:
    """All of them or none; a rule of the same name becomes its next version."""
    kept = []
    for i, given in enumerate(rules):
        known = Rule.objects.standing().filter(name=str(given.get("name", "")).strip()).first()
        try:
            kept.append(keep_rule(of_json(given, known), who=who, now=now))
        except ValidationError as wrong:
            raise ValidationError(
                {f"rules[{i}]": f"{field}: {' '.join(said)}" for field, said in wrong.message_dict.items()}
            ) from wrong
    return kept
