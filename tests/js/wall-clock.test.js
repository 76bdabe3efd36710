import assert from "node:assert/strict";
import test from "node:test";

import { wallInstant, wallTick, wallTicks } from "../../static/js/lib/wall-clock.js";

const NOON = Date.UTC(2026, 2, 2, 12);
const HOUR = 3_600_000;

test("an instant is told as the site's clock showed it, wherever the reader is", () => {
  assert.equal(wallInstant(NOON), "2 Mar 2026 12:00");
});

test("ticks are round and no more than asked for", () => {
  const ticks = wallTicks(NOON + 1, NOON + 24 * HOUR, 8);
  assert.deepEqual(ticks.map((at) => new Date(at).getUTCHours()), [15, 18, 21, 0, 3, 6, 9, 12]);
  assert.ok(wallTicks(NOON, NOON + 365 * 24 * HOUR, 8).length <= 8);
});

test("a tick says the hour of a day, the day of a month, the month of years", () => {
  assert.equal(wallTick(NOON, 24 * HOUR), "12:00");
  assert.equal(wallTick(Date.UTC(2026, 2, 2), 24 * HOUR), "2 Mar");
  assert.equal(wallTick(NOON, 7 * 24 * HOUR), "2 Mar 12:00");
  assert.equal(wallTick(NOON, 900 * 24 * HOUR), "Mar 2026");
});
