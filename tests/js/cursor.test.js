import assert from "node:assert/strict";
import test from "node:test";

import { isForList, kept, stepped } from "../../static/js/lib/cursor.js";

test("the mark begins at the first row and stays at the ends", () => {
  assert.equal(stepped([5, 6, 7], null, 1), 5);
  assert.equal(stepped([5, 6, 7], 5, 1), 6);
  assert.equal(stepped([5, 6, 7], 7, 1), 7);
  assert.equal(stepped([5, 6, 7], 5, -1), 5);
  assert.equal(stepped([], 5, 1), null);
});

test("when its row goes, the mark stands on what took its place", () => {
  assert.equal(kept([5, 6, 7], [5, 7], 6), 7);
  assert.equal(kept([5, 6, 7], [5, 6], 7), 6);
  assert.equal(kept([5], [], 5), null);
  assert.equal(kept([5, 6], [6, 5], 5), 5);
});

test("a key in a field or with a modifier is not for the list", () => {
  const on = (found, more = {}) => isForList({ target: { closest: () => found }, ...more });

  assert.equal(on(null), true);
  assert.equal(on({}), false);
  assert.equal(on(null, { ctrlKey: true }), false);
});
