/**
 * One channel's line over time, by Chart.js: normal band and events behind it, anomalies as triangles, flagged points
 * hollow, gaps as gaps, imputed values dashed.
 */
import { steps } from "../lib/fan.js";
import { tick, valueTick } from "../lib/format.js";
import { calmDomain, timeTicks } from "../lib/scale.js";
import { nearest, parted, spaced, thin, within, withGaps } from "../lib/series.js";
import { colour, seenThrough } from "./page.js";

const MOST_POINTS = 900;
const MOST_MARKS = 30;
const AXIS_PX = 46;
const LEAST_SPAN_PX = 2;
const ORIGIN = "forecast from here";

/** The colours of all charts, read once a theme. */
export function palette() {
  return {
    line: colour("accent"),
    band: colour("ok-soft"),
    grid: colour("line"),
    ink: colour("ink-3"),
    cursor: colour("line-strong"),
    bad: colour("bad-fill"),
    event: colour("bad-soft"),
    chosen: colour("accent-soft"),
    font: getComputedStyle(document.body).fontFamily,
  };
}

const band = {
  id: "band",
  beforeDatasetsDraw({ ctx, chartArea, scales, options }) {
    const [low, high] = options.normal;
    const top = Math.max(chartArea.top, scales.y.getPixelForValue(high));
    const bottom = Math.min(chartArea.bottom, scales.y.getPixelForValue(low));
    if (bottom <= top) return;
    ctx.save();
    ctx.fillStyle = options.palette.band;
    ctx.fillRect(chartArea.left, top, chartArea.width, bottom - top);
    ctx.restore();
  },
};

/** Stretches of time behind the line: events, and what the person is choosing. */
const spans = {
  id: "spans",
  beforeDatasetsDraw({ ctx, chartArea, scales, options, shaded }) {
    const draw = ({ start, end }, fill, edge) => {
      const left = Math.max(chartArea.left, scales.x.getPixelForValue(start));
      const right = Math.min(chartArea.right, Math.max(left + LEAST_SPAN_PX, scales.x.getPixelForValue(end)));
      if (right <= left) return;
      ctx.globalAlpha = 0.6;
      ctx.fillStyle = fill;
      ctx.fillRect(left, chartArea.top, right - left, chartArea.height);
      ctx.globalAlpha = 1;
      ctx.fillStyle = edge;
      ctx.fillRect(left, chartArea.top, right - left, 3);
    };
    ctx.save();
    for (const event of shaded.events) draw(event, options.palette.event, options.palette.bad);
    if (shaded.chosen) draw(shaded.chosen, options.palette.chosen, options.palette.line);
    ctx.restore();
  },
};

/** Where a forecast begins; readings that came since go on beside it. */
const origin = {
  id: "origin",
  afterDatasetsDraw({ ctx, chartArea, scales, options, shaded }) {
    if (shaded.origin === null) return;
    const x = scales.x.getPixelForValue(shaded.origin);
    ctx.save();
    ctx.strokeStyle = options.palette.cursor;
    ctx.fillStyle = options.palette.ink;
    ctx.font = `11px ${options.palette.font}`;
    ctx.beginPath();
    ctx.moveTo(x, chartArea.top);
    ctx.lineTo(x, chartArea.bottom);
    ctx.stroke();
    const width = ctx.measureText(ORIGIN).width;
    ctx.fillText(ORIGIN, x + width + 8 > chartArea.right ? x - width - 4 : x + 4, chartArea.bottom - 4);
    ctx.restore();
  },
};

const cursor = {
  id: "cursor",
  afterDatasetsDraw({ ctx, chartArea, scales, options }) {
    if (options.cursorAt === null) return;
    const x = scales.x.getPixelForValue(options.cursorAt);
    ctx.save();
    ctx.strokeStyle = options.palette.cursor;
    ctx.beginPath();
    ctx.moveTo(x, chartArea.top);
    ctx.lineTo(x, chartArea.bottom);
    ctx.stroke();
    ctx.restore();
  },
};

export class ChannelChart {
  constructor(canvas, channel, { hasTimes, palette: colours, gapMs = Infinity }) {
    this.channel = channel;
    this.gapMs = gapMs;
    // A band's tenth at least, so that noise does not look like news.
    this.least = (channel.normal[1] - channel.normal[0]) / 10;
    canvas.setAttribute("aria-label", `${channel.label} over time`);
    this.chart = new globalThis.Chart(canvas, {
      type: "line",
      data: { datasets: looks(colours).map((look) => ({ data: [], ...look })) },
      plugins: [{ id: "shaded", beforeInit: (chart) => (chart.shaded = { events: [], chosen: null, origin: null }) }, band, spans, origin, cursor],
      options: this.options(hasTimes, colours),
    });
  }

  options(hasTimes, colours) {
    const ticks = { color: colours.ink, font: { size: 11, family: colours.font } };
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      parsing: false,
      normalized: true,
      events: [],
      normal: this.channel.normal,
      palette: colours,
      cursorAt: null,
      layout: { padding: { right: 8, top: 4, bottom: hasTimes ? 0 : 3 } },
      plugins: { legend: { display: false }, tooltip: { enabled: false }, colors: { enabled: false } },
      scales: {
        x: {
          type: "linear",
          display: true,
          border: { display: false },
          grid: { drawTicks: false, color: colours.grid },
          afterBuildTicks: (axis) => {
            // A label at the very edge would make this chart narrower than the others.
            const last = axis.max - (axis.max - axis.min) / 20;
            axis.ticks = timeTicks(axis.min, last, 5).map((value) => ({ value }));
          },
          ticks: { ...ticks, display: hasTimes, padding: 4, maxRotation: 0, autoSkip: false, sampleSize: 1, callback: timeTick },
        },
        y: {
          border: { display: false },
          grid: { drawTicks: false, color: colours.grid },
          afterFit: (axis) => {
            axis.width = AXIS_PX;
          },
          // The axis has its width: measuring more than one label would be the dearest part of a chart.
          ticks: { ...ticks, maxTicksLimit: 4, padding: 6, sampleSize: 1, callback: valueTick },
        },
      },
    };
  }

  paint(colours) {
    const { options, data } = this.chart;
    options.palette = colours;
    for (const axis of [options.scales.x, options.scales.y]) {
      axis.grid.color = colours.grid;
      axis.ticks.color = colours.ink;
      axis.ticks.font.family = colours.font;
    }
    looks(colours).forEach((look, i) => Object.assign(data.datasets[i], look));
    this.chart.update("none");
  }

  /** Points are {x, values, suspect, isAnomaly}, in order of time. */
  draw(points, { start, end }) {
    const { clean, flagged } = parted(points, this.channel.code);
    const oddAt = new Set(points.filter(({ isAnomaly }) => isAnomaly).map(({ x }) => x));
    const odd = clean.map(({ x, y }) => ({ x, y: oddAt.has(x) ? y : NaN }));
    this.fill({
      line: thin(withGaps(clean, this.gapMs), MOST_POINTS),
      odd: thin(withGaps(odd, this.gapMs), MOST_POINTS),
      marks: spaced(odd.filter(({ y }) => Number.isFinite(y)), (end - start) / MOST_MARKS),
      flagged,
      start,
      end,
    });
  }

  /** What was thinned already, with its gaps in it; answers how many flagged points lie beyond the scale. */
  fill({ line, odd = [], marks = [], flagged = [], imputed = [], forecast = null, events = [], start, end }) {
    const { datasets } = this.chart.data;
    const { normal, physical } = this.channel;
    const column = (name) => (forecast ? steps(forecast, forecast[name]).filter(({ x }) => x <= end) : []);
    const fan = ["q025", "q975", "q10", "q90", "mean"].map(column);
    const seen = [...line, ...imputed, ...fan[2], ...fan[3]].map(({ y }) => y).filter(Number.isFinite);
    const plausible = flagged.map(({ y }) => y).filter((y) => y >= physical[0] && y <= physical[1]);
    const known = seen.length ? [...seen, ...plausible] : plausible;
    const [low, high] = known.length ? calmDomain(known, this.least, physical) : normal;
    const { shown, nBeyond } = within(flagged, [low, high]);
    [line, odd, marks, shown, imputed, ...fan].forEach((points, i) => {
      datasets[i].data = points;
    });
    this.points = [...line, ...flagged].filter(({ y }) => Number.isFinite(y)).sort((a, b) => a.x - b.x);
    this.chart.shaded.events = events;
    this.chart.shaded.origin = forecast?.origin ?? null;
    Object.assign(this.chart.options.scales.x, { min: start, max: end });
    Object.assign(this.chart.options.scales.y, { suggestedMin: low, suggestedMax: high });
    this.chart.update("none");
    return nBeyond;
  }

  /** Shows a stretch as being chosen; null ends it. */
  choose(span) {
    this.chart.shaded.chosen = span;
    this.chart.draw();
  }

  /** Marks an instant and answers the value there; null ends it. */
  pointAt(x) {
    this.chart.options.cursorAt = x;
    const near = x === null ? null : nearest(this.points ?? [], x);
    this.chart.draw();
    return near;
  }

  timeAt(clientX) {
    const box = this.chart.canvas.getBoundingClientRect();
    const { x } = this.chart.scales;
    const at = x.getValueForPixel(clientX - box.left);
    return Math.min(x.max, Math.max(x.min, at));
  }

  destroy() {
    this.chart.destroy();
  }
}

/**
 * The line, what of it is anomalous, the marks that say so without colour, what is flagged, what is imputed; then a
 * forecast: 95 and 80 of 100 as bands, and its mean.
 */
function looks({ line, bad, ink }) {
  const drawn = { borderWidth: 1.5, pointRadius: 0, spanGaps: false };
  const edge = { pointRadius: 0, borderWidth: 0, order: 1 };
  const mark = { showLine: false, backgroundColor: bad, borderWidth: 0 };
  return [
    // A point between two gaps would be no line at all.
    { ...drawn, borderColor: line, backgroundColor: line, pointRadius: isLone },
    { ...drawn, borderColor: bad, borderWidth: 2 },
    { ...mark, pointStyle: "triangle", pointRadius: 4 },
    { ...mark, pointStyle: "circle", pointRadius: 2.5, backgroundColor: "transparent", borderColor: ink, borderWidth: 1 },
    { ...drawn, borderColor: ink, borderDash: [4, 3] },
    edge,
    { ...edge, fill: "-1", backgroundColor: seenThrough(line, 0.14) },
    edge,
    { ...edge, fill: "-1", backgroundColor: seenThrough(line, 0.24) },
    { ...drawn, borderColor: line, borderDash: [6, 3] },
  ];
}

function isLone({ dataset, dataIndex }) {
  const { data } = dataset;
  const isBreak = (i) => !Number.isFinite(data[i]?.y);
  return isBreak(dataIndex - 1) && isBreak(dataIndex + 1) ? 1.5 : 0;
}

/** Chart.js calls the ticks' words on their axis. */
function timeTick(at) {
  return tick(at, this.max - this.min);
}
