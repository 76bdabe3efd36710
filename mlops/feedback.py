"""What people say of alerts and draw on charts: a version's precision, what training leaves out, what a gate asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from alerts.models import Event, Judgement
from mlops.models import Label, ModelVersion
from sensors import audit
from sensors.models import Mote

Z = 1.959964  # of a 95 % interval
PERSON = "person"
MISSED, FAULT, NORMAL, NEW_NORMAL = "missed", "fault", "normal", "new_normal"
KINDS = {MISSED: "a fault that was missed", FAULT: "a fault", NORMAL: "normal", NEW_NORMAL: "the new normal"}
CONFIRMED_FOR = timedelta(days=90)
MOST_CONFIRMED = 60
LONGEST = timedelta(days=7)
Verdict = Judgement.Verdict
RIGHT, WRONG = (Verdict.REAL, Verdict.EXPECTED), (Verdict.FALSE, Verdict.NEW_NORMAL)


class BadLabel(Exception):
    """A stretch that cannot be a label; the text is for the person who drew it."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How many of a version's judged alerts told of something that was there."""

    profile: str
    number: int
    name: str
    counts: dict[str, int]

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    @property
    def n_right(self) -> int:
        return sum(self.counts.get(verdict, 0) for verdict in RIGHT)

    @property
    def share(self) -> float | None:
        return self.n_right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.n_right, self.n)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        counts = {str(verdict): self.counts.get(verdict, 0) for verdict in Verdict}
        return {
            "profile": self.profile, "number": self.number, "name": self.name, "n": self.n, **counts,
            "precision": self.share, "low": low, "high": high,
        }  # fmt: skip


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: honest for few and for extreme ones.

    >>> tuple(round(border, 3) for border in wilson(8, 10))
    (0.49, 0.943)
    """
    if n == 0:
        return 0.0, 1.0
    share, spread = n_right / n, Z * Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, round(middle - half, 12)), min(1.0, round(middle + half, 12))


def precision(*, profile: str | None = None, since: datetime | None = None) -> list[Precision]:
    """By the version whose engine noticed the alert's first event; the newest version first."""
    judged = Judgement.objects.standing().filter(alert__events__isnull=False)
    if since is not None:
        judged = judged.filter(at__gte=since)
    found: dict[tuple[str, int], Counter[str]] = {}
    for verdict, code, number in _first_events(judged):
        if profile in (None, code):
            found.setdefault((code, number), Counter())[verdict] += 1
    names = {(code, number): name for code, number, name in
             ModelVersion.objects.values_list("profile__code", "number", "name")}  # fmt: skip
    rows = [
        Precision(code, number, names.get((code, number), "the pack's normal bands"), dict(counts))
        for (code, number), counts in found.items()
    ]
    return sorted(rows, key=lambda row: (row.profile, -row.number))


def _first_events(judged: Any) -> Iterator[tuple[str, str, int]]:
    seen: set[int] = set()
    wanted = judged.order_by("alert", "alert__events__noticed_at").values_list(
        "alert", "verdict", "alert__events__mote__profile__code", "alert__events__model_version"
    )
    for alert, verdict, code, number in wanted:
        if alert not in seen:
            seen.add(alert)
            yield verdict, code, number


# ---- labels -------------------------------------------------------------------------------------------------


def label_stretch(
    mote: Mote, *, kind: str, starts_at: datetime, ends_at: datetime, who: User | None, now: datetime,
    channel: str = "", note: str = "",
) -> Label:  # fmt: skip
    """Keeps what a person says of a stretch of a mote; saying it again changes nothing but the note and the end."""
    if kind not in KINDS:
        raise BadLabel(f"kind is “{kind}”; expected one of {', '.join(KINDS)}.")
    if not starts_at < ends_at <= now + timedelta(minutes=5):
        raise BadLabel(
            f"The stretch goes from {starts_at.isoformat()} to {ends_at.isoformat()}; it must begin before it ends, "
            "and must not end in the future."
        )
    if ends_at - starts_at > LONGEST:
        raise BadLabel(f"The stretch is longer than {LONGEST.days} days; label it in parts.")
    with transaction.atomic():
        label, _ = Label.objects.update_or_create(
            mote=mote, channel=channel, kind=kind, starts_at=starts_at, source=PERSON,
            defaults={"ends_at": ends_at, "note": note[:200]},
        )  # fmt: skip
        detail = {"kind": kind, "channel": channel, "ends_at": ends_at.isoformat(), "note": note[:200]}
        audit.record(
            deed="label_stretch", subject=f"mote:{mote.site.code}/{mote.code}", who=who, now=now, detail=detail
        )
    return label


def n_said_since(profile_code: str, since: datetime | None) -> int:
    """How often people have judged an alert or labelled a stretch of the profile's motes since then."""
    labels = Label.objects.filter(mote__profile__code=profile_code, source=PERSON)
    judged = Judgement.objects.standing().filter(alert__mote__profile__code=profile_code)
    if since is not None:
        labels, judged = labels.filter(told_at__gt=since), judged.filter(at__gt=since)
    return labels.count() + judged.count()


Said = tuple[int, datetime, datetime]


def faults(start: datetime, end: datetime) -> list[Said]:
    """Stretches that people have confirmed as faults by judging an alert; training leaves them out."""
    return _of_alerts((Verdict.REAL,), start, end)


def known_faults(start: datetime, end: datetime) -> dict[int, list[tuple[datetime, datetime]]]:
    """By mote: every stretch that somebody, a simulator too, has called a fault."""
    labels = Label.objects.filter(starts_at__lt=end, ends_at__gt=start).exclude(kind__in=(NORMAL, NEW_NORMAL))
    found: dict[int, list[tuple[datetime, datetime]]] = {}
    for mote, first, last in [*labels.values_list("mote", "starts_at", "ends_at"), *faults(start, end)]:
        found.setdefault(mote, []).append((first, last))
    return found


def new_normals(start: datetime, end: datetime) -> list[Said]:
    """Stretches from which on a mote's normal is another one, in order of time."""
    drawn = Label.objects.filter(kind=NEW_NORMAL, source=PERSON, starts_at__lt=end, ends_at__gt=start)
    said = [(label.mote_id, label.starts_at, label.ends_at) for label in drawn]
    return sorted([*said, *_of_alerts((Verdict.NEW_NORMAL,), start, end)], key=lambda one: one[1])


def _of_alerts(verdicts: tuple[str, ...], start: datetime, end: datetime) -> list[Said]:
    judged = Judgement.objects.standing().filter(verdict__in=verdicts).values("alert")
    events = Event.objects.filter(alert__in=judged, started_at__lt=end, last_at__gt=start)
    return list(events.values_list("mote", "started_at", "last_at"))


def confirmed(profile_code: str, now: datetime) -> list[Said]:
    """The events of the last months that people have confirmed, the newest first: a candidate must find them, too."""
    since = now - CONFIRMED_FOR
    labels = Label.objects.filter(
        Q(kind=MISSED) | Q(kind=FAULT), mote__profile__code=profile_code, source=PERSON, ends_at__gt=since
    )
    drawn = [(label.mote_id, label.starts_at, label.ends_at) for label in labels]
    motes = set(Mote.objects.filter(profile__code=profile_code).values_list("pk", flat=True))
    judged = [one for one in faults(since, now) if one[0] in motes]
    return sorted({*drawn, *judged}, key=lambda one: one[1], reverse=True)[:MOST_CONFIRMED]
