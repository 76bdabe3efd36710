import assert from "node:assert/strict";
import { test } from "node:test";
import { after, placeOf, tell } from "../../static/js/lib/tour.js";

const ASKED = { mote: "7", starts_at: "2026-03-02T12:00:03Z", ends_at: "2026-03-02T12:02:03Z" };
const SEEN = { ...ASKED, alert: { id: 4, words: "hot" }, seen_at: Date.parse("2026-03-02T12:00:08Z") };

test("while nothing is told yet there is nothing to press", () => {
  assert.equal(tell({ ...ASKED, step: "wait" }).next, undefined);
  assert.match(tell({ ...SEEN, step: "wait" }).words, /“hot”, 5 s after it began/);
});

test("each step leads to the next, and the last one out", () => {
  assert.deepEqual(["wait", "evidence", "done"].map(after), ["alert", "cause", null]);
  assert.equal(placeOf("acknowledge"), "5 of 6");
});

test("what others or SIEIS have done meanwhile is told as it is", () => {
  const step = "acknowledge";
  assert.equal(tell({ ...SEEN, step }).next, undefined);
  assert.match(tell({ ...SEEN, step }, { status: "resolved" }).title, /over by itself/);
  assert.match(tell({ ...SEEN, step }, { status: "in_progress" }).title, /Somebody has it/);
});

test("at the end it says whether the sensor is as it was", () => {
  const [before, later] = ["12:01:00", "12:05:00"].map((at) => ({ now: Date.parse(`2026-03-02T${at}Z`) }));
  assert.match(tell({ ...SEEN, step: "done" }, before).words, /will be as it was/);
  assert.match(tell({ ...SEEN, step: "done" }, later).words, /is as it was/);
});
