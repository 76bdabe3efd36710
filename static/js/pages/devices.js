/** The Devices page: a key for a mote or for a gateway of a whole site. */
import { findAll } from "../parts/page.js";
import { secretsPage } from "../parts/secrets.js";

const form = document.getElementById("make-form");

/** Only the motes of the chosen site can be chosen. */
function offerMotes() {
  const site = form.elements.site.value;
  for (const option of findAll("option[data-site]", form)) option.hidden = option.disabled = option.dataset.site !== site;
  if (form.elements.mote.selectedOptions[0]?.disabled) form.elements.mote.value = "";
}

function example(key, mote) {
  const reading = JSON.stringify({ mote_id: mote || "7", timestamp: new Date().toISOString(), temperature: 21.5 });
  return (address) =>
    `curl -X POST ${address} -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" -d '${reading}'`;
}

if (form) {
  offerMotes();
  form.elements.site.addEventListener("change", offerMotes);
}
secretsPage("/api/v1/devices", {
  asked: ({ name, site, mote }) => (mote ? { name, site, mote } : { name, site }),
  made: ({ key }, { mote }) => ({ text: key, example: example(key, mote) }),
});
