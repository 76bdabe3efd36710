/** The Insights page: the feed follows the live channel, sliders are judged as they move, tables are sorted. */
import { askLatest } from "../lib/latest.js";
import { sorted } from "../lib/table.js";
import { openChannel } from "../parts/channel.js";
import { find, findAll, post, say, tellTimes } from "../parts/page.js";

const FEED_EVERY_MS = 3000;
const SCORES_EVERY_MS = 60_000;

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

openChannel({
  onMessage(message, acknowledge) {
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

for (const form of findAll("[data-try]")) {
  const sliders = new Map(findAll(".slider", form).map((slider) => [slider.dataset.channel, slider]));
  const values = () => Object.fromEntries([...sliders].map(([code, slider]) => [code, find("input", slider).valueAsNumber]));
  const put = askLatest(
    (question) => post(form.dataset.address, question),
    (answer) => (answer.error ? refuse(form, answer.error) : tell(form, sliders, answer)),
  );
  const ask = () => {
    for (const slider of sliders.values()) sayValue(slider);
    put({ profile: form.dataset.try, values: values() });
  };
  form.addEventListener("input", ask);
  form.addEventListener("reset", () => setTimeout(ask));
  form.addEventListener("submit", (event) => event.preventDefault());
  ask();
}

find("#try-profile")?.addEventListener("change", (event) => {
  for (const form of findAll("[data-try]")) form.hidden = form.dataset.try !== event.target.value;
});

const withUnit = (text, unit) => (unit ? `${text}${unit === "%" ? "" : " "}${unit}` : text);

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
  say(find("[data-score]", form), `score ${answer.score.toFixed(2)}`);
  say(find("[data-words]", form), answer.words);
  say(find("[data-why]", form), why(answer, sliders));
  for (const channel of answer.channels) drawBand(sliders.get(channel.code), channel);
  const nearest = find("[data-nearest]", form);
  nearest.hidden = !answer.nearest.length;
  find("ul", nearest).replaceChildren(...answer.nearest.map((one) => like(one, sliders)));
}

function why(answer, sliders) {
  const label = (code) => find("label", sliders.get(code)).textContent;
  const by = answer.channels.filter((one) => one.share >= 0.1 && answer.is_anomaly).sort((a, b) => b.share - a.share);
  const shares = by.map((one) => `${label(one.code)} ${Math.round(100 * one.share)} %`).join(", ");
  const layers = Object.entries(answer.layers).sort(([, a], [, b]) => b - a).map(([name, vote]) => `${name} ${vote}`).join(", ");
  const model = answer.model_version ? `model v${answer.model_version}` : "the pack alone, without a model";
  return [shares && `Caused by ${shares}.`, layers && `Surprise by layer: ${layers}.`, `Judged by ${model}.`].filter(Boolean).join(" ");
}

/** Where on the track the value was expected. */
function drawBand(slider, channel) {
  if (!slider) return;
  const input = find("input", slider);
  const band = find(".band", slider);
  const [least, most] = [Number(input.min), Number(input.max)];
  const place = (value) => (100 * (Math.min(Math.max(value, least), most) - least)) / (most - least);
  band.hidden = channel.low === null;
  if (channel.low !== null) {
    band.style.setProperty("--from", `${place(channel.low)}%`);
    band.style.setProperty("--width", `${Math.max(place(channel.high) - place(channel.low), 0.5)}%`);
  }
  slider.classList.toggle("is-beyond", channel.is_beyond);
  say(find("[data-band]", slider), channel.band ? `${channel.is_beyond ? "▲ beyond what is expected:" : "expected"} ${channel.band}` : " ");
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
