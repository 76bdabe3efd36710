"""What a pack says of its channels: measured, derived from others, and the one that tells the battery. Pure."""

from __future__ import annotations

import re

from sensors.derived import KINDS
from sensors.packs.tables import Table
from sensors.readings import Battery, Channel, Formula, Imputation, Profile, stored_schema

CODE = re.compile(r"[a-z][a-z0-9_]*")
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
IMPUTATIONS = ("none", "hold", "interpolate", "seasonal", "neighbours")
YEAR_S = 365 * 86_400.0


def measured(table: Table) -> Channel:
    """A `[[channels]]` table."""
    physical = table.span("physical")
    channel = Channel(
        code=_code(table),
        label=_label(table),
        unit=_unit(table),
        physical=physical,
        normal=table.span("normal", within=physical),
        resolution=table.number("resolution", above=0),
        max_rate_per_s=table.number("max_rate_per_s", above=0),
        flat_after_s=table.number("flat_after_s", above=0),
        aliases=table.texts("aliases"),
        imputation=_imputation(table),
    )
    table.finish()
    return channel


def derived(table: Table, sources: tuple[Channel, ...]) -> Channel:
    """A `[[derived]]` table. What nothing is said of its rate and flat line is not judged by them."""
    physical = table.span("physical")
    channel = Channel(
        code=_code(table),
        label=_label(table),
        unit=_unit(table),
        physical=physical,
        normal=table.span("normal", within=physical),
        resolution=table.number("resolution", above=0),
        max_rate_per_s=table.number("max_rate_per_s", physical[1] - physical[0], above=0),
        flat_after_s=table.number("flat_after_s", YEAR_S, above=0),
        formula=_formula(table, [source.code for source in sources]),
        is_detected=table.truth("detect", False),
    )
    table.finish()
    return channel


def battery(table: Table, sources: tuple[Channel, ...]) -> Battery:
    """The `[battery]` table."""
    code = table.text("channel", among=[source.code for source in sources])
    low_end, high_end = next(source.physical for source in sources if source.code == code)
    empty = table.number("empty", at_least=low_end, to=high_end)
    found = Battery(code, low=table.number("low", above=empty, to=high_end), empty=empty)
    table.finish()
    return found


def refuse_twins(tables: list[Table], channels: tuple[Channel, ...]) -> None:
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


def _code(table: Table) -> str:
    code = table.code("code", CODE, "a lower-case letter, then lower-case letters, digits and _")
    if code in TAKEN:
        table.wrong(
            "code", f"{table.name}: code is “{code}”, which every reading uses for something else; choose another"
        )
    return code


def _label(table: Table) -> str:
    return table.text("label", str(table.content["code"]).replace("_", " ").capitalize())


def _unit(table: Table) -> str:
    return str(table.take("unit", "text in quotes, empty where there is none", lambda v: isinstance(v, str)))


def _imputation(table: Table) -> Imputation:
    method = table.text("imputation", "none", among=IMPUTATIONS)
    limit_s = table.number("imputation_limit_s", None, above=0)
    if method == "none" and limit_s is not None:
        table.wrong("imputation_limit_s", f"{table.name}: imputation_limit_s has no meaning without imputation")
    if method != "none" and limit_s is None:
        table.wrong(
            "imputation",
            f"{table.name}: imputation is “{method}”; expected imputation_limit_s beside it: for how many seconds",
        )
    return Imputation(method, limit_s or 0.0)


def _formula(table: Table, sources: list[str]) -> Formula:
    kind = table.text("kind", among=KINDS)
    n, _ = KINDS[kind]
    expected = f"{n} of the measured channels {', '.join(sources)}"
    of = table.texts("of", ...)
    for name in of:
        if name not in sources:
            table.wrong("of", f"{table.name}: “{name}” is no measured channel; expected {expected}")
    if len(of) != n:
        table.wrong("of", f"{table.name}: {kind} is made of {n} channels, not of {len(of)}; expected {expected}")
    scale = table.number("scale", 1.0)
    if scale == 0:
        table.wrong("scale", f"{table.name}: scale is 0, which makes nothing of everything")
    return Formula(kind, of, scale)
