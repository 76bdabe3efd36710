/**
 * A machine's health: 100 points less what its stage, its channels, its model and its data take. Pure.
 * As ingestion/machine_health.py counts; tests/js/machine-health.json holds both to the same answers.
 */

const STAGE_LOST = [0, 10, 50];
const CHANNELS_WORTH = 40;
const SURPRISE_WORTH = 5;
const DATA_WORTH = 5;

/** 0 healthy, up to 1 degrading, up to 2 failing; NaN where nothing is known. */
export function worn({ high, low }, value) {
  if (!Number.isFinite(value)) return NaN;
  const beyond = (levels, at) => {
    const [first, second, worst] = levels;
    if (at <= first) return 0;
    if (at <= second) return (at - first) / (second - first);
    return Math.min(2, 1 + (at - second) / (worst - second));
  };
  return Math.max(high ? beyond(high, value) : 0, low ? beyond(low.map((level) => -level), -value) : 0);
}

/** `channels` have a code and limits; `values` by code; `suspect` codes are as if nobody had measured them. */
export function health(channels, { values, suspect = [], score = null }, names) {
  const trusted = channels.map(({ code }) => (suspect?.includes(code) ? NaN : (values?.[code] ?? NaN)));
  const each = channels.map((channel, i) => worn(channel, trusted[i]));
  const stages = each.map((one) => (Number.isNaN(one) ? null : Math.ceil(one)));
  const known = stages.filter((one) => one !== null);
  if (!known.length) return { stage: null, score: null, parts: [], stages };
  const stage = Math.max(...known);
  const worth = CHANNELS_WORTH / channels.length;
  const unknown = channels.filter((_, i) => stages[i] === null).map(({ label }) => label);
  const parts = [
    { code: "stage", label: "Stage", lost: STAGE_LOST[stage], most: STAGE_LOST[2], why: names[stage] },
    ...channels.map((channel, i) => ({
      code: channel.code,
      label: channel.label,
      lost: (worth * (each[i] || 0)) / 2,
      most: worth,
      why: why(channel, trusted[i], names),
    })),
    {
      code: "surprise",
      label: "Model",
      lost: SURPRISE_WORTH * (score ?? 0),
      most: SURPRISE_WORTH,
      why: score === null ? "no model judged it" : `score ${score.toFixed(2)}`,
    },
    {
      code: "data",
      label: "Data",
      lost: (DATA_WORTH * unknown.length) / channels.length,
      most: DATA_WORTH,
      why: unknown.length ? `not to be trusted: ${unknown.join(", ")}` : "all channels can be trusted",
    },
  ];
  return { stage, score: 100 - parts.reduce((sum, { lost }) => sum + lost, 0), parts, stages };
}

function why({ high, low, unit }, value, names) {
  if (Number.isNaN(value)) return "not to be trusted";
  const words = (side, level, stage) => `${side} ${level}${unit ? ` ${unit}` : ""}, where ${names[stage]} begins`;
  for (const stage of [2, 1]) {
    if (high && value > high[stage - 1]) return words("above", high[stage - 1], stage);
    if (low && value < low[stage - 1]) return words("below", low[stage - 1], stage);
  }
  return "where a healthy machine's is";
}

/** Machines in the order of who needs somebody first: by score, those of which nothing is known at the end. */
export function byScore(machines) {
  const weight = ({ score }) => score ?? Infinity;
  return [...machines].sort((a, b) => weight(a) - weight(b) || a.key.localeCompare(b.key, "en", { numeric: true }));
}
