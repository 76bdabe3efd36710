/** Imports: a question before what changes something, and the progress of what is under way. */
import { find, findAll, get, say } from "../parts/page.js";

const EVERY_MS = 1000;
const UNFINISHED = new Set(["queued", "running"]);
const number = new Intl.NumberFormat("en-GB");

async function follow(element) {
  // A server that is away for a moment is asked again.
  const job = await get(`/api/v1/imports/${element.dataset.unfinished}`).catch(() => null);
  if (job && !UNFINISHED.has(job.state)) {
    location.reload();
    return;
  }
  const bar = find("progress", element);
  if (job && bar) {
    bar.value = job.progress;
    say(find("[data-step]", element), job.state === "queued" ? "It begins when a worker is free." : job.step || "Reading the files");
    say(find("[data-sent]", element), job.n_sent ? `${number.format(job.n_sent)} of ${number.format(job.n_rows)} rows sent` : "");
  }
  setTimeout(() => follow(element), EVERY_MS);
}

findAll("[data-unfinished]").forEach(follow);

// ---- deeds --------------------------------------------------------------------------------------------------

const dialog = find("#ask");
const form = find("#deeds");
const WORDS = {
  start: ["Import it?", "Motes that are new are registered, and the readings are stored for good. Nobody is notified.", "Import"],
  resume: ["Go on?", "The rows that were not sent yet are sent now.", "Go on"],
  stop: ["Stop it?", "What was sent stays; it can go on later from there.", "Stop"],
  forget: ["Discard its files?", "They are deleted here. What is stored already stays.", "Discard"],
};

function send(deed) {
  form.elements.deed.value = deed === "resume" ? "start" : deed;
  form.submit();
}

if (dialog && form) {
  for (const button of findAll("[data-ask]", form)) {
    button.addEventListener("click", () => {
      const [title, words, yes] = WORDS[button.dataset.ask];
      say(find("h2", dialog), title);
      say(find(".words", dialog), button.dataset.ask === "start" ? `${dialog.dataset.rows} rows for ${dialog.dataset.place}. ${words}` : words);
      say(find("#ask-yes"), yes);
      dialog.dataset.deed = button.dataset.ask;
      dialog.showModal();
    });
  }
  find("#ask-yes").addEventListener("click", () => send(dialog.dataset.deed));
}

// Looking at a large file takes seconds: say so, and take no second click.
for (const looking of findAll("[data-looking]")) {
  looking.addEventListener("submit", () => {
    const button = find("button[type=submit]", looking);
    button.disabled = true;
    say(button, "Looking…");
  });
}
