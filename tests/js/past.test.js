import assert from "node:assert/strict";
import { test } from "node:test";
import { nAnomalous, standing, stepOf } from "../../static/js/lib/past.js";

const NOON = Date.parse("2026-03-02T12:00:00Z");
const past = {
  at: ["2026-03-02T12:00:00Z", "2026-03-02T12:05:00Z", "2026-03-02T12:10:00Z"],
  stepS: 300,
  motes: {
    "main/7": { score: [0.1, 0.7, null], anomalous: [0, 1, 0], values: { temperature: [21, 45, null] } },
    "main/8": { score: [null, null, 0.2], anomalous: [0, 1, 0], values: { temperature: [null, null, 20] } },
  },
};
const motes = new Map([
  ["main/7", { key: "main/7", x: 1, score: 0.9, isAnomaly: true }],
  ["main/8", { key: "main/8", x: 2, score: 0.1, isAnomaly: false }],
  ["main/9", { key: "main/9", x: 3, score: 0.1, isAnomaly: false }],
]);

test("an instant lies in its step; before the first it is the first, after the last it is now", () => {
  assert.equal(stepOf(past, NOON + 299_000), 0);
  assert.equal(stepOf(past, NOON + 300_000), 1);
  assert.equal(stepOf(past, NOON - 1), 0);
  assert.equal(stepOf(past, NOON + 900_000), null);
  assert.equal(stepOf(past, NaN), null);
});

test("each mote is as it was then, not as it is now", () => {
  const then = standing(past, 1, motes);

  assert.deepEqual([then.get("main/7").values.temperature, then.get("main/7").severity], [45, "high"]);
  assert.equal(then.get("main/7").x, 1);
  assert.equal(standing(past, 0, motes).get("main/7").isAnomaly, false);
  assert.equal(nAnomalous(then), 2);
});

test("who was not heard is silent, unless an anomaly of it ran", () => {
  const silent = (step) => [...standing(past, step, motes).values()].filter((one) => one.isSilent).map(({ key }) => key);

  assert.deepEqual(silent(0), ["main/8", "main/9"]);
  assert.deepEqual(silent(1), ["main/9"]);
  assert.deepEqual(silent(2), ["main/7", "main/9"]);
});
