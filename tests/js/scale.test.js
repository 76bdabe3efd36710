import assert from "node:assert/strict";
import { test } from "node:test";
import { calmDomain, field, ink, linePath, linear, neighbour, ramp, share, timeTicks } from "../../static/js/lib/scale.js";

test("a linear scale maps its ends to its ends, and an empty domain to its start", () => {
  const y = linear([18, 28], [100, 0]);
  assert.deepEqual([18, 23, 28].map(y), [100, 50, 0]);
  assert.equal(linear([5, 5], [0, 10])(5), 0);
});

test("a share stays within the scale", () => {
  assert.deepEqual([-5, 0, 5, 10, 99].map((value) => share(value, [0, 10])), [0, 0, 0.5, 1, 1]);
});

test("a line breaks at a gap and keeps a lone value as a dot", () => {
  assert.equal(linePath([0, 10, NaN, 0, NaN, 10], 52, 23), "M1.0 21.5L11.0 1.5M31.0 21.5h.1M51.0 1.5h.1");
});

test("a line of nothing is nothing, a flat one lies in the middle", () => {
  assert.equal(linePath([NaN, NaN], 50, 20), "");
  assert.equal(linePath([4, 4], 50, 20), "M1.0 10.0L49.0 10.0");
});

test("a sparkline's domain does not make noise look like news", () => {
  assert.deepEqual(calmDomain([20, 20.1], 1), [19.55, 20.55]);
  assert.deepEqual(calmDomain([10, 30], 1), [10, 30]);
  assert.deepEqual(calmDomain([NaN], 1), [0, 1]);
  assert.deepEqual(calmDomain([1, 2], 10, [0, 50]), [0, 6.5]);
  assert.deepEqual(calmDomain([-3, 2], 1, [0, 50]), [-3, 2]);
});

test("a ramp goes through its stops and no further", () => {
  const colour = ramp(["#000000", "#ffffff", "#ff0000"]);
  assert.deepEqual(colour(0), [0, 0, 0]);
  assert.deepEqual(colour(0.25), [128, 128, 128]);
  assert.deepEqual(colour(2), [255, 0, 0]);
});

test("text on a colour is dark on light and light on dark", () => {
  assert.equal(ink([255, 240, 120]), "#0b0f14");
  assert.equal(ink([20, 30, 90]), "#ffffff");
});

test("an arrow key leads to the near mote ahead, not to a far one and not behind", () => {
  const here = { x: 0, y: 0 };
  const right = { x: 10, y: 2 };
  const far = { x: 30, y: 0 };
  const below = { x: 1, y: 12 };
  assert.equal(neighbour([right, far, below], here, "ArrowRight"), right);
  assert.equal(neighbour([right, far, below], here, "ArrowDown"), below);
  assert.equal(neighbour([right, far, below], here, "ArrowLeft"), null);
});

test("between the motes the field lies between their values, and near one it is that one's", () => {
  const points = [{ x: 0, y: 50, value: 10 }, { x: 100, y: 50, value: 20 }, { x: 50, y: 50, value: NaN }];
  const values = field(points, { width: 100, height: 100, columns: 11, rows: 1, reach: 20 });
  assert.ok(Math.abs(values[5] - 15) < 0.01);
  assert.ok(values[0] < 10.2 && values[10] > 19.8);
  assert.ok(Number.isNaN(field([], { width: 10, height: 10, columns: 1, rows: 1, reach: 5 })[0]));
});

test("ticks stand at round times of the reader's day", () => {
  const noon = Date.UTC(2026, 2, 2, 12, 0, 7);
  const minutes = (ticks) => ticks.map((at) => new Date(at).toISOString().slice(11, 16));
  assert.deepEqual(minutes(timeTicks(noon, noon + 900_000, 4, 0)), ["12:05", "12:10", "12:15"]);
  assert.deepEqual(minutes(timeTicks(noon, noon + 6 * 3_600_000, 4, 1_800_000)), ["13:30", "15:30", "17:30"]);
});

test("a month has days for ticks, not hours", () => {
  const start = Date.UTC(2004, 2, 1);
  const ticks = timeTicks(start, start + 30 * 86_400_000, 5, 0);
  assert.ok(ticks.length >= 3 && ticks.length <= 5);
  assert.ok(ticks.every((at) => at % 86_400_000 === 0));
});
