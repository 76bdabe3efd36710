import assert from "node:assert/strict";
import test from "node:test";

import { scaleWith, steps } from "../../static/js/lib/fan.js";

test("a forecast begins one step after the last reading", () => {
  assert.deepEqual(steps({ origin: 1000, step: 300 }, [1, 2]), [{ x: 1300, y: 1 }, { x: 1600, y: 2 }]);
});

test("a limit that is near widens the scale, one that is far does not flatten the line", () => {
  const found = scaleWith([20, 24, NaN], [{ value: 25 }, { value: 40 }], 1);

  assert.deepEqual(found.near, [{ value: 25 }]);
  assert.deepEqual([found.min, found.max], [20, 25]);
});

test("what hardly moves keeps a scale on which noise is no news", () => {
  const { min, max } = scaleWith([20, 20], [], 1);

  assert.deepEqual([min, max], [19.5, 20.5]);
});
