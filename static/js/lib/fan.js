/** A forecast as points of a chart. Pure. */

/** A column of a forecast: the first point lies one step after the last reading. */
export function steps({ origin, step }, column) {
  return column.map((y, i) => ({ x: origin + (i + 1) * step, y: y ?? NaN }));
}

/** The scale that holds what is drawn, and the limits that are near enough to matter: within half of its span. */
export function scaleWith(drawn, limits, least) {
  const known = drawn.filter(Number.isFinite);
  if (!known.length) return { min: undefined, max: undefined, near: limits };
  let [min, max] = [Math.min(...known), Math.max(...known)];
  const missing = Math.max(0, least - (max - min)) / 2;
  [min, max] = [min - missing, max + missing];
  const reach = (max - min) / 2;
  const near = limits.filter(({ value }) => value >= min - reach && value <= max + reach);
  const all = near.map(({ value }) => value);
  return { min: Math.min(min, ...all), max: Math.max(max, ...all), near };
}
