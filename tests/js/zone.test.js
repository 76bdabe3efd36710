import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { clock, instant, tick } from "../../static/js/lib/format.js";
import { fieldOf, instantOf } from "../../static/js/lib/local-time.js";
import { timeTicks } from "../../static/js/lib/scale.js";
import { offsetMs, useZone } from "../../static/js/lib/zone.js";

const HOUR = 3_600_000;
const WINTER = Date.parse("2026-01-05T09:05:03Z");
const SUMMER = Date.parse("2026-07-05T09:05:03Z");
afterEach(() => useZone(""));

test("a page tells times in the zone that it was given, in winter and in summer", () => {
  useZone("Europe/Berlin");

  assert.deepEqual([clock(WINTER), clock(SUMMER)], ["10:05:03", "11:05:03"]);
  assert.equal(instant(Date.parse("2026-12-31T23:30:00Z")), "2027-01-01 00:30:00");
  assert.equal(tick(Date.parse("2026-01-04T23:00:00Z"), 48 * HOUR), "5 Jan");
});

test("zones of half and quarter hours are right, too", () => {
  useZone("Asia/Kathmandu");

  assert.equal(clock(WINTER), "14:50:03");
});

test("the axis has round times of the zone", () => {
  useZone("Asia/Kolkata");

  const start = Date.parse("2026-01-05T00:00:00Z");
  assert.deepEqual(timeTicks(start, start + 6 * HOUR, 4).map((ms) => clock(ms, { seconds: false })), ["06:00", "08:00", "10:00"]);
});

test("a field of date and time gives back the instant that it shows", () => {
  for (const zone of ["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "UTC"]) {
    useZone(zone);
    for (let ms = SUMMER; ms < SUMMER + 400 * 24 * HOUR; ms += 7 * 24 * HOUR + 1_234_000) {
      assert.equal(Date.parse(instantOf(fieldOf(ms))), ms);
    }
  }
});

test("an hour that comes twice is its first pass, one that is left out is moved on", () => {
  useZone("Europe/Berlin");

  assert.equal(instantOf("2026-10-25T02:30:00"), "2026-10-25T00:30:00Z");
  assert.equal(instantOf("2026-03-29T02:30:00"), "2026-03-29T01:30:00Z");
});

test("an unknown zone and none are the reader's own clock", () => {
  useZone("Mars/Olympus");

  assert.equal(offsetMs(WINTER), -60_000 * new Date(WINTER).getTimezoneOffset());
});
