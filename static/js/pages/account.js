/** One's own account: the browser's zone is offered, and a question comes before logging out elsewhere. */
import { find, keepTheme, say } from "../parts/page.js";
import { submitsAfterAQuestion } from "../parts/deeds.js";

const zones = find("#id_time_zone");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
const offer = find("#own-zone");

function showOffer() {
  const told = zones.value || zones.dataset.site;
  offer.hidden = told === own || ![...zones.options].some((option) => option.value === own);
}

say(offer, `Take this browser’s: ${own}`);
offer.addEventListener("click", () => {
  zones.value = own;
  showOffer();
  zones.focus();
});
zones.addEventListener("change", showOffer);
showOffer();
find("#id_theme").form.addEventListener("submit", () => keepTheme(find("#id_theme").value));
submitsAfterAQuestion();
