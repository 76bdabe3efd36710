"""Adopting an unknown mote: what its held messages tell of it, and the deed that registers it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import current_app
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Max, Min, QuerySet

from ingestion.models import Quarantined
from ingestion.wire import MOTE_FIELDS
from sensors import audit, registry, services
from sensors.models import Mote, Profile, Site, Zone
from sensors.readings import Profile as ProfileValue

LOOKED_AT = 50
SECONDS_UNTIL_KNOWN = 3  # consumers look for a changed fleet every two
NO_CHANNELS = {*MOTE_FIELDS, "site", "timestamp", "values"}


@dataclass(frozen=True, slots=True)
class Guess:
    """How well a profile fits the fields that messages carry: those it knows, those it does not, those it misses."""

    profile: ProfileValue
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def share(self) -> float:
        return len(self.known) / max(len(self.known) + len(self.unknown) + len(self.missing), 1)

    @property
    def words(self) -> str:
        parts = [f"has {', '.join(self.known)}"] if self.known else ["has none of its channels"]
        parts += [f"lacks {', '.join(self.missing)}"] if self.missing else []
        parts += [f"does not know {', '.join(self.unknown)}"] if self.unknown else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A mote that nobody registered, as its held messages name it; `site` is empty where they name none."""

    code: str
    site: str
    n: int
    first_at: datetime | None
    last_at: datetime | None
    fields: tuple[str, ...]
    guesses: tuple[Guess, ...]

    @property
    def best(self) -> Guess | None:
        return self.guesses[0] if self.guesses and self.guesses[0].known else None


def held_for(code: str, site: str) -> QuerySet[Quarantined]:
    return Quarantined.objects.filter(status=Quarantined.Status.HELD, mote_code=code, site=site)


def unknown(code: str, site: str) -> Unknown:
    held = held_for(code, site)
    figures = held.aggregate(n=Count("pk"), first=Min("received_at"), last=Max("received_at"))
    fields = fields_of(bytes(raw) for raw in held.order_by("-pk").values_list("payload", flat=True)[:LOOKED_AT])
    guesses = guess(fields, registry.profiles())
    return Unknown(code, site, figures["n"], figures["first"], figures["last"], fields, guesses)


def fields_of(messages: Iterable[bytes]) -> tuple[str, ...]:
    """Names under which the messages carry numbers, the most frequent first."""
    seen: Counter[str] = Counter()
    for raw in messages:
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        nested = found.get("values") if isinstance(found, dict) else None
        for part in (found, nested):
            seen.update(name for name, value in _items(part) if isinstance(value, int | float))
    return tuple(name for name, _ in seen.most_common() if name not in NO_CHANNELS)


def _items(part: Any) -> Iterable[tuple[str, Any]]:
    return part.items() if isinstance(part, dict) else ()


def guess(fields: Sequence[str], profiles: Mapping[str, ProfileValue]) -> tuple[Guess, ...]:
    """Every profile, the one that fits best first; where two fit alike, that of more motes."""
    n_motes = Counter(Mote.objects.order_by().values_list("profile__code", flat=True))
    found = [_fit(fields, profile) for profile in profiles.values()]
    return tuple(sorted(found, key=lambda one: (-one.share, -n_motes[one.profile.code], one.profile.code)))


def _fit(fields: Sequence[str], profile: ProfileValue) -> Guess:
    channels = [channel for channel in profile.channels if channel.formula is None]
    names = {name: channel.code for channel in channels for name in (channel.code, *channel.aliases)}
    known = tuple(dict.fromkeys(names[name] for name in fields if name in names))
    missing = tuple(channel.code for channel in channels if channel.code not in known)
    return Guess(profile, known, tuple(name for name in fields if name not in names), missing)


@transaction.atomic
def adopt(
    unknown: Unknown, *, site: Site, profile: Profile, zone: Zone | None, label: str, who: User | None, now: datetime
) -> Mote:
    """Registers the mote; its held messages follow as soon as consumers know it. ValidationError: what cannot be."""
    if not unknown.n:
        raise ValidationError({"mote": f"No message is held for “{unknown.code}”; perhaps somebody was faster."})
    if unknown.site not in ("", site.code):
        raise ValidationError({"site": f"The messages name the site “{unknown.site}”; at {site} they would miss it."})
    mote = services.register_mote(
        site=site, code=unknown.code, profile=profile, zone=zone, label=label, who=who, now=now
    )  # fmt: skip
    found = registry.current_fleet().find(mote.code, unknown.site or None)
    if found is None or found.id != mote.pk:
        raise ValidationError(
            {"site": f"Messages that name “{mote.code}” and no site would not mean this one: the code is also that of "
                     "a mote elsewhere. Let the device name its site."}
        )  # fmt: skip
    audit.record(deed="adopt_mote", subject=mote.subject, detail={"held": unknown.n}, who=who, now=now)
    return mote


def release_soon() -> None:
    """Asks a worker to send on what is held for motes registered now; the schedule does it each minute, too."""
    current_app.send_task("ingestion.tasks.release_held", countdown=SECONDS_UNTIL_KNOWN)
