"""Judges readings by a rule, whole tables at once. Pure: the same readings give the same verdicts however they are cut.

Rows are sorted by mote and instant. What a mote carries from table to table is small: where each condition stood, since
when the rule holds, and whether it fires. Rows at or before a mote's last judged reading serve as its past only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alerts.rules.saying import ABOVE, ALERTING, CHANGE, FALLS, KEEP, OWN, RISES, SCORE, Condition, Rule
from sensors.readings import score

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a mote stands after its last judged reading; instants are UTC microseconds."""

    last_at: int
    holds: tuple[bool, ...]  # each condition
    since: int | None = None  # the rule holds
    fires: int | None = None  # when it was noticed
    is_gap: bool = False  # the silence after the last reading was judged already

    def as_json(self) -> list[Any]:
        return [self.last_at, list(self.holds), self.since, self.fires, self.is_gap]

    @classmethod
    def of_json(cls, kept: list[Any]) -> Standing:
        last_at, holds, since, fires, is_gap = kept
        return cls(last_at, tuple(holds), since, fires, is_gap)


States = Mapping[int, Standing]


@dataclass(frozen=True, slots=True)
class Change:
    """The rule began or ceased to fire for a mote; `row` is where it was noticed, -1 for a silence."""

    mote: int
    since: int
    noticed_at: int
    ended_at: int | None
    values: tuple[float, ...] = ()  # of each condition's channel, when it was noticed
    is_silence: bool = False


@dataclass(slots=True)
class _Rows:
    """Readings to judge, each mote's led by a row that stands for what it carries; and silences between them."""

    mote: Ints
    at: Ints
    is_head: Bools
    is_gap: Bools
    shows: list[NDArray[np.int8]]  # 1 it holds, 0 it does not, -1 nothing said
    values: list[Floats]
    states: dict[int, Standing] = field(default_factory=dict)


def judge(
    rule: Rule, table: pl.DataFrame, states: States, *, onset: Floats | float, until: Mapping[int, int] | None = None
) -> tuple[dict[int, Standing], list[Change]]:
    """The states after the table and what changed in it. `until`: instants to which a mote is known to be silent."""
    rows = _gathered(rule, table, states, onset, until or {})
    if not len(rows.at):
        return dict(states), []
    holds = [_latched(rows, shows, i) for i, shows in enumerate(rows.shows)]
    true = _combined(rule, rows, holds)
    since, fires = _runs(rule, rows, true)
    noticed = _noticed(rows, true, fires)
    after = dict(states) | _after(rows, holds, true, since, fires, noticed)
    return after, [*_changes(rule, rows, since, fires, noticed), *_own_silences(rule, rows)]


# ---- rows -----------------------------------------------------------------------------------------------------


def _gathered(
    rule: Rule, table: pl.DataFrame, states: States, onset: Floats | float, until: Mapping[int, int]
) -> _Rows:
    mote, at = table["mote"].to_numpy(), table["at"].cast(pl.Int64).to_numpy()
    columns = [_shown(one, table, onset) for one in rule.conditions]
    if states:
        fresh = at > _last_of(mote, states)
        mote, at = mote[fresh], at[fresh]
        columns = [(shown[fresh], value[fresh]) for shown, value in columns]
    starts = _starts(mote)
    heads = mote[starts].tolist()
    silent = [one for one in until if one in states and one not in heads]
    # Each mote's rows are led by one for what it carries; who sent nothing has only that one, at the end.
    places = np.concatenate([starts, np.full(len(silent), len(mote), dtype=np.int64)])
    led = [*heads, *silent]
    rows = _Rows(
        mote=np.insert(mote, places, led),
        at=np.insert(at, places, [states[one].last_at if one in states else -1 for one in led]),
        is_head=np.insert(np.zeros(len(mote), dtype=np.bool_), places, True),
        is_gap=np.zeros(len(mote) + len(led), dtype=np.bool_),
        shows=[np.insert(shown, places, -1) for shown, _ in columns],
        values=[np.insert(value, places, np.nan) for _, value in columns],
        states={one: states[one] for one in led if one in states},
    )
    return _with_gaps(rule, rows, until) if rule.no_data != KEEP and len(rows.at) else rows


def _starts(mote: Ints) -> Ints:
    """Where each mote's rows begin."""
    return np.flatnonzero(np.append(True, mote[1:] != mote[:-1])) if len(mote) else np.zeros(0, dtype=np.int64)


def _last_of(mote: Ints, states: States) -> Ints:
    """Each row's mote's last judged instant."""
    starts = _starts(mote)
    last = [states[key].last_at if key in states else -1 for key in mote[starts].tolist()]
    return np.repeat(np.array(last, dtype=np.int64), np.diff(np.append(starts, len(mote))))


def _with_gaps(rule: Rule, rows: _Rows, until: Mapping[int, int]) -> _Rows:
    """With a row where a mote has been silent for too long, once a silence."""
    after_us = int(rule.no_data_s * 1e6)
    following = np.append(rows.at[1:], 0)
    for i in np.append(_starts(rows.mote)[1:] - 1, len(rows.mote) - 1).tolist():
        following[i] = until.get(int(rows.mote[i]), -1)
    is_silence = following - rows.at > after_us
    for i in np.flatnonzero(rows.is_head).tolist():
        state = rows.states.get(int(rows.mote[i]))
        is_silence[i] &= state is not None and not state.is_gap
    gap = np.flatnonzero(is_silence)
    if not len(gap):
        return rows
    return _Rows(
        mote=np.insert(rows.mote, gap + 1, rows.mote[gap]),
        at=np.insert(rows.at, gap + 1, rows.at[gap] + after_us),
        is_head=np.insert(rows.is_head, gap + 1, False),
        is_gap=np.insert(rows.is_gap, gap + 1, True),
        shows=[np.insert(one, gap + 1, -1) for one in rows.shows],
        values=[np.insert(one, gap + 1, np.nan) for one in rows.values],
        states=rows.states,
    )


# ---- conditions -----------------------------------------------------------------------------------------------


def _shown(one: Condition, table: pl.DataFrame, onset: Floats | float) -> tuple[NDArray[np.int8], Floats]:
    """What each reading says of the condition, and the value that says it."""
    if one.kind == SCORE:
        value = np.asarray(score(table["surprise"].to_numpy(), onset), dtype=np.float64)
    elif one.channel in table.columns:
        value = table[one.channel].to_numpy().astype(np.float64)
    else:
        value = np.full(len(table), np.nan)
    known = np.isfinite(value)
    if one.kind == CHANGE:
        moved = _moved(one, table)
        shows = np.where(known & np.isfinite(moved), (moved >= one.than).astype(np.int8), -1)
        return shows.astype(np.int8), moved
    clear = one.than if one.clear is None else one.clear
    beyond = value > one.than if one.how == ABOVE else value < one.than
    back = value <= clear if one.how == ABOVE else value >= clear
    return np.where(~known, -1, np.where(beyond, 1, np.where(back, 0, -1))).astype(np.int8), value


def _moved(one: Condition, table: pl.DataFrame) -> Floats:
    """How far the channel has come, in the way that is asked for, from its extremes within the time."""
    rows = table.select("mote", "at", pl.col(one.channel).cast(pl.Float64).fill_nan(None).alias("value"))
    period = f"{int(one.within_s * 1e6)}us"
    seen = rows.rolling("at", period=period, group_by="mote", closed="both").agg(
        pl.col("value").min().alias("low"), pl.col("value").max().alias("high"), pl.col("value").last().alias("now")
    )
    risen = (seen["now"] - seen["low"]).to_numpy().astype(np.float64)
    fallen = (seen["high"] - seen["now"]).to_numpy().astype(np.float64)
    return risen if one.how == RISES else fallen if one.how == FALLS else np.fmax(risen, fallen)


def _latched(rows: _Rows, shows: NDArray[np.int8], place: int) -> Bools:
    """Whether the condition holds at each row: as it was shown last; what nothing was said of does not."""
    shown = shows.copy()
    for i in np.flatnonzero(rows.is_head).tolist():
        state = rows.states.get(int(rows.mote[i]))
        shown[i] = int(state.holds[place]) if state is not None and place < len(state.holds) else 0
    said = np.where(shown >= 0, np.arange(len(shown)), 0)
    return shown[np.maximum.accumulate(said)] == 1


def _combined(rule: Rule, rows: _Rows, holds: list[Bools]) -> Bools:
    """Whether the rule holds, which a head row takes from its state and a silence from what it means."""
    true = np.zeros(len(rows.at), dtype=np.bool_)
    if holds:
        true = np.logical_and.reduce(holds) if rule.is_all else np.logical_or.reduce(holds)
    if rule.hours is not None:
        true &= _in_hours(rule, rows.at)
    for i in np.flatnonzero(rows.is_head).tolist():
        state = rows.states.get(int(rows.mote[i]))
        true[i] = state is not None and state.since is not None
    if rule.no_data == OWN:  # a silence is told beside the rule, which it leaves as it was
        true[rows.is_gap] = true[np.flatnonzero(rows.is_gap) - 1]
    else:
        true[rows.is_gap] = rule.no_data == ALERTING
    return true


def _in_hours(rule: Rule, at: Ints) -> Bools:
    assert rule.hours is not None
    inside = np.zeros(len(at), dtype=np.bool_)
    real = at[at >= 0]
    if len(real):
        first, last = (EPOCH + timedelta(microseconds=int(one)) for one in (real.min(), real.max() + 1))
        for begins, ends in rule.hours.spans(first, last):
            start, stop = (int((one - EPOCH) / timedelta(microseconds=1)) for one in (begins, ends))
            inside |= (at >= start) & (at < stop)
    return inside


# ---- runs -----------------------------------------------------------------------------------------------------


def _runs(rule: Rule, rows: _Rows, true: Bools) -> tuple[Ints, Bools]:
    """Since when the rule holds at each row, and whether it has held for long enough there."""
    n = len(rows.at)
    turns = np.ones(n, dtype=np.bool_)
    turns[1:] = (true[1:] != true[:-1]) | rows.is_head[1:]
    run = np.maximum.accumulate(np.where(turns, np.arange(n), 0))
    begins, fired = rows.at.copy(), rows.is_gap & (rule.no_data == ALERTING)
    for i in np.flatnonzero(rows.is_head).tolist():
        state = rows.states.get(int(rows.mote[i]))
        if state is not None and state.since is not None:
            begins[i], fired[i] = state.since, state.fires is not None
    since = begins[run]
    # Once it fires it does so to the end of the run.
    last_fired = np.maximum.accumulate(np.where(fired, np.arange(n), -1))
    return since, true & ((rows.at - since >= rule.for_s * 1e6) | (last_fired >= run))


def _noticed(rows: _Rows, true: Bools, fires: Bools) -> Ints:
    """The row at which each firing row's fire was noticed; a head row stands for its state's."""
    n = len(rows.at)
    starts = np.ones(n, dtype=np.bool_)
    starts[1:] = (fires[1:] != fires[:-1]) | rows.is_head[1:]
    return np.maximum.accumulate(np.where(starts, np.arange(n), 0))


def _noticed_at(rows: _Rows, row: int) -> int:
    state = rows.states.get(int(rows.mote[row]))
    return state.fires if rows.is_head[row] and state is not None and state.fires is not None else int(rows.at[row])


def _changes(rule: Rule, rows: _Rows, since: Ints, fires: Bools, noticed: Ints) -> Iterator[Change]:
    """Each stretch of firing that began or ended among the rows.

    A silence is what fires only where the rule says so: elsewhere the rule may have held for long enough within one.
    """
    of_silence = rows.is_gap & (rule.no_data == ALERTING)
    before = np.append(False, fires[:-1]) & ~rows.is_head
    begins = np.flatnonzero(fires & ~before & ~rows.is_head)
    ends = np.flatnonzero(~fires & before)
    ended = {int(noticed[i - 1]): int(rows.at[i]) for i in ends.tolist()}
    for row in sorted({*begins.tolist(), *ended}):
        values = tuple(float(one[row]) for one in rows.values) if not rows.is_head[row] else ()
        yield Change(
            int(rows.mote[row]), int(since[row]), _noticed_at(rows, row), ended.get(row), values,
            is_silence=bool(of_silence[row]),
        )  # fmt: skip


def _own_silences(rule: Rule, rows: _Rows) -> Iterator[Change]:
    """Silences as alerts of their own: from when they were too long to the next reading."""
    if rule.no_data != OWN:
        return
    after_us = int(rule.no_data_s * 1e6)
    for i in np.flatnonzero(rows.is_gap).tolist():
        is_over = i + 1 < len(rows.at) and rows.mote[i + 1] == rows.mote[i]
        at = int(rows.at[i])
        yield Change(int(rows.mote[i]), at - after_us, at, int(rows.at[i + 1]) if is_over else None, is_silence=True)
    for i in np.flatnonzero(rows.is_head).tolist():
        state = rows.states.get(int(rows.mote[i]))
        if state is not None and state.is_gap and i + 1 < len(rows.at) and rows.mote[i + 1] == rows.mote[i]:
            at = state.last_at + after_us
            yield Change(int(rows.mote[i]), state.last_at, at, int(rows.at[i + 1]), is_silence=True)


def _after(
    rows: _Rows, holds: list[Bools], true: Bools, since: Ints, fires: Bools, noticed: Ints
) -> dict[int, Standing]:  # fmt: skip
    """Each mote's state after its last row; its last reading is the last row that is none of a silence."""
    last = np.flatnonzero(np.append(np.diff(rows.mote) != 0, True))
    found = {}
    for i in last.tolist():
        is_gap = bool(rows.is_gap[i])
        state = rows.states.get(int(rows.mote[i]))
        kept = is_gap or (bool(rows.is_head[i]) and state is not None and state.is_gap)
        found[int(rows.mote[i])] = Standing(
            last_at=int(rows.at[i - 1]) if is_gap else int(rows.at[i]),
            holds=tuple(bool(one[i]) for one in holds),
            since=int(since[i]) if true[i] else None,
            fires=_noticed_at(rows, int(noticed[i])) if fires[i] else None,
            is_gap=kept,
        )
    return found
