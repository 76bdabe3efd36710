"""Which column of a file is the mote, the time and each channel. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sensors.readings import Profile

MOTE, AT = "mote", "at"
USUAL = {
    MOTE: ("mote", "mote id", "machine id", "sensor id", "device id", "moteid", "machineid", "sensorid", "deviceid",
           "machine", "sensor", "device", "node", "node id"),
    AT: ("at", "timestamp", "ts", "time", "datetime", "date time", "utc", "measured at"),
}  # fmt: skip
UNIT = re.compile(r"\s*[\[(][^\])]*[\])]\s*$")


class BadMap(Exception):
    """What is wrong with --map or the columns, for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a file has what; the time may stand in two columns, date and time. No mote: one is named for the file."""

    mote: str | None
    at: tuple[str, ...]
    channels: Mapping[str, str]
    unused: tuple[str, ...]


def parse_map(pieces: Sequence[str]) -> dict[str, str]:
    """What --map says: mote=moteid,at=ts. A column's name may have commas in it.

    >>> parse_map(["mote=id,at=ts", "temperature=T, outside"])
    {'mote': 'id', 'at': 'ts', 'temperature': 'T, outside'}
    """
    found: dict[str, str] = {}
    for piece in pieces:
        last = ""
        for part in piece.split(","):
            name, sign, column = (each.strip() for each in part.partition("="))
            if sign and name and column:
                last = name
                if name in found:
                    raise BadMap(f"--map says {name} twice: {found[name]} and {column}")
                found[name] = column
            elif last and not sign:
                found[last] = f"{found[last]},{part}"
            else:
                raise BadMap(f"--map has “{part}”; expected NAME=COLUMN, such as mote=moteid,at=ts")
    return found


def match(names: Sequence[str], mapping: Mapping[str, str], profile: Profile, *, has_mote: bool, file: str) -> Columns:
    """By --map first, then by the profile's codes and aliases, whatever the case and with a unit behind. Or BadMap."""
    there = f"{file} has the columns {', '.join(names)}"
    targets = {MOTE: MOTE, AT: AT, **_targets(profile)}
    chosen: dict[str, str] = {}
    for target, column in mapping.items():
        code = targets.get(target) or targets.get(_plain(target))
        if code is None:
            known = ", ".join((MOTE, AT, *_measured(profile)))
            raise BadMap(f"--map says {target}={column}, but “{target}” is none of {known}")
        missing = [each for each in _parts(code, column, names) if each not in names]
        if missing:
            raise BadMap(f"--map says {target}={column}, but there is no column “{missing[0]}”: {there}")
        chosen[code] = column
    uses = [each for code, column in chosen.items() for each in _parts(code, column, names)]
    twice = [column for column, n in Counter(uses).items() if n > 1]
    if twice:
        raise BadMap(f"--map uses the column “{twice[0]}” for two things; {there}")
    taken = set(uses)
    for name in names:
        code = _meaning(name, targets)
        if code and code not in chosen and name not in taken and not (code == MOTE and has_mote):
            chosen[code] = name
            taken.add(name)
    if AT not in chosen:
        raise BadMap(f"no column says when a reading was measured: {there}; name it with --map at=COLUMN")
    if MOTE not in chosen and not has_mote:
        raise BadMap(
            f"no column names the mote: {there}; name it with --map mote=COLUMN, or the file's one mote with --mote"
        )
    channels = {code: chosen[code] for code in _measured(profile) if code in chosen}
    if not channels:
        wanted = ", ".join(_measured(profile))
        raise BadMap(
            f"no column is a channel of {profile.code} ({wanted}): {there}; name them with --map CHANNEL=COLUMN"
        )
    unused = tuple(name for name in names if name not in taken)
    return Columns(chosen.get(MOTE), tuple(_parts(AT, chosen[AT], names)), channels, unused)


def _measured(profile: Profile) -> list[str]:
    return [channel.code for channel in profile.channels if channel.formula is None]


def _targets(profile: Profile) -> dict[str, str]:
    """Channel codes by every name that they go under."""
    named = {
        name: channel.code
        for channel in profile.channels
        if channel.formula is None
        for name in (channel.code, channel.label, *channel.aliases)
    }
    return {_plain(name): code for name, code in named.items()} | named


def _meaning(name: str, targets: Mapping[str, str]) -> str | None:
    plain = _plain(name)
    usual = next((target for target, names in USUAL.items() if plain in names), None)
    return targets.get(name) or targets.get(plain) or usual


def _parts(code: str, column: str, names: Sequence[str]) -> list[str]:
    """at=Date+Time stands for two columns, unless one is called so."""
    return column.split("+") if code == AT and column not in names else [column]


def _plain(name: str) -> str:
    """Without a unit in brackets, in lower case, words set apart by one space."""
    return " ".join(re.split(r"[\s_-]+", UNIT.sub("", name).strip().casefold()))
