"""What a pack says of its simulation: the world, the faults by weight, and how each channel moves. Pure."""

from __future__ import annotations

from typing import Any

from sensors.packs.tables import Table, are_numbers
from sensors.readings import Profile

FAULT_KINDS = (
    "spike", "drift", "bias", "stuck", "cyclic", "noise", "out_of_range", "multi_channel", "drop_out", "clock_skew",
    "duplicate", "battery_death", "episode",
)  # fmt: skip
ID_FIELDS = ("mote_id", "machine_id", "sensor_id")
WORLDS = ("bands", "indoor")
COURSES = ("wear", "fire")


def settings(table: Table, profile: Profile) -> dict[str, Any]:
    """The [simulator] table, read strictly. Raises BadPack."""
    read: dict[str, Any] = {
        "world": table.text("world", "bands", among=WORLDS),
        "id_field": table.text("id_field", "mote_id", among=ID_FIELDS),
        "interval_s": table.number("interval_s", profile.interval_s, above=0),
        "stages": list(table.texts("stages")),
        "course": table.text("course", "wear", among=COURSES),
        "drivers": _numbers(table, "drivers", above=0),
        **_plan(table, profile),
    }
    history = table.table("history")
    read["history"] = _plan(history, profile) if history else {}
    if history:
        history.finish()
    channels = table.table("channels")
    read["channels"] = _channels(channels, profile, tuple(read["drivers"])) if channels else {}
    table.finish()
    return read


def battery_channel(profile: Profile) -> str:
    """The channel that shows how a mote is powered; empty where none does."""
    if profile.battery:
        return profile.battery.channel
    return "voltage" if "voltage" in profile.names else ""


def _plan(table: Table, profile: Profile) -> dict[str, Any]:
    """How often and how long things go wrong; kinds by weight."""
    plan: dict[str, Any] = {
        "anomaly_rate": table.share("anomaly_rate", 0.02),
        "fault_length_s": list(table.span("fault_length_s", (60.0, 600.0), within=(0.001, 1e7))),
    }
    weights = table.table("faults")
    if weights:
        given = {kind: weights.number(kind, 0.0, at_least=0.0) for kind in FAULT_KINDS}
        weights.finish()
        if given["battery_death"] and not battery_channel(profile):
            weights.wrong("battery_death", f"{weights.name}: battery_death needs a battery, or a channel “voltage”")
        plan["faults"] = {kind: weight for kind, weight in given.items() if weight > 0}
        if not plan["faults"]:
            table.wrong("faults", f"{table.name}: faults has no kind with a weight above 0")
    return plan


def _channels(table: Table, profile: Profile, drivers: tuple[str, ...]) -> dict[str, Any]:
    settings = {}
    for name in (channel.code for channel in profile.channels if channel.formula is None):
        channel = table.table(name)
        if channel is None:
            continue
        given = {
            "daily": channel.number("daily", None, at_least=0.0, to=1.0),
            "slow": channel.number("slow", None, at_least=0.0, to=1.0),
            "slow_s": channel.number("slow_s", None, above=0),
            "noise": channel.number("noise", None, at_least=0.0, to=1.0),
            "centre": channel.number("centre", None, at_least=0.0, to=1.0),
            "follows": _followed(channel, drivers),
            "lag": channel.number("lag", None, at_least=0.0, to=1.0),
            "extreme": _pair(channel, "extreme"),
            "high": _levels(channel, "high"),
            "low": _levels(channel, "low"),
        }
        channel.finish()
        settings[name] = {key: value for key, value in given.items() if value is not None}
    table.finish()
    return settings


def _numbers(table: Table, key: str, **limits: float) -> dict[str, float]:
    """A table of names that are the pack's own, each with a number."""
    inner = table.table(key)
    if inner is None:
        return {}
    found = {name: float(inner.number(name, **limits)) for name in inner.content}
    inner.finish()
    return found


def _followed(table: Table, drivers: tuple[str, ...]) -> dict[str, float] | None:
    found = _numbers(table, "follows", at_least=-1.0, to=1.0)
    for name in found:
        if name not in drivers:
            table.wrong(
                "follows",
                f"{table.name}: “{name}” is no driver; expected one of {', '.join(drivers) or 'simulator.drivers'}",
            )
    return found or None


def _pair(table: Table, key: str) -> list[float] | None:
    span = table.span(key, None)
    return None if span is None else list(span)


def _levels(table: Table, key: str) -> list[float] | None:
    value = table.take(
        key, "three numbers: where the first stage begins, where the second begins, and the worst",
        lambda v: are_numbers(v, 3), None,
    )  # fmt: skip
    return None if value is None else [float(level) for level in value]
