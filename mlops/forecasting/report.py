"""Forecasts of a file as one page to send on: a fan for each series with its table, and how good they were. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np
import polars as pl

from mlops.detect.report import STYLE
from mlops.forecasting.file import Forecast
from sensors.readings import Floats

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1000, 220, 58, 8, 16, 22
BEFORE = 3  # horizons of history before the fan
MOST_CHARTS = 48
MOST_ROWS = 100  # of the table behind a fan
FIGURES = {
    "mse": "MSE", "mae": "MAE", "mase": "MASE", "crps": "CRPS", "coverage80": "80 % held", "coverage95": "95 % held",
    "score": "Score",
}  # fmt: skip
FAN = """
.fan { fill: var(--accent); stroke: none; } .fan95 { fill-opacity: .14; } .fan80 { fill-opacity: .26; }
.median { fill: none; stroke: var(--accent); stroke-width: 1.6; stroke-dasharray: 5 3; }
.now { stroke: var(--ink-2); stroke-dasharray: 2 3; } details { margin-top: 6px; }
"""


def page(forecast: Forecast, table: pl.DataFrame, refused: dict[str, str]) -> str:
    """HTML that needs no other file and no network. `table` has each series' last forecast."""
    name = escape(forecast.path.name)
    said = [f"{series}: {why}" for series, why in refused.items()]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}: forecast</title>",
            f"<style>\n{STYLE.read_text(encoding='utf-8')}{FAN}</style>\n</head>\n<body>\n<main>",
            f'<h1>{name}</h1>\n<p class="lead">{escape(verdict(forecast))}</p>',
            *_accuracy(forecast),
            *_fans(forecast, table),
            *_list("No forecast", said),
            *_list("How the file was read", forecast.words),
            *_list("What to know about it", forecast.notes),
            '<p class="small">Dark: 80 of 100 outcomes should lie there; light: 95 of 100, by what past forecasts '
            "missed. A forecast begins one step after the last reading. Made by SIEIS, manage.py forecast_file.</p>",
            "</main>\n</body>\n</html>\n",
        ]
    )


def verdict(forecast: Forecast) -> str:
    """What was done and how good it was, in a sentence."""
    steps = f"{forecast.how.horizon:,} steps of {forecast.panel.step / 1e6:g} s ahead by {', '.join(forecast.models)}"
    figures = forecast.total.figures
    if not forecast.how.is_rolling or figures["mase"] is None:
        return f"{len(forecast.fitted)} series, {steps}."
    crps = figures["crps"], figures["coverage80"]
    held = "" if None in crps else f", CRPS {crps[0]:.3f} of a series’ spread, 80 % intervals held {crps[1]:.1%}"
    return f"{len(forecast.fitted)} series, {steps}: MASE {figures['mase']:.3f}{held}."


def _accuracy(forecast: Forecast) -> Iterator[str]:
    if not forecast.figures:
        return
    heads = ("Series", "Model", *FIGURES.values())
    yield '<h2>On the test part</h2><section class="wide"><table><thead><tr>'
    yield "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead><tbody>"
    for name, figures in forecast.figures.items():
        cells = "".join(f'<td class="n">{_figure(figures[key])}</td>' for key in FIGURES)
        yield f"<tr><td>{escape(name)}</td><td>{escape(forecast.fitted[name].name)}</td>{cells}</tr>"
    yield "</tbody></table></section>"
    yield '<p class="small">Errors in units of each series’ spread where it was learnt from.</p>'


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _fans(forecast: Forecast, table: pl.DataFrame) -> Iterator[str]:
    if not len(table):
        return
    for name in table["series"].unique(maintain_order=True).to_list()[:MOST_CHARTS]:
        rows = table.filter(series=name)
        values = forecast.panel.values[:, forecast.panel.names.index(name)]
        yield f"<figure><figcaption>{escape(name)}</figcaption>{_fan(values, rows, name)}{_behind(rows)}</figure>"


def _fan(values: Floats, rows: pl.DataFrame, name: str) -> str:
    end = int(np.flatnonzero(np.isfinite(values))[-1]) + 1
    begin = max(end - BEFORE * len(rows), 0)
    past = values[begin:end]
    said = {column: rows[column].to_numpy() for column in ("q025", "q10", "q50", "q90", "q975")}
    low = float(np.nanmin([np.nanmin(past), said["q025"].min()]))
    high = float(np.nanmax([np.nanmax(past), said["q975"].max()]))
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    span, n = max(len(past) + len(rows) - 1, 1), len(past)

    def point(step: int, value: float) -> str:
        x = LEFT + step / span * (WIDTH - LEFT - RIGHT)
        return f"{x:.1f} {TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    def line(of: Floats, first: int) -> str:
        parts, is_open = [], False
        for k, value in enumerate(of.tolist()):
            if np.isfinite(value):
                parts.append(f"{'L' if is_open else 'M'}{point(first + k, value)}")
            is_open = bool(np.isfinite(value))
        return "".join(parts)

    def band(lower: str, upper: str, kind: str) -> str:
        edge = [point(n + k, value) for k, value in enumerate(said[upper].tolist())]
        edge += [point(n + k, value) for k, value in reversed(list(enumerate(said[lower].tolist())))]
        return f'<polygon class="fan {kind}" points="{" ".join(edge).replace(" ", ",")}"/>'

    grid = []
    for value in np.linspace(low, high, 3).tolist():
        x, y = point(0, value).split()
        grid.append(f'<line class="grid" x1="{x}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        grid.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end">{value:.4g}</text>')
    now = point(n - 1, low).split()[0]
    when = [f"{rows['origin_at'][0]:%Y-%m-%d %H:%M}", f"{rows['at'][-1]:%Y-%m-%d %H:%M}"]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}, forecast after {when[0]}">'
        f"{''.join(grid)}{band('q025', 'q975', 'fan95')}{band('q10', 'q90', 'fan80')}"
        f'<path class="trace" d="{line(past, 0)}"/><path class="median" d="{line(said["q50"], n)}"/>'
        f'<line class="now" x1="{now}" x2="{now}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{now}" y="{HEIGHT - 6}" text-anchor="middle">last reading {when[0]}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{when[1]}</text></svg>'
    )


def _behind(rows: pl.DataFrame) -> str:
    heads = ("at", "mean", "q025", "q10", "q50", "q90", "q975")
    body = "".join(
        f'<tr><td class="t">{row[0]:%Y-%m-%d %H:%M:%S}</td>'
        + "".join(f'<td class="n">{v:.5g}</td>' for v in row[1:])
        + "</tr>"
        for row in rows.head(MOST_ROWS).select(heads).rows()
    )
    head = "".join(f"<th>{each}</th>" for each in heads)
    more = f'<p class="small">{len(rows) - MOST_ROWS:,} more steps.</p>' if len(rows) > MOST_ROWS else ""
    return (
        f'<details><summary>As a table</summary><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}'
        f"</tbody></table>{more}</div></details>"
    )


def _list(title: str, lines: tuple[str, ...] | list[str]) -> Iterator[str]:
    if lines:
        yield f"<h2>{title}</h2>\n<section><ul>"
        yield from (f"<li>{escape(line)}</li>" for line in lines)
        yield "</ul></section>"
