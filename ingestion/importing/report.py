"""What an import would do, in lines for the person who asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ingestion.importing.fates import DUPLICATE, HELD, STORED, ChannelFigures
from ingestion.importing.rows import Rows
from ingestion.validation.words import plural
from ingestion.wire import REASONS
from sensors.readings import Channel

FATES = {
    "other reasons": "put aside while the quarantine was full, so only counted; each lies in bronze",
    STORED: "stored",
    DUPLICATE: "duplicates: mote and time are there already with the same values",
    HELD: "held: their motes' codes are too long or not printable, and cannot be registered",
}


def times(rows: Rows, zone: str, *, site_zone: str) -> list[str]:
    """From when to when, and what was made of local times."""
    at = rows.table["at"]
    if at.null_count() == len(at):
        return ["Times: none that can be read"]
    first, last = (_local(int(each), site_zone) for each in (at.min(), at.max()))  # type: ignore[arg-type]
    kinds = ", ".join(f"{n:,} {name}" for name, n in rows.kinds.items() if n)
    lines = [f"Times: {first} to {last} {site_zone} ({kinds})"]
    if rows.kinds.get("without an offset"):
        lines.append(f"  what has no offset is read as local time of {zone}")
    if rows.n_first or rows.n_second:
        lines.append(
            f"  {rows.n_first + rows.n_second:,} in an hour that the clocks of {zone} passed twice: "
            f"{rows.n_first:,} taken for the first time, {rows.n_second:,} for the second, by their order in the file"
        )
    if rows.n_never:
        lines.append(
            f"  {rows.n_never:,} in an hour that never was in {zone}: quarantined. Does the logger ignore summer time? "
            f"Then name its fixed offset{_fixed(zone, int(at.min()))}"  # type: ignore[arg-type]
        )
    return lines


def _fixed(zone: str, us: int) -> str:
    """The zone's offset in winter as a zone of its own, where it is whole hours. Their signs are turned round."""
    try:
        year = datetime.fromtimestamp(us / 1e6, UTC).year
    except (ValueError, OverflowError, OSError):
        return ""
    offsets = [datetime(year, month, 1, tzinfo=ZoneInfo(zone)).utcoffset() for month in (1, 7)]
    hours = min(offset.total_seconds() for offset in offsets if offset is not None) / 3600
    return f", such as --times-in Etc/GMT{-int(hours):+d}" if hours == int(hours) else ""


def _local(us: int, zone: str) -> str:
    try:
        return f"{datetime.fromtimestamp(us / 1e6, UTC).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{us / 1e6:.0f} s since 1970"


def channels(rows: Rows, figures: Sequence[ChannelFigures]) -> list[str]:
    """A line a channel; below it what lies beyond its ranges, with the ranges beside."""
    by_code = {channel.code: channel for channel in rows.profile.channels}
    width = max(len(each.code) for each in figures)
    lines = []
    for each in figures:
        channel = by_code[each.code]
        parts = [plural(each.n_values, "value")]
        parts += [f"{_short(each.low)} to {_unit(each.high, channel)}"] if each.low is not None else []
        parts += [f"{each.n_missing:,} missing"] if each.n_missing else []
        parts += (
            [f"{each.n_unreadable:,} unreadable (such as “{(each.example or '')[:30]}”)"] if each.n_unreadable else []
        )
        lines.append(f"  {each.code.ljust(width)}  {', '.join(parts)}")
        lines += [f"  {' ' * width}  {line}" for line in beyond(each, channel)]
    return lines


def beyond(each: ChannelFigures, channel: Channel) -> list[str]:
    """What lies beyond the physical range, and what outside the normal band."""
    n = max(each.n_values, 1)
    out = each.n_below + each.n_above
    low, high = channel.physical
    lines = []
    if out:
        sides = [f"{each.n_below:,} below {_short(low)}"] if each.n_below else []
        sides += [f"{each.n_above:,} above {_short(high)}"] if each.n_above else []
        lines.append(
            f"{out:,} ({_share(out / n)}) out of the physical range {_short(low)} to {_unit(high, channel)}: "
            f"{', '.join(sides)}; stored and flagged"
        )
    if each.n_abnormal:
        band = f"{_short(channel.normal[0])} to {_unit(channel.normal[1], channel)}"
        lines.append(f"{each.n_abnormal:,} ({_share(each.n_abnormal / n)}) outside the normal band {band}")
    return lines


def _short(value: float | None) -> str:
    return "" if value is None else f"{value + 0.0:,.6g}".replace("-", "−")


def _share(part: float) -> str:
    return "under 0.1%" if part < 0.0005 else f"{part:.1%}"


def _unit(value: float | None, channel: Channel) -> str:
    return f"{_short(value)} {channel.unit}".rstrip()


def fates(by_fate: Mapping[str, int], will: str) -> list[str]:
    """A line a fate; `will` says whether it is foretold or done."""
    lines = [f"{will}:"]
    for name, n in by_fate.items():
        lines.append(f"  {n:>11,}  {fate(name)}")
    return lines


def fate(name: str) -> str:
    """What a row became, in words."""
    return FATES.get(name) or f"quarantined as {name}: {_reason(name)}"


def _reason(name: str) -> str:
    return "lines with more fields than there are columns" if name == "malformed" else REASONS.get(name, "see there")
