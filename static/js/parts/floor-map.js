/** The floor map: a sign a mote, coloured by score or by a channel, with what lies between them behind it. */
import { number, decimalsOf, ago } from "../lib/format.js";
import { css, field, ink, neighbour, ramp, share } from "../lib/scale.js";
import { find, findAll, say } from "./page.js";

const viridis = ramp(["#453781", "#33638d", "#238a8d", "#29af7f", "#74d055", "#dce319"]);
const glow = ramp(["#e9a215", "#d93a2b"]);
const FIELD_WORK = 160_000; // cells times motes: what one picture of the field may cost
const FIELD_CELLS = [300, 3200];
const FIELD_EVERY_MS = 1000;
const ARROWS = new Set(["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"]);

/** `colour` is "score" or "profile:channel"; onSelect(key) hears what was chosen. */
export function floorMap(card, { motes, profiles, onSelect }) {
  const floors = findAll(".floor", card).map((root) => ({ root, site: root.dataset.site, drawnAt: 0 }));
  const signs = new Map(findAll(".mote", card).map((sign) => [sign.dataset.key, sign]));
  const bodies = new Map([...signs].map(([key, sign]) => [key, { body: find(".body", sign), text: find("text", sign) }]));
  const drawn = new Map();
  let channel = null;
  let selected = null;
  let past = null; // the motes as they stood then, while somebody looks back
  const seen = () => past ?? motes;

  for (const floor of floors) listen(floor);

  function listen({ root }) {
    const tip = find(".tip", root);
    const show = (event) => {
      const sign = event.target.closest(".mote");
      if (sign) showTip(root, tip, seen().get(sign.dataset.key));
    };
    root.addEventListener("pointerover", show);
    root.addEventListener("focusin", show);
    for (const leave of ["pointerout", "focusout"]) root.addEventListener(leave, () => (tip.hidden = true));
    root.addEventListener("click", (event) => {
      const sign = event.target.closest(".mote");
      if (sign) onSelect(sign.dataset.key);
    });
    root.addEventListener("keydown", (event) => {
      const sign = event.target.closest(".mote");
      if (!sign) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        onSelect(sign.dataset.key);
      }
      if (ARROWS.has(event.key)) {
        event.preventDefault();
        step(sign.dataset.key, event.key);
      }
    });
  }

  function step(from, key) {
    const here = motes.get(from);
    const others = [...motes.values()].filter((mote) => mote.site === here.site && mote !== here);
    const next = neighbour(others, here, key);
    if (next) focus(next.key);
  }

  function focus(key) {
    enterAt(key);
    signs.get(key).focus();
  }

  /** One sign a site takes part in the tab order; the arrows reach the others. */
  function enterAt(key) {
    const sign = signs.get(key);
    for (const other of findAll(".mote[tabindex='0']", sign.closest(".floor"))) other.setAttribute("tabindex", "-1");
    sign.setAttribute("tabindex", "0");
  }

  function showTip(root, tip, mote) {
    const profile = profiles.get(mote.profile);
    const values = profile.channels
      .slice(0, 6)
      .map(({ code, unit, resolution }) => `${number(mote.values?.[code], decimalsOf(resolution))} ${unit}`);
    tip.replaceChildren(line("strong", `Mote ${mote.code}`), line("span", mote.zone), line("span", values.join(" · ")));
    tip.append(line("span", stateWords(mote)));
    tip.hidden = false;
    const box = root.getBoundingClientRect();
    const spot = signs.get(mote.key).getBoundingClientRect();
    const left = spot.left + spot.width / 2 - box.left;
    tip.style.left = `${Math.min(box.width - tip.offsetWidth - 4, Math.max(4, left - tip.offsetWidth / 2))}px`;
    const above = spot.top - box.top - tip.offsetHeight - 6;
    tip.style.top = `${above > 0 ? above : spot.bottom - box.top + 6}px`;
  }

  function colourSign(mote) {
    const sign = bodies.get(mote.key);
    const value = channel && mote.profile === channel.profile ? mote.values?.[channel.code] : NaN;
    const rgb = Number.isFinite(value) && !mote.isSilent ? viridis(share(value, channel.normal)) : null;
    const fill = rgb ? css(rgb) : "";
    if (sign.fill === fill) return;
    sign.fill = fill;
    sign.body.style.fill = fill;
    if (sign.text) sign.text.style.fill = rgb ? ink(rgb) : "";
  }

  function drawSign(key) {
    const mote = seen().get(key);
    const sign = signs.get(key);
    const look = `mote ${channel ? "by-channel" : mote.severity}${mote.isAnomaly ? " is-anomalous" : ""}${
      mote.isSilent ? " is-silent" : ""
    }`;
    if (drawn.get(key) !== look) {
      sign.setAttribute("class", look);
      sign.setAttribute("aria-label", `Mote ${mote.code}, ${mote.zone ? `${mote.zone}, ` : ""}${stateWords(mote)}`);
      drawn.set(key, look);
    }
    colourSign(mote);
  }

  function drawField(floor, now) {
    if (floor.root.hidden || now - floor.drawnAt < FIELD_EVERY_MS) return;
    floor.drawnAt = now;
    const { width, height } = find("svg", floor.root).viewBox.baseVal;
    const points = [...seen().values()]
      .filter((mote) => mote.site === floor.site && !mote.isSilent)
      .filter((mote) => !channel || mote.profile === channel.profile)
      .map((mote) => ({ x: mote.x, y: mote.y, value: (channel ? mote.values?.[channel.code] : mote.score) ?? NaN }));
    const cells = Math.min(FIELD_CELLS[1], Math.max(FIELD_CELLS[0], FIELD_WORK / Math.max(1, points.length)));
    const columns = Math.round(Math.sqrt((cells * width) / height));
    const rows = Math.round(cells / columns);
    paint(find("canvas", floor.root), field(points, { width, height, columns, rows, reach: width / 12 }), columns, rows);
  }

  function paint(canvas, values, columns, rows) {
    if (canvas.width !== columns) canvas.width = columns;
    if (canvas.height !== rows) canvas.height = rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    values.forEach((value, i) => {
      if (!Number.isFinite(value)) return;
      const heat = channel ? share(value, channel.normal) : share(value, [0.2, 0.8]);
      const [red, green, blue] = channel ? viridis(heat) : glow(heat);
      image.data.set([red, green, blue, channel ? 70 : Math.round(120 * Math.sqrt(heat))], i * 4);
    });
    context.putImageData(image, 0, 0);
  }

  function drawAll() {
    for (const key of signs.keys()) drawSign(key);
    for (const floor of floors) {
      drawField(floor, Infinity);
      floor.drawnAt = 0;
    }
  }

  function drawLegend() {
    const legend = find(".legend", card);
    legend.replaceChildren(...(channel ? channelLegend(channel) : scoreLegend()));
  }

  return {
    draw(changed, now) {
      if (past) return;
      for (const key of changed) if (signs.has(key)) drawSign(key);
      for (const floor of floors) drawField(floor, now);
    },
    colourBy(wanted) {
      const [profile, code] = wanted.split(":");
      const found = profiles.get(profile)?.channels.find((one) => one.code === code);
      channel = found ? { ...found, profile } : null;
      drawAll();
      drawLegend();
    },
    /** The motes as they stood at an instant, or null for now. */
    showPast(then) {
      if (!past && !then) return;
      past = then;
      drawAll();
    },
    select(key) {
      if (selected) signs.get(selected)?.setAttribute("aria-pressed", "false");
      selected = key;
      signs.get(key)?.setAttribute("aria-pressed", "true");
      if (signs.has(key)) {
        enterAt(key);
        this.showSite(motes.get(key).site);
      }
    },
    showSite(site) {
      for (const floor of floors) floor.root.hidden = floor.site !== site;
      if (past) drawAll();
      const choice = find("#site", card);
      if (choice) choice.value = site;
    },
  };
}

function stateWords(mote) {
  if (mote.isPast && mote.isSilent) return "nothing was heard then";
  if (mote.at === null) return "never heard";
  if (mote.isSilent) return `silent, last seen ${ago(mote.ageS)}`;
  const score = mote.score === null ? "not scored yet" : `score ${number(mote.score, 2)} ${mote.severity}`;
  return mote.isAnomaly ? `anomalous, ${score}` : score;
}

function line(name, text) {
  const element = document.createElement(name);
  say(element, text);
  element.hidden = !text;
  return element;
}

const sample = (name, words) => {
  const item = line("span", words);
  item.className = `sample ${name}`;
  return item;
};

function scoreLegend() {
  return [
    sample("low", "low"),
    sample("medium", "medium, from 0.3"),
    sample("high", "high, from 0.6"),
    sample("anomalous", "anomalous"),
    sample("silent", "silent"),
  ];
}

function channelLegend({ normal: [low, high], unit }) {
  const shown = (value) => number(value, Number.isInteger(value) ? 0 : 1);
  const strip = document.createElement("canvas");
  [strip.width, strip.height] = [96, 1];
  const context = strip.getContext("2d");
  for (let x = 0; x < 96; x += 1) {
    context.fillStyle = css(viridis(x / 95));
    context.fillRect(x, 0, 1, 1);
  }
  return [
    line("span", `≤ ${shown(low)}`),
    strip,
    line("span", `≥ ${shown(high)} ${unit}`),
    line("span", "normal band"),
    sample("anomalous", "anomalous"),
  ];
}
