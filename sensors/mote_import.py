"""Bringing a fleet from a file: first what would become of each line, then all of it or nothing, by the usual deeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from sensors import registry, services
from sensors.lake import Lake
from sensors.models import Mote, Profile, Site, Zone
from sensors.mote_csv import FleetFile, Line, written
from sensors.readings import Profile as ProfileValue
from sensors.stores import HotStore, StoreUnavailable

NEW, CHANGED, SAME, REFUSED = "new", "changed", "same", "refused"
FIELDS = ("label", "profile", "zone", "x", "y", "state")


class Refused(Exception):
    """Nothing was brought in; `became` says of each line why."""

    def __init__(self, words: str, became: Became) -> None:
        super().__init__(words)
        self.became = became


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a line."""

    line: int
    site: str
    mote: str
    verdict: str
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # of a mote that there is
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Became:
    """What becomes of a file."""

    rows: tuple[Outcome, ...]
    zones: tuple[str, ...]  # that are new
    unused: tuple[str, ...]  # columns

    @property
    def counts(self) -> dict[str, int]:
        return {one: sum(row.verdict == one for row in self.rows) for one in (NEW, CHANGED, SAME, REFUSED)}

    @property
    def is_changed(self) -> bool:
        return any(row.verdict in (NEW, CHANGED) for row in self.rows)

    @property
    def digest(self) -> str:
        """Of all that would happen: only what was shown may be confirmed."""
        told = [[row.line, row.site, row.mote, row.verdict, dict(row.changes), row.wrong] for row in self.rows]
        return hashlib.sha256(json.dumps([told, self.zones]).encode()).hexdigest()


def preview(file: FleetFile, *, who: User | None, now: datetime, store: HotStore, lake: Lake) -> Became:
    """What would become of each line; nothing is changed."""
    with transaction.atomic():
        found = _Bringing(who, now, store, lake).all(file)
        transaction.set_rollback(True)
    return found


@transaction.atomic
def bring(
    file: FleetFile, *, who: User | None, now: datetime, store: HotStore, lake: Lake, seen: str | None = None
) -> Became:
    """Registers and changes motes as the file says; Refused where a line cannot be, or other than was `seen`."""
    found = _Bringing(who, now, store, lake).all(file)
    n = found.counts[REFUSED]
    if n:
        raise Refused(f"{n} of {len(found.rows)} lines cannot be brought in, so none was.", found)
    if seen is not None and seen != found.digest:
        raise Refused("The fleet has changed since this was shown. Look at it again.", found)
    return found


def exported() -> str:
    """The fleet as a file that brings it again: everything but our own probes."""
    profiles = registry.profiles()
    motes = Mote.objects.filter(is_probe=False).select_related("site", "zone", "profile")
    return written(
        {
            "site": mote.site.code, "code": mote.code, "label": mote.label, "profile": mote.profile.code,
            "zone": mote.zone.code if mote.zone else "", "x": mote.x, "y": mote.y, "state": mote.state,
            "interval_s": profiles[mote.profile.code].interval_s if mote.profile.code in profiles else None,
        }
        for mote in motes
    )  # fmt: skip


class _Bringing:
    """One file on its way in: what is there, and what its lines have done so far."""

    def __init__(self, who: User | None, now: datetime, store: HotStore, lake: Lake) -> None:
        self.who, self.now, self.store, self.lake = who, now, store, lake
        self.sites = {site.code: site for site in Site.objects.all()}
        self.profiles = {row.code: row for row in Profile.objects.all()}
        self.told: dict[str, ProfileValue] = registry.profiles()
        self.zones = {(zone.site.code, zone.code): zone for zone in Zone.objects.select_related("site")}
        there = Mote.objects.filter(is_probe=False).select_related("site", "zone", "profile")
        self.motes = {(mote.site.code, mote.code): mote for mote in there}
        self.lines: dict[tuple[str, str], int] = {}
        self.new_zones: list[str] = []

    def all(self, file: FleetFile) -> Became:
        rows = tuple(self.one(line) for line in file.lines)
        return Became(rows, tuple(self.new_zones), tuple(file.unused))

    def one(self, line: Line) -> Outcome:
        site, code = line.text("site") or settings.SIEIS_DEFAULT_SITE, line.text("code")
        try:
            wrong = [*line.wrong, *self._unknown(line, site), *self._repeated(line, site, code)]
            if wrong:
                raise ValidationError(wrong)
            return self._brought(line, site, code)
        except ValidationError as refusal:
            return Outcome(line.number, site, code, REFUSED, wrong=tuple(_words(refusal)))

    def _brought(self, line: Line, site: str, code: str) -> Outcome:
        mote, n_zones = self.motes.get((site, code)), len(self.new_zones)
        try:
            # A line that is refused leaves no zone behind.
            with transaction.atomic():
                return self._register(line, site, code) if mote is None else self._change(line, mote)
        except ValidationError:
            for zone in self.new_zones[n_zones:]:
                del self.zones[site, zone.partition("/")[2]]
            del self.new_zones[n_zones:]
            raise

    def _register(self, line: Line, site: str, code: str) -> Outcome:
        values = {name: value for name, value in self._values(line, site).items() if value is not None}
        if "profile" not in values:
            raise ValidationError({"profile": f"A new mote needs one; there are {_some(self.profiles)}."})
        services.register_mote(site=self.sites[site], code=code, who=self.who, now=self.now, **values)
        return Outcome(line.number, site, code, NEW)

    def _change(self, line: Line, mote: Mote) -> Outcome:
        values = {name: value for name, value in self._values(line, mote.site.code).items()
                  if getattr(mote, name) != value}  # fmt: skip
        if "profile" in values:
            self._refuse_other_profile(mote)
        changes = {name: (_told(getattr(mote, name)), _told(value)) for name, value in values.items()}
        services.change_mote(mote, who=self.who, now=self.now, **values)
        return Outcome(line.number, mote.site.code, mote.code, CHANGED if changes else SAME, changes)

    def _refuse_other_profile(self, mote: Mote) -> None:
        try:
            is_used = services.has_readings(mote, store=self.store, lake=self.lake)
        except StoreUnavailable as fault:
            raise ValidationError({"profile": f"Whether it has readings cannot be told: {fault}"}) from fault
        if is_used:
            raise ValidationError(
                {"profile": f"It has readings of {mote.profile}; what they mean would change. Register a new mote."}
            )

    def _values(self, line: Line, site: str) -> dict[str, Any]:
        """By field of the model; of a column that is not there nothing, of an empty state or profile neither."""
        return {name: value for name, value in self._told(line, site) if name in line.cells}

    def _told(self, line: Line, site: str) -> Iterator[tuple[str, Any]]:
        yield "label", line.text("label")
        yield "x", line.metres("x")
        yield "y", line.metres("y")
        yield "zone", self._zone(site, line.text("zone"))
        if line.text("state"):
            yield "state", line.text("state").lower()
        if line.text("profile"):
            yield "profile", self.profiles[line.text("profile")]

    def _zone(self, site: str, code: str) -> Zone | None:
        """The zone, made where it is new."""
        if code and (site, code) not in self.zones:
            zone = Zone(site=self.sites[site], code=code, label=code.replace("-", " ").capitalize())
            zone.full_clean()
            services.keep_fleet_part(zone, changes={}, who=self.who, now=self.now)
            self.zones[site, code] = zone
            self.new_zones.append(f"{site}/{code}")
        return self.zones.get((site, code))

    def _unknown(self, line: Line, site: str) -> Iterator[str]:
        profile, state = line.text("profile"), line.text("state").lower()
        if site not in self.sites:
            yield f"site: there is no site “{site}”; there are {_some(self.sites)}."
        if profile and profile not in self.told:
            yield f"profile: there is no profile “{profile}”; there are {_some(self.told)}."
        if state and state not in Mote.State.values:
            yield f"state: “{state}” is no state; expected one of {', '.join(Mote.State.values)}."
        yield from self._other_interval(line, site)

    def _other_interval(self, line: Line, site: str) -> Iterator[str]:
        """A mote's interval is its profile's: a file that says another would be believed in vain."""
        there = self.motes.get((site, line.text("code")))
        profile = self.told.get(line.text("profile") or (there.profile.code if there else ""))
        asked = line.text("interval_s")
        if asked and not line.wrong and profile and (line.metres("interval_s") != profile.interval_s):
            yield (
                f"interval_s: it says {asked}, and the profile {profile.code} {profile.interval_s:g}: all motes of a "
                "profile report equally often. Leave the cell empty, or bring a profile of its own."
            )

    def _repeated(self, line: Line, site: str, code: str) -> Iterator[str]:
        before = self.lines.setdefault((site, code), line.number)
        if before != line.number and code:
            yield f"code: the mote {site}/{code} stands in line {before} already."


def _words(refusal: ValidationError) -> list[str]:
    if not hasattr(refusal, "error_dict"):
        return refusal.messages
    found = refusal.message_dict.items()
    return [words if name == "__all__" else f"{name}: {words}" for name, all_words in found for words in all_words]


def _told(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else value.code if isinstance(value, Zone | Profile) else str(value)


def _some(codes: Mapping[str, object]) -> str:
    return ", ".join(sorted(codes)[:20]) or "none yet"
