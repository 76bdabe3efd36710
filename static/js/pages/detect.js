/** Judging a file: dropping it, its progress, and a question before it is forgotten. */
import { find, findAll, get, say } from "../parts/page.js";

const EVERY_MS = 1000;
const UNFINISHED = new Set(["queued", "running"]);

async function follow(element) {
  // A server that is away for a moment is asked again.
  const run = await get(`/api/v1/ml/detect/${element.dataset.unfinished}`).catch(() => null);
  if (run && !UNFINISHED.has(run.state)) {
    location.reload();
    return;
  }
  if (run) {
    find("progress", element).value = run.progress;
    say(find("[data-message]", element), run.message);
  }
  setTimeout(() => follow(element), EVERY_MS);
}

findAll("[data-unfinished]").forEach(follow);

// ---- bringing a file ----------------------------------------------------------------------------------------

const bringing = find("[data-drop]");
if (bringing) {
  const place = find(".drop", bringing);
  const input = find("input[type=file]", bringing);
  const refusal = find("[data-refusal]", bringing);
  const largest = Number(bringing.dataset.largest);

  const check = () => {
    const file = input.files[0];
    const isTooLarge = file && file.size > largest;
    refusal.hidden = !isTooLarge;
    if (isTooLarge) {
      const megabytes = (bytes) => Math.round(bytes / 2 ** 20);
      say(find("span", refusal), `“${file.name}” has ${megabytes(file.size)} MiB; at most ${megabytes(largest)} MiB can be uploaded. Judge it with manage.py detect where it lies.`);
    }
    return !isTooLarge;
  };

  for (const [name, isOver] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    place.addEventListener(name, (event) => {
      event.preventDefault();
      place.classList.toggle("is-over", isOver);
    });
  }
  place.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    if (check()) bringing.requestSubmit();
  });
  input.addEventListener("change", check);
  bringing.addEventListener("submit", (event) => {
    if (!check()) {
      event.preventDefault();
      return;
    }
    const button = find("button[type=submit]", bringing);
    button.disabled = true;
    say(button, "Bringing it…");
  });
}

// ---- forgetting it ------------------------------------------------------------------------------------------

const dialog = find("#ask");
for (const button of findAll("[data-confirm]")) {
  button.addEventListener("click", (event) => {
    if (dialog.dataset.yes) return;
    event.preventDefault();
    say(find(".words", dialog), button.dataset.confirm);
    dialog.showModal();
    find("[data-yes]", dialog).addEventListener("click", () => {
      dialog.dataset.yes = "1";
      button.click();
    }, { once: true });
  });
}
if (dialog) find("[data-no]", dialog).addEventListener("click", () => dialog.close());
