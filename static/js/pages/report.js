/** A quality report that is being made: its progress, and the page anew when it is done. */
import { find, findAll, get } from "../parts/page.js";

const EVERY_MS = 1000;
const UNFINISHED = new Set(["queued", "running"]);

async function follow(element) {
  // A server that is away for a moment is asked again.
  const report = await get(`/api/v1/quality/reports/${element.dataset.unfinished}`).catch(() => null);
  if (report && !UNFINISHED.has(report.state)) {
    location.reload();
    return;
  }
  const bar = find("progress", element);
  if (report && bar) bar.value = report.progress;
  setTimeout(() => follow(element), EVERY_MS);
}

findAll("[data-unfinished]").forEach(follow);
