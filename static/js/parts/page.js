/** What every page's module needs of its page: data, the API, the time, words to the person. */
import { ago, clock, instant } from "../lib/format.js";
import { useZone } from "../lib/zone.js";

const { zone } = document.documentElement.dataset;
useZone(zone);

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

/** The data that the server put into the page by json_script. */
export function readJson(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** Writes text only where it changes, and into the node that is there: the browser lays out what is touched. */
export function say(element, text) {
  if (!element || element.textContent === text) return;
  const [only, other] = element.childNodes;
  if (text && only?.nodeType === Node.TEXT_NODE && !other) only.data = text;
  else element.textContent = text;
}

export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** The API refused or cannot be reached; `message` is for the person. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function get(path) {
  return answered(await fetched(path, { headers: { Accept: "application/json" } }));
}

export const post = (path, body = {}) => send("POST", path, body);

/** Asks the API to do something; answers what it says. */
export async function send(method, path, body = {}) {
  const token = find("[name=csrfmiddlewaretoken]").value;
  const headers = { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": token };
  return answered(await fetched(path, { method, headers, body: JSON.stringify(body) }));
}

async function fetched(path, options) {
  try {
    return await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused("The server cannot be reached. Try again in a moment.", 0);
  }
}

async function answered(response) {
  const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
  const body = isJson ? await response.json() : null;
  if (response.ok) return body;
  throw new Refused(body?.detail ?? body?.title ?? `The server answered ${response.status}.`, response.status);
}

/** A short word at the lower edge; errors stay until they are closed. */
export function toast(text, level = "info") {
  const box = fromTemplate("toast");
  box.classList.add(level);
  find("p", box).textContent = text;
  document.getElementById("toasts").append(box);
  if (level !== "error") setTimeout(() => box.remove(), 6000);
}

/** Says above the page that it is behind the times, with a button that loads it anew. */
export function tellToReload(words) {
  const notice = document.getElementById("notice");
  if (!notice) return;
  find("span", notice).textContent = words;
  notice.hidden = false;
}

const TIMES = {
  ago: (ms, now) => ago((now - ms) / 1000),
  clock: (ms) => clock(ms),
  instant: (ms) => instant(ms),
  minute: (ms) => instant(ms, { seconds: false }),
};

/** Tells all instants below an element by the page's wall clock; ages are told anew at each call. */
export function tellTimes(within = document, now = Date.now()) {
  for (const element of findAll("time[data-as]", within)) {
    const ms = Date.parse(element.dateTime);
    if (!Number.isFinite(ms)) continue;
    say(element, TIMES[element.dataset.as](ms, now));
    if (!element.title) element.title = element.dataset.as === "instant" ? zone : `${instant(ms)} ${zone}`;
  }
}

/** What a CSS custom property paints in the theme of now. */
export function colour(name) {
  const probe = document.createElement("i");
  probe.hidden = true;
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const painted = getComputedStyle(probe).color;
  probe.remove();
  return painted;
}

/** A painted colour with so much of it left. */
export function seenThrough(painted, alpha) {
  const parts = painted.match(/[\d.]+/g).slice(0, 3);
  return `rgba(${parts.join(", ")}, ${alpha})`;
}

/** This browser's own theme, which comes before the account's; none is the account's. */
export function keepTheme(theme) {
  try {
    if (theme) localStorage.setItem("sieis-theme", theme);
    else localStorage.removeItem("sieis-theme");
  } catch {
    // Storage may be forbidden; the account's holds then.
  }
}

/** Calls `deed` whenever the theme changes, by the toggle or by the system. */
export function onTheme(deed) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", deed);
  new MutationObserver(deed).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
