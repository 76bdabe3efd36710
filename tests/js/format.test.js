import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, clock, decimalsOf, flagWords, instant, number, percent, severity, valueTick, whole } from "../../static/js/lib/format.js";

test("a number has the digits it was asked for, a real minus, and no negative nought", () => {
  assert.equal(number(21.456, 2), "21.46");
  assert.equal(number(-3.2, 1), "−3.2");
  assert.equal(number(-0.001, 2), "0.00");
});

test("what was not measured is a dash, never nought", () => {
  for (const nothing of [null, undefined, NaN, Infinity]) assert.equal(number(nothing), "–");
});

test("digits follow the sensor's resolution, two at most", () => {
  assert.deepEqual([10, 1, 0.5, 0.1, 0.01, 0.0001, 0].map(decimalsOf), [0, 0, 1, 1, 2, 2, 2]);
});

test("a share is never shown as whole while anything is missing", () => {
  assert.equal(percent(1), "100 %");
  assert.equal(percent(0.99999), "99.9 %");
  assert.equal(percent(0.5), "50.0 %");
  assert.equal(percent(0), "0 %");
  assert.equal(percent(null), "–");
});

test("an age is told in the largest unit that fits", () => {
  assert.deepEqual(
    [0, 1.4, 3, 59, 60, 3599, 3600, 86_400, NaN].map(ago),
    ["now", "now", "3 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "1 d ago", "never"],
  );
});

test("large numbers are grouped alike in tables and on axes, before the point only", () => {
  assert.equal(number(-12345.678, 3), "−12\u202f345.678");
  assert.equal(valueTick(1500, 1, [{ value: 1000 }, { value: 1500 }]), "1\u202f500");
  assert.equal(whole(2313682), "2\u202f313\u202f682");
  assert.equal(whole(999), "999");
});

test("the borders of a score's words are those of the API", () => {
  assert.deepEqual([0, 0.29, 0.3, 0.59, 0.6, 1, NaN].map(severity), ["low", "low", "medium", "medium", "high", "high", "none"]);
});

test("instants are those of the reader's place", () => {
  const at = new Date(2026, 2, 2, 9, 5, 3).getTime();
  assert.equal(clock(at), "09:05:03");
  assert.equal(clock(at, { seconds: false }), "09:05");
  assert.equal(instant(at), "2026-03-02 09:05:03");
});

test("flags are said in words, unknown ones as they are", () => {
  assert.equal(flagWords(["out_of_range", "late", "new_kind"]), "out of range, late, new_kind");
  assert.equal(flagWords(undefined), "");
});
