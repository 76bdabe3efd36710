import assert from "node:assert/strict";
import { test } from "node:test";
import { chosen } from "../../static/js/lib/budget.js";

const spots = [[3, 40], [4, 12], [5, 13], [6, 5], [7, 5]].map(([onset, busiest]) => ({ onset, busiest }));

test("the lowest onset that keeps the budget is chosen", () => {
  assert.equal(chosen(spots, 5).onset, 6);
  assert.equal(chosen(spots, 40).onset, 3);
});

test("an onset is not chosen if a higher one tells more", () => {
  assert.equal(chosen(spots, 12).onset, 6);
});

test("what no onset keeps has none", () => {
  assert.equal(chosen(spots, 4), null);
});
