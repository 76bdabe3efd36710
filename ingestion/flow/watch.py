"""Who is silent, alone or with others, and whether the path itself is to blame. Pure; time is handed in.

It remembers nothing: what a mote said last and which alerts stand is all it needs, so that a restart repeats nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sensors.presence import patience

SILENT = "silent"
AWAY, BEHIND = "consumer_away", "consumer_behind"
MANY = 3  # motes that make one alert together, if they are
SHARE = 0.5  # of those of their zone or site that spoke until then
FLAPPING = timedelta(minutes=30)  # who fell silent again so soon must speak for as long before it counts as back
AWAY_AFTER = timedelta(seconds=90)  # a consumer that is started anew says within that time that it lives
BEHIND_S = 60.0  # a backlog that takes longer at the present rate


@dataclass(frozen=True, slots=True)
class Spoken:
    """An active mote that was heard at least once: when last, by our own clock."""

    mote: int
    site: str
    zone: str
    code: str
    interval_s: float
    heard_at: datetime

    @property
    def subject(self) -> str:
        return f"mote:{self.site}/{self.code}"

    @property
    def patience(self) -> timedelta:
        return patience(self.interval_s)


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert that nobody ended. `was_back_at`: when the one before it of the same subject and kind was over."""

    subject: str
    kind: str
    first_seen_at: datetime
    last_seen_at: datetime
    was_back_at: datetime | None = None

    @property
    def holds_for(self) -> timedelta:
        is_flapping = self.was_back_at is not None and self.first_seen_at - self.was_back_at < FLAPPING
        return FLAPPING if is_flapping else timedelta(0)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an alert is to say."""

    subject: str
    kind: str
    words: str
    severity: str
    motes: Collection[int]  # whom it speaks of; none where it is about the path

    @property
    def mote(self) -> int | None:
        """The mote whose alert it is, where it is one's own."""
        return next(iter(self.motes)) if self.subject.startswith("mote:") else None


@dataclass(frozen=True, slots=True)
class Found:
    """What stands now, what is over, and every mote that is silent."""

    troubles: Sequence[Trouble] = ()
    over: Sequence[Standing] = ()
    silent: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """The consumers of the readings: when one said last that it lives, since when all run, and what waits."""

    topic: str
    beat_at: datetime | None
    running_since: datetime | None
    stuck_at: str | None
    readings_per_s: float
    lag: Mapping[str, int]

    @property
    def backlog(self) -> int:
        return sum(self.lag.values())


# ---- the path -----------------------------------------------------------------------------------------------


def path_troubles(path: Path, *, now: datetime) -> list[Trouble]:
    """What is wrong with the consumers; a sink that is away they tell themselves."""
    subject = f"consumer:{path.topic}"
    if path.beat_at is not None and now - path.beat_at > AWAY_AFTER:
        words = (
            f"No consumer has said since {clock(path.beat_at)} that it lives: readings wait in {path.topic} "
            "and are not lost. Start it again; its log says why it ended."
        )
        return [Trouble(subject, AWAY, words, "high", ())]
    if path.running_since is not None and is_behind(path):
        worst = ", ".join(f"{place}: {n:,}" for place, n in sorted(path.lag.items(), key=lambda one: -one[1])[:4])
        words = (
            f"{path.backlog:,} messages wait and {path.readings_per_s:,.0f} are read a second, "
            f"so pages and alerts come late ({worst})."
        )
        return [Trouble(subject, BEHIND, words, "medium", ())]
    return []


def is_behind(path: Path) -> bool:
    return path.backlog > BEHIND_S * max(path.readings_per_s, 1.0)


def well_since(path: Path, last_trouble: datetime | None) -> datetime | None:
    """Since when the path has brought what motes say; None while it does not, when no mote can be blamed."""
    if path.running_since is None or path.stuck_at or is_behind(path):
        return None
    return max(filter(None, (path.running_since, last_trouble)))


# ---- silence ------------------------------------------------------------------------------------------------


def silences(
    motes: Sequence[Spoken], *, now: datetime, well: datetime | None, standing: Sequence[Standing],
    resting: Collection[str] = (),
) -> Found:  # fmt: skip
    """The alerts that silence makes: one for many that fell silent at once. `resting` subjects stay as they are."""
    if well is None:
        return Found()
    silent = {one.mote for one in motes if now - max(one.heard_at, well) > one.patience}
    # Who has not spoken for half as long, fell silent with them: its alert would follow within minutes.
    rest = [one for one in motes if now - max(one.heard_at, well) > one.patience / 2]
    troubles, over = [], []
    alone = {one.subject: one for one in standing if one.subject.startswith("mote:")}
    for group in (one for one in standing if one.subject not in alone):
        members = [one for one in rest if _is_of(one, group, alone.get(one.subject))]
        if len(members) >= MANY:
            troubles.append(_together(group.subject, members, _heard_before(motes, members, group.subject)))
        elif is_over(group, now):
            over.append(group)
            continue
        rest = [one for one in rest if one not in members]
    for cluster in clusters(rest):
        if not any(one.mote in silent for one in cluster):
            continue
        for subject, members in gathered(cluster, motes):
            if subject is not None:
                troubles.append(_together(subject, members, _heard_before(motes, members, subject)))
            else:
                troubles += [_alone(one) for one in members if one.mote in silent]
    told = {one.subject for one in troubles}
    with_others = {mote for one in troubles if one.mote is None for mote in one.motes}
    grouped = {one.subject for one in motes if one.mote in with_others}
    unknown = {one.subject for one in motes if now - one.heard_at > one.patience}
    kept = told | (unknown - grouped) | set(resting)
    over += [one for one in alone.values() if one.subject in grouped or (one.subject not in kept and is_over(one, now))]
    still = {
        one.mote for one in motes if one.subject in alone and one.subject in unknown
    }  # told before the path failed
    return Found(troubles, over, silent | still)


def _is_of(one: Spoken, group: Standing, own: Standing | None) -> bool:
    """Whether the alert of a group told of this mote: it was heard before, and had none of its own by then."""
    had_own = own is not None and own.first_seen_at < group.first_seen_at
    return is_in(one, group.subject) and one.heard_at <= group.first_seen_at and not had_own


def is_over(one: Standing, now: datetime) -> bool:
    """Whether it may be ended, now that its cause is gone."""
    return now - one.last_seen_at >= one.holds_for


def is_in(one: Spoken, subject: str) -> bool:
    """Whether an alert of that zone or site, or of the stream, speaks of the mote."""
    what, _, name = subject.partition(":")
    return what == "stream" or name == (f"{one.site}/{one.zone}" if what == "zone" else one.site)


def clusters(motes: Iterable[Spoken]) -> Iterator[list[Spoken]]:
    """Motes that were last heard at about the same time."""
    ordered = sorted(motes, key=lambda one: one.heard_at)
    cluster: list[Spoken] = []
    for one in ordered:
        if cluster and one.heard_at - cluster[-1].heard_at > max(one.patience, cluster[-1].patience) / 2:
            yield cluster
            cluster = []
        cluster.append(one)
    if cluster:
        yield cluster


def gathered(affected: Sequence[Spoken], motes: Sequence[Spoken]) -> list[tuple[str | None, list[Spoken]]]:
    """The affected by what they have in common: a subject where they are many of its motes, None for single ones."""
    found: list[tuple[str | None, list[Spoken]]] = []
    for site, members in _by(affected, lambda one: one.site).items():
        zones = _by(members, lambda one: one.zone)
        hit = {zone for zone, some in zones.items() if _are_most(some, motes, f"zone:{site}/{zone}")}
        if (len(hit) > 1 or "" in hit) and _are_many(members, motes, f"site:{site}"):
            found.append((f"site:{site}", members))
            continue
        for zone, some in zones.items():
            subject = f"zone:{site}/{zone}"
            found.append((subject if zone and _are_many(some, motes, subject) else None, some))
    whole = [one for subject, members in found if subject for one in members]
    if len({one.site for one in whole}) > 1 and len(whole) == len(_heard_before(motes, whole, "stream:")):
        return [("stream:readings", whole)]
    return found


def _by(motes: Iterable[Spoken], key: Callable[[Spoken], str]) -> dict[str, list[Spoken]]:
    found: dict[str, list[Spoken]] = defaultdict(list)
    for one in motes:
        found[key(one)].append(one)
    return found


def _are_many(members: Sequence[Spoken], motes: Sequence[Spoken], subject: str) -> bool:
    return len(members) >= MANY and _are_most(members, motes, subject)


def _are_most(members: Sequence[Spoken], motes: Sequence[Spoken], subject: str) -> bool:
    return len(members) >= SHARE * len(_heard_before(motes, members, subject))


def _heard_before(motes: Sequence[Spoken], members: Sequence[Spoken], subject: str) -> list[Spoken]:
    """Those of the subject that spoke until the members fell silent: who was silent before is not to be counted."""
    first = min(one.heard_at - one.patience / 2 for one in members)
    return [one for one in motes if is_in(one, subject) and one.heard_at >= first]


# ---- words --------------------------------------------------------------------------------------------------


def clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _alone(one: Spoken) -> Trouble:
    words = f"Silent since {clock(one.heard_at)}; a reading was expected every {one.interval_s:g} s."
    return Trouble(one.subject, SILENT, words, "medium", (one.mote,))


def _together(subject: str, members: Sequence[Spoken], among: Sequence[Spoken]) -> Trouble:
    what, _, name = subject.partition(":")
    where = "all sites" if what == "stream" else f"{what} {name}"
    since = clock(min(one.heard_at for one in members))
    words = (
        f"{len(members)} of {max(len(among), len(members))} motes of {where} fell silent together at {since}: "
        "look at what they share, such as gateway, power and network."
    )
    return Trouble(subject, SILENT, words, "high", [one.mote for one in members])
