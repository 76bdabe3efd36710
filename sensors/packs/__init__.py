"""Packs: a kind of mote, where its motes stand and how to simulate it, as one TOML file. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from sensors.packs import channels, lines, simulated, training
from sensors.packs.tables import BadPack, Table
from sensors.quality import MAX_CHANNELS
from sensors.readings import Channel, Profile

T = TypeVar("T")

__all__ = ["BadPack", "Pack", "PackMote", "PackZone", "parse_pack", "read_pack", "shipped", "shipped_text"]

FOLDER = Path(__file__).parent
MOST_MOTES = 100_000
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")


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
        """Of all that judgements depend on: the profile, whatever the layout of the file and the order of channels."""
        return hashlib.sha256(json.dumps(_plain(self.profile), sort_keys=True).encode()).hexdigest()

    @property
    def measured(self) -> Profile:
        """What the motes send themselves: the profile without what is derived."""
        channels = self.profile.channels
        return replace(self.profile, channels=tuple(channel for channel in channels if channel.formula is None))

    def with_motes(self, n: int) -> Pack:
        """The first n motes; beyond the pack's own, further ones are numbered on and spread over the same area.

        Raises BadPack for more than one site can have.
        """
        if n > MOST_MOTES:
            raise BadPack(f"{n:,} motes were asked for; expected at most {MOST_MOTES:,}")
        more = n - len(self.motes)
        return replace(self, motes=self.motes[:n] if more <= 0 else (*self.motes, *_further(self.motes, more)))


def shipped() -> list[str]:
    """The names of the packs that come with SIEIS."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def shipped_text(name: str) -> bytes:
    """The TOML file of a pack that comes with SIEIS."""
    return (FOLDER / f"{name}.toml").read_bytes()


def read_pack(name_or_path: str | Path) -> Pack:
    """The pack of that name, or the one in that file. Raises BadPack."""
    names = shipped()
    path = FOLDER / f"{name_or_path}.toml" if str(name_or_path) in names else Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8-sig")
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
        number = int(line.group(1)) if line else text.count("\n") + 1
        raise BadPack(f"{source}:{number}: {message}", number) from None
    return _pack(Table(content, (), source, lines.line_numbers(text)), source)


# ---- the parts of a pack ------------------------------------------------------------------------------------


def _pack(root: Table, source: str) -> Pack:
    profile = _profile(root)
    layout = root.table("layout")
    pack = Pack(source, profile, *(_layout(layout) if layout else ()))
    pack = replace(
        pack,
        simulator=_part(root, "simulator", lambda table: simulated.settings(table, pack.measured), {}),
        detector=_part(root, "detector", training.detector, {}),
        schedule=_part(root, "schedule", training.schedule, {}),
    )
    root.finish()
    return pack


def _part(root: Table, key: str, read: Callable[[Table], T], without: T) -> T:
    table = root.table(key)
    return without if table is None else read(table)


def _profile(root: Table) -> Profile:
    table = root.table("profile", needed=True)
    assert table is not None
    code = table.code("code", SLUG, "lower-case letters, digits, - and _")
    interval_s = table.number("interval_s", above=0)
    label, step_s = table.text("label"), table.number("step_s", interval_s, above=0)
    table.finish()
    measured, derived = root.tables("channels", needed=True), root.tables("derived")
    n = len(measured) + len(derived)
    if not measured or n > MAX_CHANNELS:
        root.wrong("channels", f"{n} channels; a profile has 1 to {MAX_CHANNELS}, one of them measured")
    sources = tuple(map(channels.measured, measured))
    every = (*sources, *(channels.derived(one, sources) for one in derived))
    channels.refuse_twins([*measured, *derived], every)
    battery = _part(root, "battery", lambda one: channels.battery(one, sources), None)
    return Profile(code, 0, label, step_s, interval_s, every, battery)


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
    """Without what is as by default, so that a key which a later release adds makes no other pack of an old file."""
    content = _without_defaults(profile)
    del content["version"], content["label"]
    return {**content, "channels": {channel.code: _without_defaults(channel) for channel in profile.channels}}


def _without_defaults(told: Profile | Channel) -> dict[str, Any]:
    given = asdict(told)
    return {one.name: given[one.name] for one in fields(told) if getattr(told, one.name) != one.default}


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
