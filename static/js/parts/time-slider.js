/** The slider below the floor map: what is shown is now, or a step of the last hours, and can be played. */
import { ago, clock } from "../lib/format.js";
import { nAnomalous, standing, stepOf } from "../lib/past.js";
import { find, get, say, toast } from "./page.js";

const PLAY_EVERY_MS = 250;
const STALE_MS = 60_000;

/** onShow(motes or null) draws; onMoved(at, hours) hears what is looked at: an instant as text, or "" for now. */
export function timeSlider(root, { motes, now, onShow, onMoved }) {
  const range = find("input", root);
  const words = find("output", root);
  const play = find("#play", root);
  const back = find("select", root);
  let past = null;
  let loadedAt = -Infinity;
  let asked = null;
  let timer = null;

  async function load() {
    if (past && past.hours === back.value && (range.value !== range.max || now() - loadedAt < STALE_MS)) return true;
    const hours = back.value;
    asked ??= get(`/live/past?hours=${hours}`);
    try {
      past = { ...(await asked), hours };
      loadedAt = now();
      return true;
    } catch (refused) {
      toast(`The last hours are not known now. ${refused.message}`, "error");
      return false;
    } finally {
      asked = null;
    }
  }

  function draw() {
    const step = Number(range.value);
    const isNow = !past || step >= past.at.length;
    const then = isNow ? null : standing(past, step, motes);
    const at = isNow ? null : Date.parse(past.at[step]);
    const text = isNow ? "now" : `${clock(at, { seconds: false })}, ${ago((now() - at) / 1000)}, ${nAnomalous(then)} anomalous`;
    say(words, text);
    range.setAttribute("aria-valuetext", text);
    root.classList.toggle("is-past", !isNow);
    onShow(then);
    onMoved(isNow ? "" : past.at[step], back.value);
  }

  async function move() {
    if (await load()) draw();
    else range.value = range.max;
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.setAttribute("aria-pressed", "false");
  }

  async function start() {
    if (!(await load())) return;
    if (range.value === range.max) range.value = 0;
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      range.value = Number(range.value) + 1;
      draw();
      if (range.value === range.max) stop();
    }, PLAY_EVERY_MS);
    draw();
  }

  range.addEventListener("input", () => {
    stop();
    move();
  });
  back.addEventListener("change", () => {
    stop();
    const at = past && Number(range.value) < past.at.length ? Date.parse(past.at[Number(range.value)]) : NaN;
    past = null;
    showAt(at);
  });
  play.addEventListener("click", () => (timer ? stop() : start()));

  async function showAt(ms) {
    if (!(await load())) return;
    range.value = stepOf(past, ms) ?? range.max;
    draw();
  }

  return {
    /** What the address asks for; the past is asked for only where somebody looks at it. */
    show({ at, back: hours }) {
      back.value = hours;
      if (at) showAt(Date.parse(at));
    },
  };
}
