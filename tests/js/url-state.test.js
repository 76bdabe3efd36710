import assert from "node:assert/strict";
import { test } from "node:test";
import { format, parse } from "../../static/js/lib/url-state.js";

const DEFAULTS = { q: "", only: "", sort: "-score", mote: "", window: "15m" };

test("an address says what is shown", () => {
  assert.deepEqual(parse("?mote=main/7&sort=code&q=lab", DEFAULTS), { ...DEFAULTS, mote: "main/7", sort: "code", q: "lab" });
});

test("a value that is not allowed keeps the default", () => {
  assert.equal(parse("?window=99y", DEFAULTS, { window: ["5m", "15m"] }).window, "15m");
});

test("defaults and empty values do not lengthen the address; what others put there stays", () => {
  assert.equal(format({ ...DEFAULTS, mote: "main/7" }, DEFAULTS, "?next=1&q=old"), "?next=1&mote=main/7");
  assert.equal(format(DEFAULTS, DEFAULTS), "");
});

test("what was written is read back", () => {
  const state = { ...DEFAULTS, q: "a&b = ü", mote: "lab 2/7:x" };
  assert.deepEqual(parse(format(state, DEFAULTS), DEFAULTS), state);
});
