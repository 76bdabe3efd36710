/** The Notifications page: targets and routes are added, switched and removed; messages are sent again. */
import { find, findAll, say, send, toast } from "../parts/page.js";
import { postsAtOnce, removesAfterAQuestion, submits, weekly } from "../parts/deeds.js";

const target = find("#target form");
const made = document.getElementById("made");

/** Each kind has its own words beside the address. */
function explain() {
  const kind = target.elements.kind.value;
  for (const part of findAll("[data-for]", target)) part.hidden = part.dataset.for !== kind;
}
target.elements.kind.addEventListener("change", explain);
explain();

submits(target, {
  toBody(form) {
    const { kind, name, address } = Object.fromEntries(new FormData(form));
    const box = form.elements.is_own;
    return { path: form.dataset.path, body: { kind, name, address, is_own: kind === "email" && (!box || box.checked) } };
  },
  onDone(answer) {
    if (!answer.secret) return location.reload();
    find("#target").close();
    find("#made-secret").value = answer.secret;
    made.showModal();
    return find("#made-secret").select();
  },
});
find("#kept").addEventListener("click", () => location.reload());
made.addEventListener("cancel", (event) => event.preventDefault()); // Escape must not lose the only sight of it

submits(find("#route form"), {
  toBody(form) {
    const given = Object.fromEntries(new FormData(form));
    const body = {
      target: Number(given.target),
      least_severity: given.least_severity,
      zone: given.zone || null,
      kinds: given.kind ? [given.kind] : [],
      mode: given.mode,
      after_s: Number(given.after_s),
      hours: weekly(form, "hours"),
      tells_recovery: Boolean(given.tells_recovery),
    };
    return { path: form.dataset.path, body };
  },
  onDone: () => location.reload(),
});

for (const button of findAll("[data-switches]")) {
  button.addEventListener("click", async () => {
    try {
      await send("PATCH", button.dataset.switches, { is_on: button.dataset.to === "on" });
      location.reload();
    } catch (refused) {
      toast(refused.message, "error");
    }
  });
}
postsAtOnce((_, button) => {
  toast(button.dataset.done);
  say(button, "Asked for");
});
removesAfterAQuestion();
