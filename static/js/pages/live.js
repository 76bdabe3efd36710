/** The Live page: what the server drew first is kept up from the live channel; one draw a frame, of what changed. */
import { number, percent, severity } from "../lib/format.js";
import { onceAFrame } from "../lib/frame.js";
import { Rate, inOrder, keyOf, merge, mergeAlert, trusted } from "../lib/merge.js";
import { linePath } from "../lib/scale.js";
import { Trail } from "../lib/trail.js";
import { format, parse } from "../lib/url-state.js";
import { alertList } from "../parts/alert-list.js";
import { openChannel } from "../parts/channel.js";
import { floorMap } from "../parts/floor-map.js";
import { motePanel } from "../parts/mote-panel.js";
import { moteTables } from "../parts/mote-table.js";
import { timeSlider } from "../parts/time-slider.js";
import { find, get, readJson, say, tellToReload, toast } from "../parts/page.js";

const DEFAULTS = { q: "", only: "", sort: "code", mote: "", colour: "score", window: "900", at: "", back: "6" };
const HOURS_BACK = ["1", "6", "24"];
const WINDOWS = ["300", "900", "3600", "21600"];
const ASK_AGAIN_MS = 2000;
const STILL_FRESH_MS = 700;

const data = readJson("live-data");
const profiles = new Map(data.profiles.map((profile) => [profile.code, profile]));
const motes = new Map(data.motes.map((mote) => [mote.key, known(mote)]));
const trails = new Map([...motes.keys()].map((key) => [key, new Trail({ stepMs: 15_000, n: 40 })]));
// The server's clock: a laptop that is a minute wrong must not call the fleet silent.
const skewMs = Date.parse(data.now) - Date.now();
const now = () => Date.now() + skewMs;

let alerts = inOrder(data.alerts);
let state = parse(location.search, DEFAULTS, { window: WINDOWS, only: ["", "anomalous"], back: HOURS_BACK });
const changed = new Set(motes.keys());
const acknowledgements = [];
const rate = new Rate();
const rates = [];
let isAlertsChanged = true;
let isPanelChanged = true;
let panelDrawnAt = 0;

const card = (name) => find(`.${name}-card`);
const list = alertList(find("#alerts"), { onMoved: takeAlert });
const map = floorMap(card("floor"), { motes, profiles, onSelect: (key) => change({ mote: key }) });
const slider = timeSlider(find("#past"), {
  motes, now,
  onShow: (then) => map.showPast(then),
  onMoved: (at, back) => change({ at, back }, { isOnlyTold: true }),
});
const panel = motePanel(find("#mote"), { profiles, now, onWindow: (seconds) => change({ window: seconds }) });
const tables = moteTables(card("motes"), {
  motes, trails, profiles,
  onSort: (sort) => change({ sort }),
  onSelect: (key, { isFromLink }) => {
    change({ mote: key });
    if (isFromLink) find("#mote").scrollIntoView({ block: "nearest" });
  },
});
const draw = onceAFrame(drawAll);

function known(mote) {
  const at = mote.at === null ? null : Date.parse(mote.at);
  return { ...mote, at, isAnomaly: mote.is_anomaly ?? false, severity: severity(mote.score ?? NaN), ageS: NaN, isSilent: at === null };
}

// ---- what comes in ----

function take(message, acknowledge) {
  acknowledgements.push(acknowledge);
  if (message.type === "readings") takeReadings(message.readings, message.skipped ?? 0);
  if (message.type === "alert") takeAlert(message.alert);
  draw();
}

function takeReadings(readings, skipped) {
  rate.add(now(), readings.length + skipped);
  absorb(readings);
  for (const reading of readings) {
    trails.get(keyOf(reading))?.push(Date.parse(reading.at), trusted(reading));
    if (keyOf(reading) === state.mote) panel.add(reading);
  }
  if (skipped) askForHole();
  document.getElementById("first-reading")?.remove();
}

function absorb(readings) {
  const told = merge(motes, readings);
  for (const key of told.changed) {
    changed.add(key);
    motes.get(key).severity = severity(motes.get(key).score ?? NaN);
    if (key === state.mote) isPanelChanged = true;
  }
  if (told.unknown.size) tellToReload("New motes have begun to speak.");
}

/** Of what was skipped only the chosen mote's line shows it: asked for once, however much it was. */
let holeTimer = null;
function askForHole() {
  holeTimer ??= setTimeout(() => {
    holeTimer = null;
    panel.reload();
  }, ASK_AGAIN_MS);
}

function takeAlert(alert) {
  const isNew = !alerts.some((other) => other.id === alert.id);
  alerts = inOrder(mergeAlert(alerts, alert));
  isAlertsChanged = true;
  if (isNew && alert.status === "open" && !isInView(card("alerts"))) {
    toast(`${alert.mote ? `Mote ${alert.mote}: ` : ""}${alert.words}`, "warning");
  }
  draw();
}

function isInView(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 120 && box.top < innerHeight - 120;
}

async function catchUp() {
  try {
    const [latest, active] = await Promise.all([get("/api/v1/sensors/latest"), get("/api/v1/alerts?status=active")]);
    absorb(latest.readings);
    alerts = inOrder(active.results);
    isAlertsChanged = true;
    draw();
  } catch (refused) {
    toast(`What was missed could not be asked for. ${refused.message}`, "error");
  }
  panel.reload();
  loadTrails();
}

async function loadTrails() {
  const found = await get("/live/trails").catch(() => null); // sparklines then grow from now on
  if (!found) return;
  for (const [key, channels] of Object.entries(found.motes)) {
    if (!trails.has(key)) continue;
    const trail = new Trail({ stepMs: found.stepS * 1000, n: found.n });
    trail.fill(found.first, channels);
    trails.set(key, trail);
    changed.add(key);
  }
  draw();
}

// ---- what is drawn ----

function drawAll() {
  const at = now();
  for (const key of changed) age(motes.get(key), at);
  map.draw(changed, at);
  tables.draw(changed, at);
  changed.clear();
  if (isPanelChanged) drawPanel(at);
  if (isAlertsChanged) drawAlerts();
  isPanelChanged = isAlertsChanged = false;
  for (const acknowledge of acknowledgements.splice(0)) acknowledge();
}

function drawPanel(at) {
  panelDrawnAt = at;
  panel.draw();
}

function age(mote, at) {
  mote.ageS = mote.at === null ? NaN : Math.max(0, (at - mote.at) / 1000);
  mote.isSilent = !(mote.ageS <= profiles.get(mote.profile).silentAfterS);
}

function drawAlerts() {
  list.draw(alerts);
  find("#no-alerts").hidden = alerts.length > 0;
  const high = alerts.filter((alert) => alert.severity === "high").length;
  say(find("#n-alerts"), String(alerts.length));
  say(find("#n-high"), high ? `${high} high` : "none high");
  find("#n-high").classList.toggle("bad", high > 0);
}

function drawTiles() {
  const watched = [...motes.values()].filter((mote) => mote.state === "active");
  const speaking = watched.filter((mote) => !mote.isSilent);
  const trusted = speaking.map((mote) => mote.quality).filter(Number.isFinite);
  const silent = watched.length - speaking.length;
  say(find("#n-speaking"), String(speaking.length));
  say(find("#n-watched"), String(watched.length));
  say(find("#n-silent"), silent ? `${silent} silent` : "none silent");
  say(find("#quality"), percent(trusted.length ? trusted.reduce((a, b) => a + b) / trusted.length : NaN));
  const perSecond = rate.perSecond(now());
  if (perSecond === null) return;
  say(find("#rate"), number(perSecond, perSecond < 100 ? 1 : 0));
  rates.push(perSecond);
  if (rates.length > 60) rates.shift();
  find("#rate-spark path").setAttribute("d", linePath(rates, 72, 26, [0, Math.max(...rates) * 1.15]));
}

/** Once a second all ages go on, and the chart's window with them. */
function tick() {
  const at = now();
  for (const [key, mote] of motes) {
    const wasSilent = mote.isSilent;
    age(mote, at);
    if (mote.isSilent !== wasSilent || mote.ageS >= 1.5) changed.add(key);
    trails.get(key).advance(at);
  }
  isPanelChanged ||= at - panelDrawnAt > STILL_FRESH_MS;
  drawTiles();
  draw();
}

// ---- what the person does ----

function change(wanted, { isOnlyTold = false } = {}) {
  state = { ...state, ...wanted };
  history.replaceState(null, "", location.pathname + format(state, DEFAULTS, location.search));
  if (!isOnlyTold) show();
}

function show() {
  if (!motes.has(state.mote)) state.mote = (worst() ?? motes.values().next().value).key;
  find("#only").setAttribute("aria-pressed", String(Boolean(state.only)));
  if (find("#q").value !== state.q) find("#q").value = state.q;
  const shown = tables.show(state);
  say(find("#n-shown"), shown === motes.size ? String(motes.size) : `${shown} of ${motes.size}`);
  find("#none-match").hidden = shown > 0;
  tables.select(state.mote);
  map.select(state.mote);
  panel.showWindow(state.window);
  panel.select(motes.get(state.mote));
}

/** Whom the page shows first when the address names nobody. */
function worst() {
  return [...motes.values()].filter((mote) => mote.isAnomaly).sort((a, b) => b.score - a.score)[0];
}

function listen() {
  find("#q").addEventListener("input", (event) => change({ q: event.target.value.trim() }));
  find("#only").addEventListener("click", () => change({ only: state.only ? "" : "anomalous" }));
  find("#clear").addEventListener("click", () => change({ q: "", only: "" }));
  find("#colour").addEventListener("change", (event) => {
    change({ colour: event.target.value });
    map.colourBy(state.colour);
    draw();
  });
  find("#site")?.addEventListener("change", (event) => map.showSite(event.target.value));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      find("#q").focus();
    }
    if (event.key === "Escape" && event.target.id === "q") change({ q: "" });
  });
}

const colours = [...find("#colour").options].map((option) => option.value);
if (!colours.includes(state.colour)) state.colour = DEFAULTS.colour;
find("#colour").value = state.colour;
for (const mote of motes.values()) age(mote, now());
listen();
show();
map.colourBy(state.colour);
draw();
slider.show(state);
loadTrails();
openChannel({ onMessage: take, onReturn: catchUp });
setInterval(tick, 1000);
