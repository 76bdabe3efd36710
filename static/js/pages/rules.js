/** The Rules page: rules are switched, removed and imported. */
import { find, findAll, send, toast } from "../parts/page.js";
import { removesAfterAQuestion, submits } from "../parts/deeds.js";

const form = find("#import form");

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

if (form) {
  let rules = null;
  form.elements.file.addEventListener("change", async () => {
    try {
      rules = JSON.parse(await form.elements.file.files[0].text());
    } catch {
      toast("This file is no JSON; expected what another SIEIS exported.", "error");
    }
  });
  submits(form, { toBody: () => ({ path: form.dataset.path, body: rules ?? {} }), onDone: () => location.reload() });
  removesAfterAQuestion();
}
