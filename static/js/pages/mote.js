/** The page of one mote: its charts, the range, and what people correct and change. */
import { steps } from "../lib/fan.js";
import { decimalsOf, flagWords, instant, number } from "../lib/format.js";
import { fieldOf, instantOf } from "../lib/local-time.js";
import { alertList } from "../parts/alert-list.js";
import { ChannelChart, palette } from "../parts/channel-chart.js";
import { openCauses } from "../parts/root-cause.js";
import { find, findAll, onTheme, post, readJson, say, send } from "../parts/page.js";

const LEAST_DRAG_PX = 6;
const ROWS = 500;
const ASK_AFTER_MS = 300;

const data = readJson("mote-data");
const api = `/api/v1/motes/${encodeURIComponent(data.site)}/${encodeURIComponent(data.mote)}`;
const xy = ([x, y, kinds]) => ({ x, y: y ?? NaN, kinds });

// ---- charts ----

function kindWords(kinds) {
  return flagWords(Object.entries(data.kinds).filter(([bit]) => kinds & Number(bit)).map(([, name]) => name));
}

function openCharts() {
  let colours = palette();
  const drawn = findAll("figure.channel").map((figure, i, all) => {
    const channel = data.channels.find(({ code }) => code === figure.dataset.channel);
    const hasTimes = i === all.length - 1 || all.length > 3;
    const chart = new ChannelChart(find("canvas", figure), channel, { hasTimes, palette: colours, gapMs: data.gapMs });
    const points = { line: channel.line.map(xy), flagged: channel.flagged.map(xy), imputed: channel.imputed.map(xy) };
    const forecast = data.forecasts[channel.code] ?? null;
    const events = data.events.filter(({ channels }) => channels.includes(channel.code));
    const nBeyond = chart.fill({ ...points, forecast, events, start: data.start, end: data.until });
    const beyond = find(".beyond", figure);
    beyond.hidden = nBeyond === 0;
    say(beyond, `${nBeyond} flagged lie beyond the scale, drawn at its edge`);
    find("details", figure).addEventListener("toggle", (event) => {
      if (event.target.open) find(".scroll", figure).replaceChildren(tableOf(channel, points, forecast));
    });
    return { figure, channel, chart, now: find(".now", figure) };
  });
  onTheme(() => {
    colours = palette();
    for (const { chart } of drawn) chart.paint(colours);
  });
  return drawn;
}

function tableOf(channel, { line, flagged, imputed }, forecast) {
  const told = (value) => number(value, decimalsOf(channel.resolution));
  const ahead = forecast ? steps(forecast, forecast.mean).filter(({ x }) => x <= data.until) : [];
  const rows = [
    ...ahead.map((point, i) => ({ ...point, words: `forecast, 80 of 100 between ${told(forecast.q10[i])} and ${told(forecast.q90[i])}` })),
    ...line.filter(({ y }) => Number.isFinite(y)).map((point) => ({ ...point, words: "" })),
    ...flagged.map((point) => ({ ...point, words: kindWords(point.kinds) || "follows from a flagged value" })),
    ...imputed.filter(({ y }) => Number.isFinite(y)).map((point) => ({ ...point, words: "imputed" })),
  ].sort((a, b) => b.x - a.x);
  const table = document.createElement("table");
  table.className = "table";
  const caption = table.createCaption();
  caption.textContent = rows.length > ROWS ? `The newest ${ROWS} of ${rows.length} points drawn` : "The points drawn, the newest first";
  const head = table.createTHead().insertRow();
  for (const name of ["At", `${channel.label} ${channel.unit}`, "Flags"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const { x, y, words } of rows.slice(0, ROWS)) {
    const row = body.insertRow();
    for (const text of [instant(x), `${words && words !== "imputed" ? "○ " : ""}${number(y, decimalsOf(channel.resolution))}`, words]) {
      row.insertCell().textContent = text;
    }
  }
  return table;
}

function followPointer(charts, drawn, onChosen) {
  let from = null;
  const choose = (span) => drawn.forEach(({ chart }) => chart.choose(span));

  function show(clientX) {
    const at = clientX === null ? null : drawn[0].chart.timeAt(clientX);
    for (const { chart, channel, now } of drawn) {
      const near = chart.pointAt(at);
      const value = near ? `${instant(near.x)}  ${number(near.y, decimalsOf(channel.resolution))} ${channel.unit}` : "";
      say(now, near?.kinds ? `${value}  ○ ${kindWords(near.kinds)}` : value);
    }
  }

  charts.addEventListener("pointermove", (event) => {
    if (!event.target.closest(".plot") && !from) return;
    show(event.clientX);
    if (from) choose(spanBetween(from, event.clientX));
  });
  charts.addEventListener("pointerleave", () => show(null));
  if (!onChosen) return;

  const spanBetween = (start, clientX) => {
    const [a, b] = [start.at, drawn[0].chart.timeAt(clientX)].sort((x, y) => x - y);
    return { start: a, end: b };
  };
  charts.addEventListener("pointerdown", (event) => {
    // A finger scrolls; it has the form.
    if (event.button !== 0 || event.pointerType === "touch" || !event.target.closest(".plot")) return;
    const channel = event.target.closest("figure").dataset.channel;
    from = { x: event.clientX, at: drawn[0].chart.timeAt(event.clientX), channel };
    charts.setPointerCapture(event.pointerId);
  });
  charts.addEventListener("pointerup", (event) => {
    if (!from) return;
    const started = from;
    from = null;
    if (Math.abs(event.clientX - started.x) < LEAST_DRAG_PX) choose(null);
    else onChosen(spanBetween(started, event.clientX), started.channel, () => choose(null));
  });
  charts.addEventListener("pointercancel", () => {
    from = null;
    choose(null);
  });
}

// ---- what people do ----

function complain(form, words) {
  const wrong = find(".error", form);
  say(wrong, words);
  wrong.hidden = !words;
}

/** Asks first; does it on yes, then shows the page anew. */
function ask(title, words, deed) {
  const dialog = find("#ask");
  say(find("h2", dialog), title);
  say(find(".words", dialog), words);
  complain(dialog, "");
  find("#ask-yes").onclick = () => doIt(dialog, deed);
  dialog.showModal();
}

async function doIt(form, deed) {
  const button = find(".primary", form);
  button.disabled = true;
  try {
    await deed();
    location.reload();
  } catch (refused) {
    complain(form, refused.message);
  } finally {
    button.disabled = false;
  }
}

function listenRange() {
  const range = find("#range");
  for (const field of findAll("[data-utc]", range)) field.value = fieldOf(Date.parse(field.dataset.utc));
  range.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = new URLSearchParams(location.search);
    for (const name of ["from", "to"]) query.set(name, instantOf(range.elements[name].value) ?? "");
    location.search = query.toString();
  });
}

function listenStates() {
  for (const button of findAll("[data-state]")) {
    const { state, title, words } = button.dataset;
    button.addEventListener("click", () => ask(title, words, () => send("PATCH", api, { state })));
  }
  for (const button of findAll("[data-undo]")) {
    button.addEventListener("click", () => {
      const words = "The stored readings show again as they are, in charts, figures and the next training.";
      ask("Take the correction back?", words, () => send("DELETE", `/api/v1/corrections/${button.dataset.undo}`));
    });
  }
}

function listenEdit() {
  const form = find("#edit-form");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const { label, zone, x, y, profile } = form.elements;
    const place = (field) => (field.value === "" ? null : Number(field.value));
    const changes = { label: label.value, zone: zone.value || null, x: place(x), y: place(y) };
    doIt(form, () => send("PATCH", api, profile.disabled ? changes : { ...changes, profile: profile.value }));
  });
}

/** Answers what opens the form for a stretch; null where nobody may correct. */
function listenCorrections() {
  const form = find("#correct-form");
  const opener = find("#correct-open");
  if (!form || !opener) return null;
  const dialog = find("#correct");
  const { kind, channel, offset, from, to, why, label } = form.elements;
  const isLabel = () => kind.value === "label";
  let timer = null;
  let asked = 0;

  function given() {
    const isOffset = kind.value === "offset";
    return {
      site: data.site, mote: data.mote, kind: kind.value, channel: channel.value,
      offset: isOffset ? Number(offset.value) : 0, starts_at: instantOf(from.value), ends_at: instantOf(to.value),
      why: why.value.trim(),
    };
  }

  function labelled() {
    const { site, mote, channel: code, starts_at, ends_at, why: note } = given();
    return { site, mote, kind: label.value, channel: code, starts_at, ends_at, note };
  }

  function follow() {
    const isOffset = kind.value === "offset";
    find("#c-offset-field").hidden = !isOffset;
    find("#c-label-field").hidden = !isLabel();
    why.required = !isLabel();
    for (const option of channel.options) option.disabled = isOffset && (option.value === "" || "derived" in option.dataset);
    if (channel.selectedOptions[0]?.disabled) channel.value = [...channel.options].find((option) => !option.disabled).value;
    say(find("#c-unit"), channel.selectedOptions[0].dataset.unit ?? "");
    clearTimeout(timer);
    timer = setTimeout(rehearse, ASK_AFTER_MS);
  }

  async function rehearse() {
    const mine = (asked += 1);
    const touched = find("#c-touched");
    const wanted = given();
    if (isLabel()) return say(touched, "");
    if (!wanted.starts_at || !wanted.ends_at || (wanted.kind === "offset" && !wanted.offset)) return say(touched, "");
    try {
      const { n_readings: n } = await post("/api/v1/corrections", { ...wanted, why: wanted.why || "rehearsal", is_rehearsal: true });
      if (mine === asked) say(touched, n ? `Touches ${number(n, 0)} readings.` : "Touches no reading of this stretch.");
      complain(form, "");
    } catch (refused) {
      if (mine !== asked) return;
      say(touched, "");
      complain(form, refused.message);
    }
  }

  function open(span, code = "") {
    from.value = fieldOf(span.start);
    to.value = fieldOf(span.end + 999); // the end is the first instant that is left as it was
    channel.value = code;
    complain(form, "");
    follow();
    dialog.showModal();
    why.focus();
  }

  form.addEventListener("input", follow);
  opener.addEventListener("click", () => open({ start: data.start, end: data.end }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    doIt(form, () => (isLabel() ? post("/api/v1/labels", labelled()) : post("/api/v1/corrections", given())));
  });
  return (span, code, onClose) => {
    open(span, code);
    dialog.addEventListener("close", onClose, { once: true });
  };
}

listenRange();
listenStates();
listenEdit();
const correct = listenCorrections();
// Whoever may correct chooses a stretch for that, and asks for its causes from there; everybody else only asks.
const causes = (span, code, onClose) => openCauses(data.site, span, onClose);
find("#causes-open")?.addEventListener("click", () => causes(data));
find("#causes-of")?.addEventListener("click", () => {
  const { from, to } = find("#correct-form").elements;
  find("#correct").close();
  causes({ start: Date.parse(instantOf(from.value)), end: Date.parse(instantOf(to.value)) });
});
const charts = find(".charts");
if (charts) followPointer(charts, openCharts(), correct ?? causes);
const alerts = find("#alerts");
if (alerts) {
  const list = alertList(alerts, { onMoved: (alert) => list.change(alert) });
}

/** j and k go to the motes after and before it, with the range that is shown. */
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, dialog")) return;
  const link = find(`a[data-key="${CSS.escape(event.key)}"]`);
  if (!link) return;
  event.preventDefault();
  location.assign(link.href);
});
