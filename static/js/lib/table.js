/** Which rows of a table are shown, and in which order. Pure. */

/** Whether every word of the query occurs in the text. */
export function matches(text, query) {
  const known = text.toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => known.includes(word));
}

/** Codes as people count them: 2 before 10, then by letters. */
export const natural = new Intl.Collator("en", { numeric: true }).compare;

/**
 * Sorted by `sort` ("score", or "-score" from high to low); what has no value comes last either way,
 * and equals keep the order of their names.
 */
export function sorted(rows, sort, valueOf) {
  const isDown = sort.startsWith("-");
  const name = isDown ? sort.slice(1) : sort;
  const worth = rows.map((row) => [row, valueOf(row, name)]);
  const isNothing = (value) => value === null || value === undefined || Number.isNaN(value);
  worth.sort(([a, x], [b, y]) => {
    if (isNothing(x) || isNothing(y)) return isNothing(x) - isNothing(y) || natural(a.code, b.code);
    const order = typeof x === "string" ? natural(x, y) : x - y;
    return (isDown ? -order : order) || natural(a.code, b.code);
  });
  return worth.map(([row]) => row);
}
