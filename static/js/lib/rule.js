/** A rule between its form and its definition. Pure. */

const MOVES = ["rises", "falls", "changes"];
const MIN_S = 60;
const number = (text) => (text === "" || text === null ? null : Number(text));

/** The condition that a row of the form says; `what` is a channel, or "score:" for the model's. */
export function condition({ what, how, than, clear, within }) {
  const isScore = what === "score:";
  if (MOVES.includes(how)) return { kind: "change", channel: what, is: how, than: number(than), within_s: number(within) * MIN_S };
  return { kind: isScore ? "score" : "value", ...(!isScore && { channel: what }), is: how, than: number(than), clear: number(clear) };
}

/** What a row of the form shows of a condition. */
export function row(one) {
  const within = one.within_s ? String(one.within_s / MIN_S) : "10";
  const text = (value) => (value === null || value === undefined ? "" : String(value));
  return { what: one.kind === "score" ? "score:" : (one.channel ?? ""), how: one.is, than: text(one.than), clear: text(one.clear), within };
}

export const movesAway = (how) => MOVES.includes(how);

/** The whole definition, minutes told as seconds. */
export function definition({ rows, match, forMin, hours, noData, silenceMin }) {
  return {
    conditions: rows.map(condition),
    match,
    for_s: number(forMin) * MIN_S,
    hours,
    no_data: { means: noData, after_s: number(silenceMin) * MIN_S },
  };
}

/** Where a span and a value lie in a drawing of that size: x by time, y by value, the top is the most. */
export function scales({ from, to, low, high, width, height }) {
  const pad = (high - low || 1) * 0.08;
  const [least, most] = [low - pad, high + pad];
  return {
    x: (ms) => Math.round(((ms - from) / (to - from || 1)) * width * 10) / 10,
    y: (value) => Math.round((1 - (value - least) / (most - least)) * height * 10) / 10,
  };
}

/** The band between least and most as a path, broken where more than three hours are missing. */
export function band(points, { x, y }) {
  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    if (run && point[0] - run.at(-1)[0] <= 3 * 3_600_000) run.push(point);
    else runs.push([point]);
  }
  const line = (run, place) => run.map((point) => `${x(point[0])} ${y(point[place])}`);
  return runs.map((run) => `M${[...line(run, 2), ...line(run, 1).reverse()].join("L")}Z`).join("");
}
