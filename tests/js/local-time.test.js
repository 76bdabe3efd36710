import assert from "node:assert/strict";
import { test } from "node:test";
import { tick } from "../../static/js/lib/format.js";
import { fieldOf, instantOf } from "../../static/js/lib/local-time.js";

test("what a field shows leads back to the same second", () => {
  const at = Date.UTC(2004, 2, 5, 9, 12, 30);
  assert.match(fieldOf(at), /^2004-03-0[456]T\d\d:12:30$|^2004-03-0[456]T\d\d:\d\d:30$/);
  assert.equal(instantOf(fieldOf(at)), "2004-03-05T09:12:30Z");
});

test("an empty field says no instant", () => {
  assert.equal(instantOf(""), null);
});

test("a tick tells the day where the time of day alone would not do", () => {
  const midnight = new Date(2026, 2, 2).getTime();
  const noon = midnight + 12 * 3_600_000;
  assert.equal(tick(noon, 60_000), "12:00:00");
  assert.equal(tick(noon, 3_600_000), "12:00");
  assert.deepEqual([tick(midnight, 86_400_000), tick(noon, 86_400_000)], ["2 Mar", "12:00"]);
  assert.deepEqual([tick(midnight, 30 * 86_400_000), tick(noon, 30 * 86_400_000)], ["2 Mar", "2 Mar 12 h"]);
});
