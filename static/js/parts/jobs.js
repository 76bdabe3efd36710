/** Rows with data-job follow their training: from the live channel, and by asking for those that are not over. */
import { find, findAll, get, say, tellToReload } from "./page.js";

const OVER = new Set(["succeeded", "failed", "cancelled"]);
const ASK_MS = 2000;

export function followJobs() {
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
