import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { byScore, health } from "../../static/js/lib/machine-health.js";

const told = JSON.parse(readFileSync(new URL("./machine-health.json", import.meta.url)));

for (const { story, stage, lost, ...reading } of told.cases) {
  test(`as the server counts: ${story}`, () => {
    const found = health(told.channels, reading, told.names);

    assert.equal(found.stage, stage);
    assert.deepEqual(Object.fromEntries(found.parts.map((part) => [part.code, Math.round(part.lost * 1e6) / 1e6])), lost);
    const sum = Object.values(lost).reduce((total, one) => total + one, 0);
    if (stage === null) assert.equal(found.score, null);
    else assert.ok(Math.abs(found.score - (100 - sum)) < 1e-9);
  });
}

test("why a channel takes points names the border that it crossed", () => {
  const { parts } = health(told.channels, { values: { vibration: 2, pressure: 22.5 }, score: null }, told.names);

  assert.deepEqual(parts.slice(1, 4).map(({ why }) => why), [
    "above 1.5 mm/s, where degrading begins",
    "below 30 PSI, where failing begins",
    "no model judged it",
  ]);
});

test("who needs somebody first stands first, who says nothing last", () => {
  const machines = [{ key: "m10", score: 97 }, { key: "m3", score: null }, { key: "m2", score: 97 }, { key: "m1", score: 12 }];

  assert.deepEqual(byScore(machines).map(({ key }) => key), ["m1", "m2", "m10", "m3"]);
});
