/** The wall clock by which a page tells times: that of a zone, else the reader's own. Pure but for the zone, set once. */

const MINUTE = 60_000;
const STEP = 15 * MINUTE; // no zone changes its offset within a quarter of an hour
const MOST = 20_000;
const known = new Map();
let parts = null;

/** From now on; an unknown or empty name is the reader's own clock. */
export function useZone(name) {
  known.clear();
  parts = null;
  if (!name) return;
  const fields = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" };
  try {
    parts = new Intl.DateTimeFormat("en-US", { ...fields, hourCycle: "h23", timeZone: name });
  } catch {
    // A browser older than the zone.
  }
}

/** How far local time is ahead of UTC at an instant, in milliseconds. */
export function offsetMs(ms) {
  const at = Math.floor(ms / STEP) * STEP;
  if (!Number.isFinite(at)) return 0;
  if (!parts) return -MINUTE * new Date(ms).getTimezoneOffset();
  if (!known.has(at)) {
    if (known.size > MOST) known.clear();
    const of = Object.fromEntries(parts.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    known.set(at, Date.UTC(of.year, of.month - 1, of.day, of.hour, of.minute, of.second) - at);
  }
  return known.get(at);
}

/** A Date whose UTC parts are those that the wall clock shows. */
export const wall = (ms) => new Date(ms + offsetMs(ms));

/** The instant at which the wall clock shows what `Date.UTC` of its parts is; of an hour that comes twice the first. */
export function fromWall(wallMs) {
  const candidates = [wallMs - offsetMs(wallMs - 86_400_000), wallMs - offsetMs(wallMs + 86_400_000)];
  const right = candidates.filter((ms) => ms + offsetMs(ms) === wallMs);
  return right.length ? Math.min(...right) : Math.max(...candidates);
}
