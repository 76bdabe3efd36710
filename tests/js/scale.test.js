import assert from "node:assert/strict";
import { test } from "node:test";
import { calmDomain, field, ink, linePath, linear, neighbour, ramp, share } from "../../static/js/lib/scale.js";

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
  const values = field(points, { width: 100, height: 100, columns: 11, rows: 1 });
  assert.ok(Math.abs(values[5] - 15) < 0.01);
  assert.ok(values[0] < 10.1 && values[10] > 19.9);
  assert.ok(Number.isNaN(field([], { width: 10, height: 10, columns: 1, rows: 1 })[0]));
});
