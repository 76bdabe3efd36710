import assert from "node:assert/strict";
import { test } from "node:test";
import { Rate, inOrder, merge, mergeAlert, trusted } from "../../static/js/lib/merge.js";

const NOON = Date.parse("2026-03-02T12:00:00Z");
const fleet = () => new Map([["main/7", { code: "7", at: NOON, values: { temperature: 21 }, score: 0.1 }]]);
const reading = (changes) => ({
  mote: "7", site: "main", at: "2026-03-02T12:00:01Z", values: { temperature: 22 }, quality: 1, flags: [],
  score: 0.7, is_anomaly: true, ...changes,
});

test("a newer reading replaces what is shown", () => {
  const motes = fleet();
  const { changed } = merge(motes, [reading()]);
  assert.deepEqual([...changed], ["main/7"]);
  assert.equal(motes.get("main/7").values.temperature, 22);
  assert.equal(motes.get("main/7").isAnomaly, true);
});

test("a catch-up answer that is older than what the channel said changes nothing", () => {
  const motes = fleet();
  const { changed } = merge(motes, [reading({ at: "2026-03-02T11:59:00Z" }), reading({ at: "2026-03-02T12:00:00Z" })]);
  assert.equal(changed.size, 0);
  assert.equal(motes.get("main/7").values.temperature, 21);
});

test("the first reading of a mote that never spoke is taken", () => {
  const motes = new Map([["main/7", { code: "7", at: null, values: {} }]]);
  assert.equal(merge(motes, [reading()]).changed.size, 1);
});

test("the same code at another site is another mote, and an unknown one is told", () => {
  const motes = fleet();
  const { changed, unknown } = merge(motes, [reading({ site: "lab" })]);
  assert.equal(changed.size, 0);
  assert.deepEqual([...unknown], ["lab/7"]);
});

const alert = (changes) => ({
  id: 1, status: "open", severity: "medium", last_seen_at: "2026-03-02T12:00:00Z", ...changes,
});

test("an alert that is told again is shown once, as it now stands", () => {
  const alerts = mergeAlert([alert()], alert({ severity: "high" }));
  assert.equal(alerts.length, 1);
  assert.equal(alerts[0].severity, "high");
});

test("a resolved alert leaves the list", () => {
  assert.deepEqual(mergeAlert([alert()], alert({ status: "resolved" })), []);
});

test("what nobody has in hand comes first, then what is severe, then what is recent", () => {
  const order = inOrder([
    alert({ id: 1, status: "acknowledged", severity: "high" }),
    alert({ id: 2, severity: "low", last_seen_at: "2026-03-02T13:00:00Z" }),
    alert({ id: 3, severity: "high" }),
    alert({ id: 4, severity: "high", last_seen_at: "2026-03-02T12:30:00Z" }),
  ]).map(({ id }) => id);
  assert.deepEqual(order, [4, 3, 2, 1]);
});

test("a rate is told once there is something to tell, over the last seconds only", () => {
  const rate = new Rate(10_000);
  assert.equal(rate.perSecond(0), null);
  rate.add(0, 42);
  assert.equal(rate.perSecond(1000), null);
  for (let second = 1; second <= 3; second += 1) rate.add(second * 1000, 42);
  assert.equal(rate.perSecond(3900), 42);
  for (let second = 4; second <= 30; second += 1) rate.add(second * 1000, 42);
  assert.equal(rate.perSecond(30_000), 42);
  assert.equal(rate.perSecond(60_000), 0);
});

test("a channel in trouble is not averaged", () => {
  const values = { temperature: 122, humidity: 40 };
  assert.equal(trusted({ values, suspect: [] }), values);
  assert.deepEqual(trusted({ values, suspect: ["temperature"] }), { humidity: 40 });
});
