/** The fleet as it stood at a step of the last hours. Pure. */
import { severity } from "./format.js";

/** The step in which an instant lies; null for one that is after the last, which is now, or no instant. */
export function stepOf(past, ms) {
  const first = Date.parse(past.at[0]);
  const step = Math.floor((ms - first) / (past.stepS * 1000));
  if (!(step < past.at.length)) return null;
  return Math.max(0, step);
}

/** Each known mote as it was then; one that was not heard is silent. */
export function standing(past, step, motes) {
  const then = new Map();
  for (const [key, mote] of motes) {
    const told = past.motes[key];
    const values = Object.fromEntries(Object.entries(told?.values ?? {}).map(([code, steps]) => [code, steps[step]]));
    const score = told?.score[step] ?? null;
    const isAnomaly = Boolean(told?.anomalous[step]);
    const isSilent = !isAnomaly && !Object.values(values).some(Number.isFinite) && score === null;
    then.set(key, {
      ...mote, values, score, isAnomaly, isSilent, isPast: true, at: Date.parse(past.at[step]), severity: severity(score ?? NaN),
    });
  }
  return then;
}

export const nAnomalous = (then) => [...then.values()].filter(({ isAnomaly }) => isAnomaly).length;
