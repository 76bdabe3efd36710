/** The quarantine: choosing messages and what becomes of them, a job's progress, what an edited message would become. */
import { find, findAll, get, post, say } from "../parts/page.js";

const EVERY_MS = 1000;
const TYPED_MS = 350;
const number = new Intl.NumberFormat("en-GB");

// ---- replaying and discarding, after a question -----------------------------------------------------------

const form = find("#chosen");
const boxes = form ? findAll("[name=message]", form) : [];
const dialog = find("#ask");
const WORDS = {
  replay: ["Send", "again?", "Each goes back to the stream by which it came. Those that would only be put aside again stay here.", "Send again"],
  discard: ["Discard", "?", "They stay to be seen, marked as discarded, until they are too old.", "Discard"],
};

function count() {
  const n = boxes.filter((box) => box.checked).length;
  say(find("#n-chosen"), n ? `${n} chosen` : "none chosen");
  for (const button of findAll("[data-ask]", form)) button.disabled = n === 0;
  find("#all").checked = n > 0 && n === boxes.length;
  find("#all").indeterminate = n > 0 && n < boxes.length;
  return n;
}

function ask(button) {
  const isAll = "all" in button.dataset;
  const [verb, end, words, yes] = WORDS[button.dataset.ask];
  const n = isAll ? dialog.dataset.n : String(count());
  const what = `${n} message${n === "1" ? "" : "s"}`;
  say(find("h2", dialog), `${verb} ${isAll && n !== "1" ? "all " : ""}${what}${end === "?" ? "?" : ` ${end}`}`);
  say(find(".words", dialog), words);
  say(find("#ask-yes"), yes);
  dialog.dataset.form = isAll ? "everything" : "chosen";
  dialog.dataset.deed = button.dataset.ask;
  dialog.showModal();
}

if (boxes.length && find("#all")) {
  form.addEventListener("change", (event) => event.target.matches("[name=message]") && count());
  find("#all").addEventListener("change", (event) => {
    for (const box of boxes) box.checked = event.target.checked;
    count();
  });
  count();
}
if (dialog) {
  for (const button of findAll("[data-ask]")) button.addEventListener("click", () => ask(button));
  find("#ask-yes").addEventListener("click", () => {
    const sent = document.getElementById(dialog.dataset.form);
    sent.elements.deed.value = dialog.dataset.deed;
    sent.submit();
  });
}

// ---- a job that is under way --------------------------------------------------------------------------------

async function follow(card) {
  // A server that is away for a moment is asked again.
  const job = await get(`/api/v1/quarantine/jobs/${card.dataset.job}`).catch(() => null);
  if (job && job.state !== "queued" && job.state !== "running") {
    location.reload();
    return;
  }
  if (job) {
    find("progress", card).value = job.progress;
    say(find("[data-told]", card), `${number.format(job.n_sent)} of ${number.format(job.n_asked)} sent, ${number.format(job.n_left)} stayed`);
  }
  setTimeout(() => follow(card), EVERY_MS);
}

findAll("[data-job]").forEach(follow);

// ---- a message that is being edited -------------------------------------------------------------------------

const payload = find("#payload");

function tell(fate) {
  const line = find("#fate");
  line.classList.toggle("ok", fate.is_taken);
  line.classList.toggle("bad", !fate.is_taken);
  find("use", line).setAttribute("href", fate.is_taken ? "#i-check" : "#i-cross");
  say(find("strong", line), `Sent now it would be ${fate.is_taken ? "taken" : "put aside again"}.`);
  say(find("[data-words]", line), fate.words);
  find("#send").disabled = !fate.is_taken;
}

if (payload) {
  let waiting;
  let asked = 0;
  payload.addEventListener("input", () => {
    find("#send").disabled = true;
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const mine = ++asked;
      try {
        const fate = await post(payload.dataset.check, { payload: payload.value });
        if (mine === asked) tell(fate);
      } catch (refused) {
        if (mine === asked) tell({ is_taken: false, words: refused.message });
      }
    }, TYPED_MS);
  });
}

// ---- adopting -----------------------------------------------------------------------------------------------

const adopt = find("form.adopt");

/** Only the zones of the chosen site. */
function narrowZones() {
  const { site, zone } = adopt.elements;
  for (const option of zone.options) option.hidden = option.disabled = Boolean(option.dataset.site) && option.dataset.site !== site.value;
  if (zone.selectedOptions[0]?.disabled) zone.value = "";
}

if (adopt) {
  narrowZones();
  adopt.elements.site.addEventListener("change", narrowZones);
}
