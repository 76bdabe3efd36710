/** The page of one alert: its deeds, and a word when it changes while somebody looks. */
import { openChannel } from "../parts/channel.js";
import { find, findAll, post, say, tellTimes, tellToReload, toast } from "../parts/page.js";
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
