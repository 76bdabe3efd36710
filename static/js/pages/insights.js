/** The Insights page: the feed follows the live channel, sliders are judged as they move, tables are sorted. */
import { number } from "../lib/format.js";
import { askLatest } from "../lib/latest.js";
import { sorted } from "../lib/table.js";
import { openChannel } from "../parts/channel.js";
import { followJobs, trainOnClick } from "../parts/jobs.js";
import { find, findAll, get, post, say, tellTimes, tellToReload } from "../parts/page.js";

const FEED_EVERY_MS = 3000;
const SCORES_EVERY_MS = 60_000;
const withUnit = (text, unit) => (unit ? `${text}${unit === "%" ? "" : " "}${unit}` : text);

// ---- the feed and the scores --------------------------------------------------------------------------------

/** Puts a piece of page from the server into its place; a server that is away for a moment leaves what is there. */
async function refresh(place, address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || (!answer.ok && answer.status !== 503) || answer.redirected) return;
  place.innerHTML = await answer.text();
  tellTimes(place);
}

const feed = find("#feed");
let isFeedDue = false;
let feedDrawnAt = 0;

async function drawFeed() {
  isFeedDue = false;
  feedDrawnAt = Date.now();
  if (!feed.contains(document.activeElement)) await refresh(feed, feed.dataset.feed);
}

function wantFeed() {
  if (isFeedDue) return;
  isFeedDue = true;
  setTimeout(drawFeed, Math.max(0, feedDrawnAt + FEED_EVERY_MS - Date.now()));
}

// ---- training again -----------------------------------------------------------------------------------------

const jobs = followJobs(async (job, row) => {
  find(`[data-retrain="${row.dataset.of}"]`)?.removeAttribute("disabled");
  const { result } = await get(`/api/v1/ml/jobs/${job.id}`);
  tellToReload(`Training ${job.id} has ${job.status}; the figures are those of before.`);
  const link = find("a", row);
  link.hidden = !result || !link.dataset.compare;
  if (!link.hidden) link.href = link.dataset.compare + result.split("/").map(encodeURIComponent).join("/") + "/";
});

trainOnClick((id, button) => {
  const row = find(`[data-of="${button.dataset.retrain}"]`);
  Object.assign(row.dataset, { job: id, status: "queued" });
  row.hidden = false;
  jobs.take({ id, status: "queued", progress: 0, message: "waits for the worker" });
});

openChannel({
  onMessage(message, acknowledge) {
    if (message.type === "job" && find(`[data-job="${message.job.id}"]`)) jobs.take(message.job);
    if (message.type === "alert" || (message.type === "readings" && message.readings.some((one) => one.is_anomaly))) wantFeed();
    acknowledge();
  },
  onReturn: wantFeed,
});

const scores = find("#scores");
const drawScores = () => refresh(scores, scores.dataset.scores);
drawScores();
setInterval(drawScores, SCORES_EVERY_MS);

// ---- trying a reading ---------------------------------------------------------------------------------------

for (const form of findAll("form[data-try]")) {
  const sliders = new Map(findAll(".slider", form).map((slider) => [slider.dataset.channel, slider]));
  const values = () => Object.fromEntries([...sliders].map(([code, slider]) => [code, find("input", slider).valueAsNumber]));
  const put = askLatest(
    (question) => post("/api/v1/ml/predict/anomaly", question),
    (answer) => (answer.error ? refuse(form, answer.error) : tell(form, sliders, answer)),
  );
  const putNearest = askLatest(
    (question) => get(`${form.dataset.nearestAt}?${new URLSearchParams(question)}`),
    (answer) => tellNearest(form, sliders, answer.error ? [] : answer.readings),
    { pauseMs: 400 },
  );
  const ask = () => {
    for (const slider of sliders.values()) sayValue(slider);
    const mote = find("[data-mote]", form).value;
    put({ profile: form.dataset.try, ...values(), ...(mote ? { mote_id: mote } : {}) });
    putNearest({ profile: form.dataset.try, ...values() });
  };
  const begin = async () => {
    const mote = find("[data-mote]", form).value;
    const asked = new URLSearchParams({ profile: form.dataset.try, mote });
    const answer = mote ? await get(`${form.dataset.nearestAt}?${asked}`).catch(() => null) : null;
    const latest = answer?.readings[0];
    for (const [channel, slider] of sliders) {
      const input = find("input", slider);
      input.value = latest?.values[channel] ?? input.defaultValue;
    }
    ask();
  };
  form.addEventListener("input", (event) => (event.target.matches("[data-mote]") ? begin() : ask()));
  find("[data-begin]", form).addEventListener("click", begin);
  form.addEventListener("submit", (event) => event.preventDefault());
  begin();
}

find("#try-profile")?.addEventListener("change", (event) => {
  for (const form of findAll("[data-try]")) form.hidden = form.dataset.try !== event.target.value;
});

function sayValue(slider) {
  const input = find("input", slider);
  const text = withUnit(input.value, slider.dataset.unit);
  say(find("[data-value]", slider), text);
  input.setAttribute("aria-valuetext", text);
}

function refuse(form, error) {
  say(find("[data-badge]", form), "not judged");
  find("[data-badge]", form).className = "badge";
  say(find("[data-score]", form), "");
  say(find("[data-words]", form), error.message);
}

function tell(form, sliders, answer) {
  const badge = find("[data-badge]", form);
  badge.className = `badge ${answer.is_anomaly ? answer.severity : "ok"}`;
  say(badge, answer.is_anomaly ? `${answer.severity} severity` : "normal");
  say(find("[data-score]", form), `score ${Math.abs(answer.anomaly_score).toFixed(2)}`);
  say(find("[data-words]", form), answer.is_anomaly ? answer.details.words : "Nothing odd about this reading.");
  say(find("[data-why]", form), why(answer, sliders));
  for (const [code, slider] of sliders) drawBand(slider, answer.expected[code] ?? null);
}

function why(answer, sliders) {
  const label = (code) => find("label", sliders.get(code)).textContent;
  const by = Object.entries(answer.contributions).filter(([code, share]) => share >= 0.1 && sliders.has(code));
  const shares = by.sort(([, a], [, b]) => b - a).map(([code, share]) => `${label(code)} ${Math.round(100 * share)} %`).join(", ");
  const cause = answer.is_anomaly && shares ? `Caused by ${shares}, said by the layer ${answer.details.layer}.` : "";
  return [cause, `Surprise ${answer.surprise.toFixed(1)}.`, `Judged by ${answer.model_version}.`].filter(Boolean).join(" ");
}

/** Where on the track the value was expected. */
function drawBand(slider, expected) {
  const input = find("input", slider);
  const band = find(".band", slider);
  const [least, most] = [Number(input.min), Number(input.max)];
  const place = (value) => (100 * (Math.min(Math.max(value, least), most) - least)) / (most - least);
  band.hidden = expected === null;
  if (expected === null) return;
  const [low, high] = expected;
  band.style.setProperty("--from", `${place(low)}%`);
  band.style.setProperty("--width", `${Math.max(place(high) - place(low), 0.5)}%`);
  const isBeyond = input.valueAsNumber < low || input.valueAsNumber > high;
  slider.classList.toggle("is-beyond", isBeyond);
  const decimals = (input.step.split(".")[1] ?? "").length;
  const told = withUnit(`${number(low, Math.min(decimals, 2))} to ${number(high, Math.min(decimals, 2))}`, slider.dataset.unit);
  say(find("[data-band]", slider), isBeyond ? `▲ beyond what is expected: ${told}` : `expected ${told}`);
}

function tellNearest(form, sliders, readings) {
  const nearest = find("[data-nearest]", form);
  nearest.hidden = !readings.length;
  find("ul", nearest).replaceChildren(...readings.map((one) => like(one, sliders)));
}

function like(reading, sliders) {
  const item = document.createElement("li");
  const told = [...sliders].map(([code, slider]) => withUnit(reading.values[code] ?? "–", slider.dataset.unit)).join(", ");
  item.textContent = `Mote ${reading.mote}: ${told}, score ${reading.score === null ? "–" : reading.score.toFixed(2)}`;
  return item;
}

// ---- the capability tables ----------------------------------------------------------------------------------

for (const table of findAll("[data-sortable]")) {
  const body = find("tbody", table);
  const rows = findAll("tr", body).map((element) => ({ element, ...JSON.parse(element.dataset.values) }));
  for (const row of rows) row.code = row.label;
  for (const button of findAll("[data-sort]", table)) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const isDown = head.getAttribute("aria-sort") === "ascending";
      for (const other of findAll("th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const order = sorted(rows, `${isDown ? "-" : ""}${button.dataset.sort}`, (row, name) => row[name]);
      body.append(...order.map((row) => row.element));
    });
  }
}
