import assert from "node:assert/strict";
import { test } from "node:test";
import { band, condition, definition, row, scales } from "../../static/js/lib/rule.js";

test("a row of the form becomes a condition and back", () => {
  const value = { kind: "value", channel: "temperature", is: "above", than: 28, clear: 27 };
  const move = { kind: "change", channel: "temperature", is: "falls", than: 3, within_s: 600 };
  const score = { kind: "score", is: "above", than: 0.6, clear: null };

  for (const one of [value, move, score]) assert.deepEqual(condition(row(one)), one);
});

test("an empty field is no number", () => {
  assert.equal(condition({ what: "light", how: "below", than: "5", clear: "", within: "10" }).clear, null);
});

test("minutes are told as seconds", () => {
  const told = definition({ rows: [], match: "any", forMin: "5", hours: null, noData: "own", silenceMin: "1.5" });

  assert.deepEqual(told, { conditions: [], match: "any", for_s: 300, hours: null, no_data: { means: "own", after_s: 90 } });
});

test("a band is broken where hours are missing", () => {
  const hour = 3_600_000;
  const at = scales({ from: 0, to: 10 * hour, low: 0, high: 10, width: 100, height: 100 });

  assert.equal(band([[0, 1, 2], [hour, 1, 2], [9 * hour, 1, 2]], at).match(/M/g).length, 2);
  assert.ok(at.y(10) < at.y(0));
});
