/** Numbers, instants and words as people read them. Pure. The server's first paint says the same (ingestion/words.py). */

import { wall } from "./zone.js";

export const NOTHING = "–";

/** Digits behind the point that a sensor of this resolution deserves; more than two only make a table restless. */
export function decimalsOf(resolution) {
  if (!(resolution > 0)) return 2;
  return Math.min(2, Math.max(0, Math.ceil(-Math.log10(resolution) - 1e-9)));
}

export function number(value, decimals = 1) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  const text = value.toFixed(decimals);
  if (Number(text) === 0 && text.startsWith("-")) return text.slice(1);
  return (Math.abs(value) < 999 ? text : grouped(text)).replace("-", "−");
}

/** Digits before the point in groups of three, which a narrow space parts in every language. */
const grouped = (text) => text.replace(/\d+/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, "\u202f"));

export function whole(value) {
  if (!Number.isFinite(value)) return NOTHING;
  return grouped(Math.round(value).toString());
}

/** A share 0..1; never "100 %" while anything is missing. */
export function percent(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return NOTHING;
  const tenths = share < 1 ? Math.min(999, Math.round(share * 1000)) : 1000;
  return `${(tenths / 10).toFixed(tenths === 1000 || tenths === 0 ? 0 : 1)} %`;
}

/** How long ago, in the largest unit that fits. */
export function ago(seconds) {
  if (!Number.isFinite(seconds)) return "never";
  if (seconds < 1.5) return "now";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

const two = (part) => String(part).padStart(2, "0");

/** The time of day on the page's wall clock: 09:05:03, or 09:05 without seconds. */
export function clock(ms, { seconds = true } = {}) {
  const at = wall(ms);
  const minutes = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return seconds ? `${minutes}:${two(at.getUTCSeconds())}` : minutes;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A tick of an axis that is so many milliseconds long: with the day where one alone would not do. */
export function tick(ms, spanMs) {
  const at = wall(ms);
  const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  if (spanMs < 180_000) return clock(ms);
  if (spanMs <= 43_200_000) return clock(ms, { seconds: false });
  const isMidnight = at.getUTCHours() === 0 && at.getUTCMinutes() === 0;
  if (spanMs <= 259_200_000) return isMidnight ? day : clock(ms, { seconds: false });
  return isMidnight ? day : `${day} ${two(at.getUTCHours())} h`;
}

/** A tick of an axis of values, with the digits that tell it from the next; Chart.js hands in all of them. */
export function valueTick(value, i, ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1].value - ticks[0].value) : 1;
  return number(value, Math.min(3, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))));
}

/** Day and time: 2026-03-02 09:05:03. */
export function instant(ms, { seconds = true } = {}) {
  const at = wall(ms);
  return `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())} ${clock(ms, { seconds })}`;
}

/** The word for a score; the borders are those of sensors/readings.py. */
export function severity(score) {
  if (!Number.isFinite(score)) return "none";
  if (score >= 0.6) return "high";
  return score >= 0.3 ? "medium" : "low";
}

const FLAGS = {
  out_of_range: "out of range",
  unreadable: "unreadable",
  missing: "missing",
  late: "late",
  stuck: "stuck",
  jump: "jump",
  low_battery: "low battery",
  gap: "after a gap",
  excluded: "left out by a person",
  corrected: "recalibrated",
  imputed: "imputed",
};

export function flagWords(flags) {
  return (flags ?? []).map((flag) => FLAGS[flag] ?? flag).join(", ");
}
