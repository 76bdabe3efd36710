/** One rule as a form that is a sentence, tried on the last 30 days. */
import { instant, whole } from "../lib/format.js";
import { band, definition, movesAway, row, scales } from "../lib/rule.js";
import { find, findAll, fromTemplate, post, readJson, say, toast } from "../parts/page.js";
import { submits, weekly } from "../parts/deeds.js";

const form = find("#rule");
const list = find("#conditions");
const past = find("#past");
const given = readJson("given");
const channels = readJson("channels");
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [960, 240];

/** The channels of the chosen profile, and the model's score. */
function offer(select) {
  const chosen = select.value || select.dataset.wanted;
  const options = [...(channels[form.elements.profile.value] ?? []), { code: "score:", label: "the model's score", unit: "" }];
  select.replaceChildren(...options.map(({ code, label }) => new Option(label.toLowerCase(), code)));
  if (options.some((one) => one.code === chosen)) select.value = chosen;
}

function explain(item) {
  const [what, how] = [find("[name=what]", item), find("[name=how]", item)];
  for (const option of how.options) option.disabled = what.value === "score:" && movesAway(option.value);
  if (how.selectedOptions[0]?.disabled) how.value = "above";
  find(".within", item).hidden = !movesAway(how.value);
  find(".clear", item).hidden = movesAway(how.value);
  say(find(".unit", item), channels[form.elements.profile.value]?.find((one) => one.code === what.value)?.unit ?? "");
}

function add(one) {
  const item = fromTemplate("condition");
  list.append(item);
  const shown = row(one);
  find("[name=what]", item).dataset.wanted = shown.what;
  offer(find("[name=what]", item));
  for (const name of ["how", "than", "clear", "within"]) find(`[name=${name}]`, item).value = shown[name];
  item.addEventListener("change", () => explain(item));
  find("[data-drops]", item).addEventListener("click", () => item.remove());
  explain(item);
}

function body() {
  const fields = form.elements;
  const rows = findAll(".condition", list).map((item) => Object.fromEntries(["what", "how", "than", "clear", "within"].map((name) => [name, find(`[name=${name}]`, item).value])));
  const [what, ...place] = fields.scope.value.split(" ");
  return {
    name: fields.name.value || "A rule to try",
    severity: fields.severity.value,
    profile: fields.profile.value,
    site: null, zone: null, mote: null,
    ...(what && { [what]: place.join(" ") }),
    definition: definition({
      rows, match: fields.match.value, forMin: fields.for.value, hours: weekly(form, "hours"),
      noData: fields.no_data.value, silenceMin: fields.silence.value,
    }),
  };
}

function fill() {
  const { definition: told } = given;
  const fields = form.elements;
  fields.name.value = given.name;
  fields.severity.value = given.severity;
  if (given.profile) fields.profile.value = given.profile;
  fields.scope.value = ["mote", "zone", "site"].filter((name) => given[name]).map((name) => `${name} ${given[name]}`)[0] ?? "";
  fields.match.value = told.match ?? "all";
  fields.for.value = (told.for_s ?? 0) / 60;
  fields.no_data.value = told.no_data?.means ?? "keep";
  fields.silence.value = (told.no_data?.after_s ?? 600) / 60;
  for (const day of told.hours?.days ?? []) find(`[name=hours-day][value="${day}"]`, form).checked = true;
  if (told.hours) {
    fields["hours-from"].value = told.hours.from;
    fields["hours-to"].value = told.hours.to;
    fields["hours-zone"].value = told.hours.time_zone;
  }
  for (const one of told.conditions ?? []) add(one);
}

// ---- the past ---------------------------------------------------------------------------------------------

const cell = (text) => Object.assign(document.createElement("td"), { textContent: text });
const shown = (at) => (at ? instant(Date.parse(at)) : "it goes on");

function rowsOf(table, rows, empty) {
  const made = rows.map((cells) => {
    const line = document.createElement("tr");
    line.append(...cells.map(cell));
    return line;
  });
  if (!made.length) {
    const line = document.createElement("tr");
    line.append(Object.assign(cell(empty), { colSpan: 4, className: "muted" }));
    made.push(line);
  }
  find("tbody", table).replaceChildren(...made);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The band of each hour, the levels, and on it the stretches in which the rule fires. */
function draw(told) {
  const chart = find("#chart");
  const { line } = told;
  chart.toggleAttribute("hidden", !line || !line.points.length);
  say(find("#drawn"), line ? `${line.channel}${line.unit ? `, ${line.unit}` : ""}, of mote ${line.mote}: least and most of each hour, the rule's levels, and where it would have raised an alert` : "No channel to draw.");
  if (!line || !line.points.length) return chart.replaceChildren();
  const values = [...line.levels, ...line.points.flatMap(([, low, high]) => [low, high])];
  const span = { from: Date.parse(told.starts_at), to: Date.parse(told.ends_at), low: Math.min(...values), high: Math.max(...values) };
  const at = scales({ ...span, width: WIDTH, height: HEIGHT });
  const fires = told.firings.filter((one) => one.mote === line.mote).map((one) => {
    const x = at.x(Date.parse(one.began_at));
    const end = at.x(one.ended_at ? Date.parse(one.ended_at) : span.to);
    return shape("rect", { class: "fires", x, y: 0, width: Math.max(end - x, 2), height: HEIGHT });
  });
  const levels = line.levels.flatMap((level, i) => {
    const label = shape("text", { class: "level", x: 4, y: at.y(level) - 4 });
    label.textContent = `${i ? "clears at " : ""}${level} ${line.unit}`;
    return [shape("line", { class: i ? "level is-clear" : "level", x1: 0, x2: WIDTH, y1: at.y(level), y2: at.y(level) }), label];
  });
  return chart.replaceChildren(...fires, shape("path", { class: "band", d: band(line.points, at) }), ...levels);
}

function show(told) {
  past.hidden = false;
  say(find("#sentence"), told.sentence);
  say(find("#took"), `${whole(told.n_readings)} readings of ${told.n_motes} motes judged in ${told.seconds.toFixed(2)} s`);
  const figures = [
    ["alerts", told.n_alerts], ["a week", told.a_week],
    ["known events caught", told.n_labelled ? `${told.n_caught} of ${told.n_labelled}` : "none known"],
    ["alerts of which nothing is known", told.n_unlabelled],
  ];
  find("#figures").replaceChildren(...figures.map(([name, value]) => {
    const tile = fromTemplate("tile");
    say(find(".name", tile), name);
    say(find(".value", tile), String(value));
    return tile;
  }));
  draw(told);
  rowsOf(find("#firings"), told.firings.toReversed().map((one) => [one.mote, shown(one.began_at), shown(one.ended_at)]), "It would have raised none.");
  rowsOf(find("#truths"), told.truths.toReversed().map((one) => [one.mote, one.kind, shown(one.starts_at), one.is_caught ? "caught" : "missed"]), "No labelled event in this time.");
}

async function attempt() {
  const button = find("#try");
  button.disabled = true;
  try {
    show(await post(form.dataset.backtest, { ...body(), draw: find("#draw").value }));
  } catch (refused) {
    toast(refused.message, "error");
  } finally {
    button.disabled = false;
  }
}

fill();
form.elements.profile.addEventListener("change", () => findAll(".condition", list).forEach((item) => {
  offer(find("[name=what]", item));
  explain(item);
}));
find("#add").addEventListener("click", () => add({ kind: "value", is: "above" }));
find("#try").addEventListener("click", attempt);
find("#draw").addEventListener("change", attempt);
submits(form, {
  toBody: () => ({ path: form.dataset.path, body: body() }),
  onDone: () => location.assign(form.dataset.back),
});
