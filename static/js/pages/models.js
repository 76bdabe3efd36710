/** The Models page: promotion with a question first, training with its progress. */
import { openChannel } from "../parts/channel.js";
import { followJobs, trainOnClick } from "../parts/jobs.js";
import { find, findAll, post, say, toast } from "../parts/page.js";

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

const rollback = document.getElementById("rollback");
for (const button of findAll("[data-rollback]")) {
  button.addEventListener("click", () => {
    chosen = { profile: button.dataset.rollback, kind: button.dataset.kind };
    say(find(".label", rollback), button.dataset.label);
    rollback.showModal();
  });
}

find("#rollback-yes")?.addEventListener("click", async (event) => {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    const why = find("#rollback-why").value.trim() || "asked for on the Models page";
    await post("/api/v1/models/rollback", { ...chosen, why });
    location.reload();
  } catch (refused) {
    rollback.close();
    toast(refused.message, "error");
  } finally {
    button.disabled = false;
  }
});

trainOnClick(() => location.reload());
const jobs = followJobs();
openChannel({
  onMessage(message, acknowledge) {
    if (message.type === "job") jobs.take(message.job);
    acknowledge();
  },
  onReturn: jobs.ask,
});
