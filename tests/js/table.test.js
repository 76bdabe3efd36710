import assert from "node:assert/strict";
import { test } from "node:test";
import { matches, sorted } from "../../static/js/lib/table.js";

const rows = [
  { code: "10", score: 0.2 },
  { code: "2", score: 0.9 },
  { code: "1", score: null },
  { code: "3", score: 0.2 },
];
const codes = (sort) => sorted(rows, sort, (row, name) => row[name]).map((row) => row.code);

test("high scores come first when asked, and equals in the order of their names", () => {
  assert.deepEqual(codes("-score"), ["2", "3", "10", "1"]);
});

test("what has no value comes last in either direction", () => {
  assert.equal(codes("score").at(-1), "1");
  assert.equal(codes("-score").at(-1), "1");
});

test("codes are ordered as people count", () => {
  assert.deepEqual(codes("code"), ["1", "2", "3", "10"]);
});

test("a query finds rows that hold all its words", () => {
  assert.ok(matches("7 Kitchen indoor", "kit 7"));
  assert.ok(matches("7 Kitchen", ""));
  assert.ok(!matches("7 Kitchen", "kit 8"));
});
