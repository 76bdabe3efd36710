/** Forms and buttons that ask the API for something: what is refused is said where the person looks. */
import { find, findAll, say, send, toast } from "./page.js";

/** Sends a form's fields as JSON; `toBody(form)` makes of them what the API takes. */
export function submits(form, { method = "POST", toBody, onDone }) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = find(".error", form);
    wrong.hidden = true;
    try {
      const { path, body } = toBody(form);
      onDone(await send(form.dataset.method ?? method, path, body));
    } catch (refused) {
      say(wrong, refused.message);
      wrong.hidden = false;
    }
  });
}

/** Buttons with data-post ask at once. */
export function postsAtOnce(onDone) {
  for (const button of findAll("[data-post]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        onDone(await send("POST", button.dataset.post), button);
      } catch (refused) {
        toast(refused.message, "error");
      } finally {
        button.disabled = false;
      }
    });
  }
}

/** Buttons with data-removes ask the person first, in the dialog #sure; the page is loaded anew afterwards. */
export function removesAfterAQuestion() {
  const dialog = document.getElementById("sure");
  let chosen = null;
  for (const button of findAll("[data-removes]")) {
    button.addEventListener("click", () => {
      chosen = button;
      say(find("h2", dialog), button.dataset.question);
      say(find("p", dialog), button.dataset.consequence);
      say(find(".primary", dialog), button.dataset.verb ?? "Remove");
      dialog.showModal();
    });
  }
  find(".primary", dialog)?.addEventListener("click", async () => {
    try {
      await send(chosen.dataset.method ?? "DELETE", chosen.dataset.removes);
      location.reload();
    } catch (refused) {
      dialog.close();
      toast(refused.message, "error");
    }
  });
}

/** Forms with data-sure ask the person first, in the dialog #sure. */
export function submitsAfterAQuestion() {
  const dialog = document.getElementById("sure");
  let asking = null;
  for (const form of findAll("form[data-sure]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      asking = form;
      say(find("h2", dialog), form.dataset.question);
      say(find("p", dialog), form.dataset.consequence);
      say(find(".primary", dialog), form.dataset.verb);
      dialog.showModal();
    });
  }
  find(".primary", dialog)?.addEventListener("click", () => asking.submit());
}

/** Hours of the week from a form's fields `<name>-day` (checked ones), `-from`, `-to` and `-zone`; null without days. */
export function weekly(form, name) {
  const days = findAll(`[name="${name}-day"]:checked`, form).map((box) => Number(box.value));
  if (!days.length) return null;
  const value = (part) => form.elements[`${name}-${part}`].value;
  return { days, from: value("from"), to: value("to"), time_zone: value("zone") };
}
