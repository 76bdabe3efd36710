/** A stretch of time: which motes and channels left their norm in it, how far, and who first. */
import { instant, number } from "../lib/format.js";
import { find, post, say } from "./page.js";

const SHOWN = 30;
const HEADS = ["First", "Mote", "Channel", "Deviations", "Furthest", "Its norm there", "From"];

/** Opens the dialog for a span of milliseconds; `onClose` is called when the person is done. */
export async function openCauses(site, span, onClose = () => {}) {
  const dialog = find("#causes");
  const wrong = find(".error", dialog);
  wrong.hidden = true;
  say(find(".words", dialog), `${instant(span.start)} to ${instant(span.end)}`);
  say(find(".first", dialog), "Looking …");
  find(".scroll", dialog).replaceChildren();
  dialog.addEventListener("close", onClose, { once: true });
  dialog.showModal();
  const [start, end] = [span.start, Math.max(span.end, span.start + 1000)].map((ms) => new Date(ms).toISOString());
  try {
    const found = await post("/api/v1/analytics/root-cause", { start, end, site, limit: SHOWN });
    say(find(".first", dialog), firstWords(found));
    if (found.causes.length) find(".scroll", dialog).replaceChildren(tableOf(found));
  } catch (refused) {
    say(find(".first", dialog), "");
    say(wrong, refused.message);
    wrong.hidden = false;
  }
}

function firstWords({ first, causes, n_looked_at: n, seconds, missing }) {
  const took = `${n} channels in ${number(seconds, 2)} s.`;
  const lacks = missing.length ? ` ${missing.join(" ")}` : "";
  if (!causes.length) return `Nothing to compare: there are no readings in this stretch, or none before it. ${took}${lacks}`;
  if (!first) return `Nothing left its norm for longer than a moment. ${took}${lacks}`;
  return `${first.label} of mote ${first.mote} left its norm first, at ${instant(Date.parse(first.onset_at))}. ${took}${lacks}`;
}

function tableOf({ causes }) {
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  for (const name of HEADS) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const one of causes) {
    const row = body.insertRow();
    row.insertCell().textContent = one.order ?? "–";
    const link = document.createElement("a");
    link.href = `/motes/${encodeURIComponent(one.site)}/${encodeURIComponent(one.mote)}/${location.search}`;
    link.textContent = one.mote;
    row.insertCell().append(link);
    const cells = [
      one.label, number(one.deviations, 1), `${number(one.value, 2)} ${one.unit}`,
      `${number(one.low, 2)} to ${number(one.high, 2)}`, one.onset_at ? instant(Date.parse(one.onset_at)) : "did not stay out",
    ];
    for (const text of cells) row.insertCell().textContent = text;
  }
  return table;
}
