/** A mote's last minutes in equal steps, for its sparklines: the mean of each step, null where nothing came. Pure. */

export class Trail {
  constructor({ stepMs, n }) {
    this.stepMs = stepMs;
    this.n = n;
    this.first = null; // number of the oldest step, counted from 1970
    this.steps = new Map(); // channel -> values
    this.counts = new Map(); // channel -> readings in the newest step
  }

  /** What the server knew: one list a channel, all beginning at step `first`. */
  fill(first, channels) {
    this.first = first;
    for (const [channel, values] of Object.entries(channels)) {
      const kept = values.slice(-this.n);
      this.steps.set(channel, [...kept, ...Array(this.n - kept.length).fill(null)]);
      this.counts.set(channel, kept.at(-1) === null ? 0 : 1);
    }
  }

  /** Moves on to an instant, so that a mote that fell silent shows it. */
  advance(now) {
    const newest = Math.floor(now / this.stepMs);
    this.first ??= newest - this.n + 1;
    const by = Math.min(this.n, newest - (this.first + this.n - 1));
    if (by <= 0) return;
    this.first = newest - this.n + 1;
    for (const [channel, values] of this.steps) {
      values.splice(0, by);
      values.push(...Array(by).fill(null));
      this.counts.set(channel, 0);
    }
  }

  push(at, reading) {
    this.advance(at);
    const place = Math.floor(at / this.stepMs) - this.first;
    if (place < 0) return;
    for (const [channel, value] of Object.entries(reading)) {
      if (!Number.isFinite(value)) continue;
      if (!this.steps.has(channel)) this.steps.set(channel, Array(this.n).fill(null));
      const values = this.steps.get(channel);
      const count = place === this.n - 1 ? (this.counts.get(channel) ?? 0) : 0;
      values[place] = values[place] === null || count === 0 ? value : values[place] + (value - values[place]) / (count + 1);
      this.counts.set(channel, count + 1);
    }
  }

  /**
   * The values for a line, NaN where nothing came. Holes of up to `bridge` steps are filled straight, since a mote
   * that speaks every other step is not silent; the newest step is left out while it is empty.
   */
  line(channel, bridge = 0) {
    const values = this.steps.get(channel);
    if (!values) return [];
    const shown = (values.at(-1) === null ? values.slice(0, -1) : values).map((value) => value ?? NaN);
    let last = -1;
    for (let i = 0; i < shown.length; i += 1) {
      if (Number.isNaN(shown[i])) continue;
      const hole = i - last - 1;
      if (last >= 0 && hole <= bridge) {
        for (let k = 1; k <= hole; k += 1) shown[last + k] = shown[last] + ((shown[i] - shown[last]) * k) / (hole + 1);
      }
      last = i;
    }
    return shown;
  }
}
