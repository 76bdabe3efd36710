/** What is known of each mote, kept up with what the live channel and the API say. Pure. */

export const keyOf = (reading) => `${reading.site}/${reading.mote}`;

/** The freshest reading a mote: an older one never replaces a newer one, wherever it came from. */
export function merge(motes, readings) {
  const changed = new Set();
  const unknown = new Set();
  for (const reading of readings) {
    const key = keyOf(reading);
    const mote = motes.get(key);
    if (!mote) {
      unknown.add(key);
      continue;
    }
    const at = Date.parse(reading.at);
    if (mote.at !== null && at <= mote.at) continue;
    mote.at = at;
    mote.values = reading.values;
    mote.quality = reading.quality;
    mote.flags = reading.flags;
    mote.suspect = reading.suspect ?? [];
    mote.score = reading.score;
    mote.isAnomaly = reading.is_anomaly;
    changed.add(key);
  }
  return { changed, unknown };
}

/** What of a reading may be averaged: a channel in trouble is as if it were not there. */
export function trusted({ values, suspect }) {
  if (!suspect?.length) return values;
  return Object.fromEntries(Object.entries(values).filter(([code]) => !suspect.includes(code)));
}

const ACTIVE = new Set(["open", "acknowledged", "in_progress"]);

/** The active alerts after one more was told, newest first. */
export function mergeAlert(alerts, alert) {
  const others = alerts.filter((other) => other.id !== alert.id);
  if (!ACTIVE.has(alert.status)) return others;
  return inOrder([...others, alert]);
}

const WEIGHT = { high: 3, medium: 2, low: 1 };

/** What needs a person first: not in anybody's hands, then severe, then recent. */
export function inOrder(alerts) {
  const weight = (alert) => (alert.status === "open" ? 10 : 0) + (WEIGHT[alert.severity] ?? 0);
  return [...alerts].sort(
    (a, b) => weight(b) - weight(a) || Date.parse(b.last_seen_at) - Date.parse(a.last_seen_at) || b.id - a.id,
  );
}

const SILENCE_MS = 2000;

/** How many readings came in a second, over the last ones. */
export class Rate {
  constructor(overMs = 10_000) {
    this.overMs = overMs;
    this.counts = [];
    this.since = null;
    this.last = null;
  }

  add(now, n) {
    // What came first came in no time that could be measured.
    if (this.since === null) this.since = now;
    else this.counts.push([now, n]);
    this.last = now;
  }

  /** Until the window is full it ends with the last message, so that half a beat does not look like a slower one. */
  perSecond(now) {
    if (this.since === null) return null;
    while (this.counts.length && this.counts[0][0] <= now - this.overMs) this.counts.shift();
    const end = now - this.last > SILENCE_MS ? now : this.last;
    const heard = Math.min(this.overMs, end - this.since);
    if (heard < SILENCE_MS) return null;
    return this.counts.reduce((sum, [, n]) => sum + n, 0) / (heard / 1000);
  }
}
