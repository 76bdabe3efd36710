/** Instants on a site's wall clock, told in milliseconds as if it were UTC. Pure. */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const STEPS = [60_000, 300_000, 600_000, 1_800_000, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY,
  30 * DAY, 61 * DAY, 91 * DAY, 182 * DAY, 365 * DAY];
const two = (part) => String(part).padStart(2, "0");

/** 2 Mar 2026 14:05 */
export function wallInstant(ms) {
  const at = new Date(ms);
  return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
}

/** Round times of day between two instants, `most` at most. */
export function wallTicks(low, high, most) {
  const step = STEPS.find((one) => (high - low) / one <= most) ?? STEPS.at(-1);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) ticks.push(at);
  return ticks;
}

/** A tick of an axis that is so many milliseconds long: the hour, the day, or the month. */
export function wallTick(ms, spanMs) {
  const at = new Date(ms);
  const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  const hour = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  const isMidnight = ms % DAY === 0;
  if (spanMs <= 3 * DAY) return isMidnight ? day : hour;
  if (spanMs <= 400 * DAY) return isMidnight ? day : `${day} ${hour}`;
  return `${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
}
