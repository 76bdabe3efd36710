/** A reconciliation that is under way: the page anew when it is done. */
import { findAll, get } from "../parts/page.js";

const EVERY_MS = 1000;
const UNFINISHED = new Set(["queued", "running"]);

async function follow(element) {
  // A server that is away for a moment is asked again.
  const made = await get(`/api/v1/reconciliations/${element.dataset.reconciling}`).catch(() => null);
  if (made && !UNFINISHED.has(made.state)) location.reload();
  else setTimeout(() => follow(element), EVERY_MS);
}

findAll("[data-reconciling]").forEach(follow);
