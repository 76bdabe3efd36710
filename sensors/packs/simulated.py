"""What a pack says of its simulation: the world, the faults by weight, and how each channel moves. Pure."""

from __future__ import annotations

from typing import Any

from sensors.packs.tables import Table, are_numbers
from sensors.readings import Profile

FAULT_KINDS = ("spike", "drift", "bias", "stuck", "cyclic", "noise", "drop_out", "out_of_range", "episode")
ID_FIELDS = ("mote_id", "machine_id", "sensor_id")
WORLDS = ("bands", "indoor")


def settings(table: Table, profile: Profile) -> dict[str, Any]:
    """The [simulator] table, read strictly. Raises BadPack."""
    read: dict[str, Any] = {
        "world": table.text("world", "bands", among=WORLDS),
        "id_field": table.text("id_field", "mote_id", among=ID_FIELDS),
        "interval_s": table.number("interval_s", profile.interval_s, above=0),
        "stages": list(table.texts("stages")),
        **_plan(table),
    }
    history = table.table("history")
    read["history"] = _plan(history) if history else {}
    if history:
        history.finish()
    channels = table.table("channels")
    read["channels"] = _simulated_channels(channels, profile) if channels else {}
    table.finish()
    return read


def _plan(table: Table) -> dict[str, Any]:
    """How often and how long things go wrong; kinds by weight."""
    settings = {
        "anomaly_rate": table.share("anomaly_rate", 0.02),
        "fault_length_s": list(table.span("fault_length_s", (60.0, 600.0), within=(0.001, 1e7))),
    }
    weights = table.table("faults")
    if weights:
        given = {kind: weights.number(kind, 0.0, at_least=0.0) for kind in FAULT_KINDS}
        weights.finish()
        settings["faults"] = {kind: weight for kind, weight in given.items() if weight > 0}
        if not settings["faults"]:
            table.wrong("faults", f"{table.name}: faults has no kind with a weight above 0")
    return settings


def _simulated_channels(table: Table, profile: Profile) -> dict[str, Any]:
    settings = {}
    for name in profile.names:
        channel = table.table(name)
        if channel is None:
            continue
        given = {
            "daily": channel.number("daily", None, at_least=0.0, to=1.0),
            "slow": channel.number("slow", None, at_least=0.0, to=1.0),
            "slow_s": channel.number("slow_s", None, above=0),
            "noise": channel.number("noise", None, at_least=0.0, to=1.0),
            "centre": channel.number("centre", None, at_least=0.0, to=1.0),
            "extreme": _pair(channel, "extreme"),
            "high": _levels(channel, "high"),
            "low": _levels(channel, "low"),
        }
        channel.finish()
        settings[name] = {key: value for key, value in given.items() if value is not None}
    table.finish()
    return settings


def _pair(table: Table, key: str) -> list[float] | None:
    span = table.span(key, None)
    return None if span is None else list(span)


def _levels(table: Table, key: str) -> list[float] | None:
    value = table.take(
        key, "three numbers: where the first stage begins, where the second begins, and the worst",
        lambda v: are_numbers(v, 3), None,
    )  # fmt: skip
    return None if value is None else [float(level) for level in value]
