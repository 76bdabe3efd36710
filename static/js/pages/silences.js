/** The Silences page: what a silence would do is shown while it is written; it is added, and lifted after a question. */
import { instant } from "../lib/format.js";
import { fieldOf, instantOf } from "../lib/local-time.js";
import { find, post, say } from "../parts/page.js";
import { removesAfterAQuestion, submits, weekly } from "../parts/deeds.js";

const form = find("#silence form");
const shown = find("#preview");
const HOUR_MS = 3_600_000;
let waits = null;

const local = (ms) => fieldOf(ms).slice(0, 16);

function body() {
  const { scope, kind, starts_at: starts, ends_at: ends, reason, is_maintenance: isMaintenance } = Object.fromEntries(new FormData(form));
  const [what, ...name] = scope.split(" ");
  return {
    ...(what && { [what]: name.join(" ") }),
    kind,
    starts_at: instantOf(starts),
    ends_at: instantOf(ends),
    weekly: weekly(form, "weekly"),
    is_maintenance: Boolean(isMaintenance),
    reason: reason || "not said yet",
  };
}

async function preview() {
  try {
    const seen = await post(form.dataset.preview, body());
    const next = seen.next[0] ? `First in force ${instant(Date.parse(seen.next[0].starts_at))} to ${instant(Date.parse(seen.next[0].ends_at))}.` : "Never in force within the next 14 days.";
    say(shown, `${seen.n_motes} motes; keeps ${seen.alerts.length} active alerts quiet, would have kept ${seen.n_before} of the last 7 days. ${next}`);
  } catch (refused) {
    say(shown, refused.message);
  }
}

if (form) {
  form.elements.starts_at.value = local(Date.now());
  form.elements.ends_at.value = local(Date.now() + HOUR_MS);
  form.addEventListener("input", () => {
    clearTimeout(waits);
    waits = setTimeout(preview, 300);
  });
  find("[data-dialog=silence]")?.addEventListener("click", preview);
  submits(form, { toBody: () => ({ path: form.dataset.path, body: body() }), onDone: () => location.reload() });
}
removesAfterAQuestion();
