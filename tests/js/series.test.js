import assert from "node:assert/strict";
import { test } from "node:test";
import { coverage, insert, nearest, parted, spaced, thin, trim, withGaps, within } from "../../static/js/lib/series.js";

const at = (...xs) => xs.map((x) => ({ x, y: x }));

test("a late point finds its place, and the same instant is taken once", () => {
  const points = at(1, 2, 4);
  assert.equal(insert(points, { x: 3, y: 9 }), true);
  assert.equal(insert(points, { x: 3, y: 8 }), false);
  assert.deepEqual(points.map((point) => point.x), [1, 2, 3, 4]);
  assert.equal(points[2].y, 9);
});

test("a window forgets what is older and nothing else", () => {
  const points = at(1, 2, 3);
  trim(points, 2);
  assert.deepEqual(points.map((point) => point.x), [2, 3]);
});

test("a silence is a gap in the line", () => {
  const line = withGaps(at(0, 1000, 2000, 60_000, 61_000));
  assert.deepEqual(line.map((point) => point.x), [0, 1000, 2000, 2001, 60_000, 61_000]);
  assert.ok(Number.isNaN(line[3].y));
});

test("what counts as a silence follows the mote's own pace", () => {
  const slow = at(0, 30_000, 60_000, 120_000, 150_000);
  const sped = at(0, 30_000, 60_000, 61_000, 62_000, 63_000, 64_000, 65_000);
  const jittery = at(0, 100, 200, 2900);
  for (const points of [slow, sped, jittery, []]) assert.deepEqual(withGaps(points), points);
});

test("thinning keeps every spike and every gap", () => {
  const points = Array.from({ length: 10_000 }, (_, x) => ({ x, y: Math.sin(x / 50) }));
  points[5000].y = 99;
  points[7000].y = NaN;
  const kept = thin(points, 500);
  assert.ok(kept.length <= 510);
  assert.ok(kept.some((point) => point.y === 99));
  assert.ok(kept.some((point) => Number.isNaN(point.y)));
  assert.deepEqual(kept, [...kept].sort((a, b) => a.x - b.x));
});

test("marks keep their distance", () => {
  assert.deepEqual(spaced(at(0, 1, 9, 10, 25), 10).map((point) => point.x), [0, 10, 25]);
});

test("few points stay as they are", () => {
  const points = at(1, 2, 3);
  assert.equal(thin(points, 500), points);
});

test("the nearest point is found from either side, and none among none", () => {
  const points = at(0, 10, 20);
  assert.deepEqual([-5, 4, 6, 14, 99].map((x) => nearest(points, x).x), [0, 0, 10, 10, 20]);
  assert.equal(nearest([], 3), null);
});

test("a silence is a gap however slow the mote's pace is", () => {
  const hourly = at(0, 3_600_000, 7_200_000);
  assert.equal(withGaps(hourly).length, 3);
  assert.equal(withGaps(hourly, 300_000).filter((point) => Number.isNaN(point.y)).length, 2);
  assert.equal(withGaps(at(0, 300_000), 300_000).length, 2);
});

test("what is flagged is no part of the line, and what was not measured breaks it", () => {
  const points = [
    { x: 0, values: { t: 20 }, suspect: [] },
    { x: 1, values: { t: 122 }, suspect: ["t"] },
    { x: 2, values: { t: null }, suspect: [] },
    { x: 3, values: { t: 21 } },
  ];
  const { clean, flagged } = parted(points, "t");
  assert.deepEqual(clean.map((point) => point.x), [0, 2, 3]);
  assert.ok(Number.isNaN(clean[1].y));
  assert.deepEqual(flagged, [{ x: 1, y: 122 }]);
});

test("marks beyond the scale stand at its edge and are counted", () => {
  const { shown, nBeyond } = within([{ x: 0, y: 122 }, { x: 1, y: 20 }, { x: 2, y: -40 }], [10, 30]);
  assert.deepEqual(shown.map((point) => point.y), [30, 20, 10]);
  assert.equal(nBeyond, 2);
});

test("coverage is the share of intervals in which the channel was heard, however often in each", () => {
  const said = (x, t) => ({ x, values: { t } });
  const points = [said(5, 1), said(6, 1), said(25, null), said(35, 2)];
  const window = { start: 0, end: 40, intervalMs: 10 };
  assert.equal(coverage(points, "t", window), 0.5);
  assert.equal(coverage([], "t", window), 0);
  assert.equal(coverage(points, "t", { start: 35, end: 40, intervalMs: 10 }), null);
});
