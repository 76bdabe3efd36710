/** The tour of the demo: asks for a fault, then goes with the person from page to page until its alert is in hand. */
import { after, placeOf, tell } from "../lib/tour.js";
import { find, findAll, get, post, send, toast } from "../parts/page.js";

const KEPT = "sieis-tour";
const POLL_MS = 1500;
let panel = null;
let spot = null;
let timer = null;

const kept = () => JSON.parse(sessionStorage.getItem(KEPT));
const keep = (tour) => sessionStorage.setItem(KEPT, JSON.stringify(tour));
const isHere = (tour) => location.pathname === (tour.step === "wait" ? "/" : `/alerts/${tour.alert?.id}/`);

async function begin() {
  try {
    const asked = await post("/api/v1/demo/fault");
    keep({ ...asked, step: "wait" });
    await remember(); // now and not at its end, after which people go elsewhere at once
    if (location.pathname === "/") show();
    else location.assign("/");
  } catch (refused) {
    toast(refused.message, "error");
  }
}

/** It is not offered again by itself, in whatever browser. */
async function remember() {
  find("#tour-offer")?.remove();
  await send("PATCH", "/api/v1/account", { is_toured: true }).catch((refused) => toast(refused.message, "error"));
}

function end() {
  clearTimeout(timer);
  sessionStorage.removeItem(KEPT);
  spot?.classList.remove("tour-spot");
  panel?.remove();
  panel = null;
  find("#main").focus();
}

function makePanel() {
  panel = document.createElement("section");
  panel.className = "tour-panel";
  panel.id = "tour";
  panel.setAttribute("aria-labelledby", "tour-title");
  panel.innerHTML = `<span class="step"></span><h2 id="tour-title" tabindex="-1"></h2><p role="status"></p>
    <div class="actions"><button class="button plain" type="button" data-end>Leave the tour</button><button class="button primary" type="button" data-next></button></div>`;
  find("[data-end]", panel).addEventListener("click", end);
  find("[data-next]", panel).addEventListener("click", next);
  panel.addEventListener("keydown", (event) => event.key === "Escape" && end());
  document.body.append(panel);
}

function show() {
  const tour = kept();
  if (!tour) return;
  if (!panel) makePanel();
  const told = isHere(tour) ? tell(tour, here()) : { title: "The tour goes on elsewhere", words: "You have left its way; that is fine.", next: "Back to it" };
  find(".step", panel).textContent = placeOf(tour.step);
  find("h2", panel).textContent = told.title;
  find("p", panel).textContent = told.words;
  const button = find("[data-next]", panel);
  button.hidden = !told.next;
  button.textContent = told.next ?? "";
  point(told.spot);
  (told.next ? button : find("h2", panel)).focus({ preventScroll: true });
  clearTimeout(timer);
  if (tour.step === "wait" && !tour.alert) timer = setTimeout(look, POLL_MS);
}

const here = () => ({ status: find("#alert")?.dataset.status, hasEvidence: Boolean(find("#evidence-chart")) });

function point(selector) {
  spot?.classList.remove("tour-spot");
  spot = selector ? find(selector) : null;
  spot?.classList.add("tour-spot");
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  spot?.scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
}

/** Whether the alert is there; the page itself shows it by the live channel. */
async function look() {
  const tour = kept();
  if (!tour) return undefined;
  try {
    const query = new URLSearchParams({ mote: tour.mote, site: tour.site, status: "active" });
    const { results } = await get(`/api/v1/alerts?${query}`);
    const alert = results.find((one) => Date.parse(one.last_seen_at) >= Date.parse(tour.starts_at));
    if (alert) {
      keep({ ...tour, alert, seen_at: Date.now() });
      return show();
    }
  } catch {
    // The page's badge says that the server is away; the next look may find it back.
  }
  timer = setTimeout(look, POLL_MS);
  return undefined;
}

function next() {
  const tour = kept();
  if (!isHere(tour)) location.assign(tour.step === "wait" ? "/" : `/alerts/${tour.alert.id}/`);
  else if (tour.step === "done") end();
  else if (tour.step === "evidence" && !here().hasEvidence) find("#take-evidence")?.click();
  else {
    keep({ ...tour, step: after(tour.step) });
    if (tour.step === "wait") location.assign(`/alerts/${tour.alert.id}/`);
    else show();
  }
}

for (const button of findAll("[data-tour]")) button.addEventListener("click", begin);
find("[data-tour-declined]")?.addEventListener("click", remember);

const running = kept();
if (running?.step === "acknowledge" && isHere(running) && here().status === "acknowledged") keep({ ...running, step: "done" });
show();
