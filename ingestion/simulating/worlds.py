"""What healthy sensors would report: a world is a function of time alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from ingestion.simulating import noise
from sensors.readings import Floats, Ints, Profile

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
INDOOR = ("temperature", "humidity", "light", "voltage")
REACH_M = 9.0  # beyond about this distance two places of a floor hardly move together


@dataclass(frozen=True, slots=True)
class Places:
    """Whose values are simulated: the columns of every table, in this order."""

    codes: tuple[str, ...]
    x: Floats
    y: Floats
    time_zone: str = "UTC"

    def __len__(self) -> int:
        return len(self.codes)


class World(Protocol):
    def values(self, at: Ints) -> Floats:
        """(instants, places, channels), inside the normal bands; at is in UTC microseconds and sorted."""
        ...


def build(name: str, profile: Profile, places: Places, seed: int, settings: Mapping[str, Any]) -> World:
    """The world that a pack names, with what the pack says of its channels."""
    bands = BandWorld(profile, places, seed, settings.get("channels", {}), settings.get("drivers", {}))
    return IndoorWorld(bands) if name == "indoor" else bands


class BandWorld:
    """Each channel inside its normal band: a daily cycle, a slow wandering that near places share, noise.

    Channels that follow a driver (the load of a machine, the dust in a room) move together. Amplitudes are shares of
    the band's width; what a pack does not say has the default here.
    """

    DEFAULTS: Mapping[str, float] = {"centre": 0.5, "daily": 0.12, "slow": 0.1, "slow_s": 10800.0, "noise": 0.012}

    def __init__(
        self,
        profile: Profile,
        places: Places,
        seed: int,
        channels: Mapping[str, Any],
        drivers: Mapping[str, float] | None = None,
    ) -> None:
        self.profile, self.places, self.seed = profile, places, seed
        self.low, self.high = _reported_bounds(profile)
        self.settings: list[dict[str, Any]] = [{**self.DEFAULTS, **channels.get(name, {})} for name in profile.names]
        self.fields = [noise.Field(seed, f"band/{name}", places.x, places.y, reach_m=REACH_M) for name in profile.names]
        self.own = [noise.keys(seed, f"own/{name}", places.codes) for name in profile.names]
        self.white = [noise.keys(seed, f"white/{name}", places.codes) for name in profile.names]
        self.drivers = {
            name: (noise.keys(seed, f"driver/{name}", places.codes), s) for name, s in (drivers or {}).items()
        }

    def values(self, at: Ints, without: Collection[str] = ()) -> Floats:
        """The channels in `without` are left for somebody else to fill."""
        day = np.sin(2.0 * np.pi * (local_hours(at, self.places.time_zone) - 9.0) / 24.0)
        driven = {name: noise.wander(streams, at, period_s) for name, (streams, period_s) in self.drivers.items()}
        table = np.empty((len(at), len(self.places), len(self.settings)))
        for i, channel in enumerate(self.settings):
            if self.profile.names[i] in without:
                continue
            share = channel["centre"] + channel["daily"] * day[:, None]
            share = share + channel["slow"] * 0.8 * self.fields[i].wander(at, channel["slow_s"])
            share += channel["slow"] * 0.6 * noise.wander(self.own[i], at, channel["slow_s"] * 0.6)
            share += channel["noise"] * noise.normal(self.white[i], at)
            for name, amount in channel.get("follows", {}).items():
                share += amount * driven[name]
            table[:, :, i] = self.low[i] + folded(share) * (self.high[i] - self.low[i])
        return table


def _reported_bounds(profile: Profile) -> tuple[Floats, Floats]:
    """The normal bands' outermost whole steps: rounded to its resolution, a value nearer to an edge would leave."""
    low, high = profile.bounds("normal")
    step = np.array([channel.resolution for channel in profile.channels])
    first, last = np.ceil(low / step - 1e-6) * step, np.floor(high / step + 1e-6) * step
    inside = first <= last
    return (
        np.where(inside & (first - low > 1e-6 * step), first, low),
        np.where(inside & (high - last > 1e-6 * step), last, high),
    )


def folded(share: Floats) -> Floats:
    """Into 0..1 by mirroring at the edges: cut off there, values would heap up on the edge of their band."""
    turned = np.abs(np.mod(share + 1.0, 2.0) - 1.0)
    return np.asarray(turned, dtype=np.float64)


class IndoorWorld:
    """Offices over day and week: people come and go, lights, heating, sun and weather, batteries that run down.

    Channels other than temperature, humidity, light and voltage follow their bands.
    """

    def __init__(self, bands: BandWorld) -> None:
        self.bands = bands
        self.places, self.profile, self.seed = bands.places, bands.profile, bands.seed
        x, y, codes = self.places.x, self.places.y, self.places.codes
        self.rooms = [f"{int(px // 14)}/{int(py // 16)}" for px, py in zip(x, y, strict=True)]
        self.warmth = noise.Field(self.seed, "warmth", x, y, reach_m=REACH_M)
        self.damp = noise.Field(self.seed, "damp", x, y, reach_m=REACH_M)
        self.traits = {
            name: noise.normal(noise.keys(self.seed, name, codes), np.zeros(1, dtype=np.int64))[0]
            for name in ("warm bias", "damp bias", "lamp", "cell")
        }
        self.window = noise.uniform(noise.keys(self.seed, "window", codes), np.zeros(1, dtype=np.int64))[0]
        self.streams = {
            name: noise.keys(self.seed, name, codes)
            for name in ("people", "air", "warm noise", "damp noise", "light noise", "volt noise", "damp air")
        }

    def values(self, at: Ints) -> Floats:
        table = self.bands.values(at, without=INDOOR)
        hours = local_hours(at, self.places.time_zone)
        days = local_days(at, self.places.time_zone)
        working = np.where(is_weekend(days), 0.0, 1.0)
        sun = np.clip(np.sin(np.pi * (hours - 6.0) / 13.0), 0.0, None) * ((hours > 6.0) & (hours < 19.0))
        presence = self._presence(at, hours, working)
        temperature = self._temperature(at, hours, working, sun, presence)
        known = (
            temperature,
            self._humidity(at, temperature, presence),
            self._light(at, hours, days, working, sun),
            self._voltage(at, temperature),
        )
        for name, values in zip(INDOOR, known, strict=True):
            if name in self.profile.names:
                i = self.profile.names.index(name)
                table[:, :, i] = np.clip(values, self.bands.low[i], self.bands.high[i])
        return table

    def _presence(self, at: Ints, hours: Floats, working: Floats) -> Floats:
        """How much of its people a place has, 0..1."""
        usual = ramp(hours, 7.5, 9.5) * (1.0 - ramp(hours, 16.5, 19.0))
        usual = usual * (1.0 - 0.4 * ramp(hours, 11.8, 12.3) * (1.0 - ramp(hours, 12.8, 13.4))) * working
        return usual[:, None] * np.clip(0.7 + 0.25 * noise.wander(self.streams["people"], at, 1500.0), 0.0, 1.0)

    def _temperature(self, at: Ints, hours: Floats, working: Floats, sun: Floats, presence: Floats) -> Floats:
        heating = ramp(hours, 5.0, 9.0) * (1.0 - ramp(hours, 17.5, 23.9)) * (0.2 + 0.8 * working)
        weather = noise.wander(noise.keys(self.seed, "weather", ["warm"]), at, 43200.0)
        base = 20.3 + 1.9 * heating + 0.3 * np.clip(weather[:, 0], -2.5, 2.5)
        warm = base[:, None] + 0.8 * presence + sun[:, None] * (1.1 * self.window)
        warm += np.clip(0.35 * self.traits["warm bias"], -0.9, 0.9)
        warm += 0.35 * self.warmth.wander(at, 7200.0) + 0.08 * noise.wander(self.streams["air"], at, 420.0)
        warm += 0.02 * noise.normal(self.streams["warm noise"], at)
        return warm

    def _humidity(self, at: Ints, temperature: Floats, presence: Floats) -> Floats:
        """Warmer air of the same water content is drier."""
        weather = noise.wander(noise.keys(self.seed, "weather", ["damp"]), at, 64800.0)
        damp = 43.0 + 3.0 * np.clip(weather, -2.5, 2.5) - 2.1 * (temperature - 21.5) + 1.5 * presence
        damp += np.clip(1.2 * self.traits["damp bias"], -3.0, 3.0) + 0.7 * self.damp.wander(at, 7200.0)
        damp += 0.15 * noise.wander(self.streams["damp air"], at, 420.0)
        damp += 0.08 * noise.normal(self.streams["damp noise"], at)
        return damp

    def _light(self, at: Ints, hours: Floats, days: Ints, working: Floats, sun: Floats) -> Floats:
        """Lamps are switched by the room, at times that vary from day to day; daylight reaches places near windows."""
        lamps = self._lamps(hours, days, working) * np.clip(210.0 + 45.0 * self.traits["lamp"], 110.0, 310.0)
        clouds = np.clip(0.75 + 0.2 * noise.wander(noise.keys(self.seed, "weather", ["clouds"]), at, 900.0), 0.2, 1.0)
        daylight = sun[:, None] * clouds * (10.0 + 120.0 * self.window)
        bright = 1.5 + lamps + daylight
        return bright * (1.0 + 0.006 * noise.normal(self.streams["light noise"], at))

    def _lamps(self, hours: Floats, days: Ints, working: Floats) -> Floats:
        rooms = sorted(set(self.rooms))
        some_days, place = np.unique(days, return_inverse=True)
        on = 7.6 + 0.25 * noise.normal(noise.keys(self.seed, "lamps on", rooms), some_days)[place]
        off = 18.6 + 0.35 * noise.normal(noise.keys(self.seed, "lamps off", rooms), some_days)[place]
        minute = 1.0 / 60.0
        lit = ramp(hours[:, None], on, on + minute) * (1.0 - ramp(hours[:, None], off, off + minute))
        return (lit * working[:, None])[:, [rooms.index(room) for room in self.rooms]]

    def _voltage(self, at: Ints, temperature: Floats) -> Floats:
        """Two AA cells last about three years; then somebody puts in new ones."""
        life = (1100.0 + 120.0 * np.clip(self.traits["cell"], -2.0, 2.0)) * DAY_US
        used = np.mod(at[:, None] / life + self.window, 1.0)
        volts = 2.92 - 0.38 * used + 0.002 * (temperature - 21.5)
        return volts + 0.0035 * noise.normal(self.streams["volt noise"], at)


def ramp(value: Floats, start: Floats | float, end: Floats | float) -> Floats:
    """0 before start, 1 after end, smooth between."""
    share = np.clip((value - start) / (np.asarray(end) - start), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def local_hours(at: Ints, time_zone: str) -> Floats:
    """Hours since local midnight."""
    return np.mod(_local(at, time_zone), DAY_US) / HOUR_US


def local_days(at: Ints, time_zone: str) -> Ints:
    """Local days since 1970-01-01, a Thursday."""
    return _local(at, time_zone) // DAY_US


def is_weekend(days: Ints) -> Any:
    return (days + 3) % 7 >= 5


def _local(at: Ints, time_zone: str) -> Ints:
    hours, place = np.unique(at // HOUR_US, return_inverse=True)
    return at + np.array([_offset_us(time_zone, hour) for hour in hours.tolist()], dtype=np.int64)[place]


@lru_cache(maxsize=8192)
def _offset_us(time_zone: str, hour: int) -> int:
    offset = datetime.fromtimestamp(hour * 3600, UTC).astimezone(ZoneInfo(time_zone)).utcoffset()
    return int(offset.total_seconds() * 1e6) if offset else 0


def spread(x: Sequence[float | None], y: Sequence[float | None]) -> tuple[Floats, Floats]:
    """Positions as arrays; whoever has none stands at the origin."""
    as_array = [np.array([0.0 if value is None else value for value in axis], dtype=np.float64) for axis in (x, y)]
    return as_array[0], as_array[1]
