/** The question before an alert is resolved: what was it, and a note. */
import { find, say } from "./page.js";

/** Opens the dialog; `deed({ note, verdict })` is done on yes and may throw, which is said in the dialog. */
export function askResolution(words, deed) {
  const dialog = find("#resolve");
  const form = find("form", dialog);
  const wrong = find(".error", form);
  form.reset();
  wrong.hidden = true;
  say(find(".words", form), words);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const yes = find("[type=submit]", form);
    yes.disabled = true;
    try {
      await deed({ note: form.elements.note.value.trim(), verdict: form.elements.verdict.value });
      dialog.close();
    } catch (refused) {
      say(wrong, refused.message);
      wrong.hidden = false;
    } finally {
      yes.disabled = false;
    }
  };
  dialog.showModal();
  form.elements.note.focus();
}
