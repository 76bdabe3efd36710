import assert from "node:assert/strict";
import { test } from "node:test";
import { aPieceAFrame, onceAFrame } from "../../static/js/lib/frame.js";

/** A browser whose frames and timers wait in lists until the test runs them. */
function fakeWorld() {
  const world = { hidden: false, frames: [], timers: [], changes: [] };
  const queue = (list) => (deed) => {
    list.push(deed);
    return () => list.splice(list.indexOf(deed), 1);
  };
  return Object.assign(world, {
    isHidden: () => world.hidden,
    onVisibility: (deed) => world.changes.push(deed),
    frame: queue(world.frames),
    later: queue(world.timers),
  });
}

test("many requests are drawn once, and the next one again", () => {
  const world = fakeWorld();
  let n = 0;
  const ask = onceAFrame(() => (n += 1), world);
  ask();
  ask();
  assert.equal(world.frames.length, 1);
  world.frames.shift()();
  assert.equal(n, 1);
  ask();
  assert.equal(world.frames.length, 1);
});

test("a page that is hidden while a frame is awaited draws all the same", () => {
  const world = fakeWorld();
  let n = 0;
  const ask = onceAFrame(() => (n += 1), world);
  ask();
  world.hidden = true;
  world.changes[0]();
  assert.equal(world.frames.length, 0);
  world.timers[0]();
  assert.equal(n, 1);
});

test("long work is done a piece a frame, the first at once, and newer work takes its place", () => {
  const world = fakeWorld();
  const done = [];
  function* work(name) {
    for (let i = 1; i <= 3; i += 1) {
      done.push(`${name}${i}`);
      yield;
    }
  }
  const inPieces = aPieceAFrame(world);

  inPieces(work("old"));
  world.frames.shift()();
  assert.deepEqual(done, ["old1", "old2"]);

  inPieces(work("new"));
  while (world.frames.length) world.frames.shift()();
  assert.deepEqual(done, ["old1", "old2", "new1", "new2", "new3"]);
});
