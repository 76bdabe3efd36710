/** The steps of the reading path between two looks at Health. Pure. */

const sum = (numbers) => numbers.reduce((total, one) => total + one, 0);

/**
 * The share of the time that each step took. Null where the consumers began anew in between; undefined while nothing
 * new was told, for a heartbeat may be as old as the look before.
 */
export function shares(before, now) {
  const passed = (now.at - before.at) / 1000;
  const steps = Object.keys(now.seconds);
  const spent = steps.map((step) => now.seconds[step] - (before.seconds[step] ?? 0));
  if (spent.some((one) => one < 0)) return null;
  if (!(passed > 0) || (steps.length && sum(spent) === 0)) return undefined;
  return Object.fromEntries(steps.map((step, i) => [step, spent[i] / passed]));
}

const places = ({ partitions }) => new Map(partitions.map((one) => [`${one.topic}/${one.partition}`, one]));

/** Messages a second that came into the stream: what the consumers passed, and what waits more than before. */
export function arriving(before, now) {
  const was = places(before);
  const more = now.partitions.map((one) => (one.lag ?? 0) - (was.get(`${one.topic}/${one.partition}`)?.lag ?? 0));
  const passed = (now.at - before.at) / 1000;
  return passed > 0 ? Math.max(0, now.readings_per_s + sum(more) / passed) : NaN;
}

/** What a step waits for, or undefined. */
export const waitsAt = (sink, stuck) => stuck.find((one) => one.sink === sink);
