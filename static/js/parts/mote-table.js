/** The tables of motes, one a profile: filtered, sorted, and drawn only where they are seen. */
import { ago, decimalsOf, flagWords, number, percent } from "../lib/format.js";
import { aPieceAFrame } from "../lib/frame.js";
import { calmDomain, linePath } from "../lib/scale.js";
import { matches, sorted } from "../lib/table.js";
import { find, findAll, say } from "./page.js";

const METER_PX = 48;
const SORT_AGAIN_MS = 3000;
const ROWS_A_FRAME = 40;

/** onSort(sort) and onSelect(key) hear what the person wants. */
export function moteTables(card, { motes, trails, profiles, onSort, onSelect }) {
  const rows = new Map();
  const waiting = new Set(); // changed while out of sight
  const tables = findAll("table.motes", card).map((root) => ({ root, wanted: [] }));
  let state = { q: null, only: "", sort: "" }; // as it was shown last
  let nShown = 0;
  let selected = null;
  let sortedAt = 0;
  const inPieces = aPieceAFrame();

  const sight = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const row = rows.get(target.dataset.key);
        row.isSeen = isIntersecting;
        if (isIntersecting && waiting.delete(row.key)) drawRow(row);
      }
    },
    { rootMargin: "200px 0px" },
  );

  for (const { root, wanted } of tables) {
    for (const element of root.tBodies[0].rows) {
      const row = parts(element);
      wanted.push(row);
      rows.set(row.key, row);
      sight.observe(element);
    }
  }
  addEventListener("beforeprint", () => {
    for (const key of waiting) drawRow(rows.get(key));
    waiting.clear();
  });

  card.addEventListener("click", (event) => {
    const button = event.target.closest("[data-sort]");
    if (button) onSort(turned(state.sort, button.dataset.sort));
    const row = event.target.closest("tbody tr");
    if (!row || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    onSelect(row.dataset.key, { isFromLink: Boolean(event.target.closest("a")) });
  });

  function drawRow(row) {
    const mote = motes.get(row.key);
    const profile = profiles.get(mote.profile);
    const look = `${mote.severity}${mote.isAnomaly ? " is-anomalous" : ""}${mote.isSilent ? " is-silent" : ""}`;
    if (row.element.className !== look) row.element.className = look;
    const shape = `#i-${mote.severity === "none" ? "low" : mote.severity}`;
    if (row.icon.getAttribute("href") !== shape) row.icon.setAttribute("href", shape);
    const trail = trails.get(row.key);
    profile.channels.forEach((channel, i) => drawCell(row.cells[i], channel, mote, trail, profile));
    say(row.quality, percent(mote.quality));
    row.quality.title = flagWords(mote.flags);
    say(row.score, number(mote.score, 2));
    say(row.word, mote.severity === "none" ? "" : mote.severity);
    row.meter.setAttribute("width", (METER_PX * (mote.score ?? 0)).toFixed(1));
    say(row.seen, ago(mote.ageS));
  }

  function drawCell(cell, channel, mote, trail, profile) {
    say(cell.value, number(mote.values?.[channel.code], decimalsOf(channel.resolution)));
    const isSuspect = mote.suspect?.includes(channel.code) ?? false;
    if (cell.value.classList.contains("is-suspect") !== isSuspect) {
      cell.value.classList.toggle("is-suspect", isSuspect);
      cell.value.title = isSuspect ? `Not to be trusted: ${flagWords(mote.flags)}` : "";
    }
    const values = trail.line(channel.code, Math.ceil((2000 * profile.intervalS) / trail.stepMs));
    const least = (channel.normal[1] - channel.normal[0]) / 8;
    cell.path.setAttribute("d", linePath(values, 64, 22, calmDomain(values, least, channel.physical)));
  }

  const valueOf = (row, name) => {
    const mote = motes.get(row.key);
    return name in (mote.values ?? {}) ? mote.values[name] : mote[name];
  };

  function order() {
    for (const table of tables) table.wanted = sorted(table.wanted, state.sort, valueOf);
  }

  function sift() {
    nShown = 0;
    for (const row of rows.values()) {
      const mote = motes.get(row.key);
      const text = `${mote.code} ${mote.label} ${mote.zone} ${mote.site} ${mote.state}`;
      row.isShown = matches(text, state.q) && (!state.only || mote.isAnomaly);
      nShown += row.isShown;
    }
  }

  /** Brings the page to the wanted order and choice, from the top; can be left off anywhere and begun anew. */
  function* settle() {
    for (const { root, wanted } of tables) {
      root.parentElement.hidden = !wanted.some((row) => row.isShown);
      for (const row of wanted) if (!row.isShown && !row.element.hidden) row.element.hidden = true;
    }
    for (const { root, wanted } of tables) {
      for (let i = 0; i < wanted.length; i += ROWS_A_FRAME) {
        const piece = wanted.slice(i, i + ROWS_A_FRAME);
        if (place(root.tBodies[0], piece, wanted[i - 1]?.element ?? null)) yield;
      }
    }
  }

  /** Rows do not move under a hand that is about to choose one. */
  const isInUse = () => tables.some(({ root }) => root.tBodies[0].matches(":hover, :focus-within"));

  return {
    draw(changed, now) {
      for (const key of changed) {
        const row = rows.get(key);
        if (row.isSeen) drawRow(row);
        else waiting.add(key);
      }
      const isSifted = Boolean(state.only);
      if (isSifted) sift();
      const isOrdered = state.sort.replace("-", "") !== "code" && now - sortedAt > SORT_AGAIN_MS && !isInUse();
      if (isOrdered) {
        sortedAt = now;
        order();
      }
      if (isSifted || isOrdered) inPieces(settle());
    },
    /** Applies filter and order; answers how many are shown. */
    show(wanted) {
      const before = state;
      state = { ...wanted };
      if (before.sort !== state.sort) {
        for (const button of findAll("[data-sort]", card)) mark(button, state.sort);
        order();
      }
      if (before.q !== state.q || before.only !== state.only) sift();
      inPieces(settle());
      return nShown;
    },
    select(key) {
      rows.get(selected)?.element.removeAttribute("aria-current");
      selected = key;
      rows.get(key)?.element.setAttribute("aria-current", "true");
    },
  };
}

/** Puts rows behind another, or first, and shows those that are chosen; answers whether the page had to change. */
function place(body, rows, before) {
  let last = before;
  const isThere = rows.every(({ element }) => {
    const isNext = (last ? last.nextElementSibling : body.firstElementChild) === element;
    last = element;
    return isNext;
  });
  const elements = rows.map(({ element }) => element);
  // At once: a row moved alone makes the browser count all of them again.
  if (!isThere) before ? before.after(...elements) : body.prepend(...elements);
  const hidden = rows.filter(({ element, isShown }) => isShown && element.hidden);
  for (const { element } of hidden) element.hidden = false;
  return !isThere || hidden.length > 0;
}

function parts(element) {
  return {
    key: element.dataset.key,
    code: find(".code", element).textContent,
    element,
    isSeen: false,
    isShown: true,
    icon: find(".state use", element),
    cells: findAll(".channel", element).map((cell) => ({ value: find(".value", cell), path: find("path", cell) })),
    quality: find(".quality .value", element),
    score: find(".score .value", element),
    word: find(".score .word", element),
    meter: find(".meter .is", element),
    seen: find(".seen .value", element),
  };
}

/** A column's first click sorts by what one looks for: codes upwards, scores and values from the top. */
function turned(sort, name) {
  const first = name === "code" || name === "quality" ? name : `-${name}`;
  if (sort.replace("-", "") !== name) return first;
  return sort.startsWith("-") ? name : `-${name}`;
}

function mark(button, sort) {
  const isThis = sort.replace("-", "") === button.dataset.sort;
  const header = button.closest("th");
  if (isThis) header.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
  else header.removeAttribute("aria-sort");
}
