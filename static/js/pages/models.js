/** The Models page: promotion with a question first, training with its progress. */
import { openChannel } from "../parts/channel.js";
import { find, findAll, get, post, say, tellToReload, toast } from "../parts/page.js";

const OVER = new Set(["succeeded", "failed", "cancelled"]);
const dialog = document.getElementById("promote");
let chosen = null;

for (const button of findAll("[data-promote]")) {
  button.addEventListener("click", () => {
    chosen = button.dataset.promote;
    say(find(".label", dialog), button.dataset.label);
    say(find(".gate", dialog), button.dataset.gate);
    dialog.showModal();
  });
}

find("#promote-yes")?.addEventListener("click", async (event) => {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    const why = find("#why").value.trim() || "asked for on the Models page";
    await post(`/api/v1/models/${chosen.split("/").map(encodeURIComponent).join("/")}/promote`, { why });
    location.reload();
  } catch (refused) {
    dialog.close();
    toast(refused.message, "error");
  } finally {
    button.disabled = false;
  }
});

for (const button of findAll("[data-retrain]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post("/api/v1/ml/retrain", { profile: button.dataset.retrain });
      location.reload();
    } catch (refused) {
      toast(refused.message, "error");
      button.disabled = false;
    }
  });
}

function take(job) {
  const row = find(`[data-job="${job.id}"]`);
  if (!row) {
    tellToReload("A new training has begun.");
    return;
  }
  const badge = find(".badge", row);
  badge.className = `badge ${job.status}`;
  say(badge, job.status);
  const bar = find("progress", row);
  bar.value = job.progress;
  bar.hidden = OVER.has(job.status);
  say(find(".message", row), job.message);
  if (OVER.has(job.status) && !OVER.has(row.dataset.status)) tellToReload(`Training ${job.id} has ${job.status}.`);
  row.dataset.status = job.status;
}

/** What the channel may have missed, or does not tell from another process. */
async function askUnfinished() {
  for (const row of findAll("[data-job]")) {
    if (OVER.has(row.dataset.status)) continue;
    const job = await get(`/api/v1/ml/jobs/${row.dataset.job}`).catch(() => null); // the next look comes soon
    if (job) take(job);
  }
}

openChannel({
  onMessage(message, acknowledge) {
    if (message.type === "job") take(message.job);
    acknowledge();
  },
  onReturn: askUnfinished,
});
setInterval(askUnfinished, 2000);
