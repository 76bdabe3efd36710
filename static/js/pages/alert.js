/** The page of one alert: its deeds, and a word when it changes while somebody looks. */
import { decimalsOf, instant, number } from "../lib/format.js";
import { BandChart } from "../parts/band-chart.js";
import { openChannel } from "../parts/channel.js";
import { find, findAll, onTheme, post, readJson, say, tellTimes, tellToReload, toast } from "../parts/page.js";
import { askResolution } from "../parts/resolve.js";

const HOUR_MS = 3_600_000;
const head = find("#alert");
const { id, words } = head.dataset;
let isMine = false; // what comes back by the channel is what this page did itself

const act = async (deed, given = {}) => {
  isMine = true;
  try {
    await post(`/api/v1/alerts/${id}/${deed}`, { revision: Number(head.dataset.revision), ...given });
    location.reload();
  } catch (refused) {
    isMine = false;
    throw refused;
  }
};
const orSay = (promise) => promise.catch((refused) => toast(refused.message, "error"));

for (const button of findAll("[data-step]")) {
  const { step } = button.dataset;
  button.addEventListener("click", () => {
    if (step === "resolve") askResolution(words, (given) => act(step, given));
    else orSay(act(step));
  });
}

find("#snooze")?.addEventListener("change", ({ target }) => {
  if (target.value) orSay(act("snooze", { until: new Date(Date.now() + target.value * HOUR_MS).toISOString() }));
});
find("#assignee")?.addEventListener("change", ({ target }) => orSay(act("assign", { assignee: target.value || null })));
find("#verdict")?.addEventListener("change", ({ target }) => {
  if (target.value) orSay(act("judge", { verdict: target.value, note: find("#note").value.trim() }));
});
find("#say")?.addEventListener("submit", (event) => {
  event.preventDefault();
  orSay(act("comment", { note: find("#note").value.trim() }));
});

find("#take-evidence")?.addEventListener("click", async ({ target }) => {
  target.disabled = true;
  try {
    await post(`/api/v1/alerts/${id}/evidence`);
    location.reload();
  } catch (refused) {
    target.disabled = false;
    toast(refused.message, "error");
  }
});

// ---- evidence ---------------------------------------------------------------------------------------------------

const figure = find("#evidence-chart");
if (figure) {
  const data = readJson("evidence-data");
  const chosen = find("#evidence-channel");
  const chart = new BandChart(find("canvas", figure), data);
  const show = () => {
    chart.show(chosen.value);
    if (find("details", figure).open) find(".scroll", figure).replaceChildren(tableOf(data, chosen.value));
  };
  chosen.addEventListener("change", show);
  find("details", figure).addEventListener("toggle", show);
  onTheme(show);
  show();
}

function tableOf({ at, surprise, is_anomaly: odd, channels }, code) {
  const { label, unit, resolution, values, low = [], high = [] } = channels.find((one) => one.code === code);
  const told = (value) => (value === null || value === undefined ? "–" : number(value, decimalsOf(resolution)));
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  for (const name of ["At", `${label} ${unit}`, "Expected", "Surprise"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  at.forEach((ms, i) => {
    const row = body.insertRow();
    const expected = `${told(low[i])} to ${told(high[i])}`;
    const odds = surprise[i] === null ? "–" : `${odd[i] ? "▲ " : ""}${number(surprise[i], 1)}`;
    for (const text of [instant(ms), told(values[i]), expected, odds]) row.insertCell().textContent = text;
  });
  return table;
}

tellTimes();
openChannel({
  onMessage(message, acknowledge) {
    acknowledge();
    if (message.type !== "alert" || String(message.alert.id) !== id || isMine) return;
    say(find("#n-events"), String(message.alert.n_events));
    find("#last-seen").dateTime = message.alert.last_seen_at;
    tellTimes();
    if (message.alert.revision !== Number(head.dataset.revision)) tellToReload("This alert has changed since you opened it.");
  },
  onReturn() {},
});
