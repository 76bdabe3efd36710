"""The quarantine as people see it: kinds of messages, single ones, and one with everything that is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet, Sum

from ingestion import replay_jobs, replaying
from ingestion.adoption import Guess, Unknown
from ingestion.filters import NONE, QuarantineFilter
from ingestion.foretelling import Fate
from ingestion.models import NotKept, Quarantined, ReplayJob
from ingestion.payloads import hex_lines, shown, text_of
from ingestion.quarantine import unmarked
from ingestion.replaying import CannotReplay, Parts
from ingestion.wire import REASONS
from ingestion.words import count
from sensors.models import Profile, Site, Zone
from sensors.stores import StoreUnavailable

ON_A_PAGE = 50
COUNTED_TO = 10_000  # beyond it a page says "more than"; counting a million for a headline would make it slow
SHOWN_OF_A_PAYLOAD = 300
OF_LATE = timedelta(hours=1)  # how long a finished job is told
KIND = ("reason", "site", "mote_code", "topic")


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of one reason, mote and topic, with the newest as an example."""

    reason: str
    site: str
    mote_code: str
    topic: str
    n: int
    first_at: datetime
    last_at: datetime
    newest: Quarantined

    @property
    def words(self) -> str:
        return REASONS.get(self.reason, self.reason)

    @property
    def example(self) -> str:
        return shown(bytes(self.newest.payload), self.newest.size, SHOWN_OF_A_PAYLOAD)

    @property
    def query(self) -> str:
        return kind_query(self.newest)

    @property
    def adoption(self) -> str:
        return urlencode({"mote": self.mote_code, "site": self.site})

    @property
    def is_adoptable(self) -> bool:
        return self.reason == "unknown_mote" and self.newest.status == Quarantined.Status.HELD


@dataclass(frozen=True, slots=True)
class Line:
    """A single message in the list."""

    row: Quarantined

    @property
    def words(self) -> str:
        return self.row.detail or REASONS.get(self.row.reason, self.row.reason)

    @property
    def payload(self) -> str:
        return shown(bytes(self.row.payload), self.row.size, SHOWN_OF_A_PAYLOAD)


def kind_query(row: Quarantined, **more: str) -> str:
    """The address's filters that mean all messages like this one."""
    asked = {"reason": row.reason, "mote": row.mote_code or NONE, "site": row.site or NONE, "topic": row.topic}
    return urlencode({**asked, **more, "view": "messages"})


# ---- the list -----------------------------------------------------------------------------------------------


def context(form: QuarantineFilter, address: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Everything the list shows: kinds by default, single messages on demand."""
    rows, view = form.found(), "messages" if address.get("view") == "messages" else "kinds"
    asked = {name: value for name, value in address.items() if name not in ("view", "page", "before") and value}
    listed = _messages(rows, address.get("before", "")) if view == "messages" else _kinds(rows, address.get("page", ""))
    return {
        "form": form, "view": view, "query": urlencode({**asked, "view": view}), "filters": urlencode(asked),
        "asked": asked, "topics": list(settings.SIEIS_TOPICS.values()), "n": counted(rows), "is_filtered": bool(asked),
        **listed, **figures(), "job": job_of_late(now), "keep_days": settings.SIEIS_QUARANTINE_DAYS,
        "cap": settings.SIEIS_QUARANTINE_MAX,
    }  # fmt: skip


def figures() -> dict[str, Any]:
    """How many messages are in which state, and how many were only counted."""
    by_status = dict(Quarantined.objects.order_by().values_list("status").annotate(n=Count("pk")))
    n_kept = sum(by_status.values())
    return {
        "n_quarantined": by_status.get("quarantined", 0), "n_held": by_status.get("held", 0),
        "n_settled": by_status.get("replayed", 0) + by_status.get("discarded", 0),
        "n_replayed": by_status.get("replayed", 0), "n_discarded": by_status.get("discarded", 0),
        "n_not_kept": NotKept.objects.aggregate(n=Sum("n"))["n"] or 0,
        "is_full": n_kept >= settings.SIEIS_QUARANTINE_MAX,
    }  # fmt: skip


def not_kept() -> list[dict[str, Any]]:
    """What was only counted, by reason."""
    lines = NotKept.objects.order_by().values("reason").annotate(total=Sum("n"), last=Max("hour")).order_by("-total")
    return [dict(line) for line in lines]


def counted(rows: QuerySet[Quarantined]) -> str:
    n = rows.order_by()[: COUNTED_TO + 1].count()
    return f"more than {count(COUNTED_TO)}" if n > COUNTED_TO else count(n)


def _kinds(rows: QuerySet[Quarantined], page: str) -> dict[str, Any]:
    number = max(int(page), 1) if page.isdecimal() and len(page) < 6 else 1
    start = (number - 1) * ON_A_PAGE
    found = list(kinds(rows)[start : start + ON_A_PAGE + 1])
    return {"kinds": spoken(found[:ON_A_PAGE]), "number": number, "has_more": len(found) > ON_A_PAGE}


def kinds(rows: QuerySet[Quarantined]) -> QuerySet[Quarantined, dict[str, Any]]:
    """The most frequent first."""
    grouped = rows.order_by().values(*KIND)
    figures = {"n": Count("pk"), "first_at": Min("received_at"), "last_at": Max("received_at"), "newest": Max("pk")}
    return grouped.annotate(**figures).order_by("-n", *KIND)


def spoken(found: Sequence[dict[str, Any]]) -> list[Kind]:
    newest = Quarantined.objects.in_bulk([one["newest"] for one in found])
    return [Kind(**{**one, "newest": newest[one["newest"]]}) for one in found if one["newest"] in newest]


def _messages(rows: QuerySet[Quarantined], before: str) -> dict[str, Any]:
    """Older than the key in the address; a page deep down costs what the first one does."""
    if before.isdecimal() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = list(rows[: ON_A_PAGE + 1])
    older = found[ON_A_PAGE - 1].pk if len(found) > ON_A_PAGE else None
    return {"lines": [Line(row) for row in found[:ON_A_PAGE]], "older": older, "is_first": not before}


def job_of_late(now: datetime) -> ReplayJob | None:
    job = replay_jobs.latest()
    return job if job and (job.is_unfinished or (job.done_at and job.done_at > now - OF_LATE)) else None


# ---- one message --------------------------------------------------------------------------------------------


def message_context(row: Quarantined, *, parts: Parts, now: datetime, payload: str | None = None) -> dict[str, Any]:
    """With what would become of it now, as it is or as somebody has edited it."""
    try:
        raw = unmarked(replaying.whole_messages([row], parts.lake).get(row.pk, b""))
        trouble = ""
    except StoreUnavailable as away:
        raw, trouble = b"", f"The whole message cannot be had: {away}."
    is_whole = bool(raw) or not row.size
    kept = raw if is_whole else unmarked(bytes(row.payload))
    text = text_of(kept)
    edited = payload if payload is not None else (text or "") if is_whole else ""
    alike = Quarantined.objects.filter(**{name: getattr(row, name) for name in KIND}).aggregate(
        n=Count("pk"), n_waiting=Count("pk", filter=Q(status__in=Quarantined.WAITING)), first=Min("received_at"),
        last=Max("received_at"),
    )  # fmt: skip
    return {
        "row": row, "words": REASONS.get(row.reason, row.reason), "text": text, "hex": hex_lines(kept),
        "is_whole": is_whole, "n_kept": len(row.payload), "trouble": trouble, "edited": edited, "alike": alike,
        "kind_query": kind_query(row), "fate": fate_of(row, edited, parts=parts, now=now) if row.waits else None,
        "returned": row.returned.defer("payload").order_by("-pk").first(), "came_from": origin(row),
        "stream": stream_name(row.topic), "adoption": urlencode({"mote": row.mote_code, "site": row.site}),
    }  # fmt: skip


def origin(row: Quarantined) -> Quarantined | None:
    """The message that it was; None where that is forgotten."""
    return Quarantined.objects.defer("payload").filter(pk=row.came_from_id or 0).first()


def stream_name(topic: str) -> str:
    try:
        return replaying.name_of(topic)
    except CannotReplay:
        return ""


def fate_of(row: Quarantined, text: str, *, parts: Parts, now: datetime) -> Fate:
    """What would become of the text if it were sent in place of the message."""
    try:
        [fate] = replaying.fates([text.encode(errors="surrogatepass")], row.topic, parts=parts, now=now)
    except CannotReplay as refusal:
        return Fate("refused", str(refusal))
    return fate


# ---- adopting -----------------------------------------------------------------------------------------------


def adoption_context(unknown: Unknown, given: Mapping[str, str]) -> dict[str, Any]:
    sites = Site.objects.filter(code=unknown.site) if unknown.site else Site.objects.all()
    chosen = {
        "site": unknown.site or settings.SIEIS_DEFAULT_SITE, "label": "", "zone": "",
        "profile": unknown.best.profile.code if unknown.best else "", **given,
    }  # fmt: skip
    examples = Quarantined.objects.filter(status="held", mote_code=unknown.code, site=unknown.site).order_by("-pk")[:3]
    return {
        "unknown": unknown, "sites": sites, "zones": Zone.objects.filter(site__in=sites).select_related("site"),
        "profiles": Profile.objects.all(), "chosen": chosen, "examples": [Line(row) for row in examples],
        "guesses": [(guess, _percent(guess)) for guess in unknown.guesses],
        "query": urlencode({"mote": unknown.code, "site": unknown.site or NONE, "view": "messages"}),
    }  # fmt: skip


def _percent(guess: Guess) -> str:
    return f"{guess.share:.0%}".replace("%", " %")
