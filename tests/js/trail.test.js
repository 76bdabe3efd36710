import assert from "node:assert/strict";
import { test } from "node:test";
import { Trail } from "../../static/js/lib/trail.js";

const trail = () => new Trail({ stepMs: 1000, n: 4 });

test("readings of one step are shown as their mean", () => {
  const kept = trail();
  for (const value of [10, 20, 30]) kept.push(5100, { temperature: value });
  assert.deepEqual(kept.line("temperature"), [NaN, NaN, NaN, 20]);
});

test("time moves the line on, and a silence stays a gap", () => {
  const kept = trail();
  kept.push(5000, { temperature: 10 });
  kept.push(7000, { temperature: 12 });
  assert.deepEqual(kept.line("temperature"), [NaN, 10, NaN, 12]);
  kept.advance(20_000);
  assert.deepEqual(kept.line("temperature"), [NaN, NaN, NaN]);
});

test("what the server knew is carried on", () => {
  const kept = trail();
  kept.fill(2, { temperature: [1, 2, null, 4] });
  kept.push(6000, { temperature: 5 });
  assert.deepEqual(kept.line("temperature"), [2, NaN, 4, 5]);
});

test("a step that has only begun does not look like a gap", () => {
  const kept = trail();
  kept.push(5000, { temperature: 10 });
  kept.advance(6000);
  assert.deepEqual(kept.line("temperature"), [NaN, NaN, 10]);
});

test("a late reading finds its step, one that is too old is left out, null is no value", () => {
  const kept = trail();
  kept.push(9000, { temperature: 9, light: null });
  kept.push(7000, { temperature: 7 });
  kept.push(1000, { temperature: 1 });
  assert.deepEqual(kept.line("temperature"), [NaN, 7, NaN, 9]);
  assert.deepEqual(kept.line("light"), []);
});

test("a mote that speaks every other step has a line, not dots", () => {
  const kept = trail();
  kept.push(5000, { temperature: 10 });
  kept.push(7000, { temperature: 12 });
  assert.deepEqual(kept.line("temperature", 1), [NaN, 10, 11, 12]);
});
