/** Readings of one channel with the band that was expected at each instant, the event shaded, what was odd as triangles. */
import { tick, valueTick } from "../lib/format.js";
import { timeTicks } from "../lib/scale.js";
import { colour } from "./page.js";

const shade = {
  id: "shade",
  beforeDatasetsDraw({ ctx, chartArea, scales, options }) {
    const left = Math.max(chartArea.left, scales.x.getPixelForValue(options.span.start));
    const right = Math.min(chartArea.right, Math.max(left + 2, scales.x.getPixelForValue(options.span.end)));
    if (right <= left) return;
    ctx.save();
    ctx.globalAlpha = 0.5;
    ctx.fillStyle = options.ink.event;
    ctx.fillRect(left, chartArea.top, right - left, chartArea.height);
    ctx.restore();
  },
};

const inks = () => ({
  line: colour("accent"), band: colour("ok-soft"), edge: colour("ok"), odd: colour("bad-fill"), event: colour("bad-soft"),
  grid: colour("line"), text: colour("ink-3"),
});

export class BandChart {
  constructor(canvas, data) {
    this.data = data;
    this.chart = new globalThis.Chart(canvas, {
      type: "line",
      data: { datasets: [{}, {}, {}, {}] },
      plugins: [shade],
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true, events: [],
        span: { start: data.start, end: data.end }, ink: inks(),
        plugins: { legend: { display: false }, tooltip: { enabled: false }, filler: { propagate: false } },
        scales: {
          x: {
            type: "linear", min: data.at[0], max: data.at.at(-1), border: { display: false },
            afterBuildTicks: (axis) => { axis.ticks = timeTicks(axis.min, axis.max, 6).map((value) => ({ value })); },
            ticks: { maxRotation: 0, callback(at) { return tick(at, this.max - this.min); } },
          },
          y: { border: { display: false }, ticks: { maxTicksLimit: 6, callback: valueTick } },
        },
      },
    });
  }

  show(code) {
    const { at, is_anomaly: odd, channels } = this.data;
    const { values, low = [], high = [] } = channels.find((one) => one.code === code);
    const points = (column) => at.map((x, i) => ({ x, y: column[i] ?? NaN }));
    const ink = inks();
    const plain = { order: 2, pointRadius: 0, borderWidth: 1, spanGaps: true, borderColor: ink.edge, borderDash: [2, 3] };
    this.chart.data.datasets = [
      { ...plain, data: points(low), fill: false },
      { ...plain, data: points(high), fill: "-1", backgroundColor: ink.band },
      { order: 1, data: points(values), borderColor: ink.line, borderWidth: 1.5, pointRadius: 0, fill: false },
      {
        order: 0, data: points(values).filter((_, i) => odd[i]), showLine: false, pointStyle: "triangle", pointRadius: 4,
        backgroundColor: ink.odd, borderWidth: 0, fill: false,
      },
    ];
    const { options } = this.chart;
    options.ink = ink;
    for (const axis of [options.scales.x, options.scales.y]) {
      axis.grid = { color: ink.grid, drawTicks: false };
      axis.ticks.color = ink.text;
    }
    this.chart.update("none");
  }
}
