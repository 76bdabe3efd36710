/** One channel's line over time, by Chart.js: normal band behind it, anomalies as triangles, gaps as gaps. */
import { clock, number } from "../lib/format.js";
import { calmDomain, timeTicks } from "../lib/scale.js";
import { nearest, spaced, thin, withGaps } from "../lib/series.js";
import { colour } from "./page.js";

const MOST_POINTS = 900;
const MOST_MARKS = 30;
const AXIS_PX = 46;

/** The colours of all charts, read once a theme. */
export function palette() {
  return {
    line: colour("accent"),
    band: colour("ok-soft"),
    grid: colour("line"),
    ink: colour("ink-3"),
    cursor: colour("line-strong"),
    bad: colour("bad-fill"),
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
  constructor(canvas, channel, { hasTimes, palette: colours }) {
    this.channel = channel;
    // A band's tenth at least, so that noise does not look like news.
    this.least = (channel.normal[1] - channel.normal[0]) / 10;
    canvas.setAttribute("aria-label", `${channel.label} over time`);
    this.chart = new globalThis.Chart(canvas, {
      type: "line",
      data: { datasets: looks(colours).map((look) => ({ data: [], ...look })) },
      plugins: [band, cursor],
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
          ticks: { ...ticks, display: hasTimes, padding: 4, maxRotation: 0, autoSkip: false, callback: timeTick },
        },
        y: {
          border: { display: false },
          grid: { drawTicks: false, color: colours.grid },
          afterFit: (axis) => {
            axis.width = AXIS_PX;
          },
          ticks: { ...ticks, maxTicksLimit: 4, padding: 6, callback: valueTick },
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
  }

  /** Points are {x, values, isAnomaly}, in order of time. */
  draw(points, { start, end }) {
    const code = this.channel.code;
    const own = points.map((point) => ({ x: point.x, y: point.values[code] ?? NaN }));
    const odd = points.map(({ x, isAnomaly, values }) => ({ x, y: isAnomaly ? (values[code] ?? NaN) : NaN }));
    const [line, stretches, marks] = this.chart.data.datasets;
    line.data = thin(withGaps(own), MOST_POINTS);
    stretches.data = thin(withGaps(odd), MOST_POINTS);
    marks.data = spaced(odd.filter(({ y }) => Number.isFinite(y)), (end - start) / MOST_MARKS);
    this.points = own;
    Object.assign(this.chart.options.scales.x, { min: start, max: end });
    const isKnown = own.some(({ y }) => Number.isFinite(y));
    const { normal, physical } = this.channel;
    const [low, high] = isKnown ? calmDomain(own.map(({ y }) => y), this.least, physical) : normal;
    Object.assign(this.chart.options.scales.y, { suggestedMin: low, suggestedMax: high });
    this.chart.update("none");
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

/** The line, what of it is anomalous, and the marks that say so without colour. */
function looks({ line, bad }) {
  const drawn = { borderWidth: 1.5, pointRadius: 0, spanGaps: false };
  return [
    { ...drawn, borderColor: line },
    { ...drawn, borderColor: bad, borderWidth: 2 },
    { showLine: false, pointStyle: "triangle", pointRadius: 4, backgroundColor: bad, borderWidth: 0 },
  ];
}

/** Chart.js calls the ticks' words on their axis. */
function timeTick(at) {
  return clock(at, { seconds: this.max - this.min < 180_000 });
}

function valueTick(value, i, ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1].value - ticks[0].value) : 1;
  return number(value, Math.min(3, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))));
}
