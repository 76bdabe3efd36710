/** The History page: trends with their band, a ribbon of events below each, zoom by dragging. */
import { decimalsOf, number, valueTick } from "../lib/format.js";
import { calmDomain } from "../lib/scale.js";
import { wallInstant, wallTick, wallTicks } from "../lib/wall-clock.js";
import { colour, find, findAll, onTheme, readJson, say } from "../parts/page.js";

const LEAST_DRAG_PX = 8;
const HOUR_MS = 3_600_000;
const LINES = ["accent", "bad", "warn", "ok", "ink", "ink-3", "bad-fill", "warn-fill"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3], [10, 4], [3, 6]];

const data = readJson("history-data");

function colours() {
  return {
    lines: LINES.map(colour),
    band: colour("accent-band"),
    normal: colour("ok-soft"),
    grid: colour("line"),
    ink: colour("ink-3"),
    bad: colour("bad-fill"),
    none: colour("sunken"),
    chosen: colour("accent"),
    font: getComputedStyle(document.body).fontFamily,
  };
}

/** The pack's normal band, and the stretch that the pointer is choosing. */
const behind = {
  id: "behind",
  beforeDatasetsDraw({ ctx, chartArea, scales, options, chosen }) {
    const { palette, normal } = options;
    const top = Math.max(chartArea.top, scales.y.getPixelForValue(normal[1]));
    const bottom = Math.min(chartArea.bottom, scales.y.getPixelForValue(normal[0]));
    ctx.save();
    ctx.fillStyle = palette.normal;
    ctx.globalAlpha = 0.6;
    if (bottom > top) ctx.fillRect(chartArea.left, top, chartArea.width, bottom - top);
    if (chosen) {
      const [left, right] = chosen.map((at) => scales.x.getPixelForValue(at)).sort((a, b) => a - b);
      ctx.fillStyle = palette.chosen;
      ctx.globalAlpha = 0.25;
      ctx.fillRect(left, chartArea.top, right - left, chartArea.height);
    }
    ctx.restore();
  },
};

function datasets(channel, palette) {
  const drawn = [];
  channel.lines.forEach((line, i) => {
    const tone = palette.lines[i % palette.lines.length];
    const at = (place) => line.points.map((point) => ({ x: point[0], y: point[place] ?? NaN }));
    // A lower order is drawn later, above the band.
    const look = { borderWidth: 1.6, pointRadius: line.points.length < 3 ? 3 : 0, borderColor: tone, backgroundColor: tone, order: 0 };
    if (line.points[0]?.length === 4) {
      const edge = { borderWidth: 0, pointRadius: 0, backgroundColor: palette.band, order: 1 };
      drawn.push({ label: "lowest", data: at(2), ...edge }, { label: "highest", data: at(3), ...edge, fill: "-1" });
    }
    const dash = line.is_past ? [5, 4] : DASHES[i % DASHES.length];
    drawn.push({ label: line.label, data: at(1), ...look, borderDash: dash, ...(line.is_past ? { borderColor: palette.ink } : {}) });
  });
  return drawn;
}

function domain(channel) {
  const values = channel.lines.flatMap(({ points }) => points.flatMap((point) => point.slice(1)));
  const least = (channel.normal[1] - channel.normal[0]) / 10;
  return calmDomain(values.filter(Number.isFinite), least, channel.physical);
}

function options(channel, palette) {
  const ticks = { color: palette.ink, font: { size: 11, family: palette.font } };
  const [low, high] = domain(channel);
  return {
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    parsing: false,
    normalized: true,
    events: [],
    palette,
    normal: channel.normal,
    plugins: { legend: { display: false }, tooltip: { enabled: false } },
    scales: {
      x: {
        type: "linear",
        min: data.start,
        max: data.end,
        border: { display: false },
        grid: { drawTicks: false, color: palette.grid },
        afterBuildTicks: (axis) => {
          axis.ticks = wallTicks(axis.min, axis.max, axis.width < 500 ? 4 : 8).map((value) => ({ value }));
        },
        ticks: { ...ticks, padding: 4, maxRotation: 0, autoSkip: false, callback: (at) => wallTick(at, data.end - data.start) },
      },
      y: {
        suggestedMin: low,
        suggestedMax: high,
        border: { display: false },
        grid: { drawTicks: false, color: palette.grid },
        afterFit: (axis) => {
          axis.width = 46;
        },
        ticks: { ...ticks, maxTicksLimit: 5, padding: 6, callback: valueTick },
      },
    },
  };
}

/** Which line is which, where there are several. */
function names(figure, channel, palette) {
  const list = find(".lines", figure);
  if (channel.lines.length < 2) return;
  list.replaceChildren(
    ...channel.lines.map(({ label, is_past: isPast }, i) => {
      const entry = document.createElement("li");
      const sample = document.createElement("i");
      sample.style.borderTopColor = isPast ? palette.ink : palette.lines[i % palette.lines.length];
      sample.style.borderTopStyle = isPast || DASHES[i % DASHES.length].length ? "dashed" : "solid";
      entry.append(sample, label);
      return entry;
    }),
  );
}

function drawRibbon(canvas, chart, spans, palette) {
  const { left, right } = chart.chartArea;
  const ratio = globalThis.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.fillStyle = palette.none;
  ctx.fillRect(left, 0, right - left, canvas.clientHeight);
  ctx.fillStyle = palette.bad;
  for (const [start, end] of spans) {
    const from = Math.max(left, chart.scales.x.getPixelForValue(start));
    const to = Math.min(right, chart.scales.x.getPixelForValue(end));
    ctx.fillRect(from, 0, Math.max(2, to - from), canvas.clientHeight);
  }
}

function open(figure, channel) {
  let palette = colours();
  const canvas = find(".plot canvas", figure);
  const chart = new globalThis.Chart(canvas, {
    type: "line",
    data: { datasets: datasets(channel, palette) },
    options: options(channel, palette),
    plugins: [behind],
  });
  const ribbon = () => drawRibbon(find(".ribbon", figure), chart, channel.ribbon, palette);
  ribbon();
  names(figure, channel, palette);
  new ResizeObserver(ribbon).observe(canvas);
  onTheme(() => {
    palette = colours();
    chart.data.datasets = datasets(channel, palette);
    chart.options = options(channel, palette);
    chart.update("none");
    names(figure, channel, palette);
    ribbon();
  });
  return { figure, channel, chart, now: find(".now", figure) };
}

/** What each line says at an instant. */
function words(channel, at) {
  const decimals = decimalsOf(channel.resolution);
  const parts = channel.lines.flatMap(({ label, points }) => {
    const near = points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best), points[0]);
    if (!near || near[1] === null) return [];
    const band = near.length === 4 ? ` (${number(near[2], decimals)} to ${number(near[3], decimals)})` : "";
    return [`${label} ${number(near[1], decimals)}${band}`];
  });
  return parts.length ? `${wallInstant(at)}  ${parts.join(", ")}` : "";
}

function zoom([start, end]) {
  const address = new URL(location.href);
  const least = data.every === "raw" ? 60_000 : HOUR_MS;
  const last = Math.max(end, start + least);
  address.searchParams.set("from", new Date(start).toISOString().slice(0, 16));
  address.searchParams.set("to", new Date(last).toISOString().slice(0, 16));
  location.assign(address);
}

function follow(drawn) {
  let from = null;
  const timeAt = (chart, clientX) => {
    const { left } = chart.canvas.getBoundingClientRect();
    return Math.min(data.end, Math.max(data.start, chart.scales.x.getValueForPixel(clientX - left)));
  };
  const choose = (span) => {
    for (const { chart } of drawn) {
      chart.chosen = span;
      chart.draw();
    }
  };
  for (const { figure, chart } of drawn) {
    const plot = find(".plot", figure);
    plot.addEventListener("pointermove", (event) => {
      const at = timeAt(chart, event.clientX);
      for (const one of drawn) say(one.now, words(one.channel, at));
      if (from) choose([from.at, at]);
    });
    plot.addEventListener("pointerleave", () => drawn.forEach(({ now }) => say(now, "")));
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      from = { x: event.clientX, at: timeAt(chart, event.clientX) };
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointerup", (event) => {
      if (!from) return;
      const span = [from.at, timeAt(chart, event.clientX)].sort((a, b) => a - b);
      const isDrag = Math.abs(event.clientX - from.x) >= LEAST_DRAG_PX;
      from = null;
      choose(null);
      if (isDrag) zoom(span);
    });
    plot.addEventListener("pointercancel", () => {
      from = null;
      choose(null);
    });
  }
}

follow(
  findAll("figure.trend").map((figure) =>
    open(figure, data.channels.find(({ code }) => code === figure.dataset.channel)),
  ),
);
