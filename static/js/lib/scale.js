/** From values to pixels and colours. Pure. */
import { offsetMs } from "./zone.js";

export function linear([low, high], [start, end]) {
  const span = high - low || 1;
  return (value) => start + ((value - low) / span) * (end - start);
}

/** A place on a scale, kept within 0..1. */
export function share(value, [low, high]) {
  return Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
}

/** The SVG path of a line through values that are evenly apart; null and NaN are gaps, a lone value is a dot. */
export function linePath(values, width, height, domain) {
  const known = values.filter(Number.isFinite);
  if (!known.length || values.length < 2) return "";
  const [low, high] = domain ?? [Math.min(...known), Math.max(...known)];
  const x = linear([0, values.length - 1], [1, width - 1]);
  const y = high > low ? linear([low, high], [height - 1.5, 1.5]) : () => height / 2;
  let path = "";
  for (let i = 0; i < values.length; i += 1) {
    if (!Number.isFinite(values[i])) continue;
    const isDrawn = i > 0 && Number.isFinite(values[i - 1]);
    const isLone = !isDrawn && !Number.isFinite(values[i + 1]);
    path += `${isDrawn ? "L" : "M"}${x(i).toFixed(1)} ${y(values[i]).toFixed(1)}${isLone ? "h.1" : ""}`;
  }
  return path;
}

/**
 * The domain of a line: what was seen, but never so narrow that noise looks like news, and not stretched beyond
 * what can be measured.
 */
export function calmDomain(values, least, [floor, ceiling] = [-Infinity, Infinity]) {
  const known = values.filter(Number.isFinite);
  if (!known.length) return [0, 1];
  const low = Math.min(...known);
  const high = Math.max(...known);
  const missing = Math.max(0, least - (high - low)) / 2;
  return [Math.min(low, Math.max(floor, low - missing)), Math.max(high, Math.min(ceiling, high + missing))];
}

function channels(hex) {
  return [1, 3, 5].map((place) => Number.parseInt(hex.slice(place, place + 2), 16));
}

/** A colour map through hex stops: 0..1 to [r, g, b]. */
export function ramp(stops) {
  const colours = stops.map(channels);
  return (place) => {
    const at = Math.min(1, Math.max(0, place)) * (colours.length - 1);
    const i = Math.min(colours.length - 2, Math.floor(at));
    return colours[i].map((part, k) => Math.round(part + (colours[i + 1][k] - part) * (at - i)));
  };
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** Black or white, whichever can be read on the colour (WCAG's relative luminance). */
export function ink(rgb) {
  const [r, g, b] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#0b0f14" : "#ffffff";
}

const DIRECTIONS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

/** The place that an arrow key leads to: near, and rather straight ahead than aside. */
export function neighbour(places, from, key) {
  const [dx, dy] = DIRECTIONS[key];
  let best = null;
  let least = Infinity;
  for (const place of places) {
    const ahead = (place.x - from.x) * dx + (place.y - from.y) * dy;
    const aside = Math.abs((place.x - from.x) * dy) + Math.abs((place.y - from.y) * dx);
    if (ahead <= 0 || aside > ahead * 2) continue;
    const cost = ahead + 2 * aside;
    if (cost < least) [best, least] = [place, cost];
  }
  return best;
}

/**
 * What lies between the motes: a mean weighted by nearness, NaN where nothing was measured. `reach` is the distance
 * at which a mote's word has lost most of its weight.
 */
export function field(points, { width, height, columns, rows, reach }) {
  const out = new Float64Array(columns * rows).fill(NaN);
  const known = points.filter((point) => Number.isFinite(point.value));
  if (!known.length) return out;
  for (let row = 0; row < rows; row += 1) {
    const y = ((row + 0.5) / rows) * height;
    for (let column = 0; column < columns; column += 1) {
      const x = ((column + 0.5) / columns) * width;
      let sum = 0;
      let weights = 0;
      for (const point of known) {
        const far = ((point.x - x) ** 2 + (point.y - y) ** 2) / (reach * reach);
        const weight = 1 / (far * far + 0.02);
        sum += weight * point.value;
        weights += weight;
      }
      out[row * columns + column] = sum / weights;
    }
  }
  return out;
}

const STEPS_S = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 432_000,
  864_000, 2_592_000];

/** Round times of the page's day between two instants, `most` at most. */
export function timeTicks(low, high, most, ahead = offsetMs(low)) {
  const stepMs = 1000 * (STEPS_S.find((step) => (high - low) / 1000 / step <= most) ?? STEPS_S.at(-1));
  const ticks = [];
  for (let at = Math.ceil((low + ahead) / stepMs) * stepMs - ahead; at <= high; at += stepMs) ticks.push(at);
  return ticks;
}
