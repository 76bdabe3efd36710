/** The list of motes: choosing some and changing their state after a question; adding one. */
import { find, findAll, post, say } from "../parts/page.js";

const form = find("#states");
const boxes = form ? findAll("[name=mote]", form) : [];

function count() {
  const n = boxes.filter((box) => box.checked).length;
  say(find("#n-chosen"), n ? `${n} chosen` : "none chosen");
  find("#change").disabled = n === 0;
  find("#all").checked = n === boxes.length;
  find("#all").indeterminate = n > 0 && n < boxes.length;
  return n;
}

function ask(event) {
  event.preventDefault();
  const n = count();
  const state = find("#state");
  const dialog = find("#ask");
  say(find("h2", dialog), `${n === 1 ? "One mote" : `${n} motes`} into ${state.value}?`);
  say(find(".words", dialog), state.selectedOptions[0].dataset.words);
  dialog.showModal();
}

if (boxes.length) {
  form.addEventListener("change", (event) => event.target.matches("[name=mote]") && count());
  find("#all").addEventListener("change", (event) => {
    for (const box of boxes) box.checked = event.target.checked;
    count();
  });
  form.addEventListener("submit", ask);
  find("#ask-yes").addEventListener("click", () => form.submit());
  count();
}

/** Only the zones of the chosen site. */
function narrowZones(register) {
  const { site, zone } = register.elements;
  for (const option of zone.options) option.hidden = option.disabled = Boolean(option.dataset.site) && option.dataset.site !== site.value;
  if (zone.selectedOptions[0]?.disabled) zone.value = "";
}

const register = find("#register-form");
if (register) {
  narrowZones(register);
  register.elements.site.addEventListener("change", () => narrowZones(register));
  register.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(register)].filter(([, value]) => value !== ""));
    const wrong = find(".error", register);
    try {
      const made = await post("/api/v1/motes", given);
      location.assign(`/motes/${encodeURIComponent(made.site)}/${encodeURIComponent(made.mote)}/`);
    } catch (refused) {
      say(wrong, refused.message);
      wrong.hidden = false;
    }
  });
}
