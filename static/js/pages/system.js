/** The Health page: asks the API every few seconds; a server that is away is itself an answer. */
import { clock, number, whole } from "../lib/format.js";
import { arriving, shares, waitsAt } from "../lib/reading-path.js";
import { openChannel } from "../parts/channel.js";
import { find, findAll, get, say } from "../parts/page.js";
import { followRows } from "../parts/rows.js";

const EVERY_MS = 5000;
const FIRST_MS = 2500; // heartbeats come every two seconds, and a rate needs two of them
const LOOK_BACK_MS = 15_000;

const badge = (word) => ({ text: word, class: `badge ${word}` });
const latency = (ms) => (ms === null ? "–" : `${number(ms, ms < 10 ? 1 : 0)} ms`);

function draw(health) {
  const status = find("#status");
  status.className = `badge ${health.status}`;
  say(status, health.status);
  if (!health.dependencies) return;
  followRows(find("#dependencies"), "dependency", health.dependencies, (one) => one.name, (one) => ({
    name: one.name.replace("_", " "),
    state: badge(one.state),
    since: { at: one.since, otherwise: "–" },
    latency: latency(one.latency_ms),
    error: one.error ?? "none",
    error_at: { at: one.error_at },
  }));
  followRows(find("#processes"), "process", health.processes, (one) => one.name, (one) => ({
    kind: one.kind,
    name: one.name,
    state: badge(one.state),
    beat_at: { at: one.beat_at },
  }));
  drawPath(health.pipeline);
  drawSteps(health);
  drawFlow(health.flow);
}

function canaryNote(canary) {
  if (!canary) return "No marked reading was sent of late.";
  if (canary.stored_ms === null) return `The last marked reading was lost: ${canary.error}.`;
  const [half, most] = [latency(canary.stored_p50_ms), latency(canary.stored_p99_ms)];
  return `Marked readings of the last hour: half within ${half} in the hot store, 99 % within ${most}; ${canary.n_lost} of ${canary.n} lost.`;
}

function drawFlow(flow) {
  const state = find("#flow-state");
  state.className = `badge ${flow.state === "watching" ? "alive" : flow.state}`;
  say(state, flow.state.replace("_", " "));
  if (flow.looked_at) find("#looked-at").dateTime = flow.looked_at;
  for (const name of ["silent", "motes", "slow", "skewed"]) say(find(`#n-${name}`), whole(flow[`n_${name}`]));
  say(find("#canary"), latency(flow.canary?.stored_ms ?? null));
  const heard = flow.canary?.heard_ms ?? null;
  say(find("#canary-heard"), heard === null ? "to the hot store" : `${latency(heard)} to open pages`);
  say(find("#canary-note"), canaryNote(flow.canary));
  find("#no-troubled").hidden = flow.troubled.length > 0;
  find("#troubled-table").hidden = flow.troubled.length === 0;
  followRows(find("#troubled"), "troubled-row", flow.troubled, (one) => `${one.trouble}:${one.site}/${one.mote}`, (one) => ({
    mote: { text: `${one.site}/${one.mote}`, href: `/motes/${one.site}/${encodeURIComponent(one.mote)}/`, class: "mono" },
    trouble: { text: one.trouble, class: `badge ${one.trouble === "silent" ? "silent" : "warn"}` },
    since: { at: one.since, otherwise: "–" },
    words: one.words,
  }));
}

function drawPath(pipeline) {
  followRows(find("#partitions"), "partition", pipeline.partitions, (one) => `${one.topic}/${one.partition}`, (one) => ({
    name: `${one.topic}/${one.partition}`,
    next_offset: whole(one.next_offset),
    saved_at: { at: one.saved_at, otherwise: "never" },
    lag: one.lag === null ? "–" : whole(one.lag),
  }));
  say(find("#pipeline-state"), pipeline.state.replace("_", " "));
  say(find("#rate"), number(pipeline.readings_per_s, 1));
  const lags = pipeline.partitions.map((one) => one.lag).filter(Number.isFinite);
  say(find("#lag"), lags.length ? whole(lags.reduce((a, b) => a + b)) : "–");
  if (pipeline.last_batch_at) find("#last-batch").dateTime = pipeline.last_batch_at;
  const stuck = find("#stuck");
  stuck.hidden = pipeline.stuck.length === 0;
  const words = pipeline.stuck.map((one) => `The reading path waits for ${one.sink}: ${one.error}. Nothing is lost; it goes on by itself.`);
  say(find("span", stuck), words.join(" "));
}

const looks = [];

/** How much of each second a step took over the last looks: a heartbeat may be two seconds old, so that two are too few. */
function drawSteps(health) {
  const now = { ...health.pipeline, at: Date.parse(health.at) };
  looks.push(now);
  while (looks.length > 2 && now.at - looks[1].at >= LOOK_BACK_MS) looks.shift();
  const took = looks.length > 1 ? shares(looks[0], now) : null;
  const comes = took && arriving(looks[0], now);
  if (took === null) looks.splice(0, looks.length - 1);
  for (const hop of findAll("#path .hop")) {
    const share = took && hop.dataset.steps.split(" ").reduce((sum, step) => sum + (took[step] ?? 0), 0);
    const stuck = waitsAt(hop.dataset.sink, now.stuck);
    hop.classList.toggle("is-stuck", Boolean(stuck));
    say(find(".word", hop), stuck ? `stuck since ${stuck.since ? clock(Date.parse(stuck.since)) : "just now"}` : "");
    if (took) say(find(".rate", hop), hop.dataset.sink === "stream" ? `${number(comes, 1)} arrive/s` : `${number(share * 1000, share < 0.01 ? 1 : 0)} ms/s`);
    find(".is", hop).setAttribute("width", (100 * Math.min(1, share ?? 0)).toFixed(1));
  }
}

async function ask() {
  try {
    draw(await get("/api/v1/health"));
  } catch (refused) {
    draw({ status: refused.status === 503 ? "down" : "unreachable" });
  }
}

openChannel({ onMessage: (message, acknowledge) => acknowledge(), onReturn: ask });
ask();
setTimeout(ask, FIRST_MS);
setInterval(ask, EVERY_MS);
