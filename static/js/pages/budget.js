/** The alert budget: the slider moves along the curve, a look asks the server, and a question comes before a deed. */
import { chosen } from "../lib/budget.js";
import { submitsAfterAQuestion } from "../parts/deeds.js";
import { find, findAll, say } from "../parts/page.js";

const look = find("[data-look]");
const slider = document.getElementById("budget-slider");
if (slider) {
  const spots = JSON.parse(document.getElementById("spots").textContent);
  const row = document.getElementById("chosen");
  const dot = document.getElementById("chosen-spot");
  const { faults, needless } = row.dataset;

  slider.addEventListener("input", () => {
    const atMost = Number(slider.value);
    look.elements.at_most.value = atMost;
    const spot = chosen(spots, atMost);
    const said = spot && {
      onset: spot.onset.toFixed(2), aWeek: spot.aWeek.toFixed(1), busiest: spot.busiest.toFixed(0),
      missed: `${spot.missed} of ${faults}`, needless: `${spot.needless} of ${needless}`,
    };
    for (const place of findAll("[data-said]", row)) say(place, { atMost, ...said }[place.dataset.said] ?? "no onset");
    if (spot && dot) {
      dot.setAttribute("cx", spot.x);
      dot.setAttribute("cy", spot.y);
    }
  });
  // What is applied is what was looked at; a page that loaded at every step of the slider could not be used by keys.
  slider.addEventListener("input", () => {
    const hint = document.getElementById("look-first");
    if (!hint) return;
    hint.hidden = false;
    find("button", hint.parentElement).disabled = true;
  });
}

// Another profile has other motes.
look?.elements.profile.addEventListener("change", () => {
  look.elements.mote.value = "";
  look.elements.at_most.disabled = true; // as many as it has motes, until somebody says otherwise
  look.requestSubmit();
});

submitsAfterAQuestion();
