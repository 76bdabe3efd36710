/** The Machines page: gauges, scores and order kept up from the live channel. */
import { ago, decimalsOf, instant, number } from "../lib/format.js";
import { onceAFrame } from "../lib/frame.js";
import { byScore, health } from "../lib/machine-health.js";
import { keyOf, merge } from "../lib/merge.js";
import { linePath, share } from "../lib/scale.js";
import { format, parse } from "../lib/url-state.js";
import { openChannel } from "../parts/channel.js";
import { find, findAll, get, readJson, say } from "../parts/page.js";

const DEFAULTS = { window: "3600" };
const WINDOWS = ["900", "3600", "21600"];
const LOOKS = ["ok", "warn", "bad"];
const SHAPES = ["low", "medium", "high"];
const COUNTS = { failing: 2, degrading: 1, healthy: 0, unknown: null };
const HISTORY_EVERY_MS = 10_000;
const SORT_AGAIN_MS = 3000;
const WIDTH = 360;
const HEIGHT = 56;

const data = readJson("machines-data");
const machines = new Map(data.machines.map((one) => [one.key, { ...one, at: one.at === null ? null : Date.parse(one.at) }]));
const skewMs = Date.parse(data.now) - Date.now(); // the server's clock
const now = () => Date.now() + skewMs;
const list = find("#machines");
const cards = new Map(findAll(".machine", list).map((card) => [card.dataset.key, parts(card)]));
const changed = new Set(machines.keys());
const acknowledgements = [];
let state = parse(location.search, DEFAULTS, { window: WINDOWS });
let sortedAt = 0;

const draw = onceAFrame(() => {
  for (const key of changed) drawMachine(machines.get(key));
  changed.clear();
  drawCounts();
  order();
  for (const acknowledge of acknowledgements.splice(0)) acknowledge();
});

function parts(card) {
  return {
    card,
    shape: find(".shape use", card),
    stage: find(".stage", card),
    seen: find(".seen", card),
    score: find(".score .value", card),
    path: find(".history path", card),
    gauges: findAll(".gauge", card).map((gauge) => ({
      gauge, hand: find(".hand", gauge), value: find(".value", gauge), word: find(".word", gauge),
    })),
    table: find(".parts tbody", card),
  };
}

/** What a silent machine said last no longer holds. */
function judge(machine) {
  machine.ageS = machine.at === null ? NaN : Math.max(0, (now() - machine.at) / 1000);
  machine.isSilent = !(machine.ageS <= machine.silentAfterS);
  const nothing = { stage: null, score: null, parts: [], stages: machine.channels.map(() => null) };
  machine.health = machine.isSilent ? nothing : health(machine.channels, machine, machine.names);
  machine.health.look = machine.health.stage === null ? "none" : LOOKS[machine.health.stage];
}

function stageWord({ at, isSilent, health: { stage }, names }) {
  if (isSilent) return at === null ? "never heard" : "silent";
  return stage === null ? "unknown" : names[stage];
}

function drawMachine(machine) {
  judge(machine);
  const drawn = cards.get(machine.key);
  const { look, stage, score } = machine.health;
  classed(drawn.card, `card machine ${look}`);
  classed(drawn.stage, `badge ${look} stage`);
  say(drawn.stage, stageWord(machine));
  if (drawn.shape.getAttribute("href") !== `#i-${SHAPES[stage ?? 0]}`) drawn.shape.setAttribute("href", `#i-${SHAPES[stage ?? 0]}`);
  say(drawn.score, number(score, 0));
  say(drawn.seen, ago(machine.ageS));
  machine.channels.forEach((channel, i) => drawGauge(drawn.gauges[i], channel, machine, machine.health.stages[i]));
  drawParts(drawn.table, machine.health.parts);
}

function drawGauge({ gauge, hand, value, word }, channel, machine, stage) {
  const reads = machine.values?.[channel.code];
  classed(gauge, `gauge ${stage === null ? "none" : LOOKS[stage]}`);
  say(value, number(reads, decimalsOf(channel.resolution)));
  const isSuspect = Number.isFinite(reads) && machine.suspect?.includes(channel.code);
  const known = stage === null ? "unknown" : stage === 0 ? "normal" : machine.names[stage];
  say(word, isSuspect ? "not to be trusted" : known);
  hand.setAttribute("visibility", Number.isFinite(reads) ? "visible" : "hidden");
  if (Number.isFinite(reads)) hand.setAttribute("x", `${(100 * share(reads, channel.span)).toFixed(2)}%`);
}

/** A row a part; where the set of rows is another one (a machine fell silent, or speaks again) the table is made anew. */
function drawParts(body, told) {
  const rows = findAll("[data-part]", body);
  if (rows.length !== told.length || !told.length) {
    remake(body, told);
    return;
  }
  told.forEach((part, i) => {
    say(find(".lost", rows[i]), number(part.lost, 1));
    say(find(".why", rows[i]), part.why);
  });
}

function remake(body, told) {
  if (!told.length) {
    if (!find("[data-part]", body)) return;
    const row = document.createElement("tr");
    const cell = row.insertCell();
    cell.colSpan = 3;
    cell.textContent = "Nothing is known of it now, so it has no score.";
    body.replaceChildren(row);
    return;
  }
  body.replaceChildren(...told.map((part) => {
    const row = document.createElement("tr");
    row.dataset.part = part.code;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = part.label;
    const taken = document.createElement("td");
    taken.className = "num";
    const lost = document.createElement("span");
    lost.className = "lost";
    lost.textContent = number(part.lost, 1);
    taken.append(lost, ` of ${number(part.most, 0)}`);
    const why = document.createElement("td");
    why.className = "why";
    why.textContent = part.why;
    row.append(head, taken, why);
    return row;
  }));
}

function classed(element, name) {
  if (element.getAttribute("class") !== name) element.setAttribute("class", name);
}

function drawCounts() {
  const all = [...machines.values()];
  for (const [name, stage] of Object.entries(COUNTS)) {
    say(find(`#n-${name}`), String(all.filter((one) => one.health.stage === stage).length));
  }
}

/** Cards do not move under a hand or an eye that is in one of them. */
function order() {
  if (now() - sortedAt < SORT_AGAIN_MS || list.matches(":hover, :focus-within")) return;
  sortedAt = now();
  byScore([...machines.values()].map(({ key, health: { score } }) => ({ key, score }))).forEach(({ key }, i) => {
    const { card } = cards.get(key);
    if (list.children[i] !== card) list.insertBefore(card, list.children[i]);
  });
}

async function loadHistory() {
  const found = await get(`/api/v1/machines/history?window_s=${state.window}`).catch((refused) => {
    say(find("#history-words"), `How the scores went is not known now. ${refused.message}`);
    return null;
  });
  if (!found) return;
  for (const one of found.machines) {
    cards.get(keyOf(one))?.path.setAttribute("d", linePath(one.scores, WIDTH, HEIGHT, [0, 100]));
  }
  say(find("#history-words"), `Scores since ${instant(Date.parse(found.start))}.`);
}

function take(readings) {
  for (const key of merge(machines, readings).changed) changed.add(key);
}

async function catchUp() {
  const latest = await get("/api/v1/sensors/latest").catch(() => null);
  if (latest) take(latest.readings);
  draw();
  loadHistory();
}

function show() {
  for (const button of findAll("[data-window]")) {
    button.setAttribute("aria-pressed", String(button.dataset.window === state.window));
  }
}

for (const button of findAll("[data-window]")) {
  button.addEventListener("click", () => {
    state = { window: button.dataset.window };
    history.replaceState(null, "", location.pathname + format(state, DEFAULTS, location.search));
    show();
    loadHistory();
  });
}
for (const machine of machines.values()) judge(machine);
show();
draw();
loadHistory();
setInterval(loadHistory, HISTORY_EVERY_MS);
setInterval(() => {
  for (const [key, { ageS }] of machines) if (!(ageS < 1)) changed.add(key);
  draw();
}, 1000);
openChannel({
  onMessage(message, acknowledge) {
    acknowledgements.push(acknowledge);
    if (message.type === "readings") take(message.readings);
    draw();
  },
  onReturn: catchUp,
});
