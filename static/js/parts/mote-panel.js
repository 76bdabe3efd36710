/** The chosen mote: its facts, a chart a channel with one common time, and the readings behind them as a table. */
import { ago, clock, decimalsOf, flagWords, instant, number, percent } from "../lib/format.js";
import { onceAFrame } from "../lib/frame.js";
import { coverage, insert, trim } from "../lib/series.js";
import { ChannelChart, palette } from "./channel-chart.js";
import { find, findAll, fromTemplate, get, onTheme, say, toast } from "./page.js";

const PAGE = 10_000;
const MOST_PAGES = 3;
const TABLE_ROWS = 60;

/** onWindow(seconds) hears what the person wants to see. */
export function motePanel(card, { profiles, now, onWindow }) {
  const charts = find("#charts", card);
  let mote = null;
  let profile = null;
  let points = [];
  let windowMs = 900_000;
  let drawn = [];
  const waiting = new Set(); // charts that are behind the readings
  let end = 0;
  let asked = 0;
  let isTable = false;
  let colours = palette();
  const drawNextChart = onceAFrame(drawChart);

  for (const button of findAll("[data-window]", card)) {
    button.addEventListener("click", () => onWindow(button.dataset.window));
  }
  find("#as-table", card).addEventListener("click", (event) => {
    isTable = !isTable;
    event.currentTarget.setAttribute("aria-pressed", String(isTable));
    charts.hidden = isTable;
    find("#readings", card).hidden = !isTable;
    draw();
  });
  charts.addEventListener("pointermove", (event) => point(event.clientX));
  charts.addEventListener("pointerleave", () => point(null));
  onTheme(() => {
    colours = palette();
    for (const { chart } of drawn) chart.paint(colours);
    draw();
  });

  function build() {
    for (const { chart } of drawn) chart.destroy();
    waiting.clear();
    const last = profile.channels.length - 1;
    drawn = profile.channels.map((channel, i) => {
      const figure = fromTemplate("channel");
      figure.classList.toggle("has-times", i === last);
      say(find(".name", figure), channel.label);
      const [low, high] = channel.normal.map((value) => number(value, Number.isInteger(value) ? 0 : 1));
      say(find(".band", figure), `normal ${low} to ${high} ${channel.unit}`);
      return { figure, channel, now: find(".now", figure), share: find(".coverage", figure) };
    });
    charts.replaceChildren(...drawn.map(({ figure }) => figure));
    drawn.forEach((one, i) => {
      one.chart = new ChannelChart(find("canvas", one.figure), one.channel, { hasTimes: i === last, palette: colours, gapMs: profile.gapAfterS * 1000 });
    });
  }

  function point(clientX) {
    if (!drawn.length) return;
    const at = clientX === null ? null : drawn[0].chart.timeAt(clientX);
    for (const one of drawn) {
      const near = one.chart.pointAt(at);
      const value = near ? near.y : mote.values?.[one.channel.code];
      say(one.now, `${near ? `${clock(near.x)}  ` : ""}${number(value, decimalsOf(one.channel.resolution))} ${one.channel.unit}`);
      one.now.classList.toggle("is-past", Boolean(near));
    }
  }

  function drawFacts() {
    say(find("#mote-title", card), `Mote ${mote.code}`);
    say(find("#mote-place", card), [mote.label.endsWith(mote.code) ? "" : mote.label, mote.zone].filter(Boolean).join(" · "));
    const facts = [
      ["Score", mote.score === null ? "not yet" : `${number(mote.score, 2)} ${mote.severity}`, mote.severity],
      ["Quality", percent(mote.quality) + (mote.flags?.length ? `, ${flagWords(mote.flags)}` : ""), ""],
      ["Seen", ago(mote.ageS), mote.isSilent ? "medium" : ""],
    ];
    const box = find("#mote-facts", card);
    facts.forEach(([name, text, level], i) => {
      const fact = box.children[i] ?? box.appendChild(document.createElement("span"));
      fact.className = `fact ${level}`;
      say(fact, `${name} ${text}`);
    });
  }

  function draw() {
    if (!mote) return;
    drawFacts();
    end = Math.max(now(), points.at(-1)?.x ?? 0);
    trim(points, end - windowMs);
    if (isTable) {
      find("#readings", card).replaceChildren(readingsTable(points, profile));
      return;
    }
    for (const one of drawn) waiting.add(one);
    drawChart();
  }

  /** One a frame: all of them at once would hold up whoever clicks. */
  function drawChart() {
    const [one] = waiting;
    if (!one || isTable) return;
    waiting.delete(one);
    const { channel } = one;
    one.chart.draw(points, { start: end - windowMs, end });
    const heard = coverage(points, channel.code, { start: end - windowMs, end, intervalMs: profile.intervalS * 1000 });
    say(one.share, heard === null ? "" : `coverage ${percent(heard)}`);
    if (!one.now.classList.contains("is-past")) {
      say(one.now, `${number(mote.values?.[channel.code], decimalsOf(channel.resolution))} ${channel.unit}`);
    }
    drawNextChart();
  }

  /** Asks for the window's readings; an answer that comes after the next question is dropped. */
  async function load() {
    const mine = (asked += 1);
    const wanted = mote;
    card.setAttribute("aria-busy", "true");
    try {
      const found = await history(wanted, now() - windowMs);
      if (mine !== asked) return;
      const live = points;
      points = found.map(pointOf);
      for (const one of live) insert(points, one);
      draw();
    } catch (refused) {
      if (mine === asked) toast(`The history of mote ${wanted.code} is missing. ${refused.message}`, "error");
    } finally {
      if (mine === asked) card.removeAttribute("aria-busy");
    }
  }

  return {
    select(chosen) {
      if (mote?.key === chosen.key) return;
      mote = chosen;
      points = [];
      const other = profiles.get(chosen.profile);
      if (other !== profile) {
        profile = other;
        build();
      }
      draw();
      load();
    },
    showWindow(seconds) {
      for (const button of findAll("[data-window]", card)) {
        button.setAttribute("aria-pressed", String(button.dataset.window === seconds));
      }
      const isWider = Number(seconds) * 1000 > windowMs;
      windowMs = Number(seconds) * 1000;
      if (mote) draw();
      if (mote && isWider) load();
    },
    /** Takes a live reading of the chosen mote. */
    add(reading) {
      insert(points, pointOf(reading));
    },
    draw,
    reload: () => mote && load(),
  };
}

const pointOf = (reading) => ({
  x: Date.parse(reading.at),
  values: reading.values,
  score: reading.score,
  quality: reading.quality,
  flags: reading.flags,
  suspect: reading.suspect,
  isAnomaly: reading.is_anomaly,
});

/** The readings of a mote since an instant; the API gives them page by page. */
async function history(mote, sinceMs) {
  const readings = [];
  let start = new Date(sinceMs).toISOString();
  for (let page = 0; page < MOST_PAGES && start; page += 1) {
    const query = new URLSearchParams({ mote_id: mote.code, site: mote.site, start, limit: PAGE });
    const answer = await get(`/api/v1/sensors/readings?${query}`);
    readings.push(...answer.readings);
    start = answer.next;
  }
  return readings;
}

function readingsTable(points, profile) {
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  const names = profile.channels.map(({ label, unit }) => (unit ? `${label} ${unit}` : label));
  for (const name of ["At", ...names, "Quality", "Score"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    cell.className = name === "At" ? "" : "num";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const one of points.slice(-TABLE_ROWS).reverse()) {
    const row = body.insertRow();
    row.insertCell().textContent = instant(one.x);
    for (const { code, resolution } of profile.channels) {
      const mark = one.suspect?.includes(code) ? "○ " : "";
      row.insertCell().textContent = `${mark}${number(one.values[code], decimalsOf(resolution))}`;
    }
    row.insertCell().textContent = percent(one.quality);
    row.insertCell().textContent = `${one.isAnomaly ? "▲ " : ""}${number(one.score, 2)}`;
    for (const cell of [...row.cells].slice(1)) cell.className = "num";
  }
  return table;
}
