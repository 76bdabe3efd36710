"""A judged file as one page to send on: charts with their events, the events in words, how they were found. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from alerts.events import concerned
from mlops.detect.judging import LONG_GAP_STEPS, Found, Judged, instant
from mlops.detect.reading import ENGINE
from mlops.detection.words import duration
from sensors.readings import Floats, Ints

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1000, 170, 58, 8, 16, 22
BUCKETS = 700  # of time, each drawn from its least to its largest value
MOST_CHARTS = 48
MOST_EVENTS = 500
STYLE = Path(__file__).with_name("report.css")


def page(judged: Judged) -> str:
    """HTML that needs no other file and no network."""
    name = escape(judged.path.name)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}: {_n_events(judged.events)}</title>",
            f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>",
            f'<h1>{name}</h1>\n<p class="lead">{escape(verdict(judged))}</p>',
            *_charts(judged),
            *_events(judged.events),
            *_list("How the file was read", judged.words),
            *_list("What to know about it", judged.notes),
            f'<p class="small">{escape(reading_guide(judged))}</p>',
            "</main>\n</body>\n</html>\n",
        ]
    )


def verdict(judged: Judged) -> str:
    """What was found, in a sentence."""
    at = judged.readings.at
    span = f"{len(at):,} readings from {_second(at[0])} to {_second(at[-1])}"
    later = [found for found in judged.events if not found.is_training]
    if not later:
        return f"Nothing odd after the part that was learnt from: {span}."
    n_high = sum(found.severity == "high" for found in later)
    worst = max(later, key=lambda found: found.score)
    high = f", {n_high:,} of high severity" if n_high else ""
    where = f" ({worst.series})" if worst.series else ""
    return f"{_n_events(later)}{high}, in {span}. The oddest{where}: {worst.words}."


def reading_guide(judged: Judged) -> str:
    rare = "A score of 0.3 or more is as rare as one false event a week and series"
    far = "A score of 0.3 is where a forecast's error, smoothed, passes the threshold that errors before it set"
    return (
        f"Each reading was judged by what came before it. {rare if judged.detector == ENGINE else far}; 0.6 is high. "
        "An event is noticed at its first such reading and lasts until the channel is back. "
        f"Grey: the part that was learnt from. Lines are broken over gaps of more than {LONG_GAP_STEPS} steps. "
        "Made by SIEIS, manage.py detect."
    )


def _n_events(events: Sequence[Found]) -> str:
    return "no event" if not events else "1 event" if len(events) == 1 else f"{len(events):,} events"


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"<h2>{title}</h2>\n<section><ul>"
        yield from (f"<li>{escape(line)}</li>" for line in lines)
        yield "</ul></section>"


# ---- charts -------------------------------------------------------------------------------------------------


def _charts(judged: Judged) -> Iterator[str]:
    n_channels, series = len(judged.readings.names), ""
    shown = charts(judged)
    for one in shown:
        if one["series"] != series:
            series = one["series"]
            yield f"<h2>Series {escape(series)}</h2>"
        yield f"<figure><figcaption>{escape(one['title'])}</figcaption>{one['svg']}</figure>"
    if left := len(judged.readings.codes) - len(shown) // n_channels:
        yield f'<p class="small">{left:,} more series have no chart; their events are below.</p>'


def charts(judged: Judged, most: int = MOST_CHARTS) -> list[dict[str, str]]:
    """Each channel of each series as SVG, the series with the oddest events first."""
    readings, n_channels = judged.readings, len(judged.readings.names)
    oddest: dict[str, float] = dict.fromkeys(readings.codes, 0.0)
    for found in judged.events:
        oddest[found.series] = max(oddest[found.series], found.score)
    drawn = []
    for code in sorted(readings.codes, key=lambda code: -oddest[code])[: max(1, most // n_channels)]:
        own = readings.series == readings.codes.index(code) + 1
        events = [found for found in judged.events if found.series == code]
        learnt = readings.at[own & judged.is_training]
        until = int(learnt.max()) if len(learnt) else None
        for c, name in enumerate(readings.names):
            channel = next(each for each in judged.profile.channels if each.code == name)
            title = f"{channel.label} [{channel.unit}]" if channel.unit else channel.label
            svg = chart(
                readings.at[own], readings.values[own, c], events, name, until,
                LONG_GAP_STEPS * judged.profile.step_s * 1e6, title,
            )  # fmt: skip
            drawn.append({"series": code, "title": title, "svg": svg})
    return drawn


def chart(
    at: Ints, values: Floats, events: Sequence[Found], name: str, learnt_until: int | None, gap_us: float, title: str
) -> str:
    """One channel over time as SVG."""
    there = np.isfinite(values)
    if not there.any():
        return '<p class="small">No value.</p>'
    begin, end = int(at[0]), max(int(at[-1]), int(at[0]) + 1)
    low, high = float(values[there].min()), float(values[there].max())
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)

    def x(instant: float) -> float:
        return round(LEFT + (instant - begin) / (end - begin) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}, {len(events)} events">']
    bottom = HEIGHT - BOTTOM
    if learnt_until is not None:
        width = max(x(learnt_until) - LEFT, 0.0)
        parts.append(f'<rect class="learnt" x="{LEFT}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP}"/>')
    for value in np.linspace(low, high, 3).tolist():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{_figure(value, high - low)}</text>')
    for k, when in enumerate(np.linspace(begin, end, 5).tolist()):
        anchor = ("start", "middle", "middle", "middle", "end")[k]
        parts.append(
            f'<text x="{x(when)}" y="{HEIGHT - 6}" text-anchor="{anchor}">{_when(int(when), end - begin)}</text>'
        )
    free_from = 0.0  # where the next number fits
    for found in events:
        left, right = x(max(found.change.started_at, begin)), x(min(found.change.last_at, end))
        kind = "high" if found.severity == "high" else ""
        kind += "" if name in concerned(found.change.contributions) else " other"
        parts.append(
            f'<rect class="event {kind.strip()}" x="{left}" y="{TOP}" width="{max(right - left, 2.0):.1f}" '
            f'height="{bottom - TOP}"><title>{found.id}. {escape(found.words)}</title></rect>'
        )
        if found.change.peak_channel == name and left >= free_from:
            parts.append(f'<text x="{left}" y="{TOP - 4}">{found.id}</text>')
            free_from = left + 8.0 * (len(str(found.id)) + 1)
    path = _path(at[there], values[there], gap_us, x, y)
    return "".join([*parts, f'<path class="trace" d="{path}"/></svg>'])


def _path(at: Ints, values: Floats, gap_us: float, x: object, y: object) -> str:
    """The line; where readings are denser than it can show, from the least to the largest of each bucket."""
    assert callable(x)
    assert callable(y)
    points: list[tuple[int, tuple[float, ...]]]
    if len(at) > 2 * BUCKETS:
        bucket = (at - at[0]) * BUCKETS // max(int(at[-1] - at[0]), 1)
        first = np.flatnonzero(np.diff(bucket, prepend=-1))
        least, most = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
        last = np.append(first[1:], len(at)) - 1
        is_broken = np.append(False, at[first[1:]] - at[last[:-1]] > gap_us)
        points = [(int(at[k]), (lo, hi)) for k, lo, hi in zip(first, least.tolist(), most.tolist(), strict=True)]
    else:
        is_broken = np.append(False, np.diff(at) > gap_us)
        points = [(when, (value,)) for when, value in zip(at.tolist(), values.tolist(), strict=True)]
    pieces = []
    for k, (when, ends) in enumerate(points):
        for j, value in enumerate(ends):
            begins = j == 0 and (k == 0 or is_broken[k])
            pieces.append(f"{'M' if begins else 'L'}{x(when)} {y(value)}")
    return "".join(pieces)


def _figure(value: float, span: float) -> str:
    """As many decimals as tell the ends of the axis apart."""
    decimals = int(np.clip(np.ceil(1.0 - np.log10(span)), 0, 6)) if span > 0 else 2
    return f"{value:.4g}" if abs(value) >= 1e6 else f"{value:.{decimals}f}"


def _second(at: int) -> str:
    return instant(at)[:19]


def _when(at: int, span: int) -> str:
    text = instant(at)
    return text[:10] if span > 4 * 86_400_000_000 else text[5:16] if span > 86_400_000_000 else text[11:19]


# ---- events -------------------------------------------------------------------------------------------------


def _events(events: Sequence[Found]) -> Iterator[str]:
    yield "<h2>Events</h2>"
    if not events:
        yield "<section>No event.</section>"
        return
    has_series = any(found.series for found in events)
    heads = ["#", "Severity", *(["Series"] if has_series else []), "What", "From", "For", "Noticed", "Rows", "Channels"]
    yield (
        '<section class="wide"><table><thead><tr>'
        + "".join(f"<th>{head}</th>" for head in heads)
        + "</tr></thead><tbody>"
    )
    for found in events[:MOST_EVENTS]:
        yield _row(found, has_series)
    yield "</tbody></table></section>"
    if len(events) > MOST_EVENTS:
        yield f'<p class="small">{len(events) - MOST_EVENTS:,} more are in the events file.</p>'


def _row(found: Found, has_series: bool) -> str:
    change = found.change
    shares = sorted(change.contributions.items(), key=lambda item: -item[1])
    blamed = ", ".join(f"{escape(name)} {share:.0%}" for name, share in shares[:3] if share >= 0.1)
    learnt = '<br><span class="small">in the part that was learnt from</span>' if found.is_training else ""
    n_rows = found.last_row - found.first_row + 1
    late = change.noticed_at - change.started_at
    cells = [
        f'<td class="n">{found.id}</td>',
        f'<td><span class="{found.severity}-word">{found.severity}</span> '
        f'<span class="small">{found.score:.2f}</span></td>',
        *([f"<td>{escape(found.series)}</td>"] if has_series else []),
        f'<td class="what">{escape(found.words)}{learnt}</td>',
        f'<td class="t">{_second(change.started_at)}</td>',
        f'<td class="t">{duration(change.last_at - change.started_at) if n_rows > 1 else "1 reading"}</td>',
        f'<td class="t">{"at once" if late <= 0 else f"after {duration(late)}"}</td>',
        f'<td class="n">{found.first_row:,}{f"–{found.last_row:,}" if n_rows > 1 else ""}</td>',
        f"<td>{blamed}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"
