import assert from "node:assert/strict";
import { test } from "node:test";

import { askLatest } from "../../static/js/lib/latest.js";

function world() {
  const timers = [];
  const asked = [];
  return {
    asked,
    later: (deed) => timers.push(deed) - 1,
    cancel: (k) => { timers[k] = null; },
    ring: async () => { for (const deed of timers.splice(0)) await deed?.(); },
    ask: (question) => new Promise((resolve) => asked.push({ question, resolve })),
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("changes that follow each other are one question, with the last of them", async () => {
  const { asked, ask, later, cancel, ring } = world();
  const put = askLatest(ask, () => {}, { later, cancel });

  put(1);
  put(2);
  ring();
  await turn();

  assert.deepEqual(asked.map((one) => one.question), [2]);
});

test("an answer that is outdated when it comes is not told, and the newest question follows", async () => {
  const { asked, ask, later, cancel, ring } = world();
  const told = [];
  const put = askLatest(ask, (answer) => told.push(answer), { later, cancel });

  put("old");
  ring();
  await turn();
  put("new");
  ring();
  await turn();
  asked[0].resolve("answer to old");
  await turn();
  assert.deepEqual(told, []);
  asked[1].resolve("answer to new");
  await turn();

  assert.deepEqual(told, ["answer to new"]);
});

test("a refusal is told as an error and the next question is asked", async () => {
  const { later, cancel, ring } = world();
  const told = [];
  const put = askLatest(() => Promise.reject(new Error("away")), (answer) => told.push(answer), { later, cancel });

  put(1);
  await ring();
  await turn();

  assert.equal(told[0].error.message, "away");
});
