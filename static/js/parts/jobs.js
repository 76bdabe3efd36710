/** Trainings are asked for by a button, and rows with data-job follow them: from the live channel, and by asking. */
import { find, findAll, get, post, say, tellToReload, toast } from "./page.js";

const OVER = new Set(["succeeded", "failed", "cancelled"]);
const ASK_MS = 2000;

/** A click on a button with data-retrain trains that profile again; `onBegun` hears the job's number. */
export function trainOnClick(onBegun) {
  for (const button of findAll("[data-retrain]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        onBegun((await post("/api/v1/ml/retrain", { profile: button.dataset.retrain })).job_id, button);
      } catch (refused) {
        toast(refused.message, "error");
        button.disabled = false;
      }
    });
  }
}

const reload = ({ id, status }) => tellToReload(`Training ${id} has ${status}.`);

export function followJobs(onOver = reload) {
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
    if (OVER.has(job.status) && !OVER.has(row.dataset.status)) onOver(job, row);
    row.dataset.status = job.status;
  }

  /** What the channel may have missed, or does not tell from another process. */
  async function ask() {
    for (const row of findAll("[data-job]")) {
      if (OVER.has(row.dataset.status)) continue;
      const job = await get(`/api/v1/ml/jobs/${row.dataset.job}`).catch(() => null); // the next look comes soon
      if (job) take(job);
    }
  }

  setInterval(ask, ASK_MS);
  return { take, ask };
}
