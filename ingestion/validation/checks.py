"""The checks of a quality report: each a figure beside its limit, in a sentence that has the value in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from ingestion.validation import words
from ingestion.validation.figures import Delivery, Found
from ingestion.validation.limits import Limits
from ingestion.validation.rows import Scope
from sensors.readings import Channel

NOTHING = "There is no reading to judge."


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict. `n` readings of `of` are what speaks against it, `share` that part of them.

    `lists` names what failing.page can show of it: readings, or nothing ("") where the trouble is that none are there.
    """

    name: str
    label: str
    words: str
    figure: str
    limit: str
    has_passed: bool | None
    n: int = 0
    of: int = 0
    share: float | None = None
    lists: str = "readings"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Books:
    """What the books say of a scope: readings stored by mote, and what became of all messages in its hours."""

    stored: Mapping[int, int]
    received: int = 0
    duplicate: int = 0
    imported_again: int = 0  # of the duplicates: history that somebody sent once more
    quarantined: int = 0
    held: int = 0
    n_unbalanced: int = 0
    is_shared: bool = False  # with motes out of scope: only `stored` is then the scope's own

    @property
    def n_stored(self) -> int:
        return sum(self.stored.values())


@dataclass(frozen=True)
class Evidence:
    """All that the checks look at."""

    scope: Scope
    codes: Mapping[int, str]  # of the scope's motes, retired ones not among them
    found: Found | None
    books: Books
    n_hot: int
    n_days: int
    limits: Limits
    asked_interval_s: float | None = None
    n_times_refused: int = 0
    hot_from: datetime | None = None

    @cached_property
    def delivery(self) -> Mapping[int, Delivery]:
        return self.found.delivery(self.scope.profile, self.asked_interval_s) if self.found else {}

    @property
    def silent(self) -> list[str]:
        spoke = set(self.found.motes["mote"].to_list()) if self.found else set()
        return [code for mote, code in self.codes.items() if mote not in spoke]

    @property
    def measured(self) -> list[Channel]:
        return [channel for channel in self.scope.profile.channels if channel.formula is None]


def judge(evidence: Evidence) -> list[Check]:
    """Every check, in the order in which people read them."""
    found = evidence.found
    if found is None:
        return [_records_of_none(evidence), _motes(evidence), _check("dates", "Date range", NOTHING, "none", "", False)]
    checks = [
        _records(evidence, found),
        _duplicates(evidence, found),
        _motes(evidence),
        _dates(evidence, found),
        *(_range(channel, found, evidence.limits) for channel in evidence.scope.profile.channels),
        _missing(evidence, found),
        _nulls(evidence, found),
        _hot(evidence, found),
        _times(evidence, found),
    ]
    return [*checks, _battery(evidence, found)] if evidence.scope.profile.battery else checks


def has_passed(checks: list[Check]) -> bool:
    return all(check.has_passed is not False for check in checks)


def quality_percent(evidence: Evidence) -> float:
    """100 × what was delivered of what was owed × what can be trusted of the values that are there.

    A mote that never spoke owes the whole range at its profile's interval. A value can be trusted that is neither null
    nor beyond its physical range nor flagged; what people took out counts on neither side.
    """
    found = evidence.found
    if found is None:
        return 0.0
    span_s = (found.last_at - found.first_at).total_seconds()
    by_silent = (span_s / evidence.scope.profile.interval_s + 1) * len(evidence.silent)
    owed = sum(one.expected for one in evidence.delivery.values()) + by_silent
    delivered = sum(one.delivered for one in evidence.delivery.values())
    counts = [found.channel(channel.code) for channel in evidence.measured]
    kept = sum(one[name] for one in counts for name in ("null", "below", "above", "suspect", "trusted"))
    trusted = sum(one["trusted"] for one in counts)
    return 100.0 * delivered / owed * trusted / kept if kept else 0.0


# ---- one check each -----------------------------------------------------------------------------------------


def _check(
    name: str, label: str, sentence: str, figure: str, limit: str, passed: bool | None, *, n: int = 0, of: int = 0,
    lists: str = "",
) -> Check:  # fmt: skip
    return Check(name, label, sentence, figure, limit, passed, n, of, n / of if of else None, lists)


def _records_of_none(evidence: Evidence) -> Check:
    expected = evidence.books.n_stored
    told = f"The books say {words.count(expected)} were stored." if expected else "The books know of none either."
    sentence = f"The lake has no reading of this profile, site and time. {told}"
    return _check("records", "Total records", sentence, "0", "as many as the books say", False, n=expected, of=expected)


def _records(evidence: Evidence, found: Found) -> Check:
    """The lake is written just before the books: what has only just arrived may be in the one and not in the other."""
    books, booked, settling = evidence.books, found.total("booked"), found.total("settling")
    over = booked - books.n_stored
    passed = 0 <= over <= settling and not books.n_unbalanced
    if over == 0:
        told = "exactly as many as the books say"
    elif passed:
        told = f"{words.count(over)} more than the books say so far; as many have arrived in the last minutes"
    else:
        more, less = "that the books do not know", "that the books say were stored are not there"
        told = f"but the books say {words.count(books.n_stored)}: {words.count(abs(over))} {more if over > 0 else less}"
    unbalanced = (
        f" {words.plural(books.n_unbalanced, 'line')} of the books do not add up." if books.n_unbalanced else ""
    )
    sentence = f"The lake has {words.count(booked)} readings of these motes, {told}. {_what_became(books)}{unbalanced}"
    return _check(
        "records", "Total records", sentence, words.count(found.n), "as many as the books say", passed,
        n=abs(over), of=max(booked, books.n_stored),
    )  # fmt: skip


def _what_became(books: Books) -> str:
    whose = "messages in these hours, those of other motes among them" if books.is_shared else "messages"
    parts = (("duplicates", books.duplicate), ("put aside", books.quarantined), ("held", books.held))
    rest = ", ".join(f"{words.count(n)} {name}" for name, n in parts)
    return f"Of {words.count(books.received)} {whose}, {rest}."


def _duplicates(evidence: Evidence, found: Found) -> Check:
    books, repeated = evidence.books, found.total("repeated")
    again = books.imported_again
    n, of = books.duplicate - again + repeated, found.n + books.duplicate - again
    sentence = (
        f"{words.count(books.duplicate)} messages repeated a stored reading and were left out; "
        f"{words.count(repeated)} readings are in the lake twice."
    )
    if again:
        sentence += f" {words.count(again)} of the messages were history that was imported again, which does not count."
    limit = evidence.limits.duplicates
    return _check(
        "duplicates", "Duplicates", sentence, _part(n, of), words.limit(limit), n <= limit * of, n=n, of=of,
        lists="readings" if repeated else "",
    )  # fmt: skip


def _motes(evidence: Evidence) -> Check:
    silent, of = evidence.silent, len(evidence.codes)
    sentence = f"{of - len(silent)} of {words.plural(of, 'registered mote')} reported."
    if silent:
        sentence += f" Nothing came from {words.some(silent)}."
    return _check(
        "motes", "Mote coverage", sentence, f"{of - len(silent)}/{of}", "all", not silent, n=len(silent), of=of
    )


def _dates(evidence: Evidence, found: Found) -> Check:
    limit_s = evidence.limits.gap_h * 3600
    too_long = found.gaps.filter(found.gaps["waited_s"] > limit_s)
    spanned = (found.last_at.date() - found.first_at.date()).days + 1
    sentence = (
        f"From {words.instant(found.first_at)} to {words.instant(found.last_at)}; "
        f"{evidence.n_days} of {words.plural(spanned, 'day')} have readings."
    )
    if not found.gaps.is_empty():
        mote, at, waited_s = found.gaps.sort("waited_s").row(-1)
        begun = _before(at, waited_s)
        sentence += (
            f" The longest gap of a mote is {words.duration(waited_s)}: mote {evidence.codes[mote]}, from "
            f"{words.instant(begun)} to {words.instant(at)}."
        )
    if found.silence:
        seconds, begun, at = found.silence
        sentence += f" The longest time in which no mote spoke is {words.duration(seconds)}, until {words.instant(at)}."
    return _check(
        "dates", "Date range", sentence, f"{found.first_at:%Y-%m-%d} to {found.last_at:%Y-%m-%d}",
        f"no gap above {evidence.limits.gap_h:g} h", too_long.is_empty(), n=len(too_long), of=len(evidence.codes),
        lists="readings",
    )  # fmt: skip


def _before(at: datetime, seconds: float) -> datetime:
    return at - timedelta(seconds=seconds)


def _range(channel: Channel, found: Found, limits: Limits) -> Check:
    counts = found.channel(channel.code)
    of = counts["below"] + counts["above"] + counts["suspect"] + counts["trusted"]
    n = counts["below"] + counts["above"]
    name, label = f"range:{channel.code}", f"{channel.label} range"
    if not of:
        return _check(name, label, f"{channel.label} has no value to judge.", "–", words.limit(limits.outside), None)
    low, high = channel.physical
    reach = max(abs(low), abs(high))
    sentence = f"{words.percent(n / of)} of {words.count(of)} values lie outside {words.band((low, high), channel)}"
    if n:
        sentence += f": {words.count(counts['below'])} below, {words.count(counts['above'])} above"
    if counts["far"]:
        far = words.band((low - reach, high + reach), channel)
        sentence += f"; {words.count(counts['far'])} ({words.percent(counts['far'] / of)}) even outside {far}"
    least, most = found.extremes(channel.code)
    sentence += (
        f". They go from {words.value(least, channel)} to {words.value(most, channel)}. "
        f"{words.percent(counts['abnormal'] / of)} are outside the normal band {words.band(channel.normal, channel)}."
    )
    return _check(
        name, label, sentence, _part(n, of), words.limit(limits.outside), n <= limits.outside * of, n=n, of=of,
        lists="readings",
    )  # fmt: skip


def _missing(evidence: Evidence, found: Found) -> Check:
    deliveries = evidence.delivery
    expected = sum(one.expected for one in deliveries.values())
    delivered = sum(one.delivered for one in deliveries.values())
    missing = expected - delivered
    ranked = sorted(deliveries.items(), key=lambda item: item[1].share)
    (worst, low), (best, high) = ranked[0], ranked[-1]
    codes, limit = evidence.codes, evidence.limits.missing
    extremes = (
        f": fewest of mote {codes[worst]}, {words.percent(low.share)}; most of mote {codes[best]}, "
        f"{words.percent(high.share)}"
    )
    sentence = (
        f"From each mote's first to its last reading {words.count(delivered)} of about {words.count(expected)} "
        f"expected readings came ({words.percent(delivered / expected)}){extremes if low.share < high.share else ''}. "
        f"{_yardstick(evidence)}"
    )
    return _check(
        "missing", "Missing readings", sentence, _part(round(missing), round(expected)), words.limit(limit),
        missing <= limit * expected, n=round(missing), of=round(expected), lists="readings",
    )  # fmt: skip


def _yardstick(evidence: Evidence) -> str:
    promised = evidence.scope.profile.interval_s
    if evidence.asked_interval_s:
        return (
            f"One every {evidence.asked_interval_s:g} s was asked for; the profile promises one every {promised:g} s."
        )
    slower = [code for mote, code in evidence.codes.items() if _is_slower(evidence.delivery.get(mote), promised)]
    if slower:
        return f"Judged by the profile's {promised:g} s, or by a mote's own slower rhythm: {words.some(slower)}."
    return f"Judged by the profile's {promised:g} s; no mote's own rhythm is slower."


def _is_slower(delivery: Delivery | None, promised_s: float) -> bool:
    return delivery is not None and delivery.own_s is not None and delivery.own_s > 1.02 * promised_s


def _nulls(evidence: Evidence, found: Found) -> Check:
    """The worst channel decides."""
    shares: list[tuple[float, int, int, Channel]] = []
    for channel in evidence.measured:
        counts = found.channel(channel.code)
        of = sum(counts[name] for name in ("null", "below", "above", "suspect", "trusted"))
        if of:
            shares.append((counts["null"] / of, counts["null"], of, channel))
    limit = evidence.limits.nulls
    if not shares:
        return _check("nulls", "Missing values", NOTHING, "–", words.limit(limit), None)
    told = [f"{channel.label} {words.percent(share)}" for share, n, _, channel in shares if n]
    share, n, of, _ = max(shares, key=lambda one: one[0])
    sentence = (
        f"Readings without a value, by channel: {', '.join(told)}." if told else "Every reading has all its values."
    )
    return _check(
        "nulls", "Missing values", sentence, _part(n, of), f"{words.limit(limit)} of any channel", share <= limit,
        n=n, of=of, lists="readings",
    )  # fmt: skip


def _hot(evidence: Evidence, found: Found) -> Check:
    cold, hot, limit = found.total("hot"), evidence.n_hot, evidence.limits.hot_cold
    n = abs(hot - cold)
    told = "exactly as many" if n == 0 else f"{words.count(n)} {'more' if hot > cold else 'fewer'}"
    sentence = (
        f"Of the last {evidence.limits.hot_days:g} days, which the hot store keeps, the lake has {words.count(cold)} "
        f"readings and the hot store {words.count(hot)}: {told}."
    )
    return _check(
        "hot", "Hot against cold", sentence, f"{words.count(hot - cold)} ({words.percent(n / cold if cold else 0)})",
        words.limit(limit), n <= limit * cold, n=n, of=cold, lists="readings" if hot < cold else "",
    )  # fmt: skip


def _times(evidence: Evidence, found: Found) -> Check:
    n, refused = found.total("impossible"), evidence.n_times_refused
    sentence = (
        f"{words.plural(n, 'stored reading')} {'claims' if n == 1 else 'claim'} to be measured more than "
        f"{evidence.limits.future_s:g} s after arrival. {words.plural(refused, 'message')} of these motes "
        f"{'was' if refused == 1 else 'were'} put aside for an impossible time."
    )
    return _check(
        "times", "Impossible times", sentence, words.count(n), "none", n == 0, n=n, of=found.n, lists="readings"
    )


def _battery(evidence: Evidence, found: Found) -> Check:
    battery = evidence.scope.profile.battery
    assert battery is not None
    channel = next(one for one in evidence.scope.profile.channels if one.code == battery.channel)
    n, of, limit = found.total("low"), found.n - found.total("repeated"), evidence.limits.low_battery
    motes = [evidence.codes[mote] for mote in found.motes.filter(found.motes["low"] > 0)["mote"].to_list()]
    sentence = f"{words.percent(n / of)} of the readings were made below {words.value(battery.low, channel)}"
    sentence += f", by {words.plural(len(motes), 'mote')}: {words.some(motes)}." if motes else "."
    return _check(
        "battery", "Batteries", sentence, _part(n, of), words.limit(limit), n <= limit * of, n=n, of=of,
        lists="readings",
    )  # fmt: skip


def _part(n: int, of: int) -> str:
    return f"{words.count(n)} ({words.percent(n / of if of else 0.0)})"
