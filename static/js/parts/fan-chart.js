/** What was measured, how it goes on with 80 and 95 of 100, and what was said a day before; limits as lines. */
import { steps, scaleWith } from "../lib/fan.js";
import { tick, valueTick } from "../lib/format.js";
import { timeTicks } from "../lib/scale.js";
import { colour, seenThrough } from "./page.js";

/** Where the readings end, and the limits that are near, with their names. */
const lines = {
  id: "lines",
  afterDatasetsDraw({ ctx, chartArea, scales, options }) {
    const { limits, origin, ink } = options;
    ctx.save();
    ctx.font = `11px ${ink.font}`;
    ctx.lineWidth = 1;
    ctx.strokeStyle = ink.limit;
    ctx.fillStyle = ink.limit;
    for (const { value, name } of limits) {
      const y = scales.y.getPixelForValue(value);
      stroke(ctx, chartArea.left, y, chartArea.right, y, [6, 4]);
      const above = y - chartArea.top > 14;
      ctx.fillText(name, chartArea.left + 4, above ? y - 4 : y + 12);
    }
    const x = scales.x.getPixelForValue(origin);
    ctx.strokeStyle = ink.mark;
    ctx.fillStyle = ink.text;
    stroke(ctx, x, chartArea.top, x, chartArea.bottom, []);
    const words = "last reading";
    ctx.fillText(words, x + 4 + ctx.measureText(words).width > chartArea.right ? x - 4 - ctx.measureText(words).width : x + 4, chartArea.bottom - 4);
    ctx.restore();
  },
};

function stroke(ctx, x1, y1, x2, y2, dash) {
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

const inks = () => ({
  line: colour("ink-2"), fan: colour("accent"), soft: colour("accent-soft"), said: colour("ink-3"), grid: colour("line"),
  limit: colour("bad"), mark: colour("line-strong"), text: colour("ink-3"), font: getComputedStyle(document.body).fontFamily,
});

export class FanChart {
  constructor(canvas, channel) {
    this.channel = channel;
    this.chart = new globalThis.Chart(canvas, {
      type: "line",
      data: { datasets: [] },
      plugins: [lines],
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true, events: [],
        limits: [], origin: channel.forecast.origin, ink: inks(),
        layout: { padding: { right: 8, top: 4 } },
        plugins: { legend: { display: false }, tooltip: { enabled: false }, filler: { propagate: false } },
        scales: {
          x: {
            type: "linear", border: { display: false },
            afterBuildTicks: (axis) => { axis.ticks = timeTicks(axis.min, axis.max - (axis.max - axis.min) / 20, 5).map((value) => ({ value })); },
            ticks: { maxRotation: 0, callback(at) { return tick(at, this.max - this.min); } },
          },
          y: { border: { display: false }, ticks: { maxTicksLimit: 5, callback: valueTick } },
        },
      },
    });
    this.draw();
  }

  /** Anew in the colours of the theme. */
  draw() {
    const { past, forecast, earlier, limits, resolution } = this.channel;
    const ink = inks();
    const measured = past.map(([x, y]) => ({ x, y: y ?? NaN }));
    const column = (name) => steps(forecast, forecast[name]);
    const plain = { pointRadius: 0, borderWidth: 0, fill: false };
    const band = (low, high, shade) => [
      { ...plain, order: 4, data: column(low) },
      { ...plain, order: 4, data: column(high), fill: "-1", backgroundColor: shade },
    ];
    const said = earlier ? steps(earlier, earlier.mean) : [];
    this.chart.data.datasets = [
      ...band("q025", "q975", seenThrough(ink.fan, 0.14)),
      ...band("q10", "q90", seenThrough(ink.fan, 0.24)),
      { ...plain, order: 2, data: said, borderColor: ink.said, borderWidth: 1.5, borderDash: [2, 3] },
      { ...plain, order: 1, data: measured, borderColor: ink.line, borderWidth: 1.5 },
      { ...plain, order: 1, data: column("mean"), borderColor: ink.fan, borderWidth: 2, borderDash: [6, 3] },
    ];
    const { options } = this.chart;
    const drawn = [...measured.map(({ y }) => y), ...forecast.q025, ...forecast.q975, ...said.map(({ y }) => y)];
    const { min, max, near } = scaleWith(drawn, limits, resolution * 20);
    Object.assign(options, { ink, limits: near });
    Object.assign(options.scales.y, { suggestedMin: min, suggestedMax: max });
    Object.assign(options.scales.x, { min: measured[0]?.x, max: column("mean").at(-1).x });
    for (const axis of [options.scales.x, options.scales.y]) {
      axis.grid = { color: ink.grid, drawTicks: false };
      axis.ticks.color = ink.text;
      axis.ticks.font = { size: 11, family: ink.font };
    }
    this.chart.update("none");
  }

  destroy() {
    this.chart.destroy();
  }
}
