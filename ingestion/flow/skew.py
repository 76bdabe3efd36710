"""Whose clock is wrong: how far what a mote says lies from when it arrived. Pure; time is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

from ingestion.flow.watch import Found, Spoken, Standing, Trouble, gathered, is_over

KIND = "clock_skew"
AHEAD_S = 10.0  # no way takes less than no time: what comes from further ahead is a clock's doing
LATE_S = 60.0  # what a way, a retry or a gateway's bundle may take, at least
LATE_INTERVALS = 4
BACK = 0.5  # of the bound: nearer than that, a clock that was wrong counts as right again
KEPT, LEAST = 9, 5  # samples of a mote, one a minute at most, of which the middle one speaks

# When the newest reading was measured (UTC microseconds), and how many seconds later it arrived.
Sample = tuple[int, float]


def with_sample(samples: Sequence[Sample], at_us: int, delay_s: float) -> list[Sample]:
    """The last samples and this one; a reading that was seen before says nothing new."""
    if samples and samples[-1][0] == at_us:
        return list(samples)
    return [*samples, (at_us, round(delay_s, 3))][-KEPT:]


def skew_s(samples: Sequence[Sample], interval_s: float, *, was_wrong: bool) -> float | None:
    """How many seconds a clock is ahead, negative where readings come late; None where that is in order or unknown."""
    if len(samples) < LEAST:
        return None
    ahead = -median(delay for _, delay in samples)
    bound = AHEAD_S if ahead > 0 else max(LATE_S, LATE_INTERVALS * interval_s)
    return round(ahead, 1) if abs(ahead) > bound * (BACK if was_wrong else 1.0) else None


def skews(
    motes: Sequence[Spoken], found: Mapping[int, float], refused: Mapping[int, int], *, now: datetime,
    standing: Sequence[Standing],
) -> Found:  # fmt: skip
    """The alerts of wrong clocks: one for many of a zone or site, whose gateway or time server they share.

    `refused`: how many readings of a mote were put aside as from the future.
    """
    wrong = [one for one in motes if one.mote in found]
    troubles: list[Trouble] = []
    for members in ([one for one in wrong if found[one.mote] > 0], [one for one in wrong if found[one.mote] <= 0]):
        for subject, some in gathered(members, motes) if members else ():
            if subject is not None:
                troubles.append(_together(subject, some, found))
            else:
                troubles += [_alone(one, found[one.mote], refused.get(one.mote, 0)) for one in some]
    told = {one.subject for one in troubles}
    return Found(troubles, [one for one in standing if one.subject not in told and is_over(one, now)])


def _alone(one: Spoken, ahead_s: float, n_refused: int) -> Trouble:
    were = "was" if n_refused == 1 else "were"
    refused = f" {n_refused:,} of its readings {were} put aside as from the future." if n_refused else ""
    words = f"{direction(ahead_s)}.{refused} Set the mote's clock, or its gateway's."
    return Trouble(one.subject, KIND, words, "medium" if n_refused else "low", (one.mote,))


def _together(subject: str, members: Sequence[Spoken], found: Mapping[int, float]) -> Trouble:
    what, _, name = subject.partition(":")
    where = "of all sites" if what == "stream" else f"of {what} {name}"
    middle = median(found[one.mote] for one in members)
    words = (
        f"{len(members)} motes {where} agree: {direction(middle).lower()} (the middle one). "
        "Look at their gateway's clock, and at ours."
    )
    return Trouble(subject, KIND, words, "medium", [one.mote for one in members])


def direction(ahead_s: float) -> str:
    """The figure in words.

    >>> direction(42.0), direction(-90.0)
    ('Its clock is 42 s ahead of ours', 'Its readings come 90 s late, steadily')
    """
    if ahead_s > 0:
        return f"Its clock is {ahead_s:,.0f} s ahead of ours"
    return f"Its readings come {-ahead_s:,.0f} s late, steadily"
