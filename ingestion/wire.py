"""Messages as they arrive: bytes to columns, or a reject with a reason. The contract stands in docs/wire.md. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from ingestion.instants import finite, instants
from ingestion.records import Records
from sensors import quality
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Batch, Bools, Floats, Ints, Profile

MAX_BYTES = 1 << 20
KEPT_BYTES = 4096  # of a message that is too large, so that garbage cannot fill the database
MOTE_FIELDS = ("mote_id", "machine_id", "sensor_id")
NAMED = attrgetter(*MOTE_FIELDS, "site")
STAMP = attrgetter("timestamp")
VALUES = attrgetter("values")
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # strictly; some can be read leniently
LAST_INSTANT_US = 4_102_444_800_000_000  # 2100-01-01: beyond it no clock is merely fast

# Reasons, with what they mean for whoever reads the quarantine.
REASONS = {
    "too_large": "is larger than a message may be",
    "malformed": "is not JSON",
    "not_an_object": "is JSON, but not an object",
    "no_mote": "names no mote",
    "bad_mote": "names its mote by something that is no code",
    "unknown_mote": "names a mote that is not registered; held until somebody adds it",
    "retired_mote": "names a mote that has been retired",
    "no_timestamp": "has no timestamp",
    "bad_timestamp": "has a timestamp that cannot be read",
    "future_timestamp": "was measured after it arrived",
    "no_values": "has no readable value for any channel of its mote's profile",
    "refused": "was refused by the hot store",
    "conflict": "repeats a stored reading's mote and time with other values",
    "bad_label": "says of a fault what cannot be",
}


@dataclass(frozen=True, slots=True)
class Reject:
    """A message that is no reading, and why. `row` is its place in the records."""

    row: int
    reason: str
    detail: str
    mote_code: str = ""
    profile: str = ""
    at: int | None = None
    mote: int | None = None  # its key, where the message names one that is registered
    site: str = ""  # as the message names it, or its mote's

    @property
    def is_held(self) -> bool:
        return self.reason == "unknown_mote"


@dataclass(frozen=True, slots=True)
class Decoded:
    """One batch a profile, and for each batch the rows of the records that it was made of."""

    batches: list[tuple[Batch, Ints]]
    rejects: list[Reject]


@dataclass(frozen=True, slots=True)
class Read:
    """The messages that could be read, and by place among them what is known of each."""

    records: Records
    rows: Ints  # of the records
    messages: Sequence[Any]
    unreadable: dict[int, set[str]]  # fields that were no numbers
    motes: Ints
    at: Ints


class BadMessage(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Names:
    """Whom a message speaks of, as it says itself."""

    code: str | None
    site: str | None


_Named = msgspec.defstruct(
    "Named", [*((name, str | int | None, None) for name in MOTE_FIELDS), ("site", str | None, None)]
)


def names(raw: bytes) -> Names | None:
    """What a message names, read as `Wire` reads it: strictly, then leniently. None where it cannot be read."""
    said: dict[str, Any]
    try:
        said = msgspec.structs.asdict(msgspec.json.decode(raw, type=_Named))
    except UNDECODABLE:
        try:
            said = json.loads(raw)
            said = {**said, **{name: _code(said[name]) for name in MOTE_FIELDS if said.get(name) is not None}}
        except (ValueError, RecursionError, AttributeError, TypeError, BadMessage):
            return None
    code = next((str(said[name]) for name in MOTE_FIELDS if said.get(name) is not None), None)
    site = said.get("site")
    return Names(code, site) if site is None or _is_text(site) else None


class Wire:
    """Decodes messages for one revision of the fleet."""

    def __init__(self, fleet: Fleet, *, future_s: float = 300.0) -> None:
        self.fleet = fleet
        self.future_us = int(future_s * 1e6)
        names = {name: None for profile in fleet.profiles.values() for name in _accepted(profile)}
        self._fields = {name: f"c{i}" for i, name in enumerate(names)}
        self._decode = msgspec.json.Decoder(self._message_type()).decode
        self._motes = [*fleet.by_id.values()]
        self._place = {mote.id: place for place, mote in enumerate(self._motes)}
        # By place; the last one stands for a mote that is not known, whose place is -1.
        self._ids = np.array([*(mote.id for mote in self._motes), 0], dtype=np.int64)
        self._is_silenced = np.array([*(mote.is_retired for mote in self._motes), True], dtype=np.bool_)
        numbers = {code: number for number, code in enumerate(fleet.profiles)}
        self._profiles = np.array([*(numbers[mote.profile] for mote in self._motes), -1], dtype=np.int16)
        self._known: dict[tuple[Any, ...], int] = {}

    def _message_type(self) -> Any:
        channels = [(field, float | None, None) for field in self._fields.values()]
        renamed = {field: name for name, field in self._fields.items()}
        values = msgspec.defstruct("Values", channels, rename=renamed, gc=False)
        head = [
            *((name, str | int | None, None) for name in MOTE_FIELDS),
            ("site", str | None, None),
            ("timestamp", str | int | float | None, None),
            ("values", values | None, None),
        ]
        return msgspec.defstruct("Message", [*head, *channels], rename=renamed, gc=False)

    def decode(self, records: Records) -> Decoded:
        """Every record ends in a batch or as a reject, none in both and none in neither."""
        rejects: list[Reject] = []
        messages, rows, unreadable = self._parse(records, rejects)
        motes = self._places(messages)
        at = instants(list(map(STAMP, messages)))
        latest = records.received_at[rows] + self.future_us
        fine = (at >= 0) & (at <= latest) & ~self._is_silenced[motes]
        for i in np.flatnonzero(~fine).tolist():
            mote = self._motes[motes[i]] if motes[i] >= 0 else None
            rejects.append(self._explain(rows[i], messages[i], mote, int(at[i]), int(latest[i])))
        read = Read(records, rows, messages, unreadable, motes, at)
        profiles = np.where(fine, self._profiles[motes], -1)
        chosen = [(one, profiles == number) for number, one in enumerate(self.fleet.profiles.values())]
        batches = [self._batch(one, read, np.flatnonzero(its), rejects) for one, its in chosen if its.any()]
        return Decoded([(batch, taken) for batch, taken in batches if len(batch)], rejects)

    def _parse(self, records: Records, rejects: list[Reject]) -> tuple[list[Any], Ints, dict[int, set[str]]]:
        """The messages that could be read, their rows, and by place the fields that were no numbers."""
        values = records.values
        messages: list[Any] = []
        refused: list[int] = []
        unreadable: dict[int, set[str]] = {}
        reading = map(self._decode, values if max(map(len, values), default=0) <= MAX_BYTES else map(_of_size, values))
        while len(messages) + len(refused) < len(values):
            with suppress(*UNDECODABLE):
                messages.extend(reading)  # what was decoded before one that fails stays, and the next call goes on
                break
            row = len(messages) + len(refused)
            try:
                message, bad = self._lenient(values[row])
            except BadMessage as problem:
                rejects.append(Reject(row, problem.reason, problem.detail))
                refused.append(row)
            else:
                if bad:
                    unreadable[len(messages)] = bad
                messages.append(message)
        return messages, np.delete(np.arange(len(values)), refused), unreadable

    def _lenient(self, raw: bytes) -> tuple[Any, set[str]]:
        """The message with every value that is no number taken out, for those that are not as they should be."""
        if len(raw) > MAX_BYTES:
            raise BadMessage("too_large", f"{len(raw):,} bytes, at most {MAX_BYTES:,} are taken")
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadMessage("malformed", str(error)[:200]) from None
        if not isinstance(found, dict):
            raise BadMessage("not_an_object", f"a JSON {type(found).__name__}, expected an object")
        bad: set[str] = set()
        plain: dict[str, Any] = {"values": {}}
        for name in MOTE_FIELDS:
            if found.get(name) is not None:
                plain[name] = _code(found[name])
        site = found.get("site")
        if site is not None and not _is_text(site):
            raise BadMessage("bad_mote", f"site is {_shown(site)}, expected text")
        nested = found.get("values")
        for source in (found, nested if isinstance(nested, dict) else {}):
            for name, value in source.items():
                if name in self._fields and value is not None:
                    number = finite(value)
                    if number is None:
                        bad.add(name)
                    else:
                        plain["values"][name] = number
        stamp = found.get("timestamp")
        if stamp is not None and not _is_text(stamp) and finite(stamp) is None:
            raise BadMessage("bad_timestamp", f"timestamp is {_shown(stamp)}, expected ISO 8601 or seconds since 1970")
        message = self._decode(msgspec.json.encode(plain))
        message.site, message.timestamp = site, stamp
        return message, bad

    def _places(self, messages: Sequence[Any]) -> Ints:
        """The place of each message's mote, -1 where none is known by that name."""
        places = list(map(self._known.get, map(NAMED, messages)))
        if None in places:
            named = zip(messages, places, strict=True)
            places = [self._find(NAMED(message)) if place is None else place for message, place in named]
        return np.array(places, dtype=np.int64)

    def _find(self, names: tuple[Any, ...]) -> int:
        *codes, site = names
        said = [code for code in codes if code is not None]
        found = self.fleet.find(str(said[0]), site) if said else None
        if found is None:
            return -1
        if len(said) == 1:  # of unknown codes and whatever else is said nothing is kept: garbage must not grow memory
            self._known[names] = self._place[found.id]
        return self._place[found.id]

    def _explain(self, row: int, message: Any, mote: MoteRef | None, at: int, latest: int) -> Reject:
        code = next((str(getattr(message, name)) for name in MOTE_FIELDS if getattr(message, name) is not None), "")
        known_at = at if 0 <= at <= LAST_INSTANT_US else None
        profile, site = (mote.profile, mote.site) if mote else ("", message.site or "")
        if not code:
            return Reject(int(row), "no_mote", f"expected one of {', '.join(MOTE_FIELDS)}", at=known_at, site=site[:64])
        if message.timestamp is None:
            reason, detail = "no_timestamp", "expected “timestamp”: ISO 8601 or seconds since 1970"
        elif known_at is None:
            reason = "bad_timestamp"
            detail = f"timestamp is {_shown(message.timestamp)}, expected ISO 8601 or seconds since 1970"
        elif at > latest:
            ahead = (at - latest + self.future_us) / 1e6
            reason, detail = (
                "future_timestamp",
                f"timestamp {_shown(message.timestamp)} is {ahead:,.0f} s after its arrival",
            )
            known_at = None  # no hour of the books lies in the future
        elif mote is not None:
            reason = "retired_mote"
            detail = f"mote {mote.site}/{mote.code} is retired; set it active on its page if it is back"
        else:
            where = f" at site “{message.site[:40]}”" if message.site else ""
            reason, detail = "unknown_mote", f"no mote “{code[:60]}”{where} is registered"
        return Reject(int(row), reason, detail, code[:64], profile, known_at, mote.id if mote else None, site[:64])

    def _batch(self, profile: Profile, read: Read, places: Ints, rejects: list[Reject]) -> tuple[Batch, Ints]:
        """The readings at these places; those that say nothing become rejects."""
        everyone = len(places) == len(read.messages)
        values = self._values(profile, read.messages if everyone else [read.messages[i] for i in places.tolist()])
        bad = _unreadable(profile, read, places, values)
        is_empty = np.isnan(values).all(axis=1)
        rejects.extend(self._without_values(profile, read, int(i)) for i in places[is_empty])
        places, values, bad = places[~is_empty], values[~is_empty], bad[~is_empty]
        taken, records = read.rows[places], read.records
        keys, at = self._ids[read.motes[places]], read.at[places]
        is_missing = np.isnan(values) & ~bad & profile.is_measured
        flags = quality.flag(quality.UNREADABLE, bad) | quality.flag(quality.MISSING, is_missing)
        batch = Batch(
            profile=profile,
            mote=keys,
            at=at,
            values=values,
            utc_offset_s=self.fleet.utc_offsets(keys, at),
            partition=records.partition[taken],
            offset=records.offset[taken],
            received_at=records.received_at[taken],
            flags=flags | quality.range_flags(profile, values) | quality.battery_flags(profile, values),
        )
        return batch, taken

    def _without_values(self, profile: Profile, read: Read, place: int) -> Reject:
        mote = self._motes[read.motes[place]]
        names = [channel.code for channel in profile.channels if channel.formula is None]
        detail = f"expected a number for one of {', '.join(names)}"
        row, at = int(read.rows[place]), int(read.at[place])
        return Reject(row, "no_values", detail, mote.code, profile.code, at, mote.id, mote.site)

    def _values(self, profile: Profile, messages: Sequence[Any]) -> Floats:
        """(rows, channels): the first of a channel's names that has a number, flat before nested."""
        nested = [(i, inner) for i, inner in enumerate(map(VALUES, messages)) if inner is not None]
        table = np.full((len(messages), len(profile.channels)), np.nan)
        for place, channel in enumerate(profile.channels):
            if channel.formula:  # not the sender's to say
                continue
            fields = [self._fields[name] for name in (channel.code, *channel.aliases)]
            table[:, place] = _column(fields, messages, nested)
        return table


def _unreadable(profile: Profile, read: Read, places: Ints, values: Floats) -> Bools:
    """(rows, channels): where a message said something that was no number, under any name of the channel."""
    bad = np.zeros(values.shape, dtype=bool)
    for place in read.unreadable.keys() & set(places.tolist()) if read.unreadable else ():
        row = int(np.searchsorted(places, place))
        said = [not read.unreadable[place].isdisjoint((one.code, *one.aliases)) for one in profile.channels]
        bad[row] = said & np.isnan(values[row])
    return bad


def _of_size(raw: bytes) -> bytes:
    """What may be decoded; nothing, which cannot be, in place of what is too large."""
    return raw if len(raw) <= MAX_BYTES else b""


def _column(fields: Sequence[str], messages: Sequence[Any], nested: Sequence[tuple[int, Any]]) -> Floats:
    """One channel's numbers; a further name is looked for only where those before had none."""
    column = _numbers(fields[0], messages)
    for i, field in enumerate(fields):
        absent = np.flatnonzero(np.isnan(column)).tolist()
        if not absent:
            break
        if i:
            column[absent] = _numbers(field, [messages[row] for row in absent])
        for row, inner in nested:
            if math.isnan(column[row]) and getattr(inner, field) is not None:
                column[row] = getattr(inner, field)
    return column


def _numbers(field: str, messages: Iterable[Any]) -> Floats:
    """What each says there, NaN for nothing."""
    return np.array(list(map(attrgetter(field), messages)), dtype=np.float64)


def _accepted(profile: Profile) -> Iterable[str]:
    for channel in profile.channels:
        if channel.formula is None:
            yield channel.code
            yield from channel.aliases


def _is_text(value: Any) -> bool:
    """Whether it is text that can be written: JSON can escape half a surrogate pair, which UTF-8 does not have."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _code(value: Any) -> str:
    if _is_text(value) and value.strip():
        return str(value)
    if finite(value) is not None and value == int(value):
        return str(int(value))
    raise BadMessage("bad_mote", f"the mote is {_shown(value)}, expected text or a whole number")


def _shown(value: Any) -> str:
    return f"“{str(value)[:60].encode(errors='backslashreplace').decode()}”"
