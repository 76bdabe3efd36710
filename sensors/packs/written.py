"""A pack as the TOML text that it is read from. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sensors.packs import Pack
from sensors.readings import Channel, Imputation


def pack_text(pack: Pack) -> str:
    """Reads back as a pack of the same content hash and settings. Where the motes stand is not part of it."""
    profile = pack.profile
    head = {
        "code": profile.code, "label": profile.label, "step_s": profile.step_s, "interval_s": profile.interval_s,
    }  # fmt: skip
    measured = [channel for channel in profile.channels if channel.formula is None]
    derived = [channel for channel in profile.channels if channel.formula is not None]
    battery = profile.battery
    parts = [
        _table("[profile]", head),
        *(_table("[[channels]]", _measured(channel)) for channel in measured),
        *(_table("[[derived]]", _derived(channel)) for channel in derived),
        *(
            [_table("[battery]", {"channel": battery.channel, "low": battery.low, "empty": battery.empty})]
            if battery
            else []
        ),
        *(text for name, content in pack.settings.items() for text in _nested(name, content)),
    ]
    return "\n".join(parts)


def _measured(channel: Channel) -> dict[str, Any]:
    imputation = channel.imputation
    return {
        **_common(channel),
        **({"aliases": list(channel.aliases)} if channel.aliases else {}),
        **(
            {"imputation": imputation.method, "imputation_limit_s": imputation.limit_s}
            if imputation != Imputation()
            else {}
        ),
    }


def _derived(channel: Channel) -> dict[str, Any]:
    assert channel.formula is not None
    formula = {"kind": channel.formula.kind, "of": list(channel.formula.of), "scale": channel.formula.scale}
    return {**_common(channel), **formula, "detect": channel.is_detected}


def _common(channel: Channel) -> dict[str, Any]:
    names = ("code", "label", "unit", "physical", "normal", "resolution", "max_rate_per_s", "flat_after_s")
    return {name: getattr(channel, name) for name in names}


def _nested(name: str, content: Mapping[str, Any]) -> Iterator[str]:
    """A table, then the tables in it; an empty one is left out."""
    own = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    if own:
        yield _table(f"[{name}]", own)
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _nested(f"{name}.{_key(key)}", value)


def _table(head: str, content: Mapping[str, Any]) -> str:
    return "".join((f"{head}\n", *(f"{_key(key)} = {_value(value)}\n" for key, value in content.items())))


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(
        value, str
    ):  # TOML's basic strings are JSON's, but for the one control character that JSON lets stand
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)
