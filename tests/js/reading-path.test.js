import assert from "node:assert/strict";
import { test } from "node:test";
import { arriving, shares, waitsAt } from "../../static/js/lib/reading-path.js";

const look = (at, seconds, lag = 0) => ({
  at, seconds, readings_per_s: 42, stuck: [], partitions: [{ topic: "sensor-readings", partition: 0, lag }],
});

test("a step's share is what it spent of the time between two looks", () => {
  assert.deepEqual(shares(look(0, { decode: 1, store: 4 }), look(10_000, { decode: 2, store: 9 })), { decode: 0.1, store: 0.5 });
});

test("after a consumer began anew nothing is said, nor while it has told nothing new", () => {
  assert.equal(shares(look(0, { decode: 5 }), look(10_000, { decode: 1 })), null);
  assert.equal(shares(look(0, { decode: 5 }), look(10_000, { decode: 5 })), undefined);
});

test("what arrives is what passed and what waits more than before", () => {
  assert.equal(arriving(look(0, {}, 100), look(10_000, {}, 180)), 50);
  assert.equal(arriving(look(0, {}, 1000), look(1000, {}, 0)), 0);
});

test("the step at which the path is stuck is the one whose sink is away", () => {
  const stuck = [{ sink: "hot_store", since: "2026-03-02T12:00:00Z" }];

  assert.equal(waitsAt("hot_store", stuck), stuck[0]);
  assert.equal(waitsAt("lake", stuck), undefined);
});
