/** The Alerts page: the list as filtered; unfiltered, what is new comes in by itself. */
import { onceAFrame } from "../lib/frame.js";
import { inOrder, mergeAlert } from "../lib/merge.js";
import { alertList } from "../parts/alert-list.js";
import { openChannel } from "../parts/channel.js";
import { find, get, say, toast } from "../parts/page.js";

const page = find("#alerts");
const isPlain = page.dataset.isPlain === "1";
let alerts = null; // the active ones, once asked for
const acknowledgements = [];

const list = alertList(page, { onMoved: take });
const draw = onceAFrame(() => {
  if (isPlain && alerts) {
    list.draw(alerts);
    say(find("#n-found"), String(alerts.length));
    find("#no-alerts").hidden = alerts.length > 0;
  }
  for (const acknowledge of acknowledgements.splice(0)) acknowledge();
});

function take(alert) {
  list.change(alert);
  if (alerts) alerts = inOrder(mergeAlert(alerts, alert));
  draw();
}

async function catchUp() {
  if (!isPlain) return;
  try {
    alerts = inOrder((await get("/api/v1/alerts?status=active")).results);
    draw();
  } catch (refused) {
    toast(`The alerts could not be asked for. ${refused.message}`, "error");
  }
}

catchUp();
openChannel({
  onMessage(message, acknowledge) {
    acknowledgements.push(acknowledge);
    if (message.type === "alert") take(message.alert);
    draw();
  },
  onReturn: catchUp,
});
