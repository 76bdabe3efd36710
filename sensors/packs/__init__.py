"""Packs: a kind of mote, where its motes stand and how to simulate it, as one TOML file. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sensors.packs import lines, simulated
from sensors.packs.tables import BadPack, Table
from sensors.quality import MAX_CHANNELS
from sensors.readings import Channel, Profile, stored_schema

__all__ = ["BadPack", "Pack", "PackMote", "PackZone", "parse_pack", "read_pack", "shipped"]

FOLDER = Path(__file__).parent
CHANNEL_CODE = re.compile(r"[a-z][a-z0-9_]*")
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
# Names that a message or a stored row already uses for something else.
TAKEN = {
    *stored_schema(Profile("", 0, "", 1, 1, ())),
    "timestamp",
    "mote_id",
    "machine_id",
    "sensor_id",
    "values",
    "site",
}


@dataclass(frozen=True, slots=True)
class PackMote:
    code: str
    label: str
    x: float | None
    y: float | None
    zone: str


@dataclass(frozen=True, slots=True)
class PackZone:
    code: str
    label: str


@dataclass(frozen=True, slots=True)
class Pack:
    """What one TOML file says. The profile's version is 0: the installation decides it."""

    source: str
    profile: Profile
    zones: tuple[PackZone, ...] = ()
    motes: tuple[PackMote, ...] = ()
    simulator: Mapping[str, Any] = field(default_factory=dict)
    detector: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        return {"simulator": self.simulator, "detector": self.detector, "schedule": self.schedule}

    @property
    def content_hash(self) -> str:
        """Of all that judgements depend on: everything but where the motes stand, whatever the layout of the file."""
        content = {"profile": _plain(self.profile), **self.settings}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def with_motes(self, n: int) -> Pack:
        """The first n motes; beyond the pack's own, further ones are numbered on and spread over the same area."""
        more = n - len(self.motes)
        return replace(self, motes=self.motes[:n] if more <= 0 else (*self.motes, *_further(self.motes, more)))


def shipped() -> list[str]:
    """The names of the packs that come with SIEIS."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_pack(name_or_path: str | Path) -> Pack:
    """The pack of that name, or the one in that file. Raises BadPack."""
    names = shipped()
    path = FOLDER / f"{name_or_path}.toml" if str(name_or_path) in names else Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPack(
            f"“{name_or_path}” is neither a pack that comes with SIEIS ({', '.join(names)}) "
            f"nor a TOML file that can be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
        ) from None
    return parse_pack(text, source=path.name)


def parse_pack(text: str, *, source: str = "pack") -> Pack:
    """The pack that a TOML text describes. Raises BadPack with the line of what is wrong."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", place)
        raise BadPack(f"{source}:{line.group(1) if line else text.count(chr(10)) + 1}: {message}") from None
    return _pack(Table(content, (), source, lines.line_numbers(text)), source)


# ---- the parts of a pack ------------------------------------------------------------------------------------


def _pack(root: Table, source: str) -> Pack:
    profile = _profile(root)
    layout = root.table("layout")
    zones, motes = _layout(layout) if layout else ((), ())
    simulator = root.table("simulator")
    pack = Pack(
        source=source,
        profile=profile,
        zones=zones,
        motes=motes,
        simulator=simulated.settings(simulator, profile) if simulator else {},
        detector=root.free("detector"),
        schedule=root.free("schedule"),
    )
    root.finish()
    return pack


def _profile(root: Table) -> Profile:
    table = root.table("profile", needed=True)
    assert table is not None
    channels = root.tables("channels", needed=True)
    if not channels or len(channels) > MAX_CHANNELS:
        root.wrong("channels", f"{len(channels)} channels; a profile has 1 to {MAX_CHANNELS}")
    interval_s = table.number("interval_s", above=0)
    profile = Profile(
        code=table.code("code", SLUG, "lower-case letters, digits, - and _"),
        version=0,
        label=table.text("label"),
        step_s=table.number("step_s", interval_s, above=0),
        interval_s=interval_s,
        channels=tuple(map(_channel, channels)),
    )
    table.finish()
    _refuse_twins(channels, profile.channels)
    return profile


def _channel(table: Table) -> Channel:
    code = table.code("code", CHANNEL_CODE, "a lower-case letter, then lower-case letters, digits and _")
    if code in TAKEN:
        table.wrong(
            "code", f"{table.name}: code is “{code}”, which every reading uses for something else; choose another"
        )
    physical = table.span("physical")
    channel = Channel(
        code=code,
        label=table.text("label", code.replace("_", " ").capitalize()),
        unit=str(table.take("unit", "text in quotes, empty where there is none", lambda v: isinstance(v, str))),
        physical=physical,
        normal=table.span("normal", within=physical),
        resolution=table.number("resolution", above=0),
        max_rate_per_s=table.number("max_rate_per_s", above=0),
        flat_after_s=table.number("flat_after_s", above=0),
        aliases=table.texts("aliases"),
    )
    table.finish()
    return channel


def _refuse_twins(tables: list[Table], channels: tuple[Channel, ...]) -> None:
    """No name may mean two channels, nor an alias something that every message has."""
    seen: dict[str, str] = {}
    for table, channel in zip(tables, channels, strict=True):
        for key, names in (("code", (channel.code,)), ("aliases", channel.aliases)):
            for name in names:
                if name in seen:
                    table.wrong(key, f"{table.name}: “{name}” already names channel {seen[name]}")
                if name in TAKEN:
                    table.wrong(key, f"{table.name}: “{name}” is what every message uses for something else")
                seen[name] = channel.code


def _layout(table: Table) -> tuple[tuple[PackZone, ...], tuple[PackMote, ...]]:
    zone_tables = table.tables("zones")
    zones = tuple(map(_zone, zone_tables))
    _refuse_repeated(zone_tables, [zone.code for zone in zones])
    mote_tables = table.tables("motes")
    motes = tuple(_mote(item, {zone.code for zone in zones}) for item in mote_tables)
    _refuse_repeated(mote_tables, [mote.code for mote in motes])
    table.finish()
    return zones, motes


def _zone(table: Table) -> PackZone:
    code = table.code("code", SLUG, "lower-case letters, digits, - and _")
    zone = PackZone(code, table.text("label", code.capitalize()))
    table.finish()
    return zone


def _mote(table: Table, zones: set[str]) -> PackMote:
    code = table.text("code")
    mote = PackMote(
        code=code,
        label=table.text("label", f"Mote {code}" if code.isdigit() else code),
        x=table.number("x", None),
        y=table.number("y", None),
        zone=table.text("zone", among=sorted(zones)) if "zone" in table.content else "",
    )
    table.finish()
    if len(code) > 64:
        table.wrong("code", f"{table.name}: code has {len(code)} characters; 64 is the most")
    return mote


def _refuse_repeated(tables: list[Table], codes: list[str]) -> None:
    for i, code in enumerate(codes):
        if code in codes[:i]:
            tables[i].wrong(
                "code", f"{tables[i].name}: code “{code}” is already that of number {codes.index(code) + 1}"
            )


# ---- a pack as content, and beyond its own motes -------------------------------------------------------------


def _plain(profile: Profile) -> dict[str, Any]:
    channels = [
        {
            "code": channel.code, "label": channel.label, "unit": channel.unit, "physical": channel.physical,
            "normal": channel.normal, "resolution": channel.resolution, "max_rate_per_s": channel.max_rate_per_s,
            "flat_after_s": channel.flat_after_s, "aliases": channel.aliases,
        }
        for channel in profile.channels
    ]  # fmt: skip
    return {
        "code": profile.code, "label": profile.label, "step_s": profile.step_s, "interval_s": profile.interval_s,
        "channels": channels,
    }  # fmt: skip


def _further(motes: tuple[PackMote, ...], n: int) -> list[PackMote]:
    last = motes[-1].code if motes else "0"
    stem = last.rstrip("0123456789")
    width = len(last) - len(stem)
    numbers = [int(mote.code[len(stem) :]) for mote in motes if re.fullmatch(rf"{re.escape(stem)}\d+", mote.code)]
    first = max(numbers, default=0) + 1
    xs = [mote.x for mote in motes if mote.x is not None] or [0.0, 20.0]
    ys = [mote.y for mote in motes if mote.y is not None] or [0.0, 20.0]
    zone = motes[0].zone if motes else ""
    further = []
    for i in range(n):
        code = f"{stem}{first + i:0{width}d}"
        # Multiples of two irrational numbers fill the rectangle evenly, however many there are.
        x = min(xs) + (max(xs) - min(xs)) * (0.7548776662 * (i + 1) % 1.0)
        y = min(ys) + (max(ys) - min(ys)) * (0.5698402910 * (i + 1) % 1.0)
        further.append(PackMote(code, f"Mote {code}" if code.isdigit() else code, round(x, 1), round(y, 1), zone))
    return further
