/** The inbox: the list as filtered, kept up live; keys and bulk deeds; unfiltered, what is new comes in by itself. */
import { isForList, kept, stepped } from "../lib/cursor.js";
import { onceAFrame } from "../lib/frame.js";
import { inOrder, mergeAlert } from "../lib/merge.js";
import { alertList } from "../parts/alert-list.js";
import { openChannel } from "../parts/channel.js";
import { find, findAll, get, post, say, toast } from "../parts/page.js";
import { askResolution } from "../parts/resolve.js";

const HOUR_MS = 3_600_000;
const page = find("#alerts");
const bulk = find("#bulk");
const isPlain = page.dataset.isPlain === "1";
const isAwake = (alert) => !(Date.parse(alert.snoozed_until) > Date.now());
let alerts = null; // the active ones, once asked for
let current = null;
const acknowledgements = [];

// ---- the list ---------------------------------------------------------------------------------------------------

const list = alertList(page, { onMoved: take });
const ids = () => findAll("[data-id]", page).map((row) => Number(row.dataset.id));
const rowOf = (id) => find(`[data-id="${id}"]`, page);
const draw = onceAFrame(() => {
  const before = ids();
  if (isPlain && alerts) {
    list.draw(alerts);
    say(find("#n-found"), String(alerts.length));
    find("#no-alerts").hidden = alerts.length > 0;
  }
  mark(kept(before, ids(), current), { isQuiet: true });
  count();
  for (const acknowledge of acknowledgements.splice(0)) acknowledge();
});

function take(alert) {
  list.change(alert);
  if (alerts) alerts = inOrder(mergeAlert(alerts, alert)).filter(isAwake);
  draw();
}

async function catchUp() {
  if (!isPlain) return;
  try {
    alerts = inOrder((await get("/api/v1/alerts?status=active&limit=1000")).results).filter(isAwake);
    draw();
  } catch (refused) {
    toast(`The alerts could not be asked for. ${refused.message}`, "error");
  }
}

// ---- choosing and acting ----------------------------------------------------------------------------------------

const boxes = () => findAll(".choose", page);
const chosen = () => boxes().filter((box) => box.checked).map((box) => Number(box.closest("[data-id]").dataset.id));

function count() {
  if (!bulk) return;
  const [all, n] = [boxes().length, chosen().length];
  say(find("#n-chosen"), n ? `${n} chosen` : "none chosen");
  find(".deeds", bulk).hidden = n === 0;
  find("#all").checked = n > 0 && n === all;
  find("#all").indeterminate = n > 0 && n < all;
}

/** Those that are chosen, else the one with the mark. */
function meant() {
  const found = chosen();
  return found.length || current === null ? found : [current];
}

const GIVEN = {
  assign: () => ({ assignee: find("[data-bulk=assign]", bulk).dataset.me }),
  snooze: () => ({ until: new Date(Date.now() + HOUR_MS).toISOString() }),
};

function act(deed) {
  const found = meant();
  if (!found.length) return;
  const one = found.length === 1 ? find(".words", rowOf(found[0])).textContent : `${found.length} alerts`;
  if (deed === "resolve") askResolution(one, (given) => send(found, deed, given));
  else send(found, deed, GIVEN[deed]?.() ?? {}).catch((refused) => toast(refused.message, "error"));
}

/** Let go at once: what is chosen while the answer is under way stays chosen. */
async function send(found, deed, given) {
  const had = boxes().filter((box) => box.checked);
  for (const box of had) box.checked = false;
  count();
  const { done, refused } = await post("/api/v1/alerts/bulk", { ids: found, deed, ...given }).catch((failed) => {
    for (const box of had) box.checked = true;
    count();
    throw failed;
  });
  for (const alert of done) take(alert);
  if (refused.length === 1) toast(refused[0].detail, "error");
  else if (refused.length) toast(`${done.length} done, ${refused.length} not: ${refused[0].detail}`, "error");
  else if (found.length > 1) toast(`${done.length} alerts: done.`);
  draw();
}

if (bulk) {
  bulk.addEventListener("click", ({ target }) => target.dataset.bulk && act(target.dataset.bulk));
  find("#all").addEventListener("change", (event) => {
    for (const box of boxes()) box.checked = event.target.checked;
    count();
  });
  page.addEventListener("change", count);
}

// ---- keys -------------------------------------------------------------------------------------------------------

function mark(id, { isQuiet = false } = {}) {
  if (current !== null) rowOf(current)?.removeAttribute("aria-current");
  current = id;
  const row = id === null ? null : rowOf(id);
  if (!row) return;
  row.setAttribute("aria-current", "true");
  if (isQuiet) return;
  row.scrollIntoView({ block: "nearest" });
  find(".words a", row).focus({ preventScroll: true });
}

const KEYS = {
  j: () => mark(stepped(ids(), current, 1)),
  k: () => mark(stepped(ids(), current, -1)),
  x: () => {
    const box = current === null ? null : find(".choose", rowOf(current));
    if (box) box.checked = !box.checked;
    count();
  },
  a: () => bulk && act("acknowledge"),
  r: () => bulk && act("resolve"),
  t: () => bulk && act("assign"),
  "/": () => find("#q").focus(),
};

document.addEventListener("keydown", (event) => {
  if (!KEYS[event.key] || !isForList(event)) return;
  event.preventDefault();
  KEYS[event.key]();
});

catchUp();
count();
openChannel({
  onMessage(message, acknowledge) {
    acknowledgements.push(acknowledge);
    if (message.type === "alert") take(message.alert);
    draw();
  },
  onReturn: catchUp,
});
