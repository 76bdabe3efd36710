/** A list of alerts that keeps itself up: rows are made from the page's template, deeds go to the API. */
import { find, findAll, fromTemplate, post, say, tellTimes, toast } from "./page.js";
import { askResolution } from "./resolve.js";

const STATUS = { open: "", acknowledged: "Acknowledged", in_progress: "In progress", resolved: "Resolved", closed: "Closed" };

/** `onMoved(alert)` hears what the server says of an alert that the person acted on. */
export function alertList(list, { onMoved }) {
  const rows = new Map(findAll("[data-id]", list).map((row) => [Number(row.dataset.id), row]));
  for (const row of rows.values()) tellTimes(row);

  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-deed]");
    if (button) act(button, onMoved);
  });

  function rowOf(alert) {
    if (!rows.has(alert.id)) rows.set(alert.id, fromTemplate("alert"));
    const row = rows.get(alert.id);
    fill(row, alert);
    return row;
  }

  return {
    /** Shows exactly these, in this order; only what differs is touched. */
    draw(alerts) {
      const kept = new Set(alerts.map((alert) => alert.id));
      for (const [id, row] of rows) {
        if (kept.has(id)) continue;
        row.remove();
        rows.delete(id);
      }
      alerts.forEach((alert, i) => {
        const row = rowOf(alert);
        if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
      });
    },
    /** Shows what became of one alert where it stands. */
    change(alert) {
      if (rows.has(alert.id)) rowOf(alert);
    },
  };
}

function fill(row, alert) {
  row.className = `alert ${alert.severity} ${alert.status}`;
  row.dataset.id = alert.id;
  row.dataset.status = alert.status;
  find("use", row).setAttribute("href", `#i-${alert.severity}`);
  row.dataset.revision = alert.revision;
  const words = find(".words a", row);
  say(words, alert.words);
  words.href = `/alerts/${alert.id}/`;
  say(find(".severity", row), alert.severity);
  const where = find(".where", row);
  where.hidden = !alert.mote;
  find(".subject", row).hidden = Boolean(alert.mote);
  say(find(".subject", row), alert.subject);
  if (alert.mote) {
    say(where, `Mote ${alert.mote}`);
    where.search = `?mote=${encodeURIComponent(alert.site)}/${encodeURIComponent(alert.mote)}`;
  }
  fillGrade(find(".sensor-grade", row), alert);
  const quiet = find(".suppressed", row);
  if (quiet && alert.is_suppressed !== undefined) quiet.hidden = !alert.is_suppressed;
  find("time", row).dateTime = alert.last_seen_at;
  fillStatus(find(".status", row), alert);
  fillHands(row, alert);
  const isOver = alert.status === "resolved" || alert.status === "closed";
  for (const button of findAll("[data-deed]", row)) {
    button.hidden = isOver || (button.dataset.deed === "acknowledge" && alert.status !== "open");
  }
  tellTimes(row);
}

/** How much the sensor that raised it is worth; a message that does not say leaves what is known. */
function fillGrade(grade, alert) {
  if (alert.grade === undefined) return;
  grade.hidden = !alert.grade;
  say(grade, `sensor grade ${alert.grade}`);
  grade.title = (alert.grade_reasons ?? []).join("; ");
}

/** The API says who; the live channel does not, and must not wipe out what is known. */
function fillStatus(status, alert) {
  const words = STATUS[alert.status];
  const who = alert.status === "acknowledged" ? alert.acknowledged_by : alert.resolved_by;
  if (who) say(status, `${words} by ${who}`);
  else if (!words || !status.textContent.startsWith(words)) say(status, words);
}

function fillHands(row, alert) {
  if (alert.assignee !== undefined) {
    find(".assignee", row).hidden = !alert.assignee;
    say(find(".assignee", row), `in the hands of ${alert.assignee}`);
  }
  const sleeps = find(".sleeps", row);
  sleeps.hidden = !(Date.parse(alert.snoozed_until) > Date.now());
  if (!sleeps.hidden) find("time", sleeps).dateTime = alert.snoozed_until;
}

/** Asks the API for the deed; resolving asks the person first. */
function act(button, onMoved) {
  const row = button.closest("[data-id]");
  const deed = (given) => moved(row, button.dataset.deed, given, onMoved);
  if (button.dataset.deed === "resolve") askResolution(find(".words", row).textContent, deed);
  else deed({}).catch((refused) => toast(refused.message, "error"));
}

async function moved(row, deed, given, onMoved) {
  for (const button of findAll("[data-deed]", row)) button.disabled = true;
  try {
    onMoved(await post(`/api/v1/alerts/${row.dataset.id}/${deed}`, given));
  } finally {
    for (const button of findAll("[data-deed]", row)) button.disabled = false;
  }
}
