/** Points of a chart: in order, trimmed to a window, thinned to what the eye can see, with gaps kept as gaps. Pure. */

/** Adds a point in order of time; a second one of the same instant is ignored. Says whether anything changed. */
export function insert(points, point) {
  let i = points.length;
  while (i > 0 && points[i - 1].x > point.x) i -= 1;
  if (i > 0 && points[i - 1].x === point.x) return false;
  points.splice(i, 0, point);
  return true;
}

/** Drops what is older than the window, in place. */
export function trim(points, since) {
  let n = 0;
  while (n < points.length && points[n].x < since) n += 1;
  if (n) points.splice(0, n);
}

const PACE_OF = 7; // steps
const LEAST_GAP_MS = 3000;

/**
 * The points with an empty one wherever nothing was heard for three times as long as the mote's pace just before,
 * for the same mote may report every 30 s today and every second tomorrow; after `silentMs` in any case.
 */
export function withGaps(points, silentMs = Infinity) {
  const out = points.slice(0, 1);
  const steps = [];
  for (let i = 1; i < points.length; i += 1) {
    const step = points[i].x - points[i - 1].x;
    const isSlow = step > LEAST_GAP_MS && steps.length > 0 && step > 3 * median(steps);
    if (isSlow || step > silentMs) out.push({ x: points[i - 1].x + 1, y: NaN });
    steps.push(step);
    if (steps.length > PACE_OF) steps.shift();
    out.push(points[i]);
  }
  return out;
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

/** At most about `most` points: of each stretch the lowest and the highest, so that no spike is lost. */
export function thin(points, most) {
  if (points.length <= most) return points;
  const size = Math.ceil((points.length / most) * 2);
  const out = [];
  for (let start = 0; start < points.length; start += size) {
    const stretch = points.slice(start, start + size);
    const gap = stretch.find((point) => !Number.isFinite(point.y));
    const known = stretch.filter((point) => Number.isFinite(point.y));
    if (!known.length) {
      out.push(gap);
      continue;
    }
    const lowest = known.reduce((a, b) => (b.y < a.y ? b : a));
    const highest = known.reduce((a, b) => (b.y > a.y ? b : a));
    const kept = lowest === highest ? [lowest] : [lowest, highest];
    if (gap) kept.push(gap);
    out.push(...kept.sort((a, b) => a.x - b.x));
  }
  return out;
}

/**
 * What is clean of a channel, for its line, and what is flagged, for hollow marks. Where something flagged lies between
 * two clean points the line goes on: it was heard, it is only not believed.
 */
export function parted(points, code) {
  const clean = [];
  const flagged = [];
  for (const { x, values, suspect } of points) {
    const y = values[code];
    if (!Number.isFinite(y)) clean.push({ x, y: NaN });
    else if (suspect?.includes(code)) flagged.push({ x, y });
    else clean.push({ x, y });
  }
  return { clean, flagged };
}

/** Marks beyond the scale are drawn at its edge; answers them, and how many these are. */
export function within(points, [low, high]) {
  let nBeyond = 0;
  const shown = points.map((point) => {
    const y = Math.min(high, Math.max(low, point.y));
    if (y !== point.y) nBeyond += 1;
    return { ...point, y };
  });
  return { shown, nBeyond };
}

/** The points at least so far apart that their marks do not cover each other. */
export function spaced(points, least) {
  const out = [];
  for (const point of points) if (!out.length || point.x - out.at(-1).x >= least) out.push(point);
  return out;
}

/** The point nearest to an instant, or null. Points are in order. */
export function nearest(points, x) {
  let low = 0;
  let high = points.length - 1;
  if (high < 0) return null;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].x < x) low = middle + 1;
    else high = middle;
  }
  const before = points[low - 1];
  return before && x - before.x < points[low].x - x ? before : points[low];
}

/** The share of a window's intervals in which a channel was heard at all; null where the window is shorter than one. */
export function coverage(points, code, { start, end, intervalMs }) {
  const n = Math.floor((end - start) / intervalMs);
  const heard = new Set();
  for (const { x, values } of points) {
    const place = Math.floor((end - x) / intervalMs);
    if (Number.isFinite(values[code]) && place >= 0 && place < n) heard.add(place);
  }
  return n < 1 ? null : heard.size / n;
}
