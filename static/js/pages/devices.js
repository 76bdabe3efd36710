/** The Devices page: a key is made, shown once, and revoked after a question. */
import { find, findAll, post, say, send, toast } from "../parts/page.js";

const make = document.getElementById("make");
const made = document.getElementById("made");
const revoke = document.getElementById("revoke");
const form = document.getElementById("make-form");
let chosen = null;

document.getElementById("make-open").addEventListener("click", () => make.showModal());

/** Only the motes of the chosen site can be chosen. */
function offerMotes() {
  const site = form.elements.site.value;
  for (const option of findAll("option[data-site]", form)) option.hidden = option.disabled = option.dataset.site !== site;
  if (form.elements.mote.selectedOptions[0]?.disabled) form.elements.mote.value = "";
}

function show(key, mote) {
  const example = find("#made-try");
  const reading = JSON.stringify({ mote_id: mote || "7", timestamp: new Date().toISOString(), temperature: 21.5 });
  find("#made-key").value = key;
  example.value = `curl -X POST ${example.dataset.address} -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" -d '${reading}'`;
  made.showModal();
  find("#made-key").select();
}

if (form) {
  offerMotes();
  form.elements.site.addEventListener("change", offerMotes);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { name, site, mote } = Object.fromEntries(new FormData(form));
    const wrong = find(".error", form);
    wrong.hidden = true;
    try {
      const key = await post("/api/v1/devices", mote ? { name, site, mote } : { name, site });
      make.close();
      show(key.key, mote);
    } catch (refused) {
      say(wrong, refused.message);
      wrong.hidden = false;
    }
  });
}

find("#copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(find("#made-key").value);
    toast("The key is copied.");
  } catch {
    find("#made-key").select();
    toast("The browser does not let the page copy; the key is selected.", "error");
  }
});
find("#kept").addEventListener("click", () => location.reload());
made.addEventListener("cancel", (event) => event.preventDefault()); // Escape must not lose the only sight of it

for (const button of findAll("[data-revoke]")) {
  button.addEventListener("click", () => {
    chosen = button.dataset.revoke;
    say(find(".name", revoke), button.dataset.name);
    revoke.showModal();
  });
}

find("#revoke-yes").addEventListener("click", async () => {
  try {
    await send("DELETE", `/api/v1/devices/${chosen}`);
    location.reload();
  } catch (refused) {
    revoke.close();
    toast(refused.message, "error");
  }
});
