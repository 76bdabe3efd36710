"""The figures by which alarm systems are judged, and what is held to be good.

EEMUA 191 calls one alarm an operator in ten minutes, 144 a day, "very likely to be acceptable"; ISA-18.2 calls ten in
ten minutes a flood, and an alarm that stands for a day stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from alerts.models import Alert, AlertChange, Judgement

DAY, TEN_MINUTES = timedelta(days=1), timedelta(minutes=10)
ACCEPTABLE_A_DAY = 144
FLOOD = 10
CHATTERS, CHATTERS_WITHIN = 3, timedelta(hours=1)
STALE_AFTER = DAY
WORST = 10
DEFAULT_SPAN, LONGEST_SPAN = timedelta(days=7), timedelta(days=400)

Opened = tuple[str, str, datetime]  # subject, kind, when


@dataclass(frozen=True, slots=True)
class Bad:
    """A subject and how many of the alerts it raised."""

    subject: str
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the alerts that were opened in a span; None where there is nothing to take a figure from."""

    start: datetime
    end: datetime
    n_operators: int
    n_alerts: int
    a_day: float
    an_operator_and_day: float | None
    acceptable_an_operator_and_day: int
    busiest_ten_minutes: int
    busiest_at: datetime | None
    share_of_floods: float
    chattering: Sequence[Bad]
    stale: Sequence[str]
    worst: Sequence[Bad]
    share_of_severity: dict[str, float]
    n_judged: int
    precision: float | None
    minutes_to_acknowledge: float | None
    minutes_to_resolve: float | None
    share_ended_by_itself: float | None

    @property
    def is_acceptable(self) -> bool | None:
        a_day = self.an_operator_and_day
        return None if a_day is None else a_day <= self.acceptable_an_operator_and_day

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "is_acceptable": self.is_acceptable}


def figures(start: datetime, end: datetime, *, n_operators: int, now: datetime) -> Figures:
    """Of the alerts first seen in the span, and of what is stale now."""
    rows = list(
        Alert.objects.filter(first_seen_at__gte=start, first_seen_at__lt=end)
        .order_by("first_seen_at")
        .values_list("pk", "subject", "kind", "severity", "first_seen_at", "acknowledged_at", "resolved_at")
    )
    opened = [(subject, kind, at) for _, subject, kind, _, at, _, _ in rows]
    n, days = len(rows), max((end - start) / DAY, 1e-9)
    tens = Counter(int(at.timestamp() // TEN_MINUTES.total_seconds()) for _, _, at in opened)
    busiest, most = max(tens.items(), key=lambda one: one[1], default=(None, 0))
    verdicts = _verdicts(start, end)
    return Figures(
        start=start,
        end=end,
        n_operators=n_operators,
        n_alerts=n,
        a_day=n / days,
        an_operator_and_day=n / days / n_operators if n_operators else None,
        acceptable_an_operator_and_day=ACCEPTABLE_A_DAY,
        busiest_ten_minutes=most,
        busiest_at=None if busiest is None else datetime.fromtimestamp(busiest * 600, start.tzinfo),
        share_of_floods=sum(one >= FLOOD for one in tens.values()) / (days * 144),
        chattering=_bad(Counter(chatterers(opened)), n),
        stale=list(_stale(now)),
        worst=_bad(Counter(subject for subject, _, _ in opened if subject.startswith("mote:")), n)[:WORST],
        share_of_severity={one: sum(row[3] == one for row in rows) / n for one in ("low", "medium", "high")}
        if n
        else {},
        n_judged=sum(verdicts.values()),
        precision=_precision(verdicts),
        minutes_to_acknowledge=_minutes((at, taken) for _, _, _, _, at, taken, _ in rows),
        minutes_to_resolve=_minutes((at, over) for _, _, _, _, at, _, over in rows),
        share_ended_by_itself=_by_itself([row[0] for row in rows if row[6] is not None]),
    )


def chatterers(opened: Sequence[Opened]) -> list[str]:
    """The subject of each alert that was the third or later of its kind within an hour; in order of time.

    >>> from datetime import UTC
    >>> at = [datetime(2026, 3, 2, 12, minute, tzinfo=UTC) for minute in (0, 20, 40)]
    >>> chatterers([("mote:lab/7", "anomaly", one) for one in at])
    ['mote:lab/7']
    """
    found: list[str] = []
    recent: dict[tuple[str, str], list[datetime]] = {}
    for subject, kind, at in opened:
        before = [one for one in recent.get((subject, kind), []) if at - one <= CHATTERS_WITHIN]
        recent[subject, kind] = [*before, at]
        if len(before) + 1 >= CHATTERS:
            found.append(subject)
    return found


def _bad(counts: Counter[str], n: int) -> list[Bad]:
    return [Bad(subject, count, count / n) for subject, count in counts.most_common()]


def _stale(now: datetime) -> Iterable[str]:
    old = Alert.objects.active().filter(first_seen_at__lt=now - STALE_AFTER).order_by("first_seen_at")
    return old.values_list("subject", flat=True)


def _verdicts(start: datetime, end: datetime) -> Counter[str]:
    said = Judgement.objects.standing().filter(alert__first_seen_at__gte=start, alert__first_seen_at__lt=end)
    return Counter(said.values_list("verdict", flat=True))


def _precision(verdicts: Counter[str]) -> float | None:
    """How many of the judged alerts were worth it: something real, if not always unexpected."""
    n = sum(verdicts.values())
    good = verdicts[Judgement.Verdict.REAL] + verdicts[Judgement.Verdict.EXPECTED]
    return good / n if n else None


def _minutes(spans: Iterable[tuple[datetime, datetime | None]]) -> float | None:
    taken = [(end - start) / timedelta(minutes=1) for start, end in spans if end is not None]
    return median(taken) if taken else None


def _by_itself(ended: Sequence[int]) -> float | None:
    if not ended:
        return None
    by_people = AlertChange.objects.filter(alert__in=ended, deed=AlertChange.Deed.RESOLVE).exclude(who=None)
    return 1 - by_people.values("alert").distinct().count() / len(ended)
